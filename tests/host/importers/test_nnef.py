"""The NNEF importer: what text written by hand means, and a clear refusal of what is not supported."""
import io
import struct
import sys
import tarfile

import numpy as np
import pytest
from celosia.host.graph.ir import Kind
from celosia.host.graph.verify import verify
from celosia.host.importers.nnef import load_nnef
from celosia.host.importers.nnef_file import GRAPH, QUANTISATION, looks_like_nnef, tensor_file
from celosia.host.reference import Reference
from celosia.rtl.contract.errors import ModelError, ToolError, UnsupportedError

nnef = pytest.importorskip("nnef")

ZERO_POINT = ("zero_point_linear_quantize(zero_point = {}, scale = {}, bits = {}, signed = {}, "
              "symmetric = {})")


def steps(scale, zero=0, bits=8, signed="true", symmetric="false"):
    return ZERO_POINT.format(zero, scale, bits, signed, symmetric)


def packed(array, quantized=True):
    """A .dat file, as Khronos' package writes it."""
    stream = io.BytesIO()
    nnef.write_tensor(_Stream(stream), np.asarray(array), quantized=quantized)
    return stream.getvalue()


class _Stream:
    """What nnef.write_tensor() needs of a file that is none."""

    def __init__(self, stream):
        self.write, self.seekable = stream.write, lambda: False


@pytest.fixture
def model(tmp_path):
    """Writes a model: body of the graph from ``x`` to ``y``, quantisation by tensor, tensor files."""
    def write(body, quant=None, files=None, *, shape=(1, 2, 3, 4), head="version 1.0;", raw=None):
        folder = tmp_path / "net"
        folder.mkdir(exist_ok=True)
        text = (f"{head}\ngraph net(x) -> (y)\n{{\n    x = external<scalar>(shape = {list(shape)});\n"
                f"    {body}\n}}\n")
        (folder / GRAPH).write_text(text if raw is None else raw)
        quant = {"x": steps(0.05, 3), "y": steps(0.05, 3)} | (quant or {})
        lines = (f'"{name}": {how};\n' for name, how in quant.items() if how)
        (folder / QUANTISATION).write_text("".join(lines))
        for name, data in (files or {}).items():
            (folder / name).write_bytes(data if isinstance(data, bytes) else packed(data))
        return folder
    return write


NO_PADDING = "padding = [(0, 0), (0, 0), (0, 0), (0, 0)]"
POOL = "max_pool(x, size = [1, 1, 1, 1], border = 'ignore', padding = [])"  # the identity, on an image


def ramp(shape):
    return np.arange(np.prod(shape), dtype=np.int64).astype(np.int8).reshape(shape)


def run(folder, *inputs):
    graph = load_nnef(folder)
    verify(graph)
    return Reference(graph).run(inputs)


def sources(graph):
    return [op.source for op in graph.ops]


# Layout


def test_inputs_and_outputs_have_the_file_s_order_and_the_operator_its_own(model):
    folder = model(f"y = max_pool(x, size = [1, 1, 2, 2], border = 'ignore', {NO_PADDING});")
    graph = load_nnef(folder)
    assert sources(graph) == ["TRANSPOSE", "MAX_POOL_2D", "TRANSPOSE"]
    x = ramp((1, 2, 3, 4))
    (y,) = run(folder, x)
    np.testing.assert_array_equal(y, np.lib.stride_tricks.sliding_window_view(x, (2, 2), (2, 3)).max((4, 5)))


def test_transpositions_in_the_file_cost_nothing(model):
    there, back = "a = transpose(x, axes = [0, 3, 1, 2]);", "y = transpose(b, axes = [0, 2, 3, 1]);"
    folder = model(f"{there} b = relu(a); {back}", {"a": steps(0.05, 3), "b": steps(0.05, 3)})
    assert sources(load_nnef(folder)) == ["RELU"]
    x = ramp((1, 2, 3, 4))
    np.testing.assert_array_equal(run(folder, x)[0], np.maximum(x, 3))


def test_a_dimension_of_one_moves_without_a_transposition(model):
    folder = model(f"y = avg_pool(x, size = [1, 1, 3, 4], border = 'ignore', {NO_PADDING});",
                   shape=(1, 1, 3, 4))
    assert sources(load_nnef(folder)) == ["RESHAPE", "AVERAGE_POOL_2D"]


