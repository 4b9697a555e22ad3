"""Frames of the link: every body survives, nothing else does, and a receiver is in step after one frame."""
import random
import zlib

import pytest
from celosia.rtl.contract.link import (
    ANSWER,
    ESCAPE,
    FLAG,
    INFO_BYTES,
    MAX_DATA,
    MAX_REPLY,
    MAX_REQUEST,
    Answer,
    Decoder,
    Info,
    Kind,
    Request,
    Status,
    encode,
)

AWKWARD = [b"\0", bytes([FLAG]) * 40, bytes([ESCAPE]) * 40, bytes([ESCAPE, FLAG]) * 20, bytes(MAX_REQUEST),
           bytes(range(256)), bytes([ESCAPE ^ 0x20, FLAG ^ 0x20]) * 3]


@pytest.mark.parametrize("body", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_bodies_survive(body):
    frame = encode(body)
    assert frame[0] == frame[-1] == FLAG and FLAG not in frame[1:-1]
    assert Decoder(longest=MAX_REQUEST).feed(frame) == [body]


def test_random_bodies_survive_in_pieces_of_any_size():
    rng = random.Random(1)
    bodies = [rng.choice([rng.randbytes(rng.randint(1, MAX_REQUEST)), rng.choice(AWKWARD)])
              for _ in range(300)]
    wire = b"".join(map(encode, bodies))
    decoder, got = Decoder(longest=MAX_REQUEST), []
    while wire:
        size = rng.randint(1, 700)
        got += decoder.feed(wire[:size])
        wire = wire[size:]
    assert got == bodies and decoder.dropped == 0


def test_no_single_changed_bit_gives_a_body():
    frame = encode(b"some register write")
    for bit in range(8, 8 * len(frame) - 8):
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        assert Decoder(longest=MAX_REQUEST).feed(bytes(changed)) == []


def test_the_frame_behind_any_garbage_is_found():
    rng = random.Random(2)
    for _ in range(300):
        decoder = Decoder(longest=MAX_REQUEST)
        found = decoder.feed(rng.randbytes(rng.randint(0, 3000)) + encode(b"here"))
        assert found == [b"here"]


def test_endless_garbage_takes_no_memory():
    decoder = Decoder(longest=MAX_REQUEST)
    for _ in range(100):
        assert decoder.feed(b"\x55" * 1000) == []
    assert len(decoder._pending) < 4 * MAX_REQUEST
    assert decoder.feed(encode(b"here")) == [b"here"]


@pytest.mark.parametrize("body", [b"", bytes(MAX_REPLY + 1)])
def test_an_empty_or_too_long_body_is_dropped(body):
    decoder = Decoder(longest=MAX_REPLY)
    assert decoder.feed(encode(body)) == [] and decoder.dropped == 1


def test_requests_and_answers_have_the_layout_the_gateware_reads():
    request = Request(kind=Kind.WRITE_MEMORY, sequence=0x12, address=0x89AB_CDEF, count=3, data=b"abc")
    assert request.pack() == bytes.fromhex("03 12 efcdab89 02") + b"abc"
    answer = Answer(status=Status.DECODE_ERROR, sequence=0x12, last=0x13, data=b"")
    assert answer.pack() == bytes([ANSWER | 3, 0x12, 0x13]) and Answer.unpack(answer.pack()) == answer
    assert zlib.crc32(b"abc").to_bytes(4, "little") in encode(b"abc")


@pytest.mark.parametrize("body", [b"", b"\x80\0", b"\x04\0\0", b"\xff\0\0"])
def test_what_is_no_answer_is_not_taken_for_one(body):
    """Too short; a request that came back as an echo; a status there is not."""
    assert Answer.unpack(body) is None


def test_info_survives_and_fits_a_frame():
    info = Info(board=3, clock=30_000_000, memory_bytes=1 << 17, rom_base=1 << 24, rom_bytes=1 << 23,
                fingerprint=0xFEDC_BA98_7654_3210)
    assert Info.unpack(info.pack()) == info and len(info.pack()) == INFO_BYTES <= MAX_DATA
    assert info.pack()[:2] == b"\x01\x00"  # the version, where it will be in all versions
