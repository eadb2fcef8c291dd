"""
Journals of unpacked archives: which files came from which archive, read strictly.

A journal lies in the hidden folder .uir of a source. Its paths are removed when an archive turns out to be unsafe, so
none is believed that does not stay below the source's folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from uirdata.storage.files import writing
from uirdata.validators import (
    InvalidValue,
    disk_path,
    json_list,
    json_object,
    load_json,
    sha256_digest,
    text,
    whole_number,
)

OURS = frozenset({".uir"})
"""Names of folders of ours in the folder of a source; no member of an archive may have one in its path."""

FORMAT = 2
"""Journals of format 1, which do not say so, may be of tars that were not read to their end mark and their sums."""

_MOST_LINE_BYTES = 1 << 16
_MOST_NAMED, _MOST_NAME = 20, 200


@dataclass(frozen=True)
class Unpacked:
    """
    A file that was unpacked from an archive.

    Attributes:
        path: below the source's folder, with "/".
        size: bytes.
        mtime_ns: modification time of the file when its sha256 was last verified.
        sha256: hex.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Journal:
    """
    The contents of a journal.

    Attributes:
        archive: sha256 of the archive, or the address of the tree; "" if there is no journal that can be read.
        held: files by path.
        complete: all of the archive is unpacked.
        boot: boot of the machine in which it was begun; "" if unknown.
        format: see `FORMAT`.
        skipped: number of members that were not unpacked.
        such_as: the first of them, each with the reason.
    """

    archive: str
    held: dict[str, Unpacked]
    complete: bool
    boot: str
    format: int = FORMAT
    skipped: int = 0
    such_as: tuple[str, ...] = ()


NOTHING = Journal("", {}, complete=False, boot="")


def load_journal(path: Path) -> Journal:
    """Return a journal up to its first line that does not fit: files after it are unpacked again."""
    try:
        with path.open("rb") as file:
            head = json_object(load_json(file.readline(_MOST_LINE_BYTES)))
            archive, boot = text(head.get("archive")), text(head.get("boot", ""))
            number = whole_number(head.get("format", 1))
            held: dict[str, Unpacked] = {}
            complete, skipped = False, 0
            such_as: tuple[str, ...] = ()
            with contextlib.suppress(InvalidValue):
                while line := file.readline(_MOST_LINE_BYTES):
                    row = json_object(load_json(line))
                    if "files" not in row:
                        entry = _entry(row)
                        held[entry.path], complete = entry, False
                        continue
                    skipped = whole_number(row.get("skipped", 0))
                    such_as = tuple(text(name) for name in json_list(row.get("such_as", []), most=_MOST_NAMED))
                    complete = row["files"] == len(held)
    except (OSError, InvalidValue):
        return NOTHING
    return Journal(archive, held, complete, boot, number, skipped, such_as)


def read_journal(journal: Path) -> tuple[tuple[Unpacked, ...], str]:
    """Return the files of an archive, and its sha256; nothing and "" if it is not completely unpacked."""
    found = load_journal(journal)
    return (in_order(found.held), found.archive) if found.complete else ((), "")


def rewrite_journal(
    journal: Path, entries: Sequence[Unpacked], archive_sha256: str, *, before: Journal = NOTHING
) -> None:
    """
    Write a new journal of a completely unpacked archive.

    Args:
        journal: file to write.
        entries: the files.
        archive_sha256: of the archive, or the address of the tree.
        before: the journal that is replaced; its format and the members that were skipped are kept.

    Raises:
        StorageError: it cannot be written.
    """
    with writing(journal) as partial, partial.open("w") as file:
        file.write(head_line(archive_sha256, before.format))
        file.writelines(entry_line(entry) for entry in entries)
        file.write(last_line(len(entries), before.skipped, before.such_as))


def head_line(archive_sha256: str, number: int = FORMAT) -> str:
    """Return the first line of a journal."""
    return json.dumps({"archive": archive_sha256, "boot": boot_id(), "format": number}) + "\n"


def last_line(files: int, skipped: int = 0, such_as: Sequence[str] = ()) -> str:
    """Return the line that marks an archive as completely unpacked."""
    row: dict[str, object] = {"files": files}
    if skipped:
        row |= {"skipped": skipped, "such_as": [name[:_MOST_NAME] for name in such_as[:_MOST_NAMED]]}
    return json.dumps(row) + "\n"


def entry_line(entry: Unpacked) -> str:
    """Return the line of a file."""
    row = {"path": entry.path, "size": entry.size, "mtime_ns": entry.mtime_ns, "sha256": entry.sha256}
    return json.dumps(row) + "\n"


def in_order(held: dict[str, Unpacked]) -> tuple[Unpacked, ...]:
    """Return files in the order of their paths."""
    return tuple(held[path] for path in sorted(held))


def is_unchanged(path: Path, entry: Unpacked) -> bool:
    """Return whether a file has the size and the time that a journal has of it; a link has not."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (entry.size, entry.mtime_ns)


@cache
def boot_id() -> str:
    """Return what identifies this boot of the machine; "" where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def sync_disk(folder: Path) -> None:
    """
    Write all that was written below a folder to the disk, so that a journal never outlives the files that it lists.

    One call for the file system of the folder: to sync thousands of small files one by one takes minutes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None, use_errno=True)
            file = os.open(folder, os.O_RDONLY)
            try:
                if libc.syncfs(file) == 0:
                    return
            finally:
                os.close(file)
    os.sync()


def _entry(row: dict[str, object]) -> Unpacked:
    path = disk_path(row.get("path"))
    if any(part.casefold() in OURS for part in path.split("/")):
        raise InvalidValue(f"{path!r} is a file of ours")
    mtime = whole_number(row.get("mtime_ns"), least=-(2**63))
    return Unpacked(path, whole_number(row.get("size")), mtime, sha256_digest(row.get("sha256")))
