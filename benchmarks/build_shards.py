"""
Speed of building shards compared with the minimal work, and with the usual way to crop sub-images; with a pool of
processes, one per core.

Photographs of 2040 x 1356 (--photos, or mosaics of those in installed packages), crops of 512 at stride 256:

- pure: decode each photograph once, crop, degrade, encode LQ and GT, and nothing else;
- build: `build` with the same number of workers: also hashes pixels, writes tars and the manifest;
- sub-images: OpenCV reads, crops and writes each crop as a PNG file of level 3, as `extract_subimages` does.

With --workers 1 everything runs in this process, so that starting processes is not counted.

Pure and build make LQ (with JPEG, and with noise). For the comparison with sub-images they crop published pairs: the
same photographs as LQ and GT, none of them degraded, two crops per sample. The cases alternate; ratios are medians of
the ratios within a round.

    python -m benchmarks.build_shards [--photos DIR] [--count 12] [--repeats 3] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from uirdata.images import CODECS, Codec, encode_image
from uirdata.pairing import Pair
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.engines import LocalEngine
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.pipeline.building.sample_reader import SampleReader
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.planning import CropSetting, FoundPair, GroupPlan, estimated_bytes
from uirdata.subsets import Use

T = TypeVar("T")

CROP = CropSetting(512, 256)
HEIGHT, WIDTH = 1356, 2040


@dataclass(frozen=True)
class Took:
    """Crops per second of wall-clock time, and per second of processor time of this process and its children."""

    clock: float
    processor: float


def make_photographs(folder: Path, count: int) -> list[Path]:
    """Write mosaics of photographs of installed packages, at their own resolution, each in a different arrangement."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "chelsea", "coffee", "rocket")
    pieces = [np.asarray(getattr(skimage.data, name)())[:, :, :3] for name in names] + list(load_sample_images().images)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        rng = np.random.Generator(np.random.PCG64(number))
        canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for top in range(0, HEIGHT, 400):
            for left in range(0, WIDTH, 400):
                piece = pieces[int(rng.integers(len(pieces)))][:, :: 1 - 2 * int(rng.integers(2))]
                y, x = int(rng.integers(piece.shape[0] - 299)), int(rng.integers(piece.shape[1] - 399))
                tile = piece[y : y + 400, x : x + 400]
                # Photographs of less than 400 rows are extended by reflection.
                tile = np.pad(tile, ((0, max(0, 400 - tile.shape[0])), (0, 0), (0, 0)), mode="reflect")
                canvas[top : top + 400, left : left + 400] = tile[: HEIGHT - top, : WIDTH - left]
        paths.append(folder / f"{number:04d}.png")
        cv2.imwrite(str(paths[-1]), canvas[:, :, ::-1])
    return paths


def plan_of(paths: list[Path], degradation: str) -> Plan:
    """Return a plan with a sample of each crop: a generated LQ, or, with haze, the photograph as its published LQ."""
    found = []
    for path in paths:
        lq, kind = (path.name, degradation) if degradation == "haze" else ("", "")
        pair = Pair("photos", "train", kind, False, path.name, lq, "", path.stem)
        found.append(FoundPair(pair, *cv2.imread(str(path)).shape[:2]))
    use = Use("photos", degradation, "train")
    return Plan((GroupPlan(("train", degradation, "photos"), (use,), CROP, found, "CC0"),), 0, ())


def pure(plan: Plan, folder: Path, codec: Codec, workers: int) -> int:
    """Decode, crop, degrade and encode, without writing; return the number of crops."""
    names = sorted({sample.gt_path for sample in plan.samples()})
    return sum(spread(partial(_pure_one, plan, folder, codec), names, workers))


def _pure_one(plan: Plan, folder: Path, codec: Codec, name: str) -> int:
    reader, done = SampleReader({"photos": folder}, plan.seed), 0
    for sample in plan.samples():
        if sample.gt_path == name:
            for image in reader.pixels(sample)[:2]:
                encode_image(image, codec)
                done += 1
    return done


