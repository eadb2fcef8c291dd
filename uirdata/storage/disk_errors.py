"""What the errors of a file system mean: a full disk, a refusal, or an operation that it does not have."""

from __future__ import annotations

import errno
from pathlib import Path

from uirdata.errors import StorageError

NOT_SUPPORTED = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL})
"""Errors of a file system that does not have an operation: Lustre and NFS without locks, FUSE, CIFS, FAT."""


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file that could not be written, with the reason and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"{path}: the disk is full. Finished files are kept; free some space and run the same command again"
        )
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")
