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
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from uirdata.errors import ImageError, PairError, RecipeError, ShardError, UirError, UsageError
from uirdata.images import Codec, encode_image, pixel_sha256
from uirdata.pipeline.crop import Plan, SampleReader, describe_failure
from uirdata.planning import CropSetting, PlannedSample, PlannedShard, plan_shards
from uirdata.progress import Progress, Silent
from uirdata.records import IN_TAR
from uirdata.storage.shards import (
    INFO,
    MANIFEST,
    SampleBytes,
    ShardState,
    list_shards,
    part_path,
    read_info,
    shard_keys,
    shard_state,
    write_json,
    write_shard,
)
from uirdata.storage.tables import storage_error, write_rows
from uirdata.subsets import Subset

REJECTED = "rejected.parquet"
UNFINISHED = ".unfinished.json"
_REJECTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "shard", "source", "gt_path", "lq_path", "reason")]
)
_LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pyarrow")


@dataclass(frozen=True)
class BuildSettings:
    """
    What decides a build's bytes, besides its samples.

    Attributes:
        seed: of levels and recipes.
        codec: of the images, lossless.
        shard_bytes: about how large a tar becomes.
    """

    seed: int = 0
    codec: Codec = "webp"
    shard_bytes: int = 1_000_000_000


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to build one shard."""

    folder: Path
    shard: PlannedShard
    sources: Mapping[str, Path]
    seed: int
    codec: Codec


@dataclass(frozen=True)
class Rejected:
    """A sample that could not be made."""

    key: str
    shard: str
    source: str
    gt_path: str
    lq_path: str
    reason: str


@dataclass(frozen=True)
class BuildPlan:
    """
    What a build has to do.

    Attributes:
        folder: the pool.
        todo: shards to build.
        done: shards of this build that an earlier, interrupted run finished.
        kept: samples that the pool already had.
        stale: shards of another build that was never finished, and so are listed nowhere.
    """

    folder: Path
    todo: tuple[PlannedShard, ...]
    done: tuple[PlannedShard, ...]
    kept: int
    stale: tuple[str, ...]


@dataclass
class BuildReport:
    """
    What came of a build.

    Attributes:
        shards: built now.
        samples: in the shards built now.
        rejected: samples of the whole pool that could not be made.
    """

    shards: int = 0
    samples: int = 0
    rejected: list[Rejected] = field(default_factory=list)


def plan_build(folder: Path, plan: Plan, settings: BuildSettings, *, retry_rejected: bool = False) -> BuildPlan:
    """
    Compare a plan with what the pool has.

    Args:
        folder: the pool.
        plan: every sample of the build.
        settings: must be those of the pool.
        retry_rejected: build the shards again whose plan had samples that could not be made.

    Raises:
        ShardError: the pool was built with another seed, codec or crop, which would mix two data sets in one.
    """
    info = read_info(folder)
    _check_same_settings(folder, info, plan.crops, settings)
    listed: set[str] = set(info.get("shards", {}))
    known: set[str] = set()
    repairs: list[PlannedShard] = []
    by_key = {sample.key: sample for sample in plan.samples}
    numbers: dict[tuple[str, str, str], int] = {}
    for path in sorted(listed):
        keys = shard_keys(folder, path)
        if keys is None:
            continue
        known.update(keys)
        group, number = _group_and_number(path)
        numbers[group] = max(numbers.get(group, 0), number + 1)
        state = shard_state(folder, path)
        damaged = state is None or (retry_rejected and state.rejected != "[]")
        if damaged and all(key in by_key for key in keys):
            wanted = set(keys)
            repairs.append(PlannedShard(path, tuple(s for s in plan.samples if s.key in wanted)))
    fresh = [sample for sample in plan.samples if sample.key not in known]
    shards = repairs + plan_shards(fresh, shard_bytes=settings.shard_bytes, first_number=numbers)
    todo: list[PlannedShard] = []
    done: list[PlannedShard] = []
    for shard in shards:
        state = shard_state(folder, shard.path)
        finished = state is not None and state.plan == shard.digest(settings.seed, settings.codec)
        if retry_rejected and state is not None and state.rejected != "[]":
            finished = False
        (done if finished else todo).append(shard)
    ours = {shard.path for shard in shards} | listed
    return BuildPlan(
        folder,
        tuple(todo),
        tuple(done),
        kept=len(plan.samples) - sum(len(shard.samples) for shard in shards),
        stale=tuple(path for path in _paths_with_parts(folder) if path not in ours),
    )


def build(
    plan: BuildPlan,
    *,
    subset: Subset,
    crops: Mapping[tuple[str, str, str], CropSetting],
    sources: Mapping[str, Path],
    settings: BuildSettings,
    workers: int = 1,
    discard: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """
    Build what is left of a plan.

    Args:
        plan: from `plan_build`.
        subset: what it is built for; its label order is noted in info.json.
        crops: how each (split, degradation, source) is cut.
        sources: where the unpacked files of each source lie.
        settings: as given to `plan_build`.
        workers: processes; 1 works in this one.
        discard: delete the shards of another unfinished build, which otherwise are an error.
        progress: is told of samples.

    Raises:
        StorageError: the disk is full or the folder cannot be written; finished shards stay.
        ShardError: another build is at work in the folder, or was left unfinished there.
        UirError: a worker died; finished shards stay.
    """
    listener = progress or Silent()
    with _only_builder(plan.folder):
        if plan.stale:
            _discard_stale(plan, discard)
        write_json(plan.folder / UNFINISHED, {"subset": subset.name})
        tasks = [ShardTask(plan.folder, shard, sources, settings.seed, settings.codec) for shard in plan.todo]
        report = BuildReport()
        listener.begin("samples", sum(len(task.shard.samples) for task in tasks))
        for state in _run(tasks, workers, listener):
            report.shards += 1
            report.samples += state.samples
        listener.end("samples")
        report.rejected = _finish(plan.folder, subset, crops, settings)
        (plan.folder / UNFINISHED).unlink()
    return report


def build_shard(task: ShardTask, on_sample: Iterator[None] | None = None) -> ShardState:
    """
    Build one shard. Samples that cannot be made are left out, and noted in the shard's part of the manifest.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    rejected: list[dict[str, str]] = []
    samples = _encode_samples(task, rejected, on_sample)
    digest = task.shard.digest(task.seed, task.codec)
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
    reader = SampleReader(task.sources, task.seed)
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
            fields = _record_fields(sample, recipe, task.codec)
            fields |= {"gt_sha256": pixel_sha256(gt), "lq_sha256": pixel_sha256(lq)}
            yield SampleBytes(encode_image(gt, task.codec), encode_image(lq, task.codec), fields)
        if on_sample is not None:
            next(on_sample)


