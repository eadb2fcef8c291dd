"""Commands in forked children of a process that has imported everything: a run costs a tenth of a second, not four."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 120.0
_OK = (0, 1, 2, 3, 130, 143)


@dataclass(frozen=True)
class Ended:
    """
    How a child ended.

    Attributes:
        how: ok (a documented exit code), traceback, signal, hang or killed (by us).
        code: exit code; of a signal, its number below zero.
        said: the end of what it wrote.
    """

    how: str
    code: int
    said: str


def run_forked(
    work: Callable[[], Any],
    log: Path,
    *,
    kill_after_s: float | None = None,
    limit_s: float = LIMIT_S,
    synced: Path | None = None,
) -> Ended:
    """
    Run a function in a child of its own process group, and kill the group after a time if that is asked for.

    Args:
        work: may raise SystemExit; any other exception is a traceback.
        log: file for what the child writes.
        kill_after_s: seconds; None lets it end.
        limit_s: seconds after which it hangs.
        synced: file for a line per file that the child has written to the disk for certain.
    """
    child = os.fork()
    if child == 0:
        _be_child(work, log, synced)
    with suppress(OSError):
        # The child does the same; whoever comes first, the group is there when it is killed.
        os.setpgid(child, child)
    start = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        passed = time.monotonic() - start
        if done:
            break
        if passed > (limit_s if kill_after_s is None else kill_after_s):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended("killed" if kill_after_s is not None else "hang", -9, _end_of(log))
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    said = _end_of(log)
    how = "signal" if code < 0 else "traceback" if "Traceback (most recent" in said or code not in _OK else "ok"
    return Ended(how, code, said)


def command(program: str, *arguments: object) -> Callable[[], Any]:
    """Return a function that runs one of the two programs."""

    def run() -> None:
        from cli.maskdcpt import program as learning
        from cli.uir import program as data

        (data if program == "uir" else learning).main(args=[str(argument) for argument in arguments], prog_name=program)

    return run


def lose_unsynced(folder: Path, synced: Path, since_ns: int) -> int:
    """Zero files that were written after a time and not synced, sizes kept, as a power cut may; return how many."""
    lines = synced.read_text().split("\n") if synced.exists() else []
    inodes = {line for line in lines if line.isdecimal()}
    everything = max((int(line[4:]) for line in lines if line.startswith("all ")), default=0)
    lost = 0
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        stat = path.stat()
        if (
            stat.st_mtime_ns < since_ns
            or str(stat.st_ino) in inodes
            or stat.st_mtime_ns <= everything
            or not stat.st_size
        ):
            continue
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        lost += 1
    return lost


def digests(folder: Path, *patterns: str) -> Mapping[str, str]:
    """Return the sha256 of files below a folder."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def _be_child(work: Callable[[], Any], log: Path, synced: Path | None) -> None:
    code = 99
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        if synced is not None:
            _log_syncs(synced)
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _log_syncs(synced: Path) -> None:
    out = os.open(synced, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    real_fsync, real_sync = os.fsync, os.sync

    def fsync(file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        real_fsync(number)
        os.write(out, f"{os.fstat(number).st_ino}\n".encode())

    def everything(*_: object) -> None:
        # What was written before this moment is safe.
        os.write(out, f"all {time.time_ns()}\n".encode())

    os.fsync = fsync  # type: ignore[assignment]
    os.fdatasync = fsync  # type: ignore[assignment]
    os.sync = lambda: (real_sync(), everything())[0]
    import uirdata.storage.archives
    import uirdata.storage.trees

    for module in (uirdata.storage.archives, uirdata.storage.trees):
        module.sync_disk = everything  # type: ignore[attr-defined]


def _end_of(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-4000:]
    except FileNotFoundError:
        return ""
