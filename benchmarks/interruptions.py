"""
Do interruptions change bytes? One build by the command line in all possible ways, and killed at random moments.

Photographs of 2040 x 1356, 512 crops at stride 256, noise and JPEG, shards of 12 MB. Built on 1, 2 and 7 workers, on
Ray, as three `--task` slices at once, and on two workers that are killed (SIGKILL, the whole process group) --kills
times at random moments before they are left to finish. Every tar and every part of the manifest must have the same
sha256.

    python -m benchmarks.interruptions [--count 3] [--kills 20]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.build_shards import make_photographs

SUBSET = """
[[subset]]
name = "small"
title = "noise and JPEG"
classes = [["noise"], ["jpeg"]]
[[subset.use]]
sources = ["mine"]
degradations = ["noise", "jpeg"]
splits = ["train"]
"""
UIR = [sys.executable, "-c", "from cli.uir import main; main()"]


def command(root: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a build."""
    asked = ["build-shards", "--subset", "small", "--root", str(root), "--out", str(out), "--shard-size", "12MB", "-q"]
    return [*UIR, *asked, *more]


def digests(out: Path) -> dict[str, str]:
    """Return the hash of every tar and every part of the manifest."""
    files = [*out.rglob("*.tar"), *(out / "manifest.parquet").glob("*.parquet"), out / "info.json"]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def build(root: Path, out: Path, *more: str) -> float:
    """Run a build without interruption; return the seconds."""
    start = time.perf_counter()
    subprocess.run(command(root, out, *more), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def slices(root: Path, out: Path) -> None:
    """Build three slices in parallel."""
    calls = [command(root, out, "--workers", "1", "--task", f"{n}/3") for n in (1, 2, 3)]
    parts = [subprocess.Popen(call, stdout=subprocess.DEVNULL) for call in calls]
    if any(part.wait() for part in parts):
        raise SystemExit("a slice failed")
    # The last slice to finish writes info.json; if two finish together, a call with nothing left to build does.
    build(root, out, "--workers", "1")


def killed(root: Path, out: Path, times: int, took: float) -> tuple[int, int]:
    """Kill builds; return how many were still running, and after how many there were finished shards."""
    hits = progress = 0
    chance = random.Random(0)
    for _ in range(times):
        process = subprocess.Popen(
            command(root, out, "--workers", "2"), start_new_session=True, stdout=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.3, 1.5) * took / 3)
        hits += process.poll() is None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        progress += any((out / "manifest.parquet").glob("*.parquet"))
    build(root, out, "--workers", "2")
    return hits, progress


def main() -> None:
    """Run all builds; print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_photographs(root / "photos", arguments.count)
        fetch = ["fetch", "mine", "--from", str(root / "photos"), "--root", str(root), "-q"]
        subprocess.run([*UIR, *fetch], check=True, stdout=subprocess.DEVNULL)
        (root / "manifests").mkdir(exist_ok=True)
        (root / "manifests/subsets.toml").write_text(SUBSET)
        took = build(root, root / "1", "--workers", "1")
        build(root, root / "2", "--workers", "2")
        build(root, root / "7", "--workers", "7")
        build(root, root / "ray", "--engine", "ray")
        slices(root, root / "slices")
        hits, progress = killed(root, root / "killed", arguments.kills, took)
        expected = digests(root / "1")
        tars = sum(path.endswith(".tar") for path in expected)
        load = os.getloadavg()[0]
        print(f"{tars} tars, {tars} parts of the manifest and info.json; {took:.1f} s on one worker; load {load:.1f}\n")
        print("| way | same sha256 of every file |\n|---|---|")
        for way in ("2", "7", "ray", "slices", "killed"):
            print(f"| {way} | {'yes' if digests(root / way) == expected else 'NO'} |")
        print(f"\nOf {arguments.kills} kills {hits} hit a running build, {progress} one with finished shards.")


if __name__ == "__main__":
    main()
