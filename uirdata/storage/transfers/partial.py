"""A partial download: `<name>.part`, and beside it `<name>.part.state` with the progress of each piece."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from uirdata.storage.files import storage_error

_HEADER_BYTES = 8192
_SLOT = struct.Struct("<QQ")
_FORMAT = 1
_ENDLESS = 1 << 62


class Partial:
    """
    A file that is written in pieces, by one thread per piece, and that survives being killed.

    The state file is a header and two numbers per piece: bytes written, and bytes known to be on the disk. The first
    number is written after the bytes, so it is correct after a SIGKILL; after a power cut (another boot of the machine)
    only the second one is used.

    Attributes:
        path: of the bytes.
        place: the place that they come from.
        validator: of the file at that place; "" if it has none.
        total: size of the whole file in bytes; None while unknown.
        piece_bytes: length of all pieces but the last.
        promised: hashes of the whole file, by name, as stated by that place.
    """

    def __init__(self, path: Path, header: dict[str, object], done: list[int], synced: list[int]) -> None:
        self.path = path
        self.place = str(header["place"])
        self.validator = str(header["validator"])
        total = header["total"]
        self.total: int | None = None if total is None else int(str(total))
        self.piece_bytes = int(str(header["piece_bytes"]))
        promised = header["promised"]
        self.promised = {str(k): str(v) for k, v in promised.items()} if isinstance(promised, dict) else {}
        self._done = done
        self._synced = synced
        self._data = os.open(path, os.O_RDWR)
        self._state = os.open(_state_path(path), os.O_RDWR)

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        place: str,
        validator: str,
        total: int | None,
        piece_bytes: int,
        promised: Mapping[str, str] = MappingProxyType({}),
    ) -> Partial:
        """
        Return a new partial file, replacing an earlier one.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        count = 1 if total is None else max(1, -(-total // piece_bytes))
        header: dict[str, object] = {
            "format": _FORMAT,
            "place": place,
            "validator": validator,
            "total": total,
            "piece_bytes": piece_bytes if total is not None else _ENDLESS,
            "promised": dict(promised),
            "boot": _boot(),
        }
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _state_path(path).unlink(missing_ok=True)
            path.write_bytes(b"")
            fresh = path.with_name(path.name + ".state.new")
            fresh.write_bytes(json.dumps(header).encode().ljust(_HEADER_BYTES) + bytes(_SLOT.size * count))
            fresh.replace(_state_path(path))
        return cls(path, header, [0] * count, [0] * count)

    @classmethod
    def load(cls, path: Path) -> Partial | None:
        """Return an existing partial file; None if there is none that can be resumed."""
        try:
            state = _state_path(path).read_bytes()
            size = path.stat().st_size
            header = json.loads(state[:_HEADER_BYTES])
            if header["format"] != _FORMAT or "promised" not in header:
                return None
            slots = list(_SLOT.iter_unpack(state[_HEADER_BYTES:]))
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None
        if not slots:
            return None
        same_boot = bool(_boot()) and header["boot"] == _boot()
        piece = int(header["piece_bytes"])
        done = []
        for index, (written, synced) in enumerate(slots):
            believed = written if same_boot else synced
            done.append(max(0, min(believed, size - index * piece)))
        return cls(path, header, done, list(done))

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return len(self._done)

    def span(self, piece: int) -> tuple[int, int]:
        """Return the offsets of the first byte of a piece and of its end (a very large number if unknown)."""
        start = piece * self.piece_bytes
        end = start + self.piece_bytes
        return start, end if self.total is None else min(end, self.total)

    def done(self, piece: int) -> int:
        """Return how many bytes of a piece are on the disk."""
        return self._done[piece]

    def is_done(self, piece: int) -> bool:
        """Return whether a piece is complete."""
        start, end = self.span(piece)
        return self.total is not None and start + self._done[piece] >= end

    @property
    def is_whole(self) -> bool:
        """Whether all pieces are complete."""
        return all(self.is_done(piece) for piece in range(self.pieces))

    @property
    def here(self) -> int:
        """Number of bytes on the disk."""
        return sum(self._done)

    @property
    def frontier(self) -> int:
        """The offset up to which no byte is missing."""
        for piece in range(self.pieces):
            if not self.is_done(piece):
                return self.span(piece)[0] + self._done[piece]
        return self.total or 0

    def write(self, piece: int, block: bytes) -> None:
        """
        Append bytes to a piece.

        Raises:
            StorageError: the disk is full.
        """
        offset = self.span(piece)[0] + self._done[piece]
        with _writing(self.path):
            view = memoryview(block)
            while view:
                written = os.pwrite(self._data, view, offset)
                view, offset = view[written:], offset + written
            self._done[piece] += len(block)
            self._write_slot(piece)

    def end_here(self) -> None:
        """Set the length to the bytes received so far; for a stream of unknown length that has ended."""
        self.total = self._done[0]

    def read(self, offset: int, size: int) -> bytes:
        """Read back bytes on the disk."""
        return os.pread(self._data, size, offset)

    def sync(self) -> None:
        """Sync the written bytes to the disk, and record that in the state file."""
        written = list(self._done)
        with _writing(self.path):
            os.fsync(self._data)
            self._synced = written
            for piece in range(self.pieces):
                self._write_slot(piece)

    def close(self) -> None:
        """Close the file; another run can resume it."""
        os.close(self._data)
        os.close(self._state)

    def finish(self, target: Path) -> None:
        """
        Rename the complete file to its final name.

        Raises:
            StorageError: it cannot be written there.
        """
        with _writing(target):
            os.fsync(self._data)
            self.path.replace(target)
            _state_path(self.path).unlink(missing_ok=True)
        self.close()

    def _write_slot(self, piece: int) -> None:
        os.pwrite(self._state, _SLOT.pack(self._done[piece], self._synced[piece]), _HEADER_BYTES + piece * _SLOT.size)


def discard(path: Path) -> None:
    """Remove a partial file and its state file."""
    with _writing(path):
        _state_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def bytes_here(path: Path) -> int:
    """Return how many bytes of a partial file can be used; 0 if there is none."""
    partial = Partial.load(path)
    if partial is None:
        return 0
    partial.close()
    return partial.here


def _state_path(path: Path) -> Path:
    return path.with_name(path.name + ".state")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error
