"""
Building shards: a restartable job whose result does not depend on how it ran.

A pool is a folder of finished shards, listed in info.json. A build plans its samples, takes away those that the pool
has, and deals the rest to new shards. Each shard is one task; a finished one is known by the digest of its plan, so a
build that was killed does only what is left.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import platform
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from uirdata.errors import ImageError, PairError, RecipeError, ShardError, UirError
from uirdata.images import Codec, RgbImage, encode_image, pixel_sha256
from uirdata.pipeline.crop import SampleReader, describe_failure
from uirdata.pipeline.pool import BuildPlan, BuildSettings, Slice, plan_build
from uirdata.planning import PlannedSample, PlannedShard
from uirdata.progress import Progress, Silent
from uirdata.records import IN_TAR
from uirdata.storage.shards import (
    INFO,
    SampleBytes,
    ShardState,
    list_shards,
    part_path,
    read_info,
    write_json,
    write_shard,
)
from uirdata.storage.tables import storage_error, write_rows

REJECTED = "rejected.parquet"
UNFINISHED = ".unfinished.json"
_REJECTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "shard", "source", "gt_path", "lq_path", "reason")]
)
_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pyarrow")


Classes = Sequence[Sequence[str]]
"""Labels in order; the degradations of one entry share a label."""


class Reader(Protocol):
    """Makes the pixels of samples, one after the other."""

    def pixels(self, sample: PlannedSample) -> tuple[RgbImage, RgbImage, str]:
        """Give GT, LQ and recipe, or raise ImageError, PairError or RecipeError where they cannot be made."""
        ...


class Pixels(Protocol):
    """Where pixels come from. It is sent to each worker, which opens a reader of its own."""

    def open(self) -> Reader:
        """Give a reader."""
        ...


@dataclass(frozen=True)
class SourcePixels:
    """
    Pixels from the unpacked files of the sources.

    Attributes:
        folders: where they lie, by source.
        seed: of the recipes.
    """

    folders: Mapping[str, Path]
    seed: int

    def open(self) -> Reader:
        """Give a reader."""
        return SampleReader(self.folders, self.seed)


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to build one shard."""

    folder: Path
    shard: PlannedShard
    pixels: Pixels
    settings: BuildSettings


@dataclass(frozen=True)
class Rejected:
    """A sample that could not be made."""

    key: str
    shard: str
    source: str
    gt_path: str
    lq_path: str
    reason: str


@dataclass
class BuildReport:
    """
    What came of a build.

    Attributes:
        shards: built now.
        samples: in the shards built now.
        rejected: samples of the whole pool that could not be made.
        complete: all shards of the build are there; False while other slices are at work.
    """

    shards: int = 0
    samples: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    complete: bool = True