def test_shorter_operands_get_dimensions_behind_theirs(model):
    """As NNEF has it: [3] goes with the first axis, not with the last."""
    folder = model("w = variable<scalar>(shape = [1, 2], label = 'w'); y = mul(x, w);",
                   {"w": steps(1.0), "y": steps(0.05)}, {"w.dat": np.array([[1, 2]], np.int8)})
    x = np.full((1, 2, 3, 4), 13, np.int8)
    (y,) = run(folder, x)
    assert (y[:, 0] == 10).all() and (y[:, 1] == 20).all()


def test_axes_are_those_of_the_file_wherever_they_lie(model):
    x = ramp((1, 2, 3, 4))
    kept = {"p": steps(0.05, 3)}
    for body, want in (
            ("y = max_reduce(p, axes = [1, 3]);", x.max((1, 3), keepdims=True)),
            ("y = concat([p, p], axis = 1);", np.concatenate([x, x], 1)),
            ("y = pad(p, padding = [(0, 0), (0, 0), (1, 0), (0, 2)]);",
             np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)), constant_values=3)),
            ("y = pad(p, padding = [(0, 0), (1, 0), (0, 0), (0, 0)], value = 0.5);",
             np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=13)),
            ("[a, y] = split(p, axis = 3, ratios = [1, 3]);", x[..., 1:]),
            ("y = slice(p, axes = [3, 1], begin = [1, -1], end = [0, 2], stride = [2, 1]);",
             x[:, 1:, :, 1::2]),
            ("y = slice(p, axes = [2], begin = [0], end = [-1]);", x[:, :, :2]),
            ("y = reshape(p, shape = [0, -1]);", x.reshape(1, -1)),
            ("y = reshape(p, shape = [6], axis_start = 1, axis_count = 2);", x.reshape(1, 6, 4)),
            ("y = squeeze(p, axes = [0]);", x[0]),
            ("y = unsqueeze(p, axes = [0, 3]);", x[None][:, :, :, None]),
            ("y = transpose(p, axes = [0, 2, 1]);", x.transpose(0, 2, 1, 3)),
            ("y = copy(p);", x)):
        (y,) = run(model(f"p = {POOL}; {body}", kept), x)
        np.testing.assert_array_equal(y, want, err_msg=body)


def test_softmax_works_along_the_axis_it_names(model):
    folder = model("y = softmax(x);", {"y": steps(1 / 256, -128)})
    x = ramp((1, 2, 3, 4))
    x[:, 1] = 127
    (y,) = run(folder, x)
    assert (y[:, 1] > 60).all() and (y[:, 0] < -60).all()


# Operators


def test_automatic_padding_and_groups(model):
    body = ("w = variable<scalar>(shape = [4, 1, 3, 2], label = 'w'); "
            "y = conv(x, w, stride = [2, 2], groups = {});")
    rng = np.random.default_rng(1)
    files = {"w.dat": rng.integers(-127, 128, (4, 1, 3, 2)).astype(np.int8)}
    quant = {"w": steps("[0.01, 0.02, 0.03, 0.04]", symmetric="true")}
    results = []
    for groups in (0, 2):
        graph = load_nnef(model(body.format(groups), quant, files))
        op = next(op for op in graph.ops if op.kind == Kind.DEPTHWISE_CONV)
        # 3 rows by a stride of 2 make 2, for which a window of 3 needs 2 more; 4 columns need none
        assert op.attrs["padding"] == (1, 1, 0, 0) and op.inputs[2] is None
        weights = graph.tensors[op.inputs[1]]
        assert weights.shape == (1, 3, 2, 4) and weights.quant.axis == 3
        results.append(run(model(body.format(groups), quant, files), ramp((1, 2, 3, 4)))[0])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("border", ["ignore", "constant"])
def test_what_pools_see_around_an_image(border, model):
    """Nothing, or zeros, which are stored as 3; automatic padding puts its odd element behind."""
    x = ramp((1, 2, 3, 4)) - np.int8(30)
    body = f"y = {{}}(x, size = [1, 1, 2, 1], border = '{border}', padding = []);"
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (0, 1), (0, 0)),
                    constant_values=np.nan if border == "ignore" else 3)
    seen = np.stack([padded[:, :, :-1], padded[:, :, 1:]])
    (y,) = run(model(body.format("max_pool")), x)
    np.testing.assert_array_equal(y, np.nanmax(seen, 0))
    (y,) = run(model(body.format("avg_pool")), x)
    assert np.abs(y - np.nanmean(seen, 0)).max() <= 0.5


