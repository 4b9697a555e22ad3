"""Memories that a chip has cells for and that the tools do not find by themselves."""
from amaranth import Array, Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .cells import FAMILIES

ECP5_SHAPES = {18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}
"""Words of a DP16KD by their width."""
ICE40_SPRAM_WORDS = 1 << 14
"""Words of 16 bits in a SB_SPRAM256KA."""


def _checked(depth: int, width: int, family: str) -> None:
    if depth < 2 or width < 1:
        raise ValueError(f"{depth} words of {width} bits; a memory has at least 2 words of 1 bit")
    if family not in FAMILIES:
        raise ValueError(f"family is {family!r}; choose one of {', '.join(FAMILIES)}")


class TrueDualPort(wiring.Component):
    """A RAM with two ports that move one word each per cycle: A reads, B reads or writes.

    Without stall; words read come out of a register of the RAM's own where the chip has one::

        cycle        t           t+1                       t+2
        i_a_address  a           RAM                       o_a_data     (LATENCY_READ = 2)
        i_b_address  a (read)    RAM                       o_b_data
        i_b_address  a (write)   visible to a read at A or B            (LATENCY_WRITE = 1)

    o_a_data holds while A is not enabled. A word that A reads in the cycle in which B writes it may be
    anything, and so may o_b_data two cycles after a write or an idle cycle. An address that the memory lacks
    reads as anything, and writing it changes any word or none. The contents are zeros to begin with; a reset
    changes none.

    On ECP5: as few DP16KD as possible, with their output registers. The tools would leave those out, which
    takes 5.8 ns from the clock to the data; between the cells of a deep memory there is a multiplexer behind
    the registers. On any other family the tools choose, and double the RAM if the chip has no such port.

    Parameters
    ----------
    depth : int
        Words, at least 2.
    width : int
        Bits of a word.
    family : str
        Cells.family.
    style : str
        "distributed": of LUTs, where a chip has such, if port B only writes; "auto": as above.

    Members
    -------
    i_a_address : ``In(range(depth))``
    i_a_enable : ``In(1, init=1)``
    o_a_data : ``Out(width)``
    i_b_address : ``In(range(depth))``
    i_b_enable, i_b_write : ``In(1)``
        Port B does something, and that is to write.
    i_b_data : ``In(width)``
    o_b_data : ``Out(width)``

    Raises
    ------
    ValueError
        If there is no such memory or family.
    """

    LATENCY_READ = 2
    LATENCY_WRITE = 1

    def __init__(self, *, depth: int, width: int, family: str = "portable", style: str = "auto"):
        _checked(depth, width, family)
        self.depth, self.width, self.family, self.style = depth, width, family, style
        super().__init__({
            "i_a_address": In(range(depth)), "i_a_enable": In(1, init=1), "o_a_data": Out(width),
            "i_b_address": In(range(depth)), "i_b_enable": In(1), "i_b_write": In(1),
            "i_b_data": In(width), "o_b_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        if self.family == "ecp5" and self.style == "auto":
            self._of_cells(m)
            return m
        m.submodules.ram = memory = Memory(
            shape=self.width, depth=self.depth, init=[],
            attrs={"no_rw_check": 1} | ({"ram_style": self.style} if self.style != "auto" else {}))
        port_a, port_b, write = memory.read_port(), memory.read_port(), memory.write_port()
        m.d.comb += [
            port_a.addr.eq(self.i_a_address), port_a.en.eq(self.i_a_enable),
            # That these never act together is what makes them one port to the tools.
            port_b.addr.eq(self.i_b_address), port_b.en.eq(self.i_b_enable & ~self.i_b_write),
            write.addr.eq(self.i_b_address), write.en.eq(self.i_b_enable & self.i_b_write),
            write.data.eq(self.i_b_data),
        ]
        # Edge t+1 -> t+2: out of the RAM.
        m.d.sync += [self.o_a_data.eq(port_a.data), self.o_b_data.eq(port_b.data)]
        return m

    def _of_cells(self, m):
        """Columns of DP16KD side by side, and as many layers of them as the depth takes."""
        bits = min(ECP5_SHAPES, key=lambda bits: (self._columns(bits) * self._layers(bits),
                                                  self._layers(bits)))
        columns, layers, inner = self._columns(bits), self._layers(bits), ceil_log2(ECP5_SHAPES[bits])

        found = {port: [Signal(columns * bits, name=f"{port}_data_{layer}_s2") for layer in range(layers)]
                 for port in "ab"}
        for layer in range(layers):
            write = self.i_b_write & (self.i_b_address[inner:] == layer)
            for column in range(columns):
                part = slice(column * bits, (column + 1) * bits)
                m.submodules[f"cell_{layer}_{column}"] = Instance(
                    "DP16KD",
                    p_DATA_WIDTH_A=bits, p_DATA_WIDTH_B=bits, p_REGMODE_A="OUTREG", p_REGMODE_B="OUTREG",
                    p_RESETMODE="SYNC", p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL", p_GSR="DISABLED",
                    **_ecp5_port("A", bits=bits, address=self.i_a_address[:inner], enable=self.i_a_enable,
                                 write=Const(0), given=Const(0, bits), found=found["a"][layer][part]),
                    **_ecp5_port("B", bits=bits, address=self.i_b_address[:inner], enable=self.i_b_enable,
                                 write=write, given=self.i_b_data[part], found=found["b"][layer][part]))
        for port, address, enable, output in (
                ("a", self.i_a_address, self.i_a_enable, self.o_a_data),
                ("b", self.i_b_address, self.i_b_enable, self.o_b_data)):
            layer_s1 = Signal.like(address[inner:], name=f"{port}_layer_s1", reset_less=True)
            layer_s2 = Signal.like(layer_s1, name=f"{port}_layer_s2")
            # Edges t -> t+1 -> t+2: which layer's register is to be seen.
            with m.If(enable):
                m.d.sync += layer_s1.eq(address[inner:])
            m.d.sync += layer_s2.eq(layer_s1)
            m.d.comb += output.eq(Array(found[port])[layer_s2])

    def _columns(self, bits):
        return -(-self.width // bits)

    def _layers(self, bits):
        return -(-self.depth // ECP5_SHAPES[bits])


def _ecp5_port(port, *, bits, address, enable, write, given, found):
    """The connections of one port of a DP16KD; ``found`` are the bits it drives."""
    unused = ceil_log2(ECP5_SHAPES[1]) - ceil_log2(ECP5_SHAPES[bits])
    # The lowest address bits of a port of 18 bits say which of the two bytes are written.
    lines = {"AD": Cat(Const(3 if bits == 18 else 0, unused), address), "DI": given}
    wires = {f"i_{name}{port}{n}": line for name, value in lines.items() for n, line in enumerate(value)}
    wires |= {f"o_DO{port}{n}": line for n, line in enumerate(found)}
    wires |= {f"i_CS{port}{n}": Const(0) for n in range(3)}
    return wires | {f"i_CLK{port}": ClockSignal(), f"i_CE{port}": enable, f"i_OCE{port}": Const(1),
                    f"i_WE{port}": write, f"i_RST{port}": Const(0)}


class SinglePort(wiring.Component):
    """A RAM of which one word is read or written per cycle, any of its bytes by themselves.

    Without stall::

        cycle      t           t+1
        i_address  a (read)    o_data                  (LATENCY_READ = 1)
        i_address  a (write)   visible to a read       (LATENCY_WRITE = 1)

    o_data may be anything after a write or an idle cycle. An address that the memory lacks reads as anything,
    and writing it changes any word or none.

    On iCE40: SB_SPRAM256KA, two bytes wide, whose contents are anything to begin with; on any other family
    what the tools choose, and zeros. A reset changes no contents.

    Parameters
    ----------
    depth : int
        Words, at least 2.
    width : int
        Bits of a word, a multiple of 8.
    family : str
        Cells.family.

    Members
    -------
    i_address : ``In(range(depth))``
    i_enable : ``In(1)``
    i_write : ``In(width // 8)``
        With i_enable, bytes to be written; none of them: a read.
    i_data : ``In(width)``
    o_data : ``Out(width)``

    Raises
    ------
    ValueError
        If there is no such memory or family.
    """

    LATENCY_READ = 1
    LATENCY_WRITE = 1

    def __init__(self, *, depth: int, width: int, family: str = "portable"):
        _checked(depth, width, family)
        if width % 8:
            raise ValueError(f"width is {width}; it must be a whole number of bytes")
        self.depth, self.width, self.family = depth, width, family
        super().__init__({
            "i_address": In(range(depth)), "i_enable": In(1), "i_write": In(width // 8),
            "i_data": In(width), "o_data": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        if self.family == "ice40":
            self._of_cells(m)
            return m
        m.submodules.ram = memory = Memory(
            shape=self.width, depth=self.depth, init=[], attrs={"no_rw_check": 1})
        read, write = memory.read_port(), memory.write_port(granularity=8)
        m.d.comb += [
            read.addr.eq(self.i_address), read.en.eq(self.i_enable & ~self.i_write.any()),
            write.addr.eq(self.i_address), write.data.eq(self.i_data),
            write.en.eq(self.i_write & self.i_enable.replicate(self.width // 8)),
            self.o_data.eq(read.data),
        ]
        return m

    def _of_cells(self, m):
        inner, columns = ceil_log2(ICE40_SPRAM_WORDS), -(-self.width // 16)
        layers = -(-self.depth // ICE40_SPRAM_WORDS)
        found = [Signal(16 * columns, name=f"data_{layer}") for layer in range(layers)]
        for layer in range(layers):
            for column in range(columns):
                chosen = self.i_write[2 * column:2 * column + 2]
                m.submodules[f"cell_{layer}_{column}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(), i_STANDBY=Const(0), i_SLEEP=Const(0), i_POWEROFF=Const(1),
                    i_ADDRESS=Cat(self.i_address[:inner], Const(0, inner))[:inner],
                    i_CHIPSELECT=self.i_enable & (self.i_address[inner:] == layer),
                    i_WREN=self.i_write.any(),
                    # A bit for each half of a byte.
                    i_MASKWREN=Cat(chosen[n // 2] if n // 2 < len(chosen) else Const(0) for n in range(4)),
                    i_DATAIN=Cat(self.i_data[16 * column:16 * column + 16], Const(0, 16))[:16],
                    o_DATAOUT=found[layer][16 * column:16 * column + 16])
        layer_s1 = Signal.like(self.i_address[inner:], reset_less=True)
        # Edge t -> t+1: whose word is to be seen.
        m.d.sync += layer_s1.eq(self.i_address[inner:])
        m.d.comb += self.o_data.eq(Array(found)[layer_s1])