def _record_fields(sample: PlannedSample, recipe: str, codec: Codec) -> dict[str, Any]:
    planned = {field.name: getattr(sample, field.name) for field in fields(sample) if field.name in IN_TAR}
    return {**planned, "recipe": recipe, "codec": codec}


def _run(tasks: Sequence[ShardTask], workers: int, progress: Progress) -> Iterator[ShardState]:
    if workers < 1:
        raise UsageError(f"--workers is {workers}; it must be at least 1")
    if workers == 1 or len(tasks) < 2:
        ticks = _ticks(progress)
        for task in tasks:
            yield build_shard(task, ticks)
        return
    # Not fork: the parent may hold threads of pyarrow and OpenCV, which a forked child would wait for forever.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("Q", 0)
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker, (counter,)) as pool:
        waiting: set[Future[ShardState]] = {pool.submit(_build_in_worker, task) for task in tasks}
        try:
            yield from _collect(waiting, counter, progress)
        except BrokenProcessPool as error:
            raise UirError(
                "a worker process was killed, most often for want of memory. Finished shards are kept; "
                "run the same command again, with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(waiting: set[Future[ShardState]], counter: Any, progress: Progress) -> Iterator[ShardState]:
    told = 0
    while waiting:
        done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
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


def _finish(
    folder: Path, subset: Subset, crops: Mapping[tuple[str, str, str], CropSetting], settings: BuildSettings
) -> list[Rejected]:
    info = read_info(folder)
    states = list_shards(folder)
    rejected = [Rejected(**row) for state in states for row in json.loads(state.rejected)]
    write_rows(folder / REJECTED, (vars(row) for row in rejected), _REJECTED_SCHEMA)
    cuts = {"/".join(group): [crop.size, crop.stride] for group, crop in crops.items()}
    classes = {subset.name: [list(types) for types in subset.classes]}
    write_json(
        folder / INFO,
        {
            "format": 1,
            "made_by": f"universal-image-restoration {version('universal-image-restoration')}",
            "libraries": {name: version(name) for name in _LIBRARIES} | {"machine": platform.machine()},
            "seed": settings.seed,
            "codec": settings.codec,
            "subsets": info.get("subsets", {}) | classes,
            "crops": info.get("crops", {}) | cuts,
            "shards": {
                state.path: {"samples": state.samples, "bytes": state.size, "sha256": state.sha256} for state in states
            },
        },
    )
    return rejected


def _check_same_settings(
    folder: Path,
    info: Mapping[str, Any],
    crops: Mapping[tuple[str, str, str], CropSetting],
    settings: BuildSettings,
) -> None:
    for name, asked in (("seed", settings.seed), ("codec", settings.codec)):
        if name in info and info[name] != asked:
            raise ShardError(
                f"{folder} was built with {name} {info[name]}, not {asked}; "
                f"use --{name} {info[name]}, or another folder with --out"
            )
    built: Mapping[str, list[int]] = info.get("crops", {})
    for group, crop in crops.items():
        before = built.get("/".join(group))
        if before is not None and before != [crop.size, crop.stride]:
            raise ShardError(
                f"{folder}: {'/'.join(group)} was cut at size {before[0]}, stride {before[1]}, "
                f"not {crop.size}, {crop.stride}; use the same crops, or another folder with --out"
            )


def _group_and_number(path: str) -> tuple[tuple[str, str, str], int]:
    split, degradation, name = path.removesuffix(".tar").split("/")
    source, _, number = name.rpartition("-")
    return (split, degradation, source), int(number)


def _paths_with_parts(folder: Path) -> Iterable[str]:
    if not (folder / MANIFEST).is_dir() or not any((folder / MANIFEST).glob("*.parquet")):
        return []
    return [state.path for state in list_shards(folder)]


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise storage_error(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ShardError(f"{folder}: another build is writing here; wait for it, or use another --out") from None
        yield
