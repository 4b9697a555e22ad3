"""Damages small NNEF models at random and imports them: a typed error or a graph that verifies, and soon.

    python tests/fuzz/fuzz_nnef.py --count 2000 --seed 1

Khronos' parser runs in this process, so a text that ends it ends the fuzzer too: --trace names each mutant.
"""
import argparse
import re
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from celosia.host.graph.verify import verify
from celosia.host.importers.nnef import HANDLERS, load_files
from celosia.host.importers.nnef_file import GRAPH, QUANTISATION, Files
from celosia.host.importers.nnef_writer import write_nnef
from celosia.host.importers.tflite import load_tflite
from celosia.rtl.contract.errors import ModelError, UnsupportedError

sys.path.append(str(Path(__file__).parents[1]))
from fuzz.fuzz_importer import chain, pick, run  # noqa: E402  (the path comes first)
from support import single_ops  # noqa: E402

SECONDS = 2.0  # of this process for one import; a normal one takes milliseconds

Model = dict[str, bytes]  # files by name

TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|\w+(?:\.\w*)?|->|\s+|.", re.DOTALL)
NUMBERS = ["0", "1", "2", "3", "4", "8", "32", "127", "255", "65536", "2147483647", "2147483648", "-1", "-2",
           "-2147483648", "0.0", "1.0", "-1.0", "6.0", "1e-45", "1e30", "1e39", "0.00390625"]
MARKS = [*"()[]{},;:=<>-+*'\"#.\0", "->", "[]", "()", "[[]]", "true", "false", "'ignore'", "'reflect'",
         "'replicate'", "zero_point_linear_quantize", "min_max_linear_quantize", "linear_quantize",
         "logarithmic_quantize", "extension", "fragment"]
WORDS = ["padding = []", "stride = [2, 1, 1, 1]", "dilation = [2, 2]", "groups = 2", "axes = [0]", "axis = 1",
         "shape = [1, -1]", "normalize = true", "transposeB = true", "border = 'ignore'",
         "min = -1.0, max = 1.0"]
INTEGERS = [0, 1, 2, 3, 4, 5, 8, 16, 32, 64, 127, 2**16, 2**31 - 1, 2**31, 2**32 - 1]


def seeds() -> list[Model]:
    """Models of one operator each, and of several, as our own writer makes them; one by hand."""
    rng = np.random.default_rng(7)
    specs = [single_ops.convolution(rng, activation="RELU6"),
             single_ops.convolution(rng, "uint8", stride=(2, 2)),
             single_ops.depthwise(rng, multiplier=2, activation="RELU"), single_ops.fully_connected(rng),
             single_ops.pool(rng, "AVERAGE_POOL_2D"), single_ops.pool(rng, "MAX_POOL_2D"),
             single_ops.pairwise(rng, "ADD"), single_ops.pairwise(rng, "MUL", b=(3,)),
             single_ops.softmax(rng), single_ops.unary(rng, "LOGISTIC"), single_ops.unary(rng, "RELU6"),
             single_ops.mean(rng), single_ops.concatenation(rng), single_ops.pad(rng),
             single_ops.pad_with(rng, "uint8"), single_ops.prelu(rng),
             single_ops.activation(rng, "LEAKY_RELU"), chain(), chain()]
    return [*(written(load_tflite(spec.build(), "seed")) for spec in specs), by_hand(), by_hand()]


