"""A LiteRT evaluation script, run twice with nothing changed but the import."""
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRTInterpreter
from ai_edge_litert.interpreter import OpResolverType

import celosia


def evaluate(interpreter, images):
    """What scripts of this kind do."""
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    wanted = interpreter.get_output_details()[0]
    scale, zero_point = given["quantization"]
    found = []
    for image in images:
        real = (image.astype(np.float32) - zero_point) * scale
        stored = np.round(real / scale + zero_point).astype(given["dtype"]).reshape(given["shape"])
        interpreter.set_tensor(given["index"], stored)
        interpreter.invoke()
        found.append(interpreter.get_tensor(wanted["index"])[0])
    scale, zero_point = wanted["quantization"]
    return np.array(found), [int(np.argmax((row.astype(float) - zero_point) * scale)) for row in found]


@pytest.fixture(scope="module")
def litert(digits):
    return LiteRTInterpreter(model_path=str(digits), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)


def test_the_script_gets_the_same_values(digits, images, litert):
    ours, guesses = evaluate(celosia.Interpreter(model_path=str(digits), device="emulator", fabric="tiny"),
                             images)
    theirs, wanted = evaluate(litert, images)
    np.testing.assert_array_equal(ours, theirs)
    assert guesses == wanted


def test_the_details_are_the_same(digits, litert):
    ours = celosia.Interpreter(model_path=digits, device="emulator", fabric="tiny")
    litert.allocate_tensors()
    for method in ("get_input_details", "get_output_details", "get_tensor_details"):
        for mine, theirs in zip(getattr(ours, method)(), getattr(litert, method)(), strict=False):
            for key in ("name", "index", "dtype", "quantization"):
                assert mine[key] == theirs[key], (mine["name"], key)
            for key in ("shape", "shape_signature"):
                np.testing.assert_array_equal(mine[key], theirs[key])
                assert mine[key].dtype == theirs[key].dtype
            for key, value in mine["quantization_parameters"].items():
                np.testing.assert_array_equal(value, theirs["quantization_parameters"][key])


def test_a_model_may_be_given_as_bytes_and_with_litert_s_options(digits, images, golden):
    ours = celosia.Interpreter(model_content=digits.read_bytes(), num_threads=4, device="emulator",
                               fabric="tiny",
                               experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    ours.resize_tensor_input(0, [1, 8, 8, 1])
    np.testing.assert_array_equal(evaluate(ours, images[:1])[0], golden[:1])
    assert ours.result.layers and ours.tensor(0)().shape == (1, 8, 8, 1)


def test_values_are_copies(digits, images):
    ours = celosia.Interpreter(model_path=digits, device="emulator", fabric="tiny")
    ours.allocate_tensors()
    image = images[:1].copy()
    ours.set_tensor(0, image)
    image[:] = 0
    np.testing.assert_array_equal(ours.get_tensor(0), images[:1])
    ours.invoke()
    index = ours.get_output_details()[0]["index"]
    first = ours.get_tensor(index)
    first[:] = 0
    assert ours.get_tensor(index).any()


def test_misuse_is_refused(digits, images):
    ours = celosia.Interpreter(model_path=digits, device="emulator", fabric="tiny")
    with pytest.raises(celosia.InputError, match="allocate_tensors"):
        ours.invoke()
    ours.allocate_tensors()
    with pytest.raises(celosia.InputError, match="have not been set"):
        ours.invoke()
    with pytest.raises(ValueError, match=r"takes int8\[1, 8, 8, 1\], not float32"):
        ours.set_tensor(0, images[:1].astype(np.float32))
    with pytest.raises(celosia.InputError, match="is no input"):
        ours.set_tensor(1, images[:1])
    with pytest.raises(celosia.InputError, match="after invoke"):
        ours.get_tensor(20)
    with pytest.raises(celosia.UnsupportedError, match="cannot be resized"):
        ours.resize_tensor_input(0, [2, 8, 8, 1])
    with pytest.raises(celosia.InputError, match="either model_path or model_content"):
        celosia.Interpreter()
