"""Write files that appear under their final name only when complete."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from uirdata.errors import StorageError


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """
    Yield a partial name to write to; it becomes `path` when the block ends without error, after a sync to the disk.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _partial(path) as partial:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """
    Yield a name beside `path` that no other process writes to; the file of a process that died is overwritten.

    Several tasks of one build may write the same table at the same time. Each locks the partial file that it
    writes, and takes the next name if another task holds the lock.
    """
    for number in count(1):
        # The leading dot: pyarrow reads a folder of parts as one table and skips such names.
        partial = path.with_name(f".{path.name}{'' if number == 1 else f'.{number}'}.part")
        while True:
            with partial.open("ab") as file:
                taken = _is_locked(file)
                # Between opening and locking, the previous owner may have renamed it to its final name.
                if not taken and not _is_same(file, partial):
                    continue
                if not taken:
                    yield partial
                    return
            break


def _is_locked(file: BinaryIO) -> bool:
    """Lock a file; return True if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        # A file system without locks: then only one process may write each shard and table, as usual.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return False


def _is_same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def link_or_copy(source: Path, target: Path) -> None:
    """
    Make `target` a hard link to a file, or a copy of it where the file system cannot link the two.

    A file that was under that name is replaced; the name is never that of half a copy. Of a symbolic link the file
    that it points to is taken. Folders that are missing are made.

    Raises:
        StorageError: the disk is full, or one of the two cannot be read or written.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            try:
                os.link(source.resolve(), partial)
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
                shutil.copy2(source, partial)
            partial.replace(target)
        finally:
            # Not only after a failure: where both names are of one file already, renaming does nothing.
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(target, error) from error


# Another file system; a file system or a user without hard links to this file; too many links to it.
_CANNOT_LINK = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
)


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of a file, whether or not the file and its folders exist."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file that could not be written, with the reason and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"{path}: the disk is full. Finished files are kept; free some space and run the same command again"
        )
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")
