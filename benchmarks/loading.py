"""
Speed of loading shards compared with pure decoding, and with webdataset and Pillow.

Crops of 512 pixels of photographs (--photos, or mosaics of those in installed packages) as shards in both codecs; a
case loads each sample once, in batches of 16 windows of 256 pixels; --workers processes, the tars in the page cache:

- pure: each worker decodes LQ and GT of its share from memory with `decode_image`, and discards them;
- ours: `crop_loader` over `open_shards`, batches of uint8, as the training loop uses them;
- webdataset: the same tars, decoded with Pillow ("pil"), a random window of both, float32 in 0..1, torch's loader.

The cases alternate; ratios are medians of those within a round. "First batch" counts from the creation of the loader.

    python -m benchmarks.loading [--photos DIR] [--count 16] [--repeats 5] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import webdataset

from benchmarks.build_shards import make_photographs, plan_of
from maskdcpt.data.crops import Crops
from maskdcpt.data.loader import crop_loader
from maskdcpt.data.sampling import Share, StepSampler, Stream, epoch_slots
from uirdata import open_shards
from uirdata.images import CODECS, decode_image
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.engines import LocalEngine
from uirdata.pipeline.building.shard_task import SourcePixels

BATCH, WINDOW = 16, 256


@dataclass(frozen=True)
class Took:
    """Samples per second, and the time to the first batch in seconds."""

    rate: float
    first_s: float


def make_shards(folder: Path, out: Path, paths: list[Path], codec: str, workers: int) -> None:
    """Build about eight shards of JPEG pairs."""
    plan = plan_of(paths, "jpeg")
    settings = BuildSettings(codec=next(c for c in CODECS if c == codec), shard_bytes=len(paths) * 35 * 710_000 // 8)
    todo = plan_build(out, plan, settings)
    pixels = SourcePixels({"photos": folder}, plan.seed)
    build(todo, subsets={"photos": [["jpeg"]]}, pixels=pixels, engine=LocalEngine(workers))


def pure(out: Path, workers: int) -> Took:
    """Decode in the same number of processes, and discard the pixels."""
    dataset = open_shards(out)
    with ProcessPoolExecutor(workers, get_context("fork"), cv2.setNumThreads, (1,)) as pool:
        # The processes have started, and have the bytes in memory, before the time is measured.
        list(pool.map(partial(_hold, out, workers), range(workers)))
        start = time.perf_counter()
        done = sum(pool.map(_decode_held, range(workers)))
        took = time.perf_counter() - start
    assert done == len(dataset)
    return Took(done / took, 0.0)


_held: list[tuple[bytes, bytes]] = []


def _hold(out: Path, workers: int, part: int) -> None:
    global _held
    dataset = open_shards(out)
    _held = []
    for number in range(part, len(dataset), workers):
        record = dataset.record(number)
        with (out / record.shard).open("rb") as file:
            gt = os.pread(file.fileno(), record.gt_size, record.gt_offset)
            _held.append((gt, os.pread(file.fileno(), record.lq_size, record.lq_offset)))
    time.sleep(0.3)  # so that each process takes one part


def _decode_held(_part: int) -> int:
    for pair in _held:
        for data in pair:
            decode_image(data, name="held")
    time.sleep(0)
    return len(_held)


def ours(out: Path, workers: int) -> Took:
    """Load an epoch with this project's loader."""
    start = time.perf_counter()
    samples = open_shards(out)
    stream = Stream(epoch_slots(samples.degradations, {}), seed=0)
    sampler = StepSampler(stream, Share(BATCH), start=0, steps=len(samples) // BATCH)
    return timed(start, iter(crop_loader(Crops(samples, WINDOW, seed=0), sampler, workers=workers)), workers)


def theirs(out: Path, workers: int, codec: str) -> Took:
    """Load the same with webdataset."""
    start = time.perf_counter()
    tars = sorted(str(path) for path in out.rglob("*.tar"))
    dataset = (
        webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0)
        .shuffle(100)
        .decode("pil")
        .to_tuple(f"lq.{codec}", f"gt.{codec}")
        .map(_windows)
    )
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, num_workers=workers, worker_init_fn=_one_thread)
    return timed(start, iter(loader), workers)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _windows(pair: tuple[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    lq, gt = (np.asarray(image.convert("RGB")) for image in pair)
    top, left = (int(np.random.randint(0, side - WINDOW + 1)) for side in lq.shape[:2])  # noqa: NPY002  as users write
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(image[top : top + WINDOW, left : left + WINDOW].copy()).permute(2, 0, 1).float().div(255)
        for image in (lq, gt)
    )


def timed(start: float, batches: Iterator[Any], workers: int) -> Took:
    """Read all batches; the rate is that of the batches after each worker's first one, when all workers are running."""
    next(batches)
    first = time.perf_counter()
    for _ in range(workers - 1):
        next(batches)
    begin = time.perf_counter()
    count = sum(len(batch[0] if isinstance(batch, (list, tuple)) else batch.lq) for batch in batches)
    return Took(count / (time.perf_counter() - begin), first - start)


def main() -> None:
    """Run all cases alternately; print Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    workers = arguments.workers
    turns: list[dict[str, Took]] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = arguments.photos or work / "photos"
        if arguments.photos is None:
            make_photographs(folder, arguments.count)
        paths = sorted(folder.glob("*.png"))[: arguments.count]
        for codec in CODECS:
            make_shards(folder, work / codec, paths, codec, workers)
        for _ in range(arguments.repeats):
            turn = {}
            for codec in CODECS:
                turn[f"pure {codec}"] = pure(work / codec, workers)
                turn[f"ours {codec}"] = ours(work / codec, workers)
                turn[f"webdataset {codec}"] = theirs(work / codec, workers, codec)
            turns.append(turn)
        samples = len(open_shards(work / "png"))
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{samples} samples, {workers} workers, load {load}\n")
    print("| case | samples/s | first batch, s |\n|---|---|---|")
    for case in turns[0]:
        rate = statistics.median(turn[case].rate for turn in turns)
        first = statistics.median(turn[case].first_s for turn in turns)
        print(f"| {case} | {rate:.0f} | {'' if case.startswith('pure') else f'{first:.2f}'} |")
    print("\n| ratio | median | least | most |\n|---|---|---|---|")
    for codec in CODECS:
        for other in ("pure", "webdataset"):
            ratios = [turn[f"ours {codec}"].rate / turn[f"{other} {codec}"].rate for turn in turns]
            low, high = min(ratios), max(ratios)
            print(f"| ours / {other}, {codec} | {statistics.median(ratios):.2f} | {low:.2f} | {high:.2f} |")


if __name__ == "__main__":
    main()
