"""Processes that are killed, and what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def note_and_wait(folder: str) -> None:
    """Write a file with the number of this process as its name, and wait for a long time."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(100)


def left_by_a_killed(script: str, folder: Path, workers: Callable[[int], list[int]], *, count: int) -> list[int]:
    """
    Kill a process that has workers; return those that do not end.

    Args:
        script: its code, which is given the folder.
        folder: for what it needs.
        workers: returns their numbers from that of the process.
        count: how many there will be.
    """
    file = folder.with_name(f"{folder.name}_script.py")
    file.write_text(script)
    process = subprocess.Popen(
        [sys.executable, file, folder], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        assert until(lambda: len(workers(process.pid)) == count or process.poll() is not None)
        assert process.poll() is None
        found = workers(process.pid)
    finally:
        process.kill()
        process.wait()
    return those_left(found)


def those_left(numbers: list[int]) -> list[int]:
    """Wait until processes have ended; end and return those that do not."""
    until(lambda: not any(map(is_running, numbers)))
    left = [number for number in numbers if is_running(number)]
    for number in left:
        os.kill(number, signal.SIGKILL)
    return left


def is_running(number: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(parent: int) -> list[int]:
    """Return the numbers of the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(its_parent) == parent and state != "Z":
            found.append(int(path.parent.name))
    return found


def until(reached: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for a condition; return whether it was met in that time."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
