"""The work of a worker: build one shard, a tar and its part of the manifest, from planned samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from uirdata.errors import ImageError, PairError, RecipeError, one_file
from uirdata.images import Codec, RgbImage, encode_image, pixel_sha256
from uirdata.pipeline.building.build_plan import BuildSettings
from uirdata.pipeline.building.object_pool import ObjectPool
from uirdata.pipeline.building.sample_reader import SampleReader, describe_failure
from uirdata.planning import PlannedSample, PlannedShard
from uirdata.records import IN_TAR
from uirdata.storage.shards import Rejected, SampleBytes, ShardState, write_shard


class Reader(Protocol):
    """Makes the pixels of samples, one after another."""

    def pixels(self, sample: PlannedSample) -> tuple[RgbImage, RgbImage, str]:
        """Return GT, LQ and recipe; raise ImageError, PairError or RecipeError if they cannot be made."""
        ...


class Pixels(Protocol):
    """Where pixels are read from. It is sent to each worker, which opens its own reader."""

    def open(self) -> Reader:
        """Return a new reader."""
        ...


@dataclass(frozen=True)
class SourcePixels:
    """
    Pixels that are read from the unpacked files of the sources.

    Attributes:
        folders: folder of the files of each source.
        seed: seed of the recipes.
    """

    folders: Mapping[str, Path]
    seed: int

    def open(self) -> Reader:
        """Return a new reader."""
        return SampleReader(self.folders, self.seed)


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to build one shard; `pool` is None unless the pool is in object storage."""

    folder: Path
    shard: PlannedShard
    pixels: Pixels
    settings: BuildSettings
    pool: ObjectPool | None = None


def build_shard(task: ShardTask, on_sample: Callable[[], object] | None = None) -> ShardState:
    """
    Build one shard. Samples that cannot be made are left out, and listed in the shard's part of the manifest.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    rejected: list[Rejected] = []
    samples = _encode_samples(task, rejected, on_sample)
    digest = task.shard.digest(task.settings.seed, task.settings.form)

    def write(folder: Path) -> ShardState:
        return write_shard(folder, task.shard.path, samples, digest, rejected)

    return write(task.folder) if task.pool is None else task.pool.made_there(task.shard.path, write)


def _encode_samples(
    task: ShardTask, rejected: list[Rejected], on_sample: Callable[[], object] | None
) -> Iterator[SampleBytes]:
    settings = task.settings
    reader = task.pixels.open()
    # Samples of one crop come one after another: its GT is encoded and hashed once.
    encoded_gt, gt_sha256, last = b"", "", None
    for sample in task.shard.samples:
        try:
            with one_file(sample.lq_path or sample.gt_path):
                gt, lq, recipe = reader.pixels(sample)
        except (ImageError, PairError, RecipeError) as error:
            rejected.append(
                Rejected(
                    key=sample.key,
                    shard=task.shard.path,
                    source=sample.source,
                    level=sample.level,
                    gt_path=sample.gt_path,
                    lq_path=sample.lq_path,
                    reason=describe_failure(error),
                )
            )
        else:
            fields = _record_fields(sample, recipe, settings.codec)
            if (sample.crop, sample.gt_border) != last:
                encoded_gt, gt_sha256 = encode_image(gt, settings.codec), pixel_sha256(gt)
                last = sample.crop, sample.gt_border
            fields |= {"gt_sha256": gt_sha256, "lq_sha256": pixel_sha256(lq)}
            encoded_lq = b"" if settings.lazy and sample.made else encode_image(lq, settings.codec)
            yield SampleBytes(encoded_gt, encoded_lq, fields)
        if on_sample is not None:
            on_sample()


def _record_fields(sample: PlannedSample, recipe: str, codec: Codec) -> dict[str, Any]:
    planned = {field.name: getattr(sample, field.name) for field in fields(sample) if field.name in IN_TAR}
    return {**planned, "recipe": recipe, "codec": codec}
