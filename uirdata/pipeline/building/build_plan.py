"""The comparison of a plan with a pool of shards: which shards exist, and which are to be built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uirdata.errors import ShardError, UsageError
from uirdata.images import Codec
from uirdata.pipeline.building.kept_splits import refuse_moved_pictures
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.planning import GroupKey, PlannedSample, PlannedShard, deal, estimated_bytes, parse_shard_path
from uirdata.storage.shards import MANIFEST, list_shards, read_info, shard_keys, shard_state


@dataclass(frozen=True)
class BuildSettings:
    """
    The settings that determine the bytes of a build, besides its samples.

    Attributes:
        seed: seed of levels and recipes.
        codec: lossless codec of the images.
        shard_bytes: approximate size of a tar in bytes.
        lazy: store the recipe of a generated LQ instead of its pixels; readers generate the LQ. A GT is stored once for
            all LQ that are made from it.
    """

    seed: int = 0
    codec: Codec = "webp"
    shard_bytes: int = 1_000_000_000
    lazy: bool = False

    @property
    def form(self) -> str:
        """The codec, and whether shards are lazy, as one word."""
        return f"{self.codec}+lazy" if self.lazy else self.codec


@dataclass(frozen=True)
class Slice:
    """
    One machine's part of a build: every `parts`-th shard, starting with the `part`-th, counted from 1.

    Attributes:
        part: number of the part, from 1 to `parts`.
        parts: number of parts.
    """

    part: int = 1
    parts: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError if `part` is not from 1 to `parts`."""
        if not 1 <= self.part <= self.parts:
            raise UsageError(f"--task {self.part}/{self.parts}: the part must be from 1 to {self.parts}")


@dataclass(frozen=True)
class BuildPlan:
    """
    The work of a build. Its shards are generated on demand, because a whole data set has millions of samples.

    Attributes:
        folder: the pool.
        plan: every sample of the build.
        settings: settings of the build.
        todo: paths of the shards to build, in this slice.
        todo_samples: number of samples in these shards.
        left_samples: number of samples in shards that other slices have to build.
        here_samples: number of samples that the pool has already.
        estimated_bytes: estimated size of all samples of the build.
        stale: shards of another, unfinished build, which are not listed in info.json.
        task: the slice.
    """

    folder: Path
    plan: Plan
    settings: BuildSettings
    todo: frozenset[str]
    todo_samples: int
    left_samples: int
    here_samples: int
    estimated_bytes: int
    stale: tuple[str, ...]
    task: Slice

    def shards(self) -> Iterator[PlannedShard]:
        """Yield the shards to build."""
        for shard in _dealt(self.folder, self.plan, self.settings, retry_rejected=True):
            if shard.path in self.todo:
                yield shard


def plan_build(
    folder: Path, plan: Plan, settings: BuildSettings, *, retry_rejected: bool = False, task: Slice | None = None
) -> BuildPlan:
    """
    Return what is to be built of a plan: the samples that the pool does not have.

    Args:
        folder: the pool.
        plan: every sample of the build.
        settings: must be those of the pool.
        retry_rejected: rebuild the shards that left out samples that could not be made.
        task: build only this part of what is to be built.

    Raises:
        ShardError: the pool was built with another seed, codec or crop, which would mix two data sets in one; or it has
            a picture in another split.
    """
    info = read_info(folder)
    _check_same_settings(folder, info, plan, settings)
    refuse_moved_pictures(folder, plan, info.get("shards", {}))
    mine = task or Slice()
    todo: set[str] = set()
    counts = {"todo": 0, "left": 0}
    ours: set[str] = set(info.get("shards", {}))
    tally = _Tally()
    for number, shard in enumerate(_dealt(folder, plan, settings, retry_rejected=retry_rejected, tally=tally)):
        ours.add(shard.path)
        if _is_finished(folder, shard, settings, retry_rejected=retry_rejected):
            continue
        if number % mine.parts == mine.part - 1:
            todo.add(shard.path)
            counts["todo"] += len(shard.samples)
        else:
            counts["left"] += len(shard.samples)
    return BuildPlan(
        folder,
        plan,
        settings,
        frozenset(todo),
        todo_samples=counts["todo"],
        left_samples=counts["left"],
        here_samples=tally.samples - counts["todo"] - counts["left"],
        estimated_bytes=tally.estimated_bytes,
        stale=tuple(path for path in _paths_with_parts(folder) if path not in ours),
        task=mine,
    )


