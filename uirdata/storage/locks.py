"""
Locks between processes, also on file systems without flock (some Lustre, NFS, FUSE and cluster mounts).

With flock the lock file stays where it is, and the system releases the lock of a process that dies. Without it, a file
`<name>.held` exists while the lock is held; that of a process that died on this machine is taken over.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from uirdata.errors import StorageError, UirError
from uirdata.storage.disk_errors import NOT_SUPPORTED, storage_error
from uirdata.storage.temporary_names import beside

logger = logging.getLogger(__name__)

_RECORD = re.compile(r"(\d{1,10})\n([^\n\x00-\x1f]{1,255})\n(?:([-0-9T:+]{1,40}|\d{1,100})\n)?")
_MOST_RECORD_BYTES = 512
_LONGEST_POLL_S = 0.5


@dataclass(frozen=True)
class Holder:
    """
    The process that holds a lock.

    Attributes:
        pid: its process id on its machine.
        host: name of the machine.
        since: UTC, ISO 8601; "" if unknown.
    """

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f", since {self.since}" if self.since else "")


@contextmanager
def locked(
    path: Path,
    what: str = "another command is writing here",
    *,
    then: str = "wait until it ends",
    error: type[UirError] = StorageError,
    shared: bool = False,
    wait_s: float = 0.0,
) -> Iterator[None]:
    """
    Hold a lock while the block runs. Folders that are missing are made.

    Args:
        path: the lock file, such as DIR/.lock; it stays after the block.
        what: what it means that another process holds the lock, for the error message.
        then: what to do about it.
        error: class of the error if the lock is held.
        shared: several processes may hold the lock at once, if all of them ask for that.
        wait_s: how long to wait for the lock.

    Raises:
        StorageError: the lock file cannot be written.
    """
    with ExitStack() as held:
        file = _open(path, held)
        until = time.monotonic() + wait_s
        poll = 0.01
        while not _take(file, path, held, shared=shared, warn=True):
            if time.monotonic() >= until:
                raise error(f"{path.parent}: {what}{_by(path)}; {then}")
            time.sleep(poll)
            poll = min(2 * poll, _LONGEST_POLL_S)
        held.enter_context(_signed(file))
        yield


@contextmanager
def lock_file(file: int, path: Path) -> Iterator[bool]:
    """
    Lock an open file that holds something of its own, and yield whether that was possible.

    Args:
        file: its descriptor.
        path: its path.
    """
    with ExitStack() as held:
        yield _take(file, path, held, shared=False, warn=False)


def holder(path: Path) -> Holder | None:
    """Return the process that wrote its name into a lock file last; None if there is none."""
    mark = _mark(path)
    for file in (mark, path):
        with suppress(OSError, ValueError):
            with file.open("rb") as opened:
                match = _RECORD.fullmatch(opened.read(_MOST_RECORD_BYTES).decode())
            if match:
                since = match[3] if file == path else _iso(file.stat().st_mtime)
                return Holder(int(match[1]), match[2], since or "")
    return None


def _open(path: Path, held: ExitStack) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            # We make no links, so somebody else put it there.
            path.unlink()
        # Neither truncated nor reached through a link: the file may not be a lock at all.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as trouble:
        raise storage_error(path, trouble) from trouble
    held.callback(os.close, file)
    return file


def _take(file: int, path: Path, held: ExitStack, *, shared: bool, warn: bool) -> bool:
    """Try to take a lock, which is released with `held`; return whether it was free."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno not in NOT_SUPPORTED | {errno.EPERM}:
            raise storage_error(path, error) from error
        if warn:
            _remark(path.parent, errno.errorcode.get(error.errno or 0, ""))
        return _take_mark(path, held, shared=shared)
    return True


def _take_mark(path: Path, held: ExitStack, *, shared: bool) -> bool:
    """
    Try to take a lock without flock.

    An exclusive holder keeps the mark. A shared one keeps a mark of its own beside it, and needs the first one only
    while it makes that; an exclusive one is refused while any of those is held.
    """
    with ExitStack() as taken:
        if not _create(_mark(path), taken):
            return False
        if shared:
            own = (beside(path, f".held-{socket.gethostname()[:64]}-{os.getpid()}-{number}") for number in count(1))
            while not _create(next(own), held):
                pass
            return True
        for other in sorted(path.parent.glob("*.held-*")):
            if other.name.startswith(path.name + ".held-"):
                with ExitStack() as probe:
                    if not _create(other, probe):
                        return False
        held.push(taken.pop_all())
    return True


def _create(mark: Path, held: ExitStack) -> bool:
    """Create the file that is a lock, also in place of that of a dead process; return False if it is held."""
    # Imported here: it is needed on few file systems, and is slow to import.
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(mark, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        raise storage_error(mark, error) from error
    held.callback(lock.release)
    return True


@contextmanager
def _signed(file: int) -> Iterator[None]:
    """Keep the name of this process in the lock file, if that holds nothing else."""
    record = f"{os.getpid()}\n{socket.gethostname() or 'localhost'}\n{_iso(time.time())}\n".encode()
    with suppress(OSError, ValueError):
        before = os.pread(file, _MOST_RECORD_BYTES, 0)
        if not before or _RECORD.fullmatch(before.decode()):
            os.pwrite(file, record, 0)
            os.ftruncate(file, len(record))
    try:
        yield
    finally:
        # Another holder of a shared lock may have written its own name meanwhile.
        with suppress(OSError):
            if os.pread(file, _MOST_RECORD_BYTES, 0) == record:
                os.ftruncate(file, 0)


def _by(path: Path) -> str:
    found = holder(path)
    if found is None:
        return ""
    mark = _mark(path)
    stuck = f"; if that process has ended, delete {mark}" if mark.exists() else ""
    return f" ({found}{stuck})"


@functools.cache
def _remark(folder: Path, reason: str) -> None:
    logger.warning(
        "%s: this file system has no locks (%s); a file with the ending .held is used in their place. After a crash of "
        "another machine it has to be deleted by hand",
        folder,
        reason,
    )


def _mark(path: Path) -> Path:
    return beside(path, ".held")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
