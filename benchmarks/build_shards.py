"""
Building shards against the work that cannot be avoided, and against the usual way of cutting sub-images.

Generated 2040 x 1356 photographs (or those of --photos), 512 crops at stride 256, one process each:

- pure: decode each photograph once, cut, degrade, encode GT and LQ, and nothing else;
- build: `build` with one worker, tars, manifest and hashes included;
- sub-images: OpenCV reads, cuts and writes each GT crop as PNG level 3, a file each, as `extract_subimages` does. It
  writes one image a crop and degrades nothing; a build writes two, so images per second are compared.

    python -m benchmarks.build_shards [--photos DIR] [--count 6] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from uirdata.degradations import degrade
from uirdata.images import Codec, encode_image, pixel_sha256, read_image
from uirdata.pairing import Pair
from uirdata.pipeline.build import build
from uirdata.pipeline.crop import Plan, recipe_for
from uirdata.pipeline.making import SourcePixels
from uirdata.pipeline.pool import BuildSettings, plan_build
from uirdata.planning import CropSetting, FoundPair, GroupPlan
from uirdata.subsets import Use

CROP = CropSetting(512, 256)


def make_photographs(folder: Path, count: int) -> list[Path]:
    """Write smooth scenes with texture and edges; the sizes are DIV2K's."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        rng = np.random.Generator(np.random.PCG64(number))
        coarse = rng.normal(128, 60, (12, 18, 3)).astype(np.float32)
        image = cv2.resize(coarse, (2040, 1356), interpolation=cv2.INTER_CUBIC)
        fine = cv2.GaussianBlur(rng.normal(0, 25, image.shape).astype(np.float32), (0, 0), 1.2)
        paths.append(folder / f"{number:04d}.png")
        cv2.imwrite(str(paths[-1]), np.clip(image + fine, 0, 255).astype(np.uint8))
    return paths


def plan_of(paths: list[Path], degradation: str) -> Plan:
    """Plan one LQ of each crop of each photograph."""
    found = []
    for path in paths:
        height, width = cv2.imread(str(path)).shape[:2]
        found.append(FoundPair(Pair("photos", "train", "", False, path.name, "", "", path.stem), height, width))
    use = Use("photos", degradation, "train")
    return Plan((GroupPlan(("train", degradation, "photos"), (use,), CROP, found, "CC0"),), 0, ())


def pure(plan: Plan, folder: Path, codec: Codec) -> int:
    """Decode, cut, degrade, hash, encode; keep nothing."""
    last, image, done = "", np.zeros((1, 1, 3), np.uint8), 0
    for sample in plan.samples():
        if sample.gt_path != last:
            image, last = read_image(folder / sample.gt_path), sample.gt_path
        box = sample.box
        gt = image[box.top : box.top + box.height, box.left : box.left + box.width].copy()
        lq = degrade(gt, recipe_for(sample, plan.seed))
        for picture in (gt, lq):
            pixel_sha256(picture)
            encode_image(picture, codec)
        done += 1
    return done


def built(plan: Plan, folder: Path, out: Path, codec: Codec) -> int:
    """Build the shards."""
    todo = plan_build(out, plan, BuildSettings(codec=codec))
    report = build(todo, subsets={"photos": [["jpeg"]]}, pixels=SourcePixels({"photos": folder}, plan.seed))
    return report.samples


def sub_images(paths: list[Path], out: Path) -> int:
    """Cut and write GT crops with OpenCV, a file each."""
    out.mkdir(parents=True)
    done = 0
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for box in CROP.boxes(*image.shape[:2]):
            window = image[box.top : box.top + box.height, box.left : box.left + box.width]
            name = f"{path.stem}_{done:05d}.png"
            cv2.imwrite(str(out / name), np.ascontiguousarray(window), [cv2.IMWRITE_PNG_COMPRESSION, 3])
            done += 1
    return done


def _rate(work: Callable[[], int]) -> float:
    start = time.process_time()
    done = work()
    return done / (time.process_time() - start)


def main() -> None:
    """Run all cases in rotation; print medians of crops per second of CPU time, and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = arguments.photos or work / "photos"
        paths = sorted(folder.glob("*.png")) if arguments.photos else make_photographs(folder, arguments.count)
        plan = plan_of(paths, "jpeg")
        rates: dict[str, list[float]] = {}
        for repeat in range(arguments.repeats):
            for codec in ("webp", "png"):
                out = work / f"{codec}-{repeat}"
                rates.setdefault(f"pure {codec}", []).append(_rate(lambda c=codec: pure(plan, folder, c)))
                rates.setdefault(f"build {codec}", []).append(_rate(lambda c=codec, o=out: built(plan, folder, o, c)))
            subs = work / f"subs-{repeat}"
            rates.setdefault("sub-images png", []).append(_rate(lambda o=subs: sub_images(paths, o)))
    medians = {case: statistics.median(values) for case, values in rates.items()}
    for case, rate in medians.items():
        print(f"{case:16s} {rate:7.1f} crops/s of CPU time")
    for codec in ("webp", "png"):
        print(f"build {codec}: {medians[f'build {codec}'] / medians[f'pure {codec}']:.3f} of pure")
    # A build writes two images a crop, the sub-image script one.
    print(f"images per second, build webp / sub-images: {2 * medians['build webp'] / medians['sub-images png']:.2f}")


if __name__ == "__main__":
    main()
