"""The files below a folder, without those that are hidden or that a system made."""

from __future__ import annotations

import os
from pathlib import Path

from uirdata.errors import SourceError
from uirdata.file_kinds import is_of_the_system


def list_files(root: Path, *, without: Path | None = None) -> list[str]:
    """
    Return the paths of all files below a folder, sorted, with "/"; without files of the system and pairs.parquet.

    Args:
        root: the folder.
        without: a folder that is left out if it is below, such as our data folder inside an album.

    Raises:
        SourceError: the folder cannot be read.
    """
    found: list[str] = []
    waiting = [""]
    seen: set[tuple[int, int]] = set()
    try:
        if without is not None and without.is_dir():
            stat = without.stat()
            seen.add((stat.st_dev, stat.st_ino))
        while waiting:
            prefix = waiting.pop()
            stat = (root / prefix).stat()
            # Links to folders are followed, because users store data sets so; a link to a parent folder only once.
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(root / prefix) as entries:
                for entry in entries:
                    if is_of_the_system(entry.name):
                        continue
                    path = prefix + entry.name
                    if entry.is_dir():
                        waiting.append(path + "/")
                    elif entry.is_file() and path != "pairs.parquet":
                        found.append(path)
    except FileNotFoundError:
        raise SourceError(f"{root}: no such folder; run `uir fetch`") from None
    except OSError as error:
        raise SourceError(f"{root}: cannot be read: {error.strerror or error}") from error
    return sorted(found)