def test_matrices_and_their_transposes(model):
    rng = np.random.default_rng(2)
    w = rng.integers(-127, 128, (5, 4)).astype(np.int8)
    files = {"w.dat": w, "t.dat": w.T.copy(), "b.dat": rng.integers(-99, 99, (1, 5)).astype(np.int32)}
    quant = {"w": steps("[0.1, 0.2, 0.3, 0.4, 0.5]"), "t": steps("[[0.1, 0.2, 0.3, 0.4, 0.5]]"),
             "y": steps(2.0)}
    w, t = (f"{name} = variable<scalar>(shape = {shape}, label = '{name}'); "
            for name, shape in (("w", [5, 4]), ("t", [4, 5])))
    x = rng.integers(-128, 128, (3, 4)).astype(np.int8)
    first = run(model(w + "y = linear(x, w);", quant, files, shape=(3, 4)), x)
    for body in (t + "y = matmul(x, t);", w + "y = matmul(x, w, transposeB = true);",
                 w + "u = transpose(w, axes = [1, 0]); y = matmul(x, u);"):
        np.testing.assert_array_equal(run(model(body, quant, files, shape=(3, 4)), x), first)
    bias = "b = variable<scalar>(shape = [1, 5], label = 'b'); "
    sums = (x.astype(int) - 3) @ files["w.dat"].astype(int).T + files["b.dat"]
    real = sums * np.float32(0.05) * np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
    quant["b"] = steps("[[0.005, 0.01, 0.015, 0.02, 0.025]]", bits=32)
    (y,) = run(model(w + bias + "y = linear(x, w, b);", quant, files, shape=(3, 4)), x)
    np.testing.assert_array_less(np.abs(y - np.clip(real / 2, -128, 127)), 0.501)


RELU6 = """version 1.0; extension KHR_enable_fragment_definitions;
extension KHR_enable_operator_expressions;  # as Khronos' converter from TFLite writes it
fragment relu6( x: tensor<scalar> ) -> ( y: tensor<scalar> )
{
    y = max(min(x, 6.0), 0.0);
}"""


@pytest.mark.parametrize("body, limits", [
    ("y = relu(a);", (3, 127)), ("y = clamp(a, -1.0, 1.0);", (-17, 23)), ("y = relu6(a);", (3, 123)),
    ("b = max(a, 0.5); y = min(b, 1.0);", (13, 23))])
def test_a_clamp_joins_the_operator_before_it(body, limits, model):
    """``a`` and ``b`` have no quantisation of their own: they are only clamped."""
    graph = load_nnef(model(f"a = {POOL}; {body}", head=RELU6))
    assert sources(graph) == ["TRANSPOSE", "MAX_POOL_2D", "TRANSPOSE"]
    assert (graph.ops[1].attrs["low"], graph.ops[1].attrs["high"]) == limits


def test_a_value_that_others_read_is_not_clamped(model):
    """``b`` is another name of ``a``, which the sum reads too."""
    body = (f"a = {POOL}; b = transpose(a, axes = [0, 2, 3, 1]); c = relu(b); "
            "d = transpose(c, axes = [0, 3, 1, 2]); y = sub(a, d);")
    x = ramp((1, 2, 3, 4)) - np.int8(12)
    (y,) = run(model(body, {"c": steps(0.05, 3)}), x)
    np.testing.assert_array_equal(y, np.minimum(x, 3))


def test_a_value_is_turned_once_for_all_its_readers(model):
    pool = "max_pool(x, size = [1, 1, {}, 1], border = 'ignore', padding = [])"
    graph = load_nnef(model(f"a = {pool.format(2)}; b = {pool.format(3)}; y = add(a, b);"))
    assert sources(graph) == ["TRANSPOSE", "MAX_POOL_2D", "MAX_POOL_2D", "ADD", "TRANSPOSE"]


