"""Write files that appear under their final name only when complete."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from uirdata.storage.disk_errors import NOT_SUPPORTED, storage_error
from uirdata.storage.locks import lock_file
from uirdata.storage.temporary_names import beside

__all__ = ["file_of_uri", "free_bytes", "link_or_copy", "move", "storage_error", "sync", "writing"]

logger = logging.getLogger(__name__)


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
                sync(file.fileno())
            move(partial, path)
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
        partial = beside(path, f"{'' if number == 1 else f'.{number}'}.part", start=".")
        while True:
            if partial.is_symlink():
                # Its target would be overwritten; we make no links, so somebody else put it there.
                partial.unlink()
            with partial.open("ab") as file, lock_file(file.fileno(), partial) as free:
                # Between opening and locking, the previous owner may have renamed it to its final name.
                if free and not _is_same(file, partial):
                    continue
                if free:
                    yield partial
                    return
            break


def _is_same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def sync(file: int) -> None:
    """Write the bytes of an open file to the disk, on file systems that can do that."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise


def move(source: Path, target: Path) -> None:
    """
    Rename a file, also onto another one; where the file system refuses that, copy it and delete the first.

    Raises:
        OSError: neither is possible.
    """
    try:
        source.replace(target)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED | {errno.EPERM, errno.EXDEV} or target.is_dir() or not source.is_file():
            raise
        _copy(source, target)
        source.unlink()
        _remark(target.parent, errno.errorcode.get(error.errno or 0, ""))


def link_or_copy(source: Path, target: Path) -> None:
    """
    Make `target` a hard link to a file, or a copy of it where the file system cannot link the two.

    A file that was under that name is replaced; the name is never that of half a copy. Of a symbolic link the file
    that it points to is taken. Folders that are missing are made.

    Raises:
        StorageError: the disk is full, or one of the two cannot be read or written.
    """
    partial = beside(target, ".part", start=".")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            try:
                os.link(source.resolve(), partial)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                _copy(source, partial)
            move(partial, target)
        finally:
            # Not only after a failure: where both names are of one file already, renaming does nothing.
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(target, error) from error


_REFUSED = NOT_SUPPORTED | {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK}
"""Another file system; a file system or a user without this operation on this file; too many links to it."""


def _copy(source: Path, target: Path) -> None:
    """Copy a file, with its mode and times where the file system has them: CIFS and FAT refuse to set them."""
    try:
        shutil.copyfile(source, target)
        # Before it gets its name: a file of that name and size is taken for a whole one, also after a power cut.
        with target.open("rb") as file:
            sync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        raise
    try:
        shutil.copystat(source, target)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise


@functools.cache
def _remark(folder: Path, reason: str) -> None:
    logger.warning(
        "%s: this file system does not rename files (%s); they are copied, and a crash may leave half a copy",
        folder,
        reason,
    )


def file_of_uri(uri: str) -> Path | None:
    """
    Return the path of a file: address; None for any other address.

    >>> file_of_uri("file:///data/a%20b.zip")
    PosixPath('/data/a b.zip')
    """
    parts = urllib.parse.urlsplit(uri)
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of a file, whether or not the file and its folders exist."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