class _Tally:
    """Counter of samples that pass through it, so that a plan of millions is not generated twice for its total."""

    def __init__(self) -> None:
        self.samples = 0
        self.estimated_bytes = 0

    def through(self, samples: Iterable[PlannedSample], *, lazy: bool) -> Iterator[PlannedSample]:
        """Yield the samples, and count them."""
        before = None
        for sample in samples:
            self.samples += 1
            self.estimated_bytes += estimated_bytes(sample, before, lazy=lazy)
            before = sample
            yield sample


def _dealt(
    folder: Path, plan: Plan, settings: BuildSettings, *, retry_rejected: bool, tally: _Tally | None = None
) -> Iterator[PlannedShard]:
    """Yield the shards of a plan; samples of finished shards of the pool stay in these."""
    counted = tally or _Tally()
    listed = _listed(folder)
    for group in plan.groups:
        known: dict[str, str] = {}
        first = 0
        for path, number in listed.get(group.group, ()):
            keys = shard_keys(folder, path)
            if keys is None:
                continue
            first = max(first, number + 1)
            state = shard_state(folder, path)
            again = state is None or (retry_rejected and bool(state.rejected))
            known.update(dict.fromkeys(keys, path if again else ""))
        yield from deal(
            group.group,
            counted.through(group.samples(plan.seed), lazy=settings.lazy),
            shard_bytes=settings.shard_bytes,
            lazy=settings.lazy,
            first_number=first,
            known=known,
        )


def _is_finished(folder: Path, shard: PlannedShard, settings: BuildSettings, *, retry_rejected: bool) -> bool:
    state = shard_state(folder, shard.path)
    if state is None or state.plan != shard.digest(settings.seed, settings.form):
        return False
    return not (retry_rejected and state.rejected)


def _listed(folder: Path) -> Mapping[GroupKey, list[tuple[str, int]]]:
    """Return path and number of the shards that finished builds list, by group."""
    listed: dict[GroupKey, list[tuple[str, int]]] = {}
    for path in sorted(read_info(folder).get("shards", {})):
        group, number = parse_shard_path(path)
        listed.setdefault(group, []).append((path, number))
    return listed


def _check_same_settings(folder: Path, info: Mapping[str, Any], plan: Plan, settings: BuildSettings) -> None:
    for name, asked in (("seed", settings.seed), ("codec", settings.codec)):
        if name in info and info[name] != asked:
            raise ShardError(
                f"{folder} was built with {name} {info[name]}, not {asked}; "
                f"use --{name} {info[name]}, or another folder with --out"
            )
    if "lazy" in info and info["lazy"] != settings.lazy:
        kinds = {True: "lazy", False: "not lazy"}
        raise ShardError(
            f"{folder} is {kinds[info['lazy']]}, this build is {kinds[settings.lazy]}; use another folder with --out"
        )
    built: Mapping[str, list[int]] = info.get("crops", {})
    for group in plan.groups:
        before = built.get(str(group.group))
        if before is not None and before != [group.crop.size, group.crop.stride]:
            raise ShardError(
                f"{folder}: {group.group} was cropped with size {before[0]}, stride {before[1]}, "
                f"not {group.crop.size}, {group.crop.stride}; use the same crops, or another folder with --out"
            )


def _paths_with_parts(folder: Path) -> Iterable[str]:
    if not (folder / MANIFEST).is_dir() or not any((folder / MANIFEST).glob("*.parquet")):
        return []
    return [state.path for state in list_shards(folder)]
