"""Put an already unpacked tree of files into a source's folder."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from uirdata.storage.archives import put_file
from uirdata.storage.downloads import hash_file
from uirdata.storage.files import storage_error
from uirdata.storage.journals import Unpacked, is_unchanged, read_journal, rewrite_journal, sync_disk


def adopt_tree(tree: Path, paths: Sequence[str], root: Path, journal: Path) -> None:
    """
    Put files of a tree below a source's folder: as hard links if the disk supports them, else as copies.

    Afterwards the journal is like that of an unpacked archive: `archives.read_journal` reads it. A second tree adds to
    the first.

    Args:
        tree: folder that the paths are relative to.
        paths: of the files to take.
        root: the source's folder.
        journal: file that records what was put there.

    Raises:
        StorageError: it cannot be written.
    """
    entries = {entry.path: entry for entry in read_journal(journal)[0]}
    for path in paths:
        put_file(tree / path, root, path)
        target = root / path
        try:
            stat = target.stat()
            known = entries.get(path)
            # A second run over the same tree hashes nothing again.
            if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                continue
            sha256, _ = hash_file(target)
        except OSError as error:
            raise storage_error(target, error) from error
        entries[path] = Unpacked(path, stat.st_size, stat.st_mtime_ns, sha256)
    sync_disk(root)
    rewrite_journal(journal, [entries[path] for path in sorted(entries)], tree.as_uri())


def release_tree(root: Path, journal: Path) -> None:
    """
    Remove from a source's folder what was taken from trees of the user: our links and copies, never the user's files.

    Files that have changed since are kept. The journal is removed last, so an interrupted call can be repeated.

    Raises:
        StorageError: a file cannot be removed.
    """
    try:
        folders: set[Path] = set()
        for entry in read_journal(journal)[0]:
            target = root / entry.path
            # Not through a link that leads out of the source's folder.
            if target.parent.resolve().is_relative_to(root.resolve()) and is_unchanged(target, entry):
                target.unlink()
                folders.update(parent for parent in target.parents if parent.is_relative_to(root) and parent != root)
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        journal.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(root, error) from error
