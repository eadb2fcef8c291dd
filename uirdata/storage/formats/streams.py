"""Members of an archive as streams, and several files read as one."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

Kind = Literal["file", "symlink", "hardlink", "device"]


class Readable(Protocol):
    """The methods of an open file that unpacking needs."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Return up to `size` bytes; none at the end."""
        ...

    def close(self) -> None:
        """Close the stream."""
        ...


@dataclass(frozen=True)
class Member:
    """
    A member of an archive; folders are not returned.

    Attributes:
        name: as written in the archive.
        kind: file, symlink, hardlink, or device (also pipes and sockets).
        size: unpacked bytes according to the archive; None if it does not state them.
        target: of a link.
        open: opens its bytes; call it before the next member is requested.
    """

    name: str
    kind: Kind
    size: int | None
    target: str
    open: Callable[[], Readable]


class Joined(io.RawIOBase):
    """Several files read as one: a split archive."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._parts = tuple(parts)
        self._sizes = [part.stat().st_size for part in parts]
        self._size = sum(self._sizes)
        self._at = 0
        self._open: tuple[int, BinaryIO] | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Read up to the end of the part that contains the offset."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        start = 0
        for index, size in enumerate(self._sizes):
            if self._at < start + size:
                file = self._part(index)
                file.seek(self._at - start)
                block = file.read(min(len(view), start + size - self._at))
                view[: len(block)] = block
                self._at += len(block)
                return len(block)
            start += size
        return 0

    def close(self) -> None:
        """Close the part that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _part(self, index: int) -> BinaryIO:
        if self._open is None or self._open[0] != index:
            if self._open is not None:
                self._open[1].close()
            self._open = (index, self._parts[index].open("rb"))
        return self._open[1]


class UnsupportedArchive(Exception):
    """An archive that may be sound, in a form that is not read here."""
