"""
Arrays of uint8 in MATLAB files of version 5 to 7.

A reader of its own: `scipy.io.loadmat` crashes the process on damaged files. Other kinds of variables are passed over.
The names of the format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from uirdata.errors import ArchiveError

_HEADER_BYTES = 128
_UINT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 2, 5, 6, 14, 15
_UINT8_CLASS = 9
_CLASSES_WITH_NAMES = range(1, 16)
_LOGICAL, _COMPLEX = 0x200, 0x800
_MOST_DIMENSIONS, _MOST_NAME_BYTES = 32, 1024
_BLOCK = 1 << 16

_Read = Callable[[int], bytes]
"""Returns exactly so many bytes, or raises EOFError."""


def uint8_arrays(path: Path, most_bytes: int) -> Iterator[tuple[str, NDArray[np.uint8] | None]]:
    """
    Yield the name of each variable, and its values if it is an array of uint8; None if it is something else.

    Args:
        path: the file.
        most_bytes: how many values are read at most, over all arrays.

    Raises:
        ArchiveError: it has another version.
        EOFError, ValueError, zlib.error: it is damaged.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if header.startswith(b"MATLAB 7.3") or (order and struct.unpack(f"{order}H", header[124:126]) == (0x200,)):
            raise ArchiveError(f"{path.name} is a MATLAB 7.3 file; save it as version 7, or use another mirror")
        if order is None or not header.startswith(b"MATLAB 5.0"):
            raise ValueError("it does not begin like a MATLAB file of version 5 to 7")
        left = most_bytes
        while tag := file.read(8):
            if len(tag) < 8:
                raise EOFError("it ends in the middle of a variable")
            kind, size = struct.unpack(f"{order}II", tag)
            end = file.tell() + size
            if kind == _COMPRESSED:
                inflating = _Inflating(file, size)
                if struct.unpack(f"{order}I", inflating.read(8)[:4]) != (_MATRIX,):
                    raise ValueError("a compressed variable has an unknown type")
                name, array = _variable(inflating.read, order, left)
                if array is not None:
                    inflating.finish()
            elif kind == _MATRIX:
                name, array = _variable(_exactly(file), order, left)
            else:
                raise ValueError(f"a variable has the unknown type {kind}")
            left -= 0 if array is None else array.size
            yield name, array
            if file.seek(0, 2) < end:
                raise EOFError("it ends in the middle of a variable")
            file.seek(end)


def _variable(read: _Read, order: str, most_bytes: int) -> tuple[str, NDArray[np.uint8] | None]:
    flags, kind = _element(read, order, 8)
    if kind != _UINT32 or len(flags) != 8:
        raise ValueError("a variable has no flags")
    (about,) = struct.unpack(f"{order}I", flags[:4])
    if about & 0xFF not in _CLASSES_WITH_NAMES:
        return "", None
    places, kind = _element(read, order, 4 * _MOST_DIMENSIONS)
    if kind != _INT32 or len(places) % 4:
        raise ValueError("a variable has no dimensions")
    shape = struct.unpack(f"{order}{len(places) // 4}i", places)
    letters, kind = _element(read, order, _MOST_NAME_BYTES)
    name = letters.decode("latin-1")
    if about & 0xFF != _UINT8_CLASS or about & (_LOGICAL | _COMPLEX):
        return name, None
    size = math.prod(shape)
    if min(shape, default=-1) < 0 or size > most_bytes:
        raise ValueError(f"{name} has the shape {shape}, which no published file has")
    values, kind = _element(read, order, size)
    if kind != _UINT8 or len(values) != size:
        raise ValueError(f"{name} is damaged: it has {len(values):,} values, expected {size:,}")
    return name, np.frombuffer(values, np.uint8).reshape(shape, order="F")


def _element(read: _Read, order: str, most: int) -> tuple[bytes, int]:
    """Return the bytes of the next part of a variable, and their type."""
    tag = read(8)
    kind, size = struct.unpack(f"{order}II", tag)
    if kind >> 16:
        # Up to four bytes are in the tag itself.
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise ValueError("a part of a variable is longer than its place")
        return tag[4 : 4 + size], kind
    if size > most:
        raise ValueError(f"a part of a variable has {size:,} bytes, expected at most {most:,}")
    data = read(size)
    read(-size % 8)
    return data, kind


def _exactly(file: BinaryIO) -> _Read:
    def read(size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise EOFError("it ends in the middle of a variable")
        return data

    return read


class _Inflating:
    """A compressed variable."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self._zlib = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        found = bytearray()
        while len(found) < size:
            block = self._more(size - len(found))
            if not block and (self._zlib.eof or not self._left):
                raise EOFError("it ends in the middle of a variable")
            found += block
        return bytes(found)

    def finish(self) -> None:
        """Read to the end, where zlib compares its sum."""
        while not self._zlib.eof:
            if self._more(_BLOCK):
                raise ValueError("a variable is longer than its shape")
            if not self._left and not self._zlib.eof and not self._zlib.unconsumed_tail:
                raise EOFError("it ends in the middle of a variable")

    def _more(self, size: int) -> bytes:
        waiting = self._zlib.unconsumed_tail
        if not waiting:
            waiting = self._file.read(min(_BLOCK, self._left))
            self._left = self._left - len(waiting) if waiting else 0
        return self._zlib.decompress(waiting, size)
