"""The story model: the text that ONNX Runtime tells, from the example's own tokenizer and loop."""
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import celosia

EXAMPLE = Path(__file__).parents[2] / "examples" / "stories.py"
WINDOW = 64


@pytest.fixture(scope="module")
def stories():
    spec = importlib.util.spec_from_file_location("stories", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(models):
    return models / "tinystories260k_T64_qdq_s8s8_pc.onnx", models / "data" / "text" / "tok512.bin"


def test_the_tokenizer_makes_the_tokens_of_the_data(stories, files, models):
    tokenizer = stories.Tokenizer(files[1])
    with np.load(models / "data" / "text" / "tinystories_T64_tokens.npz") as held:
        begun = held["eval_tokens"][0, :5].tolist()
    assert tokenizer.encode(" Once upon a time, there")[:5] == begun
    assert "".join(map(tokenizer.decode, begun)) == " Once upon a time"
    assert tokenizer.decode(tokenizer.places[b"<0x0A>"]) == "\n"


@pytest.mark.parametrize("kind", ["emulator", "sim"])
def test_the_whole_text_is_that_of_onnx_runtime(stories, files, kind):
    """The model looks back only, so one run on the whole text shows what every step before chose."""
    tokenizer = stories.Tokenizer(files[1])
    step = stories.framework(files[0])
    prompt = tokenizer.encode(" Once upon a time")
    text = [*prompt, *stories.tell(step, prompt, WINDOW, WINDOW)]
    assert len(text) == WINDOW
    program = celosia.compile(files[0])
    assert program.macs == program.macs_on_fabric == 19_218_432
    with celosia.open(kind) as device:
        logits = device.run(program, np.array([text])).outputs[0]
    np.testing.assert_array_equal(logits, step(np.array([text])))
    assert logits[0].argmax(axis=-1)[len(prompt) - 1:-1].tolist() == text[len(prompt):]


def test_the_example_tells_the_same_step_by_step(files):
    done = subprocess.run([sys.executable, EXAMPLE, *files, "--device", "emulator", "--tokens", "7",
                           "--onnxruntime"],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Once upon a time, ") and "ONNX Runtime tells the same" in done.stdout
    assert "100.0% of 19,218,432" in done.stdout
