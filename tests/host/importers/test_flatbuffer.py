"""The bounded reader: what it reads, and that no offset or length leads outside the file."""
import struct

import numpy as np
import pytest
from celosia.host.importers.flatbuffer import File
from celosia.rtl.contract.errors import ModelError


def table_file(*fields: bytes, root: int = 20) -> bytearray:
    """Root offset, a vtable at 4 with up to four fields, the table at 20 with four bytes a field."""
    head = struct.pack("<I", root)
    vtable = struct.pack("<HHHHHH", 12, 20, *(4 + 4 * i if i < len(fields) else 0 for i in range(4)))
    return bytearray(head + vtable + bytes(4) + struct.pack("<i", 20 - 4) + b"".join(fields))


def test_numbers_and_defaults():
    table = File("f", bytes(table_file(struct.pack("<i", -5), struct.pack("<f", 1.5)))).root()
    assert table.integer(0, "i") == -5
    assert table.real(1) == 1.5
    assert table.integer(2, "i", 7) == 7  # left out
    assert table.integer(9, "i", 8) == 8  # beyond the vtable: an older schema
    assert table.table(2) is None and table.tables(2) == [] and table.vector(2, "int32") is None
    assert table.text(2) == "" and table.integers(2) == []


def test_vectors_and_text():
    data = table_file(struct.pack("<I", 8), struct.pack("<I", 16))
    data += struct.pack("<Iii", 2, 3, -4)  # at 32
    data += struct.pack("<I", 3) + b"abc"  # at 44
    table = File("f", bytes(data)).root()
    assert table.integers(0) == [3, -4]
    np.testing.assert_array_equal(table.vector(0, "int32"), [3, -4])
    assert table.text(1) == "abc"


@pytest.mark.parametrize("size", range(20))
def test_a_short_file_is_refused(size):
    with pytest.raises(ModelError, match=rf"f: a field lies outside the file at byte \d+ of {size};"):
        File("f", bytes(table_file(bytes(4))[:size])).root()


def test_a_vtable_outside_the_file_is_refused():
    data = table_file(bytes(4))
    for distance in (2**31 - 1, -(2**31), 21, -100):
        data[20:24] = struct.pack("<i", distance)
        with pytest.raises(ModelError, match="outside the file"):
            File("f", bytes(data)).root()


@pytest.mark.parametrize("count", [3, 2**30, 2**32 - 1])
def test_a_vector_longer_than_the_file_is_refused(count):
    data = bytes(table_file(struct.pack("<I", 4)) + struct.pack("<Iii", count, 1, 2))
    with pytest.raises(ModelError, match=f"a vector of {count} elements at byte 28 of 40"):
        File("f", data).root().vector(0, "int32")


def test_tables_that_overlap_without_end_are_refused():
    # 1000 elements, all of which lead to the same place: small on disk, large when read again and again.
    count = 1000
    data = table_file(struct.pack("<I", 4)) + struct.pack("<I", count)
    start = len(data)
    for i in range(count):
        data += struct.pack("<I", (20 - (start + 4 * i)) % 2**32)
    with pytest.raises(ModelError, match="outside the file"):  # offsets only lead forwards
        File("f", bytes(data)).root().tables(0)

    data = table_file(struct.pack("<I", 4)) + struct.pack("<I", count)
    end = start + 4 * count
    for i in range(count):
        data += struct.pack("<I", end + 4 - (start + 4 * i))
    data += struct.pack("<HHi", 4, 4, 4)  # an empty table behind its vtable
    root = File("f", bytes(data)).root()
    with pytest.raises(ModelError, match="overlap"):
        for _ in range(10):
            root.tables(0)
