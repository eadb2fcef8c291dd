"""
Kills, hostile servers, archives, images, shards and command lines: does anything break, lie or touch other files?

Every case runs in a forked child with a time limit. Killed commands are started again and must give the bytes of an
undisturbed run; in half of the kills the files that were not synced lose their bytes, as in a power cut. A tree of
other files beside the work must stay as it is.

    python -m benchmarks.faults [--kills 500] [--servers 100] [--archives 100] [--images 2000] [--shards 200]
                                [--commands 500] [--seed 1] [--out benchmarks/results/faults.md]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fault_run.forks import digests
from benchmarks.fault_run.hostile import run_archives, run_commands, run_images, run_servers, run_shards
from benchmarks.fault_run.kills import run_kills
from benchmarks.fault_run.tally import Fault, Tally

PARTS = ("kills", "servers", "archives", "images", "shards", "commands")


def run(counts: dict[str, int], seed: int) -> Tally:
    """Run the parts, each in a folder of its own beside the canaries; return the counts."""
    # Everything is imported before the first fork.
    import cv2
    import torch

    import uirdata.pipeline.verbs  # noqa: F401

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        top = Path(name)
        canaries = _canaries(top / "home")
        works = {
            "kills": run_kills,
            "servers": run_servers,
            "archives": run_archives,
            "images": run_images,
            "shards": run_shards,
            "commands": run_commands,
        }
        for part, work in works.items():
            if counts[part]:
                start = time.monotonic()
                work(top / part, counts[part], seed, tally)
                print(f"{part}: {counts[part]} cases in {time.monotonic() - start:.0f} s", flush=True)
                touched = [k for k, v in digests(top / "home", "**/*").items() if canaries.get(k) != v]
                if touched or len(digests(top / "home", "**/*")) != len(canaries):
                    tally.add(
                        f"canaries after {part}", Fault("touched outside", ", ".join(touched[:5])), f"seed {seed}"
                    )
    return tally


def _canaries(home: Path) -> dict[str, str]:
    for number in range(50):
        path = home / f"d{number % 5}/victim{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine {number}")
    return dict(digests(home, "**/*"))


def main() -> None:
    """Run the parts that are asked for, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for part, number in zip(PARTS, (500, 100, 100, 2000, 200, 500), strict=True):
        parser.add_argument(f"--{part}", type=int, default=number)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    asked = parser.parse_args()
    start = time.monotonic()
    tally = run({part: getattr(asked, part) for part in PARTS}, asked.seed)
    minutes = (time.monotonic() - start) / 60
    counts = " ".join(f"--{part} {getattr(asked, part)}" for part in PARTS)
    day = datetime.datetime.now(tz=datetime.UTC).date()
    page = (
        "# Faults\n\n"
        f"`python -m benchmarks.faults {counts} --seed {asked.seed}` on {day}, Python {platform.python_version()}, one "
        f"core: {sum(tally.cases.values()):,} cases in {minutes:.0f} minutes, {len(tally.faults)} faults.\n\n"
        f"{tally.table()}\n\n"
        "Killed commands were started again and compared with an undisturbed run; in every second kill the files that "
        "were not synced lost their bytes. Canaries: 50 files beside the work.\n"
    )
    if tally.faults:
        page += "\n" + "\n".join(f"- {part}, {how}: {fault.kind}" for part, how, fault in tally.faults) + "\n"
    print(page)
    if asked.out is not None:
        asked.out.write_text(page)
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