@pytest.mark.parametrize("body, operators, limits", [
    ("y = relu(x);", ["RELU"], (3, 127)), ("y = clamp(x, 0.0, 1.0);", ["RELU_0_TO_1"], (3, 23)),
    ("y = clamp(x, -0.5, 0.25);", ["MAXIMUM", "MINIMUM"], (-7, 8)),
    ("y = max(x, 0.25);", ["MAXIMUM"], (8, 127))])
def test_a_clamp_that_cannot_join_stands_alone(body, operators, limits, model):
    x, folder = ramp((1, 2, 3, 4)), model(body)
    assert sources(load_nnef(folder)) == operators
    np.testing.assert_array_equal(run(folder, x)[0], np.clip(x, *limits))


def test_a_result_of_another_scale_is_rescaled(model):
    x = ramp((1, 2, 3, 4))
    for body, shape in (("y = copy(x);", x.shape), ("y = reshape(x, shape = [24]);", (24,)),
                        ("y = transpose(x, axes = [0, 1, 3, 2]);", None)):
        folder = model(body, {"y": steps(0.1, -5)})
        assert "QUANTIZE" in sources(load_nnef(folder))
        want = np.round((x.astype(int) - 3) / 2 + 1e-6) - 5
        np.testing.assert_array_equal(run(folder, x)[0],
                                      want.transpose(0, 1, 3, 2) if shape is None else want.reshape(shape))


@pytest.mark.parametrize("body, function", [
    ("y = add(x, 0.5);", lambda v: v + 10), ("y = sub(0.5, x);", lambda v: 10 - v),
    ("y = mul(x, -1.0);", lambda v: -v), ("y = add(x, 0.0);", lambda v: v)])
def test_numbers_in_the_text_are_operands(body, function, model):
    for dtype, signed, zero in (("int8", "true", 3), ("uint8", "false", 100)):
        x = (ramp((1, 2, 3, 4)) + zero).astype(dtype)
        how = steps(0.05, zero, signed=signed)
        (y,) = run(model(body, {"x": how, "y": how}), x)
        np.testing.assert_array_equal(y.astype(int) - zero, function(x.astype(int) - zero))


def test_symmetric_results_leave_out_the_least_value(model):
    folder = model("y = add(x, x);", {"y": steps(0.05, symmetric="true")})
    (y,) = run(folder, np.full((1, 2, 3, 4), -128, np.int8))
    assert (y == -127).all()
    refused(model("y = sigmoid(x);", {"y": steps(1 / 256, -128, symmetric="true")}), UnsupportedError,
            "operator 1 .sigmoid., which makes tensor 'y'.*symmetric = true")


# Quantisation


@pytest.mark.parametrize("how, dtype, scale, zero", [
    (steps(0.25, 7), "int8", 0.25, 7),
    (steps(0.25, 7, signed="false"), "uint8", 0.25, 7),
    ("linear_quantize(min = -1.0, max = 1.55, bits = 8)", "uint8", np.float32(0.01), 100),
    ("min_max_linear_quantize(min = -1.28, max = 1.27, bits = 8, signed = true, symmetric = false)", "int8",
     np.float32(0.01), 0),
    ("min_max_linear_quantize(min = -1.27, max = 1.27, bits = 8, signed = true, symmetric = true)", "int8",
     np.float32(0.01), 0),
    ("min_max_linear_quantize(min = 0.0, max = 2.55, bits = 8, signed = false, symmetric = false)", "uint8",
     np.float32(0.01), 0),
])
def test_ways_to_say_how_numbers_are_stored(how, dtype, scale, zero, model):
    graph = load_nnef(model("y = copy(x);", {"x": how, "y": None}))
    x = graph.tensors[graph.inputs[0]]
    assert (x.dtype, x.quant.scale[0], x.quant.zero_point[0]) == (dtype, pytest.approx(scale, rel=1e-6), zero)
    assert np.float32(x.quant.scale[0]) == x.quant.scale[0]


def test_constants_in_the_text_are_stored_as_the_formula_says(model):
    graph = load_nnef(model("k = constant<scalar>(shape = [1, 2], value = [0.5, -9.0]); y = add(x, k);",
                            {"k": steps(0.05, 3)}))
    (k,) = (tensor for tensor in graph.tensors if tensor.name == "k")
    assert sorted(k.data.ravel().tolist()) == [-128, 13]


# Storage


