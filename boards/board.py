"""The boards: which fabric goes on which chip, at which clock, behind which wire, before which memory."""
from dataclasses import dataclass
from typing import Any, Literal

from ..rtl.contract.errors import InputError
from ..rtl.contract.fabric import Fabric
from ..rtl.contract.presets import PRESETS
from ..rtl.primitives.cells import Cells

Family = Literal["ecp5", "ice40"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board that bitstreams are built for.

    Parameters
    ----------
    name : str
        On the command line.
    title : str
        For people: the board's name and its chip.
    preset : str
        Of the fabric that it carries.
    cells : Cells
        What its chip builds the fabric from.
    clock : int
        Hz of the fabric, which the PLL makes and place and route must meet.
    baud : int
        Of the UART, bits a second.
    memory : str
        What the memory port reaches: "sdram"; or "flash" from ``Fabric.rom_base`` on and the fabric's shared
        memory below.
    memory_bytes : int
        Of that SDRAM or flash.
    sdram_degrees : int
        How much later than the fabric's its clock is; why, says the board's top.
    family : str
        Of the chip: "ecp5" or "ice40".
    definition : str
        The class of amaranth-boards that knows chip, pins and tools.
    bitstream : str
        The file that the tools make of it.
    synthesis, place : tuple of str
        More options for ``synth_ecp5`` or ``synth_ice40``, and for nextpnr.
    programmer : tuple of str
        Options of openFPGALoader that name the board or its cable.
    homes : tuple of str
        Where a bitstream may go, the usual place first: "sram" (gone with the power) or "flash".
    usb : tuple of (int, int)
        Vendor and product of the USB chip that programs it.
    """

    name: str
    title: str
    preset: str
    cells: Cells
    clock: int
    baud: int
    memory: Literal["sdram", "flash"]
    memory_bytes: int
    sdram_degrees: int = 0
    family: Family
    definition: str
    bitstream: str
    synthesis: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    programmer: tuple[str, ...]
    homes: tuple[Literal["sram", "flash"], ...]
    usb: tuple[int, int]

    @property
    def fabric(self) -> Fabric:
        """What a Program for this board is compiled for."""
        return PRESETS[self.preset]

    def platform(self) -> Any:
        """A fresh platform of amaranth-boards: it takes one design."""
        import amaranth_boards.icebreaker
        import amaranth_boards.ulx3s

        for module in (amaranth_boards.ulx3s, amaranth_boards.icebreaker):
            if (found := getattr(module, self.definition, None)) is not None:
                return found()
        raise InputError(f"amaranth-boards has no {self.definition}")


def _ulx3s(size: str, **more: Any) -> Board:
    return Board(name=f"ulx3s_{size.lower()}", title=f"ULX3S, LFE5U-{size}", preset=f"ulx3s_{size.lower()}",
                 baud=3_000_000, memory="sdram", memory_bytes=32 << 20,
                 sdram_degrees=270, family="ecp5",
                 definition=f"ULX3S_{size}_Platform", bitstream="top.bit", programmer=("-b", "ulx3s"),
                 homes=("sram", "flash"), usb=(0x0403, 0x6015), **more)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        _ulx3s("85F", cells=Cells(family="ecp5", array="logic"), clock=100_000_000),
        _ulx3s("25F", cells=Cells(family="ecp5", array="logic"), clock=100_000_000),
        Board(name="icebreaker", title="iCEBreaker, iCE40UP5K", preset="icebreaker",
              cells=Cells(family="ice40", array="cell"), clock=30_000_000, baud=3_000_000, memory="flash",
              memory_bytes=16 << 20, family="ice40", definition="ICEBreakerPlatform", bitstream="top.bin",
              synthesis=("-device", "u"), programmer=("-b", "ice40_generic"), homes=("flash",),
              usb=(0x0403, 0x6010)),
    )
}


def find_board(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    InputError
        If there is none; lists those there are.
    """
    if name not in BOARDS:
        raise InputError(f"there is no board {name!r}; choose one of {', '.join(BOARDS)}")
    return BOARDS[name]
