"""The interfaces between rooms: instruction layouts, unit and memory ports, streams of the data's way."""

from amaranth import signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .contract.fabric import LANE_BITS, PARAMETER_BYTES, PM_ADDRESS_BITS, WM_ADDRESS_BITS, WORD_BITS, Fabric
from .contract.isa import PIXEL_COUNT_BITS, Instruction, Stream, Unit, unit_bits
from .contract.registers import Fault


class Address(data.Struct):
    """Byte address or step of the activation memory: bank number, and word within the banks. See ``add``."""

    lane: LANE_BITS
    word: WORD_BITS


def instruction_layout(kind: type[Instruction]) -> data.Layout:
    """The fields of an instruction as a flexible layout, as wide as its unit's instructions need."""
    shapes = {"unsigned": unsigned, "signed": signed}
    return data.FlexibleLayout(
        unit_bits(kind.UNIT),
        {
            item.name: data.Field(
                Address if item.kind == "address" else shapes[item.kind](item.width), item.offset
            )
            for item in kind.layout()
        },
    )


class State(enum.Enum, shape=2):
    """What the front of a unit does in this cycle."""

    IDLE = 0  # has no instruction
    BUSY = 1  # moves data
    OPERAND = 2  # waits for its input
    RESULT = 3  # waits for room downstream


class UnitPort(wiring.Signature):
    """Between the sequencer's issue stage (Out) and a unit (In).

    ``instruction`` is offered when its tokens have been taken; the unit takes it (ready) when its front is
    free, that may be in the cycle of its predecessor's last action. ``state`` describes the front in each
    cycle. ``done`` pulses once per instruction, in order, when it is complete: all reads done, all writes
    visible.
    """

    def __init__(self, unit: Unit):
        super().__init__(
            {
                "instruction": Out(stream.Signature(unit_bits(unit))),
                "state": In(State),
                "done": In(1),
            }
        )


class FaultPort(wiring.Signature):
    """From a unit (Out) to the sequencer: ``valid`` pulses with the code and the DRAM address at fault."""

    def __init__(self) -> None:
        super().__init__({"valid": Out(1), "code": Out(Fault), "address": Out(32)})


class AMReadPort(wiring.Signature):
    """Port A of the activation memory, from the feeder: one word address per bank, every cycle, no stall.

    ``data`` belongs to the addresses of ActivationMemory.LATENCY_READ cycles before.
    """

    def __init__(self, fabric: Fabric):
        super().__init__(
            {
                "word": Out(data.ArrayLayout(WORD_BITS, fabric.rows)),
                "data": In(data.ArrayLayout(signed(8), fabric.rows)),
            }
        )


def am_request(fabric: Fabric) -> data.StructLayout:
    """A request at port B: ``count`` (1 to R) consecutive bytes at ``address``.

    Byte i of ``data`` goes to byte address + i. On a read ``count`` is ignored and R bytes come back.
    """
    return data.StructLayout(
        {
            "write": 1,
            "address": Address,
            "count": range(fabric.rows + 1),
            "data": data.ArrayLayout(8, fabric.rows),
        }
    )


class AMAccessPort(wiring.Signature):
    """A client (Out) of port B of the activation memory, which is shared and arbitrated.

    ``request`` is a stream. A read's R bytes, byte i from address + i, appear on ``data`` exactly
    ActivationMemory.LATENCY_ACCESS cycles after its request was taken; there is no back-pressure on them. A
    write is visible to any read (port A or B) presented ActivationMemory.LATENCY_WRITE cycles after it was
    taken, or later.
    """

    def __init__(self, fabric: Fabric):
        super().__init__(
            {
                "request": Out(stream.Signature(am_request(fabric))),
                "data": In(data.ArrayLayout(8, fabric.rows)),
            }
        )


class WideWritePort(wiring.Signature):
    """Writes of whole words to the weight, parameter or table memory, by the DMA; always accepted."""

    def __init__(self, *, address_bits: int, width: int):
        super().__init__({"enable": Out(1), "address": Out(address_bits), "data": Out(width)})


