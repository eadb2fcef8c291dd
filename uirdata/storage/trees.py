"""Put an already unpacked tree of files into a source's folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from uirdata.storage.archives import Unpacked, rewrite_journal
from uirdata.storage.downloads import hash_file
from uirdata.storage.files import storage_error


def adopt_tree(tree: Path, paths: Sequence[str], root: Path, journal: Path) -> None:
    """
    Put files of a tree below a source's folder: as hard links if the disk supports them, else as copies.

    Afterwards the journal is like that of an unpacked archive: `archives.read_journal` reads it.

    Args:
        tree: folder that the paths are relative to.
        paths: of the files to take.
        root: the source's folder.
        journal: file that records what was put there.

    Raises:
        StorageError: it cannot be written.
    """
    entries: list[Unpacked] = []
    for path in paths:
        target = root / path
        try:
            wanted = (tree / path).stat()
            if not target.exists() or target.stat().st_size != wanted.st_size:
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{target.name}.part")
                partial.unlink(missing_ok=True)
                try:
                    os.link((tree / path).resolve(), partial)
                except OSError:
                    shutil.copy2(tree / path, partial)
                partial.replace(target)
            stat = target.stat()
            sha256, _ = hash_file(target)
        except OSError as error:
            raise storage_error(target, error) from error
        entries.append(Unpacked(path, stat.st_size, stat.st_mtime_ns, sha256))
    rewrite_journal(journal, entries, tree.as_uri())
