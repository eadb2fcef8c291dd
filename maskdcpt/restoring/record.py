"""The record of a folder of restored images: what each was made from, so that an interrupted restoration continues."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from uirdata.storage.files import storage_error, sync
from uirdata.validators import InvalidValue, load_typed

logger = logging.getLogger(__name__)

RECORD = ".restored.jsonl"
"""Its name in the folder. Hidden, so it is no result; without it existing results are kept, and not known."""


@dataclass(frozen=True)
class Entry:
    """
    One restored image.

    Attributes:
        target: path below the folder, with "/".
        source: sha256 of the file that was restored.
        made_by: `Restorer.identity`: of weights and settings.
        result: sha256 of the file that was written.
        height: in pixels.
        width: in pixels.
        degradation: as in `Restored`.
        remark: as in `Restored`.
    """

    target: str
    source: str
    made_by: str
    result: str
    height: int
    width: int
    degradation: str = ""
    remark: str = ""


class Record:
    """
    The entries of a folder, by target; of several for one target the last counts.

    Args:
        folder: of the results; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / RECORD
        self._torn = False
        self._entries = {entry.target: entry for entry in self._read()}

    def find(self, target: str) -> Entry | None:
        """Return the entry of a target; None where there is none."""
        return self._entries.get(target)

    def add(self, entry: Entry) -> None:
        """
        Add an entry, before its file gets its name: an entry without its file does no harm.

        Raises:
            StorageError: the record cannot be written.
        """
        self._entries[entry.target] = entry
        try:
            with self._file.open("a", encoding="utf-8") as file:
                # A killed run may leave half a line, which would spoil the next one.
                file.write(("\n" if self._torn else "") + json.dumps(asdict(entry)) + "\n")
                file.flush()
                sync(file.fileno())
            self._torn = False
        except OSError as error:
            raise storage_error(self._file, error) from error

    def _read(self) -> list[Entry]:
        try:
            lines = self._file.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(self._file, error) from error
        self._torn = bool(lines[-1])
        entries, faults = [], []
        for number, line in enumerate(lines, start=1):
            try:
                if line:
                    entries.append(load_typed(line, Entry))
            except InvalidValue as fault:
                faults.append(f"line {number} {fault}")
        if faults:
            logger.warning(
                "%s: %d lines cannot be read, and their results are not known; the first: %s",
                self._file,
                len(faults),
                faults[0],
            )
        return entries


def sha256_of(data: bytes) -> str:
    """Return the sha256 of bytes as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
