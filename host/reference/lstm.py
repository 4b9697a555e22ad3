"""UNIDIRECTIONAL_SEQUENCE_LSTM on int8, with cell states of 16 bits ("8x8 to 16").

Sources: tflite/kernels/unidirectional_sequence_lstm.cc (PopulateQuantizedLstmParams8x8_16),
tflite/kernels/lstm_eval.cc (LstmStepInteger8x8_16),
tflite/kernels/internal/reference/portable_tensor_utils.cc.

Gates are computed in Q3 of 16 bits and become Q0 by gemmlowp's logistic and tanh; the scale of cell states
is a power of two. LSTMs with peepholes, projection or layer normalisation are refused by the importer.
"""
from math import log2

import numpy as np

from ..graph.ir import Array, Graph, Op
from .fixed_point import Q16
from .operands import quant_of, tensor_of, value_of
from .rounding import Ints, multiply_double, quantize_multiplier, rounding_divide_by_pot

INPUT, FORGET, CELL, OUTPUT = range(4)
"""Gates, in the order of their weights among the operands. An LSTM may come without the input gate."""

X, INPUT_WEIGHTS, STATE_WEIGHTS, BIASES, STATE, CELL_STATE = 0, 1, 5, 9, 13, 14
"""Places of operands."""

GATE_BITS = 3  # integer bits of what gates are computed in


def cell_bits(scale: float) -> int:
    """Integer bits of cell states with this scale."""
    return 15 + round(log2(scale))


def _int16(value: Ints) -> Ints:
    return np.clip(value, -(2**15), 2**15 - 1)


def _scale(graph: Graph, op: Op, position: int) -> np.float32:
    return np.float32(quant_of(tensor_of(graph, op.inputs[position])).scale[0])


def _zero(graph: Graph, op: Op, position: int) -> int:
    return int(quant_of(tensor_of(graph, op.inputs[position])).zero_point[0])


class _Cell:
    """One operator's weights and scales: what step() needs."""

    def __init__(self, graph: Graph, op: Op, values: list[Array | None]) -> None:
        self.values = values
        self.zeros = {position: _zero(graph, op, position) for position in (X, STATE)}
        self.scales = {}
        for first, source in ((INPUT_WEIGHTS, X), (STATE_WEIGHTS, STATE)):
            for gate in range(4):
                if op.inputs[first + gate] is not None:
                    real = _scale(graph, op, first + gate) * _scale(graph, op, source) / np.float32(2.0**-12)
                    self.scales[first + gate] = quantize_multiplier(float(real))
        hidden, self.hidden_zero = op.attrs["options"]["hidden"]
        product = np.float32(2.0**-15) / np.float32(hidden) * np.float32(2.0**-15)
        self.hidden_scale = quantize_multiplier(float(product))
        cell = _scale(graph, op, CELL_STATE)
        self.cell_bits = cell_bits(float(cell))
        clip = np.float32(op.attrs["options"]["cell_clip"]) / cell
        self.clip = int(np.clip(clip, 0, 2**15 - 1))

    def gate(self, gate: int, x: Ints, state: Ints) -> Ints:
        """Q3 of 16 bits: both products are scaled, and saturated, one after the other."""
        total = np.zeros(1, np.int64)
        for first, position, value in ((INPUT_WEIGHTS, X, x), (STATE_WEIGHTS, STATE, state)):
            weights = value_of(self.values[first + gate]).astype(np.int64)
            acc = (value - self.zeros[position]) @ weights.T
            if position == X:
                acc = acc + value_of(self.values[BIASES + gate])
            total = _int16(multiply_double(acc, *self.scales[first + gate]) + total)
        return Q16.tanh(total, GATE_BITS) if gate == CELL else Q16.logistic(total, GATE_BITS)

    def step(self, x: Ints, state: Ints, cell: Ints) -> tuple[Ints, Ints]:
        """New output state and cell state of one time step: int64[batch, units]."""
        forget, candidate = self.gate(FORGET, x, state), self.gate(CELL, x, state)
        # Without an input gate it is what the forget gate leaves.
        enter = (2**15 - 1 - forget if self.values[INPUT_WEIGHTS + INPUT] is None
                 else self.gate(INPUT, x, state))
        kept = rounding_divide_by_pot(forget * cell, 15)
        cell = _int16(kept + rounding_divide_by_pot(enter * candidate, 15 + self.cell_bits))
        if self.clip:
            cell = np.clip(cell, -self.clip, self.clip)
        product = self.gate(OUTPUT, x, state) * Q16.tanh(cell, self.cell_bits)
        state = np.clip(multiply_double(product, *self.hidden_scale) + self.hidden_zero, -128, 127)
        return state, cell


def lstm(graph: Graph, op: Op, values: list[Array | None]) -> tuple[Array, Array, Array]:
    """Outputs of all time steps; behind these the output state and the cell state after the last."""
    machine, x = _Cell(graph, op, values), value_of(values[X]).astype(np.int64)
    time = 0 if op.attrs["options"]["time_major"] else 1
    steps = np.moveaxis(x, time, 0)
    shape = (steps.shape[1], -1)
    state, cell = (value_of(values[i]).astype(np.int64).reshape(shape) for i in (STATE, CELL_STATE))
    outputs = []
    for step in steps:
        state, cell = machine.step(step, state, cell)
        outputs.append(state)
    y = np.moveaxis(np.stack(outputs), 0, time).astype(np.int8)
    return np.ascontiguousarray(y), state.astype(np.int8), cell.astype(np.int16)
