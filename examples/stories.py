"""Tells a story with a small language model, whose matrix products run on the fabric.

    python examples/stories.py tinystories260k_T64_qdq_s8s8_pc.onnx tok512.bin
    python examples/stories.py MODEL.onnx TOKENIZER.bin --prompt " The dog" --device emulator

The model takes a window of tokens and gives, for each place, how likely each token is to come next; the
likeliest one is written there, and the window goes in again. The tokenizer is a file of llama2.c
(tokenizer.bin): for each token a score (float32), a length (int32) and its bytes. What comes out is, token by
token, what ONNX Runtime with graph optimisations disabled gives: compare with --onnxruntime.
"""
import argparse
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import celosia

START, END, UNKNOWN = 1, 2, 0
Step = Callable[[np.ndarray], np.ndarray]


class Tokenizer:
    """The vocabulary of llama2.c: byte pairs, merged by score."""

    def __init__(self, file: Path):
        data, at = file.read_bytes(), 4
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            self.pieces.append(data[at + 8:at + 8 + length])
            self.scores.append(score)
            at += 8 + length
        self.places = {piece: place for place, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        """Start, then the text: characters (or their bytes), the best neighbours joined until none can be."""
        tokens: list[int] = []
        for character in text:
            whole = character.encode()
            tokens += ([self.places[whole]] if whole in self.places
                       else [self.places.get(b"<0x%02X>" % byte, UNKNOWN) for byte in whole])
        while True:
            whole = [self.places.get(self.pieces[a] + self.pieces[b], -1)
                     for a, b in zip(tokens, tokens[1:], strict=False)]
            pairs = [(self.scores[joined], -place, joined)
                     for place, joined in enumerate(whole) if joined >= 0]
            if not pairs:
                return [START, *tokens]
            _, place, joined = max(pairs)
            place = -place
            tokens[place:place + 2] = [joined]

    def decode(self, token: int) -> str:
        if token in (START, END):
            return ""
        piece = self.pieces[token]
        if piece[:3] == b"<0x":
            piece = bytes([int(piece[3:5], 16)])
        return piece.decode(errors="replace")


def tell(step: Step, tokens: list[int], window: int, limit: int) -> Iterator[int]:
    """The likeliest next tokens until there are ``limit`` in all or the story ends."""
    written = list(tokens)
    while len(written) < limit:
        padded = np.zeros((1, window), np.int64)
        padded[0, :len(written)] = written
        token = int(step(padded)[0, len(written) - 1].argmax())
        if token in (START, END):
            return
        written.append(token)
        yield token


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("tokenizer", type=Path, metavar="TOKENIZER.bin")
    parser.add_argument("--prompt", default=" Once upon a time", help="how the story begins")
    parser.add_argument("--tokens", type=int, default=64, help="length, the prompt included")
    parser.add_argument("--device", default="sim", help="sim or emulator")
    parser.add_argument("--fabric", default="sim16x16")
    parser.add_argument("--qdq", choices=("exact", "fused"), default="exact",
                        help="fused is faster, and now and then tells another story")
    parser.add_argument("--onnxruntime", action="store_true", help="also ask ONNX Runtime, and compare")
    given = parser.parse_args()

    tokenizer = Tokenizer(given.tokenizer)
    program = celosia.compile(given.model, fabric=given.fabric, qdq=given.qdq)
    window = program.graph.tensors[program.graph.inputs[0]].shape[-1]
    prompt = tokenizer.encode(given.prompt)
    limit = min(window, given.tokens)
    cycles, began, told = 0, time.perf_counter(), list(prompt)
    print("".join(map(tokenizer.decode, prompt)).strip(), end="", flush=True)
    with celosia.open(given.device, fabric=given.fabric) as device:
        def step(tokens: np.ndarray) -> np.ndarray:
            nonlocal cycles
            result = device.run(program, tokens)
            cycles += result.cycles
            return result.outputs[0]

        for token in tell(step, prompt, window, limit):
            told.append(token)
            print(tokenizer.decode(token), end="", flush=True)
    seconds, new = time.perf_counter() - began, len(told) - len(prompt)
    share = program.macs_on_fabric / program.macs
    print(f"\n\n{new} tokens in {seconds:.0f} s; {share:.1%} of {program.macs:,} multiply-accumulates a "
          "token on the fabric" + (f", {cycles // max(new, 1):,} cycles each" if cycles else ""))
    if given.onnxruntime:
        wanted = [*prompt, *tell(framework(given.model), prompt, window, limit)]
        print("ONNX Runtime tells " + ("the same" if wanted == told else "another: "
              + "".join(map(tokenizer.decode, wanted))))
        return 0 if wanted == told else 1
    return 0


def framework(model: Path) -> Step:
    """The same step by ONNX Runtime, nothing fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tokens: session.run(None, {name: tokens})[0]


if __name__ == "__main__":
    sys.exit(main())
