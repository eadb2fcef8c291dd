"""
Worker processes with limits of memory and of time.

A file of a stranger may crash its decoder, fill the memory, or keep a processor busy for hours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from typing import Any

import cv2

from uirdata.errors import SourceError
from uirdata.pipeline.verifying.pixel_checks import Group, Seen, inspect_group
from uirdata.storage.checks import FileCheck

_READY = ""
_START_S = 120.0
_START = (
    "import sys; sys.path[:] = sys.argv[3:]; from uirdata.pipeline.verifying.limited_workers import work; "
    "work(int(sys.argv[1]), int(sys.argv[2]))"
)


@dataclass(frozen=True)
class Limits:
    """
    Limits of a worker.

    Attributes:
        memory_bytes: that it may reserve beyond what it has at its start; a pair of the largest images that are decoded
            takes 5 GB.
        file_s: seconds for one file, with the comparison that follows.
    """

    memory_bytes: int = 8 << 30
    file_s: float = 300.0


def inspect_limited(groups: Iterable[Group], jobs: int, limits: Limits | None = None) -> Generator[Seen, None, None]:
    """
    Yield the results of groups, as they are finished; a file whose worker was lost has that as its problem.

    Args:
        groups: read when they are needed.
        jobs: number of processes.
        limits: of each of them.

    Raises:
        SourceError: the processes cannot start.
    """
    asked = limits or Limits()
    rest = iter(groups)
    again: deque[Group] = deque()
    workers: list[_Worker] = []
    try:
        while True:
            idle = [worker for worker in workers if worker.group is None]
            for group in _next(again, rest, len(idle) + jobs - len(workers)):
                worker = idle.pop() if idle else _Worker(asked)
                if worker not in workers:
                    workers.append(worker)
                worker.give(group)
            busy = [worker for worker in workers if worker.group is not None]
            if not busy:
                return
            for worker in _changed(busy):
                seen = worker.receive()
                if worker.lost:
                    workers.remove(worker)
                    seen, left = _after_loss(worker)
                    again.extend(left)
                if seen is not None:
                    yield seen
    finally:
        for worker in workers:
            worker.end()


def _next(again: deque[Group], rest: Iterator[Group], count: int) -> Iterator[Group]:
    while again and count:
        yield again.popleft()
        count -= 1
    yield from islice(rest, count)


def _changed(busy: list[_Worker]) -> list[_Worker]:
    """Wait for messages, and return the workers that have one or are overdue."""
    soonest = min(worker.deadline for worker in busy)
    ready = set(connection.wait([worker.pipe for worker in busy], max(0.0, soonest - time.monotonic())))
    now = time.monotonic()
    return [worker for worker in busy if worker.pipe in ready or worker.deadline <= now]


def _after_loss(worker: _Worker) -> tuple[Seen, list[Group]]:
    """Return the result for the file at which a worker was lost, and what is left of its group."""
    group = worker.group
    assert group is not None
    stat = None
    with contextlib.suppress(OSError):
        stat = (group.root / worker.path).stat()
    # Without a mode, the next deep verification checks the file again: the memory may have been short by chance.
    check = FileCheck(
        worker.path, stat.st_size if stat else 0, stat.st_mtime_ns if stat else 0, problem=f"its check {worker.lost}"
    )
    others = tuple(path for path in group.lqs if path != worker.path)
    left = replace(group, gt="" if worker.path == group.gt else group.gt, lqs=others)
    return Seen((check,), ()), [left] if others else []


class _Worker:
    """
    A process that inspects one group after another, and says which file is next.

    Attributes:
        pipe: its messages.
        group: what it works on; None if nothing.
        path: the file that it works on.
        deadline: when it is overdue, by `time.monotonic`.
        lost: why it is lost; "" while it is not.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        with theirs:
            self.pipe = connection.Connection(ours.detach())
            # An interpreter of its own, which does not run the user's script again, and no Ctrl-C reaches.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), str(limits.memory_bytes), *sys.path],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._is_ready = False
        self.group: Group | None = None
        self.path = ""
        self.lost = ""
        self.deadline = 0.0

    def give(self, group: Group) -> None:
        """Hand it a group."""
        self.group, self.path = group, group.gt or group.lqs[0]
        # The start of an interpreter is no part of the file's time.
        allowed_s = self._limits.file_s if self._is_ready else max(_START_S, self._limits.file_s)
        self.deadline = time.monotonic() + allowed_s
        with contextlib.suppress(OSError):
            # If it has ended, `receive` finds out.
            self.pipe.send(group)

    def receive(self) -> Seen | None:
        """Return its result if it has one, and else set what it says: the next file, or its loss."""
        try:
            if not self.pipe.poll():
                self._lose(f"took longer than {self._limits.file_s:g} s")
                return None
            message: Any = self.pipe.recv()
        except (EOFError, OSError):
            self._lose("ended its process: the file is damaged, or too large for the memory")
            return None
        self.deadline = time.monotonic() + self._limits.file_s
        if isinstance(message, Seen):
            self.group = None
            return message
        self._is_ready = True
        self.path = message or self.path
        return None

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self.pipe.close()

    def _lose(self, why: str) -> None:
        self.end()
        if not self._is_ready:
            raise SourceError("a worker process could not start; results so far are kept, run the command again")
        self.lost = why


def work(number: int, memory_bytes: int) -> None:
    """
    Inspect the groups that come through a pipe, until it ends, as it does with the parent.

    Args:
        number: file descriptor of the pipe.
        memory_bytes: as in `Limits`.
    """
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    pipe = connection.Connection(number)
    # The workers run in parallel; threads of OpenCV would only compete for the cores.
    cv2.setNumThreads(1)
    _limit_memory(memory_bytes)
    pipe.send(_READY)
    # Without memory for a message, this process is lost, and its parent says so.
    with contextlib.suppress(EOFError, OSError, MemoryError):
        while True:
            pipe.send(inspect_group(pipe.recv(), pipe.send))


def _end_with_parent(parent: int) -> None:
    """End this process once its parent is gone, also in the middle of a file that takes minutes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _limit_memory(memory_bytes: int) -> None:
    """Limit the address space, where the system can: a decoder then gets a MemoryError, and the system stays alive."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    except (ImportError, OSError, ValueError):
        return
