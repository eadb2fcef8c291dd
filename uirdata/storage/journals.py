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
from uirdata.validators import InvalidValue, json_object, load_json, relative_path, sha256_digest, text, whole_number

OURS = frozenset({".uir"})
"""Names of folders of ours in the folder of a source; no member of an archive may have one in its path."""

_MOST_LINE_BYTES = 1 << 16


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
    """

    archive: str
    held: dict[str, Unpacked]
    complete: bool
    boot: str


NOTHING = Journal("", {}, complete=False, boot="")


def load_journal(path: Path) -> Journal:
    """Return a journal up to its first line that does not fit: files after it are unpacked again."""
    try:
        with path.open("rb") as file:
            head = json_object(load_json(file.readline(_MOST_LINE_BYTES)))
            archive, boot = text(head.get("archive")), text(head.get("boot", ""))
            held: dict[str, Unpacked] = {}
            complete = False
            with contextlib.suppress(InvalidValue):
                while line := file.readline(_MOST_LINE_BYTES):
                    row = json_object(load_json(line))
                    complete = row.get("files") == len(held) if "files" in row else complete
                    if "files" not in row:
                        entry = _entry(row)
                        held[entry.path] = entry
    except (OSError, InvalidValue):
        return NOTHING
    return Journal(archive, held, complete, boot)


def read_journal(journal: Path) -> tuple[tuple[Unpacked, ...], str]:
    """Return the files of an archive, and its sha256; nothing and "" if it is not completely unpacked."""
    found = load_journal(journal)
    return (in_order(found.held), found.archive) if found.complete else ((), "")


def rewrite_journal(journal: Path, entries: Sequence[Unpacked], archive_sha256: str) -> None:
    """
    Write a new journal of a completely unpacked archive.

    Raises:
        StorageError: it cannot be written.
    """
    with writing(journal) as partial, partial.open("w") as file:
        file.write(head_line(archive_sha256))
        file.writelines(entry_line(entry) for entry in entries)
        file.write(json.dumps({"files": len(entries)}) + "\n")


def head_line(archive_sha256: str) -> str:
    """Return the first line of a journal."""
    return json.dumps({"archive": archive_sha256, "boot": boot_id()}) + "\n"


def entry_line(entry: Unpacked) -> str:
    """Return the line of a file."""
    row = {"path": entry.path, "size": entry.size, "mtime_ns": entry.mtime_ns, "sha256": entry.sha256}
    return json.dumps(row) + "\n"


def in_order(held: dict[str, Unpacked]) -> tuple[Unpacked, ...]:
    """Return files in the order of their paths."""
    return tuple(held[path] for path in sorted(held))


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
    path = relative_path(row.get("path"))
    if any(part.casefold() in OURS for part in path.split("/")):
        raise InvalidValue(f"{path!r} is a file of ours")
    mtime = whole_number(row.get("mtime_ns"), least=-(2**63))
    return Unpacked(path, whole_number(row.get("size")), mtime, sha256_digest(row.get("sha256")))