def test_archives_and_the_graph_file_itself(model, tmp_path):
    folder = model("w = variable<scalar>(shape = [1, 2], label = 'sub/w'); y = add(x, w);",
                   {"w": steps(0.05)})
    (folder / "sub").mkdir()
    (folder / "sub" / "w.dat").write_bytes(packed(np.array([[1, 2]], np.int8)))
    want = run(folder, ramp((1, 2, 3, 4)))
    for name, mode, top in (("net.tgz", "w:gz", "."), ("net.nnef", "w", ""), ("net.tar.xz", "w:xz", ".")):
        with tarfile.open(tmp_path / name, mode) as archive:
            for path in sorted(folder.rglob("*")):
                archive.add(path, f"{top}/{path.relative_to(folder)}".lstrip("/"))
        np.testing.assert_array_equal(run(tmp_path / name, ramp((1, 2, 3, 4))), want)
    np.testing.assert_array_equal(run(folder / GRAPH, ramp((1, 2, 3, 4))), want)
    assert looks_like_nnef(folder) and looks_like_nnef(tmp_path / "net.tgz") and not looks_like_nnef(tmp_path)


def test_damaged_archives_give_typed_errors(model, tmp_path):
    folder, rng, seen = model("y = add(x, x);"), np.random.default_rng(4), set()
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        with tarfile.open(tmp_path / "net.tar", mode) as archive:
            archive.add(folder, ".")
        data = (tmp_path / "net.tar").read_bytes()
        for _ in range(60):
            changed = bytearray(data)
            if rng.integers(3):
                changed[rng.integers(min(len(data), 1500))] ^= 1 << rng.integers(8)
            else:
                del changed[rng.integers(len(data)):]
            (tmp_path / "net.tar").write_bytes(changed)
            try:
                load_nnef(tmp_path / "net.tar")
            except (ModelError, UnsupportedError) as error:
                seen.add(type(error))
    assert ModelError in seen


def test_tensor_files_lie_in_the_model_s_folder(model):
    assert tensor_file("/a/b") == "a/b.dat"
    for label in ("../w", "a/../../w", "", "a\\b", "C:w"):
        with pytest.raises(ValueError):
            tensor_file(label)
    refused(model("w = variable<scalar>(shape = [1, 2], label = '../w'); y = add(x, w);", {"w": steps(0.05)}),
            ModelError, "operator 1 .variable., which makes tensor 'w'.*'../w' is no name")


@pytest.mark.parametrize("change, error, text", [
    (lambda data: data[:50], ModelError, "does not begin like one"),
    (lambda data: b"PK" + data[2:], ModelError, "does not begin like one"),
    (lambda data: data[:2] + b"\2" + data[3:], UnsupportedError, "version 2.0"),
    (lambda data: data[:-1], ModelError, "has 1 bytes of data; its header says 2"),
    (lambda data: data[:8] + struct.pack("<I", 9) + data[12:], ModelError, "9 dimensions"),
    (lambda data: data[:12] + struct.pack("<I", 2**31) + data[16:], ModelError, "its header says 2"),
    (lambda data: data[:44] + struct.pack("<2I", 4, 3) + data[52:], UnsupportedError, "4 bits"),
    (lambda data: data[:12] + struct.pack("<2I", 2, 1) + data[20:], ModelError, r"\[1, 2\].*\[2, 1\]"),
])
def test_damaged_tensor_files(change, error, text, model):
    data = change(packed(np.array([[1, 2]], np.int8)))
    refused(model("w = variable<scalar>(shape = [1, 2], label = 'w'); y = add(x, w);", {"w": steps(0.05)},
                  {"w.dat": data}), error, text)


def test_without_the_package_the_error_says_what_to_type(model, monkeypatch):
    folder = model("y = copy(x);")
    monkeypatch.setitem(sys.modules, "nnef", None)
    with pytest.raises(ToolError, match=r"pip install celosia\[nnef\]"):
        load_nnef(folder)


# What is refused


def refused(folder, error, text):
    with pytest.raises(error, match=text) as caught:
        load_nnef(folder)
    assert str(caught.value).startswith("net: ")