def written(graph) -> Model:
    """The files that the writer makes."""
    with tempfile.TemporaryDirectory() as folder:
        write_nnef(graph, folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


BY_HAND = """version 1.0;
graph net(x) -> (y, z)
{
    x = external<scalar>(shape = [1, 2, 4, 6]);
    k = constant<scalar>(shape = [1], value = [0.5]);
    w = constant<scalar>(shape = [1, 2, 3], value = [0.1]);
    a = max_pool(x, size = [1, 1, 2, 2], border = 'constant', padding = [(0, 0), (0, 0), (1, 0), (0, 1)],
                 stride = [1, 1, 1, 1]);
    b = mul(a, 0.5);
    c = min(max(b, -0.5), 1.0);
    d = slice(c, axes = [2, 3], begin = [0, 1], end = [0, 5]);
    [e, f] = split(d, axis = 1, ratios = [1, 1]);
    g = concat([f, e], axis = 1);
    h = add(g, k);
    m = mean_reduce(h, axes = [2]);
    i = squeeze(m, axes = [2]);
    y = matmul(transpose(i, axes = [0, 2, 1]), w);
    z = reshape(unsqueeze(copy(h), axes = [0]), shape = [0, -1], axis_start = 1, axis_count = 4);
}
"""
LIMITS = ('"{}": min_max_linear_quantize(min = -1.28, max = 1.27, bits = 8, signed = true, symmetric = '
          "false);\n")
STEPS = ('"{}": zero_point_linear_quantize(zero_point = 0, scale = 0.01, bits = 8, signed = true, '
         "symmetric = true);\n")


def by_hand() -> Model:
    """What the writer never says: images of [N, C, H, W], literals, limits, moves of all kinds."""
    quantisation = "".join([LIMITS.format(name) for name in "xbhy"] + [STEPS.format(name) for name in "kw"])
    return {GRAPH: BY_HAND.encode(), QUANTISATION: quantisation.encode()}


def edited(rng: np.random.Generator, text: str, other: str) -> str:
    """The text with one change."""
    tokens, others = TOKEN.findall(text), TOKEN.findall(other)
    at = int(rng.integers(len(tokens)))
    numbers = [i for i, token in enumerate(tokens) if token[0].isdigit()]
    names = [i for i, token in enumerate(tokens) if token in HANDLERS]
    lines = text.split("\n")
    match int(rng.integers(11)):
        case 0 if numbers:
            tokens[pick(rng, numbers)] = pick(rng, NUMBERS)
        case 1 if names:
            tokens[pick(rng, names)] = pick(rng, sorted(HANDLERS) + ["deconv", "update", "copy_n", "rsqrt"])
        case 2:
            tokens[at] = pick(rng, tokens)
        case 3:
            tokens[at] = pick(rng, others)
        case 4:
            del tokens[at]
        case 5:
            tokens.insert(at, pick(rng, [*MARKS, *NUMBERS]))
        case 6:
            tokens[at] = pick(rng, MARKS)
        case 7:
            lines.insert(int(rng.integers(len(lines))), lines.pop(int(rng.integers(len(lines)))))
            return "\n".join(lines)
        case 8:
            lines[int(rng.integers(len(lines)))] = pick(rng, other.split("\n"))
            return "\n".join(lines)
        case 9:  # one more argument, or another value of one
            words = pick(rng, WORDS)
            name = words.split(" = ")[0]
            if re.search(rf"{name} = [^=]*?(?=, \w+ =|\);)", text) and rng.integers(2):
                return re.sub(rf"{name} = [^=]*?(?=, \w+ =|\);)", words.replace("\\", ""), text, count=1)
            return re.sub(r"\);", f", {words});", text, count=1 + int(rng.integers(3)))
        case _:
            return text[:int(rng.integers(len(text)))] if rng.integers(8) == 0 else text + text[at:]
    return "".join(tokens)


def injured(rng: np.random.Generator, data: bytes) -> bytes:
    """A tensor file with one injury."""
    changed = bytearray(data)
    at = int(rng.integers(min(len(data), 64))) if data else 0
    match int(rng.integers(5)):
        case 0 if data:
            changed[at] ^= 1 << rng.integers(8)
        case 1 if data:
            changed[at & ~3:(at & ~3) + 4] = struct.pack("<I", pick(rng, INTEGERS))
        case 2:
            del changed[int(rng.integers(len(data) + 1)):]
        case 3:
            changed += bytes(int(rng.integers(1, 9)))
        case _:
            changed = bytearray(rng.bytes(len(data)))
    return bytes(changed)


def mutant(rng: np.random.Generator, models: list[Model]) -> Model:
    """One to three changes of the graph, its quantisation or its tensors."""
    model = dict(pick(rng, models))
    for _ in range(rng.integers(1, 4)):
        other = pick(rng, models)
        file = pick(rng, [GRAPH, GRAPH, QUANTISATION, pick(rng, sorted(model))])
        if file not in model:
            continue
        if rng.integers(40) == 0 and len(model) > 1:
            del model[file]
        elif file.endswith(".dat"):
            model[file] = injured(rng, model[file])
        elif model[file]:
            model[file] = edited(rng, model[file].decode(), other[file].decode()).encode()
    return model


def check(model: Model) -> str:
    """Imports once; the name of what came of it. Raises for anything but a typed error or a graph."""
    start = time.process_time()
    try:
        graph = load_files(Files("mutant", None, model))
        verify(graph)
        outcome = "imported"
    except (ModelError, UnsupportedError) as error:
        assert str(error).startswith("mutant: "), f"an error that does not name the model: {error}"
        outcome = type(error).__name__
    seconds = time.process_time() - start
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    if outcome == "imported":
        run(graph)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="print each number before its mutant is read")
    arguments = parser.parse_args()
    models, outcomes, failures = seeds(), Counter(), 0
    for number in range(arguments.count):
        if arguments.trace:
            print(number, flush=True)
        model = mutant(np.random.default_rng([arguments.seed, number]), models)
        try:
            outcomes[check(model)] += 1
        except Exception:
            failures += 1
            print(f"mutant {number} of seed {arguments.seed}:\n{traceback.format_exc()}", file=sys.stderr)
    print(f"{arguments.count} mutants: {dict(outcomes)}, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
