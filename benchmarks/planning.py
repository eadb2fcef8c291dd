"""
Time and peak memory of planning 2.5 million samples, half of them made of clean images, half published pairs of eight
crops each, distributed over shards of 1 GB.

    python -m benchmarks.planning [--samples 2500000]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from uirdata.pairing import Pair
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.sample_plan import Plan, write_plan
from uirdata.planning import CropSetting, FoundPair, GroupKey, GroupPlan
from uirdata.subsets import Use


def generated_plan(samples: int) -> Plan:
    """Return a plan of about so many samples: half generated, one crop per image, half published pairs of 8 crops."""
    clean = [FoundPair(_pair(number, ""), 1356, 2040) for number in range(samples // 12)]
    pairs = [FoundPair(_pair(number, f"lq/{number:07d}.png"), 720, 1280) for number in range(samples // 16)]
    groups = []
    for kind in ("gaussian-blur", "noise"):
        use = Use("made", kind, "train", per_image=3)
        groups.append(GroupPlan(GroupKey("train", kind, "made"), (use,), CropSetting(0, 0), clean, "CC0"))
    use = Use("published", "haze", "train")
    groups.append(GroupPlan(GroupKey("train", "haze", "published"), (use,), CropSetting(512, 256), pairs, "CC0"))
    return Plan(tuple(groups), 0, ())


def _pair(number: int, lq: str) -> Pair:
    source, kind = ("published", "haze") if lq else ("made", "")
    return Pair(source, "train", kind, False, f"gt/{number:07d}.png", lq, "", f"{number:07d}")


def main() -> None:
    """Plan, distribute, write the plan, and print the time of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2_500_000)
    wanted = parser.parse_args().samples
    plan = generated_plan(wanted)
    with tempfile.TemporaryDirectory() as folder:
        start, begin = time.perf_counter(), time.process_time()
        todo = plan_build(Path(folder) / "pool", plan, BuildSettings())
        dealt = time.perf_counter()
        rows = write_plan(Path(folder) / "plan.parquet", plan.samples())
        written, used = time.perf_counter(), time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("| samples | shards | planned and dealt | planned again and written | processor | peak memory | load |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {rows:,} | {len(todo.todo):,} | {dealt - start:.0f} s | {written - dealt:.0f} s | {used:.0f} s | "
        f"{peak:.2f} GB | {os.getloadavg()[0]:.1f} |"
    )


if __name__ == "__main__":
    main()
