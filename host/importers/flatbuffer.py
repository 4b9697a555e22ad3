"""A FlatBuffers reader for files nobody vouches for: each offset and length is checked before it is followed.

The readers that flatc generates trust the file. This one raises ModelError for an offset or a length that
leaves the file, and stops at a budget, because tables may overlap: a few kilobytes can claim millions of
objects.
Format: https://flatbuffers.dev/internals (little-endian; a table starts with the way back to its vtable).
"""
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import ModelError

SIZES = {"b": 1, "B": 1, "?": 1, "H": 2, "i": 4, "I": 4, "f": 4, "Q": 8}


@dataclass
class File:
    """The bytes, and how many may still be visited."""

    name: str
    data: bytes
    budget: int = 0

    def __post_init__(self) -> None:
        self.budget = 4 * len(self.data) + 4096  # each byte once, and more for what is rightly shared

    def corrupt(self, what: str, at: int) -> ModelError:
        return ModelError(f"{self.name}: {what} at byte {at} of {len(self.data)}; "
                          "the file is truncated or damaged, fetch or convert it again")

    def number(self, form: str, at: int) -> int | float:
        size = SIZES[form]
        if not 0 <= at <= len(self.data) - size:
            raise self.corrupt("a field lies outside the file", at)
        value: int | float = struct.unpack_from("<" + form, self.data, at)[0]
        return value

    def integer(self, form: str, at: int) -> int:
        return int(self.number(form, at))

    def follow(self, at: int) -> int:
        """Where the offset stored at ``at`` leads; number() checks whatever is read there."""
        return at + self.integer("I", at)

    def span(self, at: int, width: int) -> tuple[int, int]:
        """Start and count of a vector of elements of ``width`` bytes, all inside the file."""
        count, start = self.integer("I", at), at + 4
        if count * width > len(self.data) - start:
            raise self.corrupt(f"a vector of {count} elements", at)
        self.spend(4 + count * width, at)
        return start, count

    def spend(self, size: int, at: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise self.corrupt("objects overlap more often than any converter lets them", at)

    def root(self) -> "Table":
        return Table(self, self.follow(0))


class Table:
    """One table; fields are named by their slot, their place in the schema's list."""

    __slots__ = ("_at", "_end", "_file", "_vtable")

    def __init__(self, file: File, at: int) -> None:
        self._file, self._at = file, at
        self._vtable = at - file.integer("i", at)
        size = file.integer("H", self._vtable)
        if size < 4:
            raise file.corrupt(f"a table description of {size} bytes", self._vtable)
        self._end = self._vtable + size
        file.spend(size, at)

    def _field(self, slot: int) -> int | None:
        entry = self._vtable + 4 + 2 * slot
        if entry + 2 > self._end:
            return None  # written by an older schema
        offset = self._file.integer("H", entry)
        return self._at + offset if offset else None

    def has(self, slot: int) -> bool:
        return self._field(slot) is not None

    def integer(self, slot: int, form: str, default: int = 0) -> int:
        at = self._field(slot)
        return default if at is None else self._file.integer(form, at)

    def real(self, slot: int, default: float = 0.0) -> float:
        at = self._field(slot)
        return default if at is None else float(self._file.number("f", at))

    def table(self, slot: int) -> "Table | None":
        at = self._field(slot)
        return None if at is None else Table(self._file, self._file.follow(at))

    def tables(self, slot: int) -> list["Table"]:
        at = self._field(slot)
        if at is None:
            return []
        start, count = self._file.span(self._file.follow(at), 4)
        return [Table(self._file, self._file.follow(start + 4 * i)) for i in range(count)]

    def vector(self, slot: int, dtype: str) -> npt.NDArray[np.generic] | None:
        """A read-only view of numbers, or None where the field was left out."""
        at = self._field(slot)
        if at is None:
            return None
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self._file.span(self._file.follow(at), kind.itemsize)
        return np.frombuffer(self._file.data, kind, count, start)

    def integers(self, slot: int) -> list[int]:
        vector = self.vector(slot, "int32")
        return [] if vector is None else [int(value) for value in vector]

    def text(self, slot: int) -> str:
        at = self._field(slot)
        if at is None:
            return ""
        start, count = self._file.span(self._file.follow(at), 1)
        return self._file.data[start:start + count].decode("utf-8", "replace")