def build(
    plan: BuildPlan,
    *,
    subsets: Mapping[str, Classes],
    pixels: Pixels,
    workers: int = 1,
    discard: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """
    Build what is left of a plan.

    Args:
        plan: from `plan_build`.
        subsets: what it is built for, with the label order, which is noted in info.json.
        pixels: where pixels come from: source files, or a lazy pool.
        workers: processes; 1 works in this one.
        discard: delete the shards of another unfinished build, which otherwise are an error.
        progress: is told of samples.

    Raises:
        StorageError: the disk is full or the folder cannot be written; finished shards stay.
        ShardError: another build is at work in the folder, or was left unfinished there.
        UirError: a worker died; finished shards stay.
    """
    listener = progress or Silent()
    with _only_builder(plan.folder, plan.task):
        if plan.stale:
            _discard_stale(plan, discard)
        write_json(plan.folder / UNFINISHED, {"subset": "+".join(subsets)})
        tasks = (ShardTask(plan.folder, shard, pixels, plan.settings) for shard in plan.shards())
        report = BuildReport()
        listener.begin("samples", plan.todo_samples)
        for state in _run(tasks, min(workers, len(plan.todo)), listener):
            report.shards += 1
            report.samples += state.samples
        listener.end("samples")
        report.complete = _is_complete(plan)
        if report.complete:
            report.rejected = _finish(plan, subsets)
            (plan.folder / UNFINISHED).unlink(missing_ok=True)
    return report


def build_shard(task: ShardTask, on_sample: Iterator[None] | None = None) -> ShardState:
    """
    Build one shard. Samples that cannot be made are left out, and noted in the shard's part of the manifest.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    rejected: list[dict[str, str]] = []
    samples = _encode_samples(task, rejected, on_sample)
    digest = task.shard.digest(task.settings.seed, task.settings.form)
    return write_shard(task.folder, task.shard.path, samples, digest, rejected)


def _discard_stale(plan: BuildPlan, discard: bool) -> None:
    unfinished = plan.folder / UNFINISHED
    name = json.loads(unfinished.read_text())["subset"] if unfinished.exists() else "another subset"
    if not discard:
        raise ShardError(
            f"{plan.folder}: an unfinished build of {name}, or one with other settings, left {len(plan.stale)} shards "
            f"here ({plan.stale[0]}, ...). Finish it with the command that began it, or delete them with --discard"
        )
    for path in plan.stale:
        part_path(plan.folder, path).unlink()
        (plan.folder / path).unlink(missing_ok=True)


def _encode_samples(
    task: ShardTask, rejected: list[dict[str, str]], on_sample: Iterator[None] | None
) -> Iterator[SampleBytes]:
    settings = task.settings
    reader = task.pixels.open()
    encoded_gt, last = b"", None
    for sample in task.shard.samples:
        try:
            gt, lq, recipe = reader.pixels(sample)
        except (ImageError, PairError, RecipeError) as error:
            rejected.append(
                {
                    "key": sample.key,
                    "shard": task.shard.path,
                    "source": sample.source,
                    "gt_path": sample.gt_path,
                    "lq_path": sample.lq_path,
                    "reason": describe_failure(error),
                }
            )
        else:
            fields = _record_fields(sample, recipe, settings.codec)
            fields |= {"gt_sha256": pixel_sha256(gt), "lq_sha256": pixel_sha256(lq)}
            if settings.lazy and sample.made:
                if sample.crop != last:
                    encoded_gt, last = encode_image(gt, settings.codec), sample.crop
                yield SampleBytes(encoded_gt, b"", fields)
            else:
                yield SampleBytes(encode_image(gt, settings.codec), encode_image(lq, settings.codec), fields)
        if on_sample is not None:
            next(on_sample)


def _record_fields(sample: PlannedSample, recipe: str, codec: Codec) -> dict[str, Any]:
    planned = {field.name: getattr(sample, field.name) for field in fields(sample) if field.name in IN_TAR}
    return {**planned, "recipe": recipe, "codec": codec}


def _run(tasks: Iterable[ShardTask], workers: int, progress: Progress) -> Iterator[ShardState]:
    if workers < 2:
        ticks = _ticks(progress)
        for task in tasks:
            yield build_shard(task, ticks)
        return
    # Not fork: the parent may hold threads of pyarrow and OpenCV, which a forked child would wait for forever.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("Q", 0)
    with ProcessPoolExecutor(workers, context, _start_worker, (counter,)) as pool:
        try:
            yield from _collect(pool, iter(tasks), workers, counter, progress)
        except BrokenProcessPool as error:
            raise UirError(
                "a worker process was killed, most often for want of memory. Finished shards are kept; "
                "run the same command again, with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(
    pool: ProcessPoolExecutor, tasks: Iterator[ShardTask], workers: int, counter: Any, progress: Progress
) -> Iterator[ShardState]:
    # A few tasks ahead keep the workers busy; all at once would hold every sample of the plan in memory.
    waiting = {pool.submit(_build_in_worker, task) for task in islice(tasks, workers + 2)}
    told = 0
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        waiting |= {pool.submit(_build_in_worker, task) for task in islice(tasks, len(done))}
        made = int(counter.value)
        progress.advance("samples", made - told)
        told = made
        for future in done:
            yield future.result()


def _ticks(progress: Progress) -> Iterator[None]:
    while True:
        progress.advance("samples")
        yield None


_counter: Any = (
    None  # set once in each worker process by the pool's initializer, which has no other way to hand it over
)


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    import cv2

    # One process a core is the plan; threads inside would only compete.
    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole group: workers die at once and silently, the parent says what happened.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _build_in_worker(task: ShardTask) -> ShardState:
    return build_shard(task, _count())


def _count() -> Iterator[None]:
    while True:
        with _counter.get_lock():
            _counter.value += 1
        yield None


def _is_complete(plan: BuildPlan) -> bool:
    if not plan.left_samples:
        return True
    again = plan_build(plan.folder, plan.plan, plan.settings)
    return not again.todo


def _finish(plan: BuildPlan, subsets: Mapping[str, Classes]) -> list[Rejected]:
    folder = plan.folder
    info = read_info(folder)
    states = list_shards(folder)
    rejected = [Rejected(**row) for state in states for row in json.loads(state.rejected)]
    write_rows(folder / REJECTED, (vars(row) for row in rejected), _REJECTED_SCHEMA)
    cuts = {"/".join(group.group): [group.crop.size, group.crop.stride] for group in plan.plan.groups}
    classes = {name: [list(types) for types in order] for name, order in subsets.items()}
    write_json(
        folder / INFO,
        {
            "format": 1,
            "made_by": f"universal-image-restoration {version('universal-image-restoration')}",
            "libraries": {name: version(name) for name in _LIBRARIES} | {"machine": platform.machine()},
            "seed": plan.settings.seed,
            "codec": plan.settings.codec,
            "lazy": plan.settings.lazy,
            "subsets": info.get("subsets", {}) | classes,
            "crops": info.get("crops", {}) | cuts,
            "shards": {
                state.path: {"samples": state.samples, "bytes": state.size, "sha256": state.sha256} for state in states
            },
        },
    )
    return rejected


@contextmanager
def _only_builder(folder: Path, task: Slice) -> Iterator[None]:
    """Hold the folder: alone, or together with other slices of the same build."""
    whole = task.parts == 1
    locks = [(".lock", fcntl.LOCK_EX if whole else fcntl.LOCK_SH)]
    if not whole:
        locks.append((f".lock-{task.part}-of-{task.parts}", fcntl.LOCK_EX))
    with ExitStack() as held:
        for name, kind in locks:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = held.enter_context((folder / name).open("w"))
            except OSError as error:
                raise storage_error(folder, error) from error
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ShardError(
                    f"{folder}: another build is writing here; wait for it, or use another --out"
                ) from None
        yield
