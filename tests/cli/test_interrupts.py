"""Ctrl-C, lost memory and too many open files end the programs with their exit code and one line, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import errno, os, signal, sys, time
import click
from uir_cli.options import Program

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)

@click.group(name="uir", cls=Program)
def program(): pass

@program.command()
def once(): interrupt()

@program.command()
def thrice():
    try:
        interrupt()
    finally:
        try:
            interrupt()
        finally:
            interrupt()

@program.command()
def files(): raise OSError(errno.EMFILE, "Too many open files")

@program.command()
def memory(): raise MemoryError

program.main(args=sys.argv[1:])
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("command", "exit_code", "words"),
    [
        ("once", 130, "interrupted"),
        ("thrice", 130, "interrupted"),
        ("files", 1, "ulimit -n"),
        ("memory", 1, "out of memory"),
    ],
)
def test_a_command_that_cannot_go_on_ends_in_one_line(command: str, exit_code: int, words: str) -> None:
    done = run(PROGRAM, command)
    assert done.returncode == exit_code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["uir", "maskdcpt"])
def test_ctrl_c_while_the_modules_are_imported_shows_no_traceback(program: str) -> None:
    code = f"""
import os, signal, sys
sys.argv[0] = {program!r}

class Interrupting:
    def find_spec(self, name, *_):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
import uir_cli.{program}
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (130, "interrupted; finished work is kept\n")


def test_a_program_that_imports_the_package_keeps_its_own_ctrl_c() -> None:
    code = "import signal, uir_cli.uir; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    assert run(code).returncode == 0


WORKERS = """
import os, sys, time
from uirdata.pipeline.parallel import worker_pool

if __name__ == "__main__":
    with worker_pool(2) as pool:
        futures = [pool.submit(os.getpid) for _ in range(2)]
        pids = {future.result() for future in futures} | set(pool._processes)
        busy = [pool.submit(time.sleep, 600) for _ in pids]
        print(*pids, flush=True)
        time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet is dead all the same.
    return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the state of processes from /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < until, "the workers outlive their parent"
        time.sleep(0.02)
