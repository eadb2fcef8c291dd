"""Put an already unpacked tree of files into a source's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uirdata.storage.archives import Unpacked, put_file, rewrite_journal
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
        put_file(tree / path, root, path)
        target = root / path
        try:
            stat = target.stat()
            sha256, _ = hash_file(target)
        except OSError as error:
            raise storage_error(target, error) from error
        entries.append(Unpacked(path, stat.st_size, stat.st_mtime_ns, sha256))
    rewrite_journal(journal, entries, tree.as_uri())
