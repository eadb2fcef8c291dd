"""The fault run finds what it looks for, and its parts hold at a small size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

CHILDREN = """
import os, sys, time
from pathlib import Path
from benchmarks.fault_run.forks import lose_unsynced, run_forked

top = Path(sys.argv[1])

def leave(code):
    raise SystemExit(code)

def broken():
    raise KeyError("x")

def write():
    for name in ("synced", "lost"):
        with (top / name).open("wb") as file:
            file.write(b"data")
            file.flush()
            if name == "synced":
                os.fsync(file.fileno())

found = [
    run_forked(lambda: None, top / "log"),
    run_forked(lambda: leave(3), top / "log"),
    run_forked(lambda: leave(99), top / "log"),
    run_forked(broken, top / "log"),
    run_forked(lambda: os.kill(os.getpid(), 11), top / "log"),
    run_forked(lambda: time.sleep(60), top / "log", limit_s=0.2),
    run_forked(lambda: time.sleep(60), top / "log", kill_after_s=0.05),
]
print(*(ended.how for ended in found))
start = time.time_ns() - 10**9
run_forked(write, top / "log", synced=top / "inodes")
lose_unsynced(top, top / "inodes", start)
print((top / "synced").read_bytes(), (top / "lost").read_bytes())
"""


def test_every_way_to_end_is_told_apart_and_unsynced_bytes_are_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILDREN, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "ok ok traceback traceback signal hang killed",
        r"b'data' b'\x00\x00\x00\x00'",
    ]


@pytest.mark.filterwarnings("ignore")
def test_a_small_fault_run_finds_nothing() -> None:
    counts = {"kills": 0, "servers": 2, "archives": 10, "images": 50, "shards": 2, "commands": 4}
    options = [text for part, number in counts.items() for text in (f"--{part}", str(number))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UIR_", "HF_"))}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *options, "--seed", "7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "68 cases" in done.stdout