def test_what_is_no_model(tmp_path):
    (tmp_path / "text.nnef").write_text("hello")
    for path, text in (("missing", "cannot be read"), ("text.nnef", "not an NNEF model"),
                       (".", "no graph.nnef")):
        with pytest.raises(ModelError, match=text):
            load_nnef(tmp_path / path)


@pytest.mark.parametrize("raw, error, text", [
    ("", ModelError, "must begin with 'version 1.0;'"),
    ("version 1.0; graph", ModelError, "graph.nnef"),
    ("version 9.9; graph n(x) -> (y) { x = external<scalar>(shape = [1]); y = copy(x); }", ModelError,
     "unsupported version 9.9"),
    ("version 1.0;\ngraph n(x) -> (y)\n{ x = external<scalar>(shape = [1]); y = relu(q); }", ModelError,
     r"graph.nnef \[3:47\] undeclared identifier 'q'"),
    ("version 1.0; graph n(x) -> (y) { x = external(shape = [1]); y = add(x + x, x); }", UnsupportedError,
     "line 1: '\\+' belongs to an expression"),
    ("version 1.0; fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; } graph n(x) -> (y) { }",
     UnsupportedError, "defines the operator 'f' itself"),
    ("version 1.0; import foo; graph n(x) -> (y) { }", ModelError, "'import' before its graph"),
    ("version 1.0; graph n(x) -> (y) { x = external(shape = [99999999999]); y = copy(x); }", ModelError,
     "the number 99999999999 is too large"),
    ("version 1.0; graph n(x) -> (y) { q(0.5); }", ModelError, r"'q\(' is out of place"),
    ("version 1.0; graph n(x) -> (y) { y = relu(" + "(" * 99999, ModelError, r"'\(\(' is out of place"),
    ("version 1.0; graph n(x) -> (y) { y = add(x, --1.0); }", ModelError, "'--' is out of place"),
    ("version 1.0; graph n(x) -> (y) { y = f(p = [(0, 'a')]); }", ModelError, "'a'\" is out of place"),
    ("version 1.0; graph n(x) -> (y) { y = f(shape = [1, x]); }", ModelError, "',x' is out of place"),
    ("version 1.0; graph n(x) -> (y) { y = `; }", ModelError, "'`; }' is no NNEF"),
])
def test_text_that_is_no_flat_nnef(raw, error, text, model):
    """The parser of the package would end the process at some of these."""
    refused(model("", raw=raw), error, text)


def test_quantisation_that_is_none(model):
    for how, error, text in (
            (steps("[]"), ModelError, r"graph.quant, line 1: '\[\]' is out of place"),
            (steps("[0.1, 'a']"), ModelError, r"graph.quant, line 1: .*'a'\" is out of place"),
            (steps(0.05, bits=4), UnsupportedError, "stored in 4 signed bits"),
            (steps(0.0), ModelError, "'x'.*zero, negative or not a number"),
            (steps(-1.0), ModelError, "zero, negative or not a number"),
            (steps(0.05, 300), ModelError, "zero point 300"),
            (steps("[0.1, 0.2]"), UnsupportedError, "2 scales or zero points"),
            ("logarithmic_quantize(max = 1.0, bits = 8)", UnsupportedError, "quantised by logarithmic"),
            ("linear_quantize(min = 1.0, max = 1.0, bits = 8)", ModelError, "no room between them"),
            ("linear_quantize(min = 1.0, max = [1.0, 2.0], bits = 8)", UnsupportedError, "2 scales"),
            ("linear_quantize(min = -1.0, max = 1.0, bits = 8)", UnsupportedError, "real 0 lies between"),
            (None, UnsupportedError, "no quantisation of 'x' in graph.quant")):
        refused(model("y = relu(x);", {"x": how}), error, text)
    variable = "w = variable<scalar>(shape = [5, 2, 1, 1], label = 'w'); y = conv(x, w);"
    filters = {"w.dat": np.ones((5, 2, 1, 1), np.int8)}
    for how, error, text in (
            (steps("[0.1, 0.2]", "[0, 0, 0]"), ModelError, "do not fit together"),
            (steps("[0.1, 0.2, 0.3]"), ModelError, r"scales of shape \[3\].*do not fit \[5, 2, 1, 1\]"),
            (steps("[[0.1, 0.2]]"), ModelError, "axis 3; output channels are axis 0"),
            (steps(0.1, 1), ModelError, "zero points of 0"),
            (steps(0.1, signed="false"), UnsupportedError, "has types int8 uint8 none -> int8"),
            (None, UnsupportedError, "reads 'w', which has no quantisation")):
        refused(model(variable, {"w": how}, filters), error, text)


