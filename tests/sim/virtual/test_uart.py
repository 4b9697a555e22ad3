"""The wire's model in C++ against bit patterns: each bit at its time, for any ratio of clock and rate."""
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = r"""
#include <cstdio>
#include <cstdlib>
#include "uart.h"
int main(int, char **arguments) {
    const uint64_t clock = strtoull(arguments[1], nullptr, 10), baud = strtoull(arguments[2], nullptr, 10);
    celosia::UartSender sender(clock, baud);
    celosia::UartReceiver receiver(clock, strtoull(arguments[3], nullptr, 10));
    for (int byte = 0; byte < 256; ++byte) {
        sender.send(uint8_t(byte));
        while (!sender.idle()) {
            putchar(sender.level() ? '1' : '0');
            uint8_t got;
            if (receiver.tick(sender.level(), got)) fprintf(stderr, "%d ", got);
            sender.tick();
        }
    }
    uint8_t got;
    for (int i = 0; i < 100; ++i) if (receiver.tick(true, got)) fprintf(stderr, "%d ", got);
    fprintf(stderr, "broken %d", int(receiver.broken));
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uart")
    (folder / "uart.cpp").write_text(SOURCE)
    model = HERE.parents[2] / "sim" / "virtual"
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{model}", "uart.cpp",
                    "-o", "uart"], cwd=folder, check=True, timeout=60)
    return folder / "uart"


def run(program, *arguments):
    found = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True,
                           timeout=60)
    return found.stdout, found.stderr


@pytest.mark.parametrize("clock, baud", [(6, 1), (100, 3), (100_000_000, 16_666_666), (30_000_000, 3_000_000),
                                         (7, 2)])
def test_bytes_back_to_back_arrive(program, clock, baud):
    wire, received = run(program, clock, baud, baud)
    assert received.split() == [*map(str, range(256)), "broken", "0"]
    # Each byte begins a start bit and ends a stop bit; its bits are between, each within a cycle of its time.
    at = 0
    for byte in range(256):
        bits = [0, *(byte >> n & 1 for n in range(8)), 1]
        end = at + -(-10 * clock // baud)
        for n, bit in enumerate(bits):
            first, last = at + -(-n * clock // baud), at + -(-(n + 1) * clock // baud)
            assert set(wire[first:last]) == {str(bit)}, (byte, n)
        at = end
    assert at == len(wire)


def test_a_byte_without_a_stop_bit_is_dropped_and_counted(program):
    _, received = run(program, 100_000, 10_000, 7_000)
    *bytes_, word, count = received.split()
    assert word == "broken" and int(count) > 0
