"""Conversion of a lazy pool into one that holds every LQ, with the same bytes as if it had been built so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from uirdata.errors import ImageError, ShardError
from uirdata.images import RgbImage
from uirdata.pipeline.building.build import BuildReport, build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.engines import Engine
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.pipeline.building.shard_task import Reader
from uirdata.planning import CropSetting, GroupKey, PlannedSample, parse_shard_path
from uirdata.progress import Progress
from uirdata.storage.manifest_rows import read_part_rows
from uirdata.storage.pool_info import INFO, pool_codec, read_info, required
from uirdata.storage.reading import ShardDataset, read_shard_folder
from uirdata.storage.shard_states import list_shards

_PLANNED = tuple(field.name for field in fields(PlannedSample))


def materialise(
    lazy: Path, out: Path, *, shard_bytes: int, engine: Engine | None = None, progress: Progress | None = None
) -> BuildReport:
    """
    Build a pool that holds every LQ from a lazy pool; source files are not needed.

    Samples that the lazy pool left out are not in it.

    Raises:
        ShardError: `lazy` is not a lazy pool, or not complete.
        StorageError: the disk is full or the folder cannot be written.
    """
    if not lazy.is_dir():
        raise ShardError(f"{lazy}: no such folder; name the folder of a lazy pool")
    info = read_info(lazy)
    if not info:
        list_shards(lazy)  # says what is there instead
        raise ShardError(f"{lazy}: lacks {INFO}: a build was not finished. Run the same `uir build-shards` again")
    if not info.get("lazy"):
        raise ShardError(f"{lazy} is not lazy: its shards hold every LQ already")
    read_shard_folder(lazy)  # raises ShardError before anything is written
    settings = BuildSettings(seed=required(lazy, info, "seed"), codec=pool_codec(lazy), shard_bytes=shard_bytes)
    groups = tuple(
        StoredGroup(group, CropSetting(*required(lazy, info, "crops", str(group))), lazy)
        for group in sorted({parse_shard_path(state.path)[0] for state in list_shards(lazy)})
    )
    plan = plan_build(out, Plan(groups, settings.seed, ()), settings)
    subsets = required(lazy, info, "subsets")
    return build(plan, subsets=subsets, pixels=PoolPixels(lazy), engine=engine, progress=progress)


@dataclass(frozen=True)
class StoredGroup:
    """
    The samples of one split, degradation and source, as a pool's manifest lists them.

    Attributes:
        group: split, degradation, source.
        crop: crop setting of its images.
        folder: the pool.
    """

    group: GroupKey
    crop: CropSetting
    folder: Path

    def samples(self, seed: int) -> Iterator[PlannedSample]:  # noqa: ARG002  levels are in the manifest already
        """Yield the samples in the order in which they were planned."""
        for state in list_shards(self.folder):
            if parse_shard_path(state.path)[0] == self.group:
                for batch in read_part_rows(self.folder, state.path).to_batches():
                    for row in batch.to_pylist():
                        yield planned_sample(row)


@dataclass(frozen=True)
class PoolPixels:
    """
    Pixels that are read from a pool.

    Attributes:
        folder: the pool.
    """

    folder: Path

    def open(self) -> Reader:
        """Return a new reader."""
        return _PoolReader(read_shard_folder(self.folder))


class _PoolReader:
    def __init__(self, dataset: ShardDataset) -> None:
        self._dataset = dataset

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {key: number for number, key in enumerate(self._dataset.keys)}

    def pixels(self, sample: PlannedSample) -> tuple[RgbImage, RgbImage, str]:
        number = self._numbers.get(sample.key)
        if number is None:
            raise ImageError(f"{self._dataset.folder}: {sample.key} is gone")
        item = self._dataset[number]
        return item.gt, item.lq, item.record.recipe


def planned_sample(row: dict[str, Any]) -> PlannedSample:
    """Return the planned sample of a row of a manifest."""
    return PlannedSample(**{name: row[name] for name in _PLANNED if name != "made"}, made=bool(row["recipe"]))
