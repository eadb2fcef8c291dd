"""The bytes of a file, in memory or on the disk, so that a header is read without the rest of the file."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol


class Octets(Protocol):
    """
    The bytes of a file.

    Attributes:
        size: number of bytes.
    """

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        ...

    def part(self, start: int, length: int) -> bytes:
        """Return some bytes; fewer than `length` at the end of the file."""
        ...


class InMemory:
    """The bytes of a file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def part(self, start: int, length: int) -> bytes:
        """Return some bytes; fewer than `length` at the end of the file."""
        return self._data[start : start + length] if start >= 0 else b""


class OnDisk:
    """The bytes of an open file; a part is read when it is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._number = file.fileno()
        self.size = os.fstat(self._number).st_size

    def part(self, start: int, length: int) -> bytes:
        """Return some bytes; fewer than `length` at the end of the file."""
        # A length from a damaged header must not become a buffer of that length.
        length = min(length, self.size - start)
        return os.pread(self._number, length, start) if start >= 0 and length > 0 else b""
