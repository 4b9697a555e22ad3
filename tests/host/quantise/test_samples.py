"""Arrays to samples: every form that is taken, and what is refused."""
import numpy as np
import pytest
from celosia.host.quantise.samples import InputSpec, check, split
from celosia.rtl.contract.errors import InputError

IMAGE = InputSpec("image", "float32", (None, 1, 4, 4))
FIXED = InputSpec("image", "float32", (1, 1, 4, 4))
BATCH = InputSpec("image", "float32", (2, 1, 4, 4))
ANGLE = InputSpec("angle", "float32", (1, 2))
TOKENS = InputSpec("tokens", "int64", (1, None))


def shapes(samples):
    return [sample["image"].shape for sample in samples]


@pytest.mark.parametrize("spec,shape,wanted", [
    (FIXED, (1, 1, 4, 4), [(1, 1, 4, 4)]), (FIXED, (5, 1, 4, 4), [(1, 1, 4, 4)] * 5),
    (FIXED, (5, 1, 1, 4, 4), [(1, 1, 4, 4)] * 5), (IMAGE, (5, 1, 4, 4), [(1, 1, 4, 4)] * 5),
    (IMAGE, (3, 5, 1, 4, 4), [(5, 1, 4, 4)] * 3), (BATCH, (2, 1, 4, 4), [(2, 1, 4, 4)]),
    (BATCH, (3, 2, 1, 4, 4), [(2, 1, 4, 4)] * 3), (FIXED, (0, 1, 4, 4), []),
    (FIXED, (1, 4, 4), [(1, 1, 4, 4)]), (IMAGE, (1, 4, 4), [(1, 1, 4, 4)])])
def test_an_array_is_one_sample_or_several(spec, shape, wanted):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    samples = split([spec], values)
    assert shapes(samples) == wanted
    if samples:
        np.testing.assert_array_equal(np.concatenate([s["image"].reshape(-1) for s in samples]),
                                      values.reshape(-1))


def test_several_inputs_go_together_row_by_row():
    images, angles = np.random.default_rng(0).random((3, 1, 4, 4)), np.arange(6.0).reshape(3, 2)
    samples = split([IMAGE, ANGLE], {"angle": angles, "image": images})
    assert [sample["angle"].tolist() for sample in samples] == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert samples[0]["image"].dtype == np.float32  # float64 is narrowed


@pytest.mark.parametrize("spec,values,told", [
    (FIXED, np.zeros((1, 1, 4, 5), np.float32), "float32[1, 1, 4, 5]"),
    (BATCH, np.zeros((3, 1, 4, 4), np.float32), "the model takes image: float32[2, 1, 4, 4]"),
    (FIXED, np.zeros((4, 4), np.float32), "one sample or several"),
    (FIXED, np.zeros((1, 1, 4, 4), np.uint8), "of type uint8"),
    (FIXED, np.full((1, 1, 4, 4), np.nan, np.float32), "not finite"),
    (TOKENS, np.zeros((1, 3), np.float32), "of type float32"),
    (InputSpec("b", "int8", (1, 1)), np.array([[300]]), "no int8"),
    (FIXED, {"picture": np.zeros((1, 1, 4, 4), np.float32)}, "holds ['picture']"), (FIXED, {}, "holds []")])
def test_what_does_not_fit_is_refused_with_what_the_model_takes(spec, values, told):
    with pytest.raises(InputError) as caught:
        split([spec], values)
    assert told in str(caught.value)


def test_inputs_of_different_numbers_are_refused():
    with pytest.raises(InputError, match="2 of image, 3 of angle"):
        split([IMAGE, ANGLE], {"image": np.zeros((2, 1, 4, 4)), "angle": np.zeros((3, 2))})
    with pytest.raises(InputError, match="one array for a model of 2 inputs"):
        split([IMAGE, ANGLE], np.zeros((2, 1, 4, 4)))


def test_all_samples_have_the_shape_of_the_first():
    sample = {"tokens": np.zeros((1, 3), np.int32)}
    assert check([TOKENS], sample, {"tokens": (1, 3)})["tokens"].dtype == np.int64
    with pytest.raises(InputError, match=r"shape \[1, 3\], expected \[1, 4\]"):
        check([TOKENS], sample, {"tokens": (1, 4)})
    with pytest.raises(InputError, match="tokens"):
        check([TOKENS], {"other": sample["tokens"]}, {"tokens": (1, 3)})
