"""What a post-processing lane knows about its channels: each field kept where the pipeline needs it."""
from amaranth import Cat, Module, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..contract.fabric import PARAMETER_BYTES
from ..contract.numerics import (
    ADD_CONSTANT_BITS,
    ADD_MULT_BITS,
    ADD_SHIFT_BITS,
    MULT_BITS,
    OFFSET_BITS,
    SHIFT_BITS,
)
from ..memory.delay import delay

RECORD_BITS = 8 * PARAMETER_BYTES

CHANNEL_RECORD = data.FlexibleLayout(RECORD_BITS, {
    "bias": data.Field(signed(32), 0),
    "mult": data.Field(unsigned(MULT_BITS), 32),
    "round_pos": data.Field(signed(32), 64),
    "round_neg": data.Field(signed(32), 96),
    "shift": data.Field(unsigned(SHIFT_BITS), 128),
    "even": data.Field(1, 136),
})
"""A parameter record as ``numerics.Channel.pack`` writes it."""

ADD_RECORD = data.FlexibleLayout(RECORD_BITS, {
    "mult_q": data.Field(signed(ADD_MULT_BITS), 0),
    "mult_other": data.Field(signed(ADD_MULT_BITS), 32),
    "constant": data.Field(signed(ADD_CONSTANT_BITS), 64),
    "shift": data.Field(unsigned(ADD_SHIFT_BITS), 128),
    "low": data.Field(signed(8), 136),
    "high": data.Field(signed(8), 144),
})
"""A parameter record as ``numerics.Add.pack`` writes it."""

PRODUCT_RECORD = data.FlexibleLayout(RECORD_BITS, {
    "offset_q": data.Field(signed(OFFSET_BITS), 0),
    "offset_other": data.Field(signed(OFFSET_BITS), 16),
})
"""A parameter record as ``numerics.Product.pack`` writes it."""


class RecordPort(wiring.Signature):
    """A record for a lane, written in the cycle of ``valid``, as the lane's channel number ``group``."""

    def __init__(self, groups: int):
        super().__init__({"valid": Out(1), "group": Out(range(groups)), "record": Out(CHANNEL_RECORD)})


class ParameterStore(wiring.Component):
    """One record for each channel that a lane serves, read field by field as a value passes through the lane.

    Every field has a memory of its own, read in the cycle before its use, so that a group number is all that
    travels with a value. One value per cycle::

        cycle     t       t+1     t+mult   t+rounding                 t+shift
        i_group   group
        field             o_bias  o_mult   o_round_pos, o_round_neg   o_shift, o_even

    A record may be written LATENCY_LAST cycles after the last ``i_group`` that wants the old one, or later,
    and ``i_group`` may ask for it from the next cycle on.

    Parameters
    ----------
    groups : int
        Records of this lane, at least 1: of all its channels, in as many banks as the user of the lane wants.
    acc_width : int
        Bits of a partial sum; the bias is added modulo 2**acc_width, so that only these bits are kept.
    mult, rounding, shift : int
        Cycles from i_group to ``o_mult``, to both ``o_round``, and to ``o_shift`` and ``o_even``; 1 or more.
    ties_to_even : bool
        Keep ``even`` as well; else o_even is 0.

    Members
    -------
    load : ``In(RecordPort(groups))``
    i_group : ``In(range(groups))``
    o_bias, o_mult, o_round_pos, o_round_neg, o_shift, o_even
        The fields of numerics.Channel.

    Attributes
    ----------
    LATENCY_LAST : int
        Cycles from i_group to the last field.

    Raises
    ------
    ValueError
        If there are no groups.
    """

    LATENCY_BIAS = 1

    def __init__(self, *, groups: int, acc_width: int, mult: int, rounding: int, shift: int,
                 ties_to_even: bool = True):
        if groups < 1:
            raise ValueError(f"groups is {groups}; a lane serves at least 1 channel")
        self.groups, self.ties_to_even = groups, ties_to_even
        self.LATENCY_MULT, self.LATENCY_ROUND, self.LATENCY_SHIFT = mult, rounding, shift
        self.LATENCY_LAST = max(mult, rounding, shift)
        super().__init__({
            "load": In(RecordPort(groups)),
            "i_group": In(range(groups)),
            "o_bias": Out(signed(acc_width)),
            "o_mult": Out(MULT_BITS),
            "o_round_pos": Out(signed(32)),
            "o_round_neg": Out(signed(32)),
            "o_shift": Out(SHIFT_BITS), "o_even": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        record = self.load.record
        fields = {
            "bias": (self.o_bias, record.bias, self.LATENCY_BIAS),
            "mult": (self.o_mult, record.mult, self.LATENCY_MULT),
            "round_pos": (self.o_round_pos, record.round_pos, self.LATENCY_ROUND),
            "round_neg": (self.o_round_neg, record.round_neg, self.LATENCY_ROUND),
            "shift": (Cat(self.o_shift, self.o_even), Cat(record.shift, record.even), self.LATENCY_SHIFT)
                     if self.ties_to_even else (self.o_shift, record.shift, self.LATENCY_SHIFT),
        }
        for name, (out, field, latency) in fields.items():
            memory = Memory(shape=out.shape(), depth=self.groups, init=[])
            m.submodules[name] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.load.valid), write.addr.eq(self.load.group), write.data.eq(field),
                read.addr.eq(delay(m, self.i_group, latency - 1, name=f"group_o_{name}")),
                out.eq(read.data),
            ]
        return m
