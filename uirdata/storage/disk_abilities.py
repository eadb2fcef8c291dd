"""What the file system of a folder can do, tried out with files of our own that are removed again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from uirdata.storage.files import free_bytes


def disk_abilities(folder: Path, other: Path | None = None) -> dict[str, bool | int | str]:
    """
    Return what can be done in a folder: locks, links, long names, names that differ in case, free bytes.

    The keys are writable, locks, hard links, symbolic links, names of 255 bytes, case kept apart, free bytes and, with
    `other`, hard links from it. Where the folder does not exist, its nearest existing parent is tried.

    Args:
        folder: a folder, such as the root.
        other: a folder with the user's files, on another disk perhaps.
    """
    place = folder.absolute()
    while not place.is_dir():
        place = place.parent
    found: dict[str, bool | int | str] = {"folder": str(place), "free bytes": free_bytes(place)}
    try:
        trial = tempfile.TemporaryDirectory(prefix=".uir-trial-", dir=place)
    except OSError:
        return {**found, "writable": False}
    with trial as name:
        here = Path(name)
        first = here / "a"
        first.write_bytes(b"a")
        found["writable"] = True
        found["locks"] = _works(lambda: _lock(first))
        found["hard links"] = _works(lambda: os.link(first, here / "b"))
        found["symbolic links"] = _works(lambda: (here / "c").symlink_to(first))
        found["names of 255 bytes"] = _works(lambda: (here / ("n" * 255)).touch())
        (here / "case").touch()
        found["case kept apart"] = not (here / "CASE").exists()
        if other is not None:
            theirs = next((path for path in other.rglob("*") if path.is_file() and not path.is_symlink()), None)
            if theirs is not None:
                found["hard links from your folder"] = _works(lambda: os.link(theirs, here / "d"))
    return found


def _lock(path: Path) -> None:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _works(trial: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError, NotImplementedError):
        trial()
        return True
    return False