def built(plan: Plan, folder: Path, out: Path, codec: Codec, workers: int) -> int:
    """Build the shards, two per worker; as in shards of 1 GB, few photographs are in two of them."""
    crops = sum(1 for _ in plan.samples())
    each = estimated_bytes(next(plan.samples()))
    settings = BuildSettings(codec=codec, shard_bytes=-(-crops // (2 * workers)) * each)
    todo = plan_build(out, plan, settings)
    pixels = SourcePixels({"photos": folder}, plan.seed)
    return 2 * build(todo, subsets={"photos": [["jpeg"]]}, pixels=pixels, engine=LocalEngine(workers)).samples


def sub_images(paths: list[Path], out: Path, workers: int) -> int:
    """Write the crops of LQ and GT with OpenCV, one file each."""
    return sum(spread(_sub_images_of, [(path, out / side) for side in ("gt", "lq") for path in paths], workers))


def spread(work: Callable[[T], int], items: Iterable[T], workers: int) -> Iterable[int]:
    """Yield the results from a pool of processes; one worker is this process, as in `LocalEngine`."""
    if workers == 1:
        return [work(item) for item in items]
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        return list(pool.map(work, items))


def _sub_images_of(job: tuple[Path, Path]) -> int:
    path, out = job
    out.mkdir(parents=True, exist_ok=True)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    boxes = CROP.boxes(*image.shape[:2])
    for number, box in enumerate(boxes):
        window = image[box.top : box.top + box.height, box.left : box.left + box.width]
        name = f"{path.stem}_s{number:03d}.png"
        cv2.imwrite(str(out / name), np.ascontiguousarray(window), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return len(boxes)


def measure(work: Callable[[], int]) -> Took:
    """Return the speed of one case."""
    clock, processor = time.perf_counter(), _processor()
    done = work()
    return Took(done / (time.perf_counter() - clock), done / (_processor() - processor))


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def ratio(turns: list[dict[str, Took]], one: str, other: str) -> str:
    """Return the median of a ratio within a round, in wall-clock time and in processor time."""
    clock = statistics.median(turn[one].clock / turn[other].clock for turn in turns)
    processor = statistics.median(turn[one].processor / turn[other].processor for turn in turns)
    return f"{clock:.2f} | {processor:.2f}"


def main() -> None:
    """Run all cases alternately; print Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    workers, turns = arguments.workers, []
    cv2.setNumThreads(1)
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = arguments.photos or work / "photos"
        if arguments.photos is None:
            make_photographs(folder, arguments.count)
        paths = sorted(folder.glob("*.png"))[: arguments.count]
        plans = {kind: plan_of(paths, kind) for kind in ("haze", "jpeg", "noise")}
        for repeat in range(arguments.repeats):
            cases: dict[str, Callable[[], int]] = {}
            for codec in CODECS:
                for kind, plan in plans.items():
                    out = work / f"{codec}-{kind}-{repeat}"
                    cases[f"pure {codec} {kind}"] = partial(pure, plan, folder, codec, workers)
                    cases[f"build {codec} {kind}"] = partial(built, plan, folder, out, codec, workers)
            cases["sub-images"] = partial(sub_images, paths, work / f"subs-{repeat}", workers)
            turns.append({case: measure(run) for case, run in cases.items()})
        for case, out in (("sub-images", "subs-0"), *((f"build {c} haze", f"{c}-haze-0") for c in CODECS)):
            sizes[case] = sum(path.stat().st_size for path in (work / out).rglob("*.*g") if path.is_file())
            sizes[case] += sum(path.stat().st_size for path in (work / out).rglob("*.tar"))
    crops = len(paths) * len(CROP.boxes(HEIGHT, WIDTH))
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{len(paths)} photographs, {crops} crops of LQ and GT, {workers} processes, load {load}\n")
    print("| case | crops/s (clock) | crops/s of processor time |\n|---|---|---|")
    for case in turns[0]:
        clock, processor = (statistics.median(getattr(t[case], k) for t in turns) for k in ("clock", "processor"))
        print(f"| {case.replace(' haze', ' published pairs')} | {clock:.0f} | {processor:.0f} |")
    print("\n| ratio | clock | processor time | bytes |\n|---|---|---|---|")
    for codec in CODECS:
        for kind in ("jpeg", "noise"):
            print(
                f"| build / pure, {codec}, {kind} | {ratio(turns, f'build {codec} {kind}', f'pure {codec} {kind}')} | |"
            )
    for codec in CODECS:
        case = f"build {codec} haze"
        size = sizes[case] / sizes["sub-images"]
        print(f"| build {codec} / sub-images | {ratio(turns, case, 'sub-images')} | {size:.2f} |")


if __name__ == "__main__":
    main()
