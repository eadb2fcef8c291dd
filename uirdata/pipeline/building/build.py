"""
Building of shards: a job that can be restarted, and whose result does not depend on how it ran.

A pool is a folder of finished shards, listed in info.json. A build plans its samples, removes those that the pool
has, and distributes the rest over new shards. Each shard is one task; a finished one is recognised by the digest of its
plan, so that a build that was killed builds only what is missing.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from uirdata.errors import ShardError
from uirdata.pipeline.building.build_plan import BuildPlan, Slice, plan_build
from uirdata.pipeline.building.engines import Engine, LocalEngine
from uirdata.pipeline.building.object_pool import ObjectPool
from uirdata.pipeline.building.shard_task import Pixels, ShardTask
from uirdata.progress import Progress, Silent
from uirdata.storage.locks import locked
from uirdata.storage.shard_states import part_in, tar_in
from uirdata.storage.shards import INFO, Rejected, list_shards, read_info, write_json
from uirdata.storage.tables import write_rows
from uirdata.validators import InvalidValue, json_object, load_json, text

REJECTED = "rejected.parquet"
UNFINISHED = ".unfinished.json"
_REJECTED_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "shard", "source", "level", "gt_path", "lq_path", "reason")]
)
_LIBRARIES = ("fpng", "numpy", "opencv-python-headless", "pillow", "pyarrow")


Classes = Sequence[Sequence[str]]
"""Classes in the order of their labels; the degradations of one entry share a label."""


@dataclass(frozen=True)
class BuildReport:
    """
    The result of a build.

    Attributes:
        shards: number of shards built in this run.
        samples: number of samples in these shards.
        rejected: samples of the whole pool that could not be made.
        complete: all shards of the build exist; False while other slices are running.
    """

    shards: int = 0
    samples: int = 0
    rejected: tuple[Rejected, ...] = ()
    complete: bool = True


def build(
    plan: BuildPlan,
    *,
    subsets: Mapping[str, Classes],
    pixels: Pixels,
    engine: Engine | None = None,
    discard: bool = False,
    progress: Progress | None = None,
    pool: ObjectPool | None = None,
) -> BuildReport:
    """
    Build the missing shards of a plan.

    Args:
        plan: from `plan_build`.
        subsets: classes of the subsets that it is built for, in label order; written to info.json.
        pixels: where pixels are read from: source files, or a lazy pool.
        engine: where shards are built; this process when None.
        discard: delete the shards of another, unfinished build; otherwise they are an error.
        progress: receives the samples that are done.
        pool: the pool in object storage, if the shards are there; the plan's folder is then its local folder.

    Raises:
        StorageError: the disk is full or the folder cannot be written; finished shards are kept.
        ShardError: another build is running in the folder, or an unfinished build left shards in it.
        UirError: a worker process was killed; finished shards are kept.
    """
    listener = progress or Silent()
    with only_builder(plan.folder, plan.task):
        if plan.stale:
            _discard_stale(plan, discard, pool)
        write_json(plan.folder / UNFINISHED, {"subset": "+".join(subsets)})
        tasks = (ShardTask(plan.folder, shard, pixels, plan.settings, pool) for shard in plan.shards())
        shards = samples = 0
        listener.begin("samples", plan.todo_samples)
        for state in (engine or LocalEngine()).run(tasks, listener):
            if pool is not None:
                pool.take(state)
            shards += 1
            samples += state.samples
        listener.end("samples")
        if pool is not None and plan.left_samples:
            pool.download_manifest()  # other machines may have uploaded their part in the meantime
        rejected: tuple[Rejected, ...] = ()
        complete = _is_complete(plan)
        if complete:
            rejected = _finish(plan, subsets)
            if pool is not None:
                pool.publish()
            (plan.folder / UNFINISHED).unlink(missing_ok=True)
    return BuildReport(shards, samples, rejected, complete)


def _discard_stale(plan: BuildPlan, discard: bool, pool: ObjectPool | None) -> None:
    name = _unfinished_subset(plan.folder)
    if not discard:
        raise ShardError(
            f"{plan.folder}: an unfinished build of {name}, or one with other settings, left {len(plan.stale)} shards "
            f"here ({plan.stale[0]}, ...). Finish it with the command that started it, or delete them with --discard"
        )
    # All paths before any is deleted: they are what the folder's manifest says.
    files = [(part_in(plan.folder, path), tar_in(plan.folder, path)) for path in plan.stale]
    for path, (part, tar) in zip(plan.stale, files, strict=True):
        if pool is not None:
            pool.delete(path)
        part.unlink()
        tar.unlink(missing_ok=True)


def _unfinished_subset(folder: Path) -> str:
    """Return the name of the subset whose build was not finished, for a message."""
    try:
        return text(json_object(load_json((folder / UNFINISHED).read_bytes())).get("subset"), most=1000)
    except (OSError, InvalidValue):
        return "another subset"


def _is_complete(plan: BuildPlan) -> bool:
    if not plan.left_samples:
        return True
    again = plan_build(plan.folder, plan.plan, plan.settings)
    return not again.todo


def _finish(plan: BuildPlan, subsets: Mapping[str, Classes]) -> tuple[Rejected, ...]:
    folder = plan.folder
    info = read_info(folder)
    states = list_shards(folder)
    rejected = [row for state in states for row in state.rejected]
    write_rows(folder / REJECTED, (vars(row) for row in rejected), _REJECTED_SCHEMA)
    cuts = {str(group.group): [group.crop.size, group.crop.stride] for group in plan.plan.groups}
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
    return tuple(rejected)


@contextmanager
def only_builder(folder: Path, task: Slice) -> Iterator[None]:
    """Lock the folder while the block runs: exclusively, or shared with other slices of the same build."""
    whole = task.parts == 1
    locks = [(".lock", not whole)]
    if not whole:
        locks.append((f".lock-{task.part}-of-{task.parts}", False))
    with ExitStack() as held:
        for name, shared in locks:
            held.enter_context(
                locked(
                    folder / name,
                    "another build is writing here",
                    then="wait until it ends, or use another --out",
                    error=ShardError,
                    shared=shared,
                )
            )
        yield