@pytest.mark.parametrize("body, error, text", [
    ("y = deconv(x, x);", UnsupportedError, "operator 1 .deconv., which makes tensor 'y', is not supported"),
    ("y = conv(x, x);", UnsupportedError, "computes its filter while the network runs"),
    ("w = variable<scalar>(shape = [2, 2, 1, 1], label = 'gone'); y = conv(x, w);", ModelError,
     "'gone.dat' cannot be read"),
    ("y = avg_pool(x, size = [1, 2, 2, 2], padding = []);", UnsupportedError, "over height and width"),
    ("y = avg_pool(x, size = [1, 1, 2, 2], border = 'replicate');", UnsupportedError, "border 'replicate'"),
    ("y = box(x, size = [1, 1, 2, 2], padding = []);", UnsupportedError, "normalize = false"),
    ("y = max_pool(x, size = [1, 1, 9, 9], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);", ModelError,
     "a window of 9 does not fit"),
    ("y = max_pool(x, size = [1, 1, 2, 2], stride = [1, 1, 0, 1]);", ModelError, "must be positive"),
    ("y = sum_reduce(x, axes = [1]);", UnsupportedError, "normalize = false"),
    ("y = mean_reduce(x, axes = [4]);", ModelError, r"axes \[4\] are outside"),
    ("y = mean_reduce(6.0, axes = [1]);", ModelError, r"axes \[1\] are outside \[\]"),
    ("y = softmax(x, axes = [1, 2]);", UnsupportedError, "axes .1, 2."),
    ("y = reshape(x, shape = [5, -1]);", ModelError, "cannot become"),
    ("y = squeeze(x, axes = [1]);", ModelError, "are not all 1"),
    ("y = transpose(x, axes = [1, 1]);", ModelError, "no permutation"),
    ("y = pad(x, padding = [(1, 1)]);", ModelError, "does not fit"),
    ("y = pad(x, padding = [(0, 0), (0, 0), (0, 0), (0, 0)], border = 'replicate');", UnsupportedError,
     "border 'replicate'"),
    ("y = clamp(x, x, 1.0);", UnsupportedError, "limits that are tensors"),
    ("y = clamp(x, 2.0, 1.0);", ModelError, "leave nothing"),
    ("y = slice(x, axes = [2], begin = [2], end = [1]);", ModelError, "leave a tensor"),
    ("[a, y] = split(x, axis = 1, ratios = [1, 2]);", ModelError, "does not split"),
    ("y = matmul(x, x);", UnsupportedError, "computes its B while the network runs"),
    ("y = external<scalar>(shape = [1]);", ModelError, "must be graph parameters"),
])
def test_operators_are_refused_by_name(body, error, text, model):
    refused(model(body), error, text)


def test_groups_and_biases_that_are_not_supported(model):
    files = {"w.dat": np.ones((4, 2, 1, 1), np.int8), "b.dat": np.ones((1, 4), np.int32),
             "s.dat": np.ones((1, 4), np.int8)}
    w = "w = variable<scalar>(shape = [4, 2, 1, 1], label = 'w'); "
    b = "b = variable<scalar>(shape = [1, 4], label = '{}'); y = conv(x, w, b);"
    weights, product = {"w": steps(0.1)}, 0.05 * 0.1
    run(model(w + b.format("b"), {**weights, "b": steps(product, bits=32)}, files), ramp((1, 2, 3, 4)))
    for body, quant, text in (
            (w + b.format("b"), steps(product * 9, bits=32), "'b' whose scale is not input scale"),
            (w + b.format("s"), steps(product), "a bias of int8"),
            (w + "y = conv(x, w, 1.0);", None, "a bias of 1.0"),
            ("w = variable<scalar>(shape = [4, 2, 1, 1], label = 'w'); y = conv(x, w, groups = 3);", None,
             "in 3 groups")):
        refused(model(body, {**weights, "b": quant}, files), UnsupportedError, text)
    refused(model(w + "y = conv(x, w, groups = 0);", weights, files), ModelError, "does not fit 2 channels")
