"""
Time and memory of a deep verification of very many pairs, and of a second run.

    python benchmarks/verify_pairs.py --pairs 100000 --size 64 --jobs 2

The pairs are generated from a seed: a GT with structure, and a hazy LQ of it. They are in a temporary folder.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from uirdata.layout import Layout
from uirdata.pipeline.fetching.fetch import add_local_source
from uirdata.pipeline.verifying.verify import SourceVerification, verify
from uirdata.progress import Silent
from uirdata.sources import Source


def main() -> None:
    """Generate the pairs, verify them twice, change ten, verify again, and print a table row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, layout = Path(name) / "images", Layout(Path(name) / "root")
        begin = time.monotonic()
        for index in range(given.pairs):
            write_pair(folder, index, given.size)
        print(f"made {given.pairs} pairs of {given.size}x{given.size} in {time.monotonic() - begin:.0f} s")
        source = add_local_source("made", folder, layout, lq="lq", gt="gt", degradation="haze")
        print("| run | seconds | pairs/s | used | left out | peak MiB, this process | peak MiB, largest worker |")
        print("|---|---|---|---|---|---|---|")
        show("fast", *timed(source, layout, given.jobs, deep=False))
        show("deep, first", *timed(source, layout, given.jobs, deep=True))
        show("deep, second", *timed(source, layout, given.jobs, deep=True))
        for index in range(10):
            write_pair(folder, index, given.size, seed=given.pairs)
        show("deep, ten pairs changed", *timed(source, layout, given.jobs, deep=True))


def write_pair(folder: Path, index: int, size: int, seed: int = 0) -> None:
    """Write one GT and its hazy LQ."""
    rng = np.random.Generator(np.random.PCG64(index + seed))
    coarse = [
        cv2.resize(rng.uniform(0, 255, (n, n, 3)), (size, size), interpolation=cv2.INTER_CUBIC) for n in (4, 10, 24)
    ]
    gt = np.clip(sum(coarse) / 3, 0, 255).astype(np.uint8)
    lq = (gt * 0.6 + 90).astype(np.uint8)
    for side, image in (("gt", gt), ("lq", lq)):
        # A thousand files per folder, as in LSDIR.
        target = folder / side / f"{index // 1000:04d}" / f"{index:07d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def timed(source: Source, layout: Layout, jobs: int, *, deep: bool) -> tuple[float, SourceVerification]:
    """Verify; return the seconds and the result."""
    begin = time.monotonic()
    result = verify([source], layout, deep=deep, jobs=jobs, progress=Silent()).sources[0]
    return time.monotonic() - begin, result


def show(run: str, seconds: float, result: SourceVerification) -> None:
    """Print a table row; memory is the peak so far."""
    assert result.inventory is not None
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    used, left = result.inventory.total, sum(result.inventory.left_out.values())
    print(
        f"| {run} | {seconds:.1f} | {(used + left) / seconds:,.0f} | {used} | {left} | {own:.0f} | {worker:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
