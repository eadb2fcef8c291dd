"""A partial download: `<name>.part`, and beside it `<name>.part.state` with the progress of each piece."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from uirdata.storage.files import move, storage_error, sync
from uirdata.storage.temporary_names import beside
from uirdata.validators import InvalidValue, json_object, load_json, md5_digest, sha256_digest, text, whole_number

_HEADER_BYTES = 8192
_SLOT = struct.Struct("<QQ")
_FORMAT = 1
_HASHES = {"sha256": sha256_digest, "md5": md5_digest}
ENDLESS = 1 << 62
"""Length of a piece of a file of unknown length."""


@dataclass(frozen=True)
class _Header:
    """The first part of a state file: see `Partial`; `boot` is the boot of the machine that wrote it."""

    place: str
    validator: str
    total: int | None
    piece_bytes: int
    promised: Mapping[str, str]
    boot: str

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return 1 if self.total is None else max(1, -(-self.total // self.piece_bytes))

    def packed(self) -> bytes:
        """Return its bytes, filled up to their fixed length."""
        row = {"format": _FORMAT} | asdict(self)
        if len(json.dumps(row)) > _HEADER_BYTES:
            # With an address or a validator that long a download can be resumed by its hash only.
            row |= {"place": "", "validator": "", "promised": {}}
        return json.dumps(row).encode().ljust(_HEADER_BYTES)

    @classmethod
    def unpacked(cls, data: bytes) -> _Header:
        """
        Return the header of a state file.

        Raises:
            InvalidValue: it is not one, or of another format.
        """
        row = json_object(load_json(data))
        whole_number(row.get("format"), _FORMAT, _FORMAT)
        total = row.get("total")
        promised = json_object(row.get("promised"))
        return cls(
            place=text(row.get("place")),
            validator=text(row.get("validator")),
            total=None if total is None else whole_number(total, 0, ENDLESS),
            piece_bytes=whole_number(row.get("piece_bytes"), 1, ENDLESS),
            promised={name: check(promised[name]) for name, check in _HASHES.items() if name in promised},
            boot=text(row.get("boot")),
        )


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

    def __init__(self, path: Path, header: _Header, done: list[int], synced: list[int]) -> None:
        self.path = path
        self.place = header.place
        self.validator = header.validator
        self.total = header.total
        self.piece_bytes = header.piece_bytes
        self.promised = dict(header.promised)
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
        header = _Header(
            place, validator, total, piece_bytes if total is not None else ENDLESS, dict(promised), _boot()
        )
        with _writing(path):
            count = header.pieces
            path.parent.mkdir(parents=True, exist_ok=True)
            _state_path(path).unlink(missing_ok=True)
            path.write_bytes(b"")
            fresh = beside(path, ".state.new")
            fresh.write_bytes(header.packed() + bytes(_SLOT.size * count))
            move(fresh, _state_path(path))
        return cls(path, header, [0] * count, [0] * count)

    @classmethod
    def load(cls, path: Path) -> Partial | None:
        """Return an existing partial file; None if there is none that can be resumed."""
        try:
            state = _state_path(path).read_bytes()
            size = path.stat().st_size
            header = _Header.unpacked(state[:_HEADER_BYTES])
            slots = list(_SLOT.iter_unpack(state[_HEADER_BYTES:]))
        except (OSError, InvalidValue, struct.error):
            return None
        if len(slots) != header.pieces:
            return None
        same_boot = bool(_boot()) and header.boot == _boot()
        done = []
        for index, (written, synced) in enumerate(slots):
            believed = written if same_boot else synced
            start = index * header.piece_bytes
            length = header.piece_bytes if header.total is None else min(header.piece_bytes, header.total - start)
            done.append(max(0, min(believed, length, size - start)))
        try:
            return cls(path, header, done, list(done))
        except OSError as error:
            raise storage_error(path, error) from error

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
            sync(self._data)
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
            sync(self._data)
            move(self.path, target)
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
    return beside(path, ".state")


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