class WMReadPort(wiring.Signature):
    """Read port of the weight memory: data WideMemory.LATENCY_READ cycles after the address."""

    def __init__(self, fabric: Fabric):
        super().__init__(
            {
                "enable": Out(1),
                "address": Out(WM_ADDRESS_BITS),
                "data": In(data.ArrayLayout(signed(fabric.weight_bits), fabric.cols)),
            }
        )


class PMReadPort(wiring.Signature):
    """Read port of the parameter memory: data WideMemory.LATENCY_READ cycles after the address."""

    def __init__(self) -> None:
        super().__init__({"enable": Out(1), "address": Out(PM_ADDRESS_BITS), "data": In(8 * PARAMETER_BYTES)})


def pixel_tags(fabric: Fabric) -> data.StructLayout:
    """Tags that travel with a pixel from the feeder to the accumulators.

    ``valid``: there is a pixel. ``first``: its sum starts from zero. ``last``: its sum goes to the result
    FIFO. ``index``: which partial sum. ``maximum``: the greater of stored and new sum is kept instead of
    their sum. ``again_1``, ``again_2``: the pixel one / two cycles before (valid) had the same index, so that
    the sum must be forwarded instead of read (again_1 wins).
    """
    return data.StructLayout(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "maximum": 1,
            "index": range(fabric.acc_depth),
            "again_1": 1,
            "again_2": 1,
        }
    )


def _stream_bits(name: str) -> int:
    return next(item.width for item in Stream.layout() if item.name == name)


FirMode = data.StructLayout(
    {
        "fir": 1,
        "taps": _stream_bits("taps"),
        "groups": _stream_bits("groups"),
        "ring": PIXEL_COUNT_BITS,
    }
)
"""How the array takes its pixels: matrix mode, or FIR mode with so many taps and groups (isa.Stream) and a
delay of ``ring`` = line - taps pixels from one group's copy of the stream to the next."""


class ArrayFeed(wiring.Signature):
    """From the feeder to the array; all rows and columns of one pixel or word in one cycle (the array skews).

    ``swap`` comes one cycle before the first pixel of a tile and makes the shadow weights the active ones and
    ``mode``, which counts in that cycle only, the mode of the tile. In FIR mode act[c] is the pixel of column
    c; a pass has no gap between its pixels. The tags of a sum come with the pixel of the cycle in which its
    first tap is multiplied, which is (groups - 1) * ring pixels behind the one that this tap multiplies; so
    groups * taps - 1 pixels without tags follow behind the last tag.
    ``weight_valid`` marks a weight word, row 0 first; ``weight_start`` the row 0 word. Words of a tile may
    have gaps between them. Row 0 of the next tile may come in the cycle of the swap, not before it; the swap
    may come R cycles after row 0 at the earliest.
    """

    def __init__(self, fabric: Fabric):
        super().__init__(
            {
                "act": Out(data.ArrayLayout(signed(8), fabric.rows)),
                "tags": Out(pixel_tags(fabric)),
                "swap": Out(1),
                "mode": Out(FirMode),
                "weight": Out(data.ArrayLayout(signed(fabric.weight_bits), fabric.cols)),
                "weight_valid": Out(1),
                "weight_start": Out(1),
            }
        )


class SumsPort(wiring.Signature):
    """From the array to the accumulators.

    Column c's sum comes c cycles after column 0's; ``tags`` go with column 0.
    """

    def __init__(self, fabric: Fabric):
        super().__init__(
            {
                "psum": Out(data.ArrayLayout(signed(fabric.acc_width), fabric.cols)),
                "tags": Out(pixel_tags(fabric)),
            }
        )


def result_stream(fabric: Fabric) -> stream.Signature:
    """Finished sums of one pixel, all columns, from the result FIFO to post-processing."""
    return stream.Signature(data.ArrayLayout(signed(fabric.acc_width), fabric.cols))
