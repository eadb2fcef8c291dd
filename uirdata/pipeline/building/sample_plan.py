"""The plan of a build: from the pairs on the disk to samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import pyarrow as pa

from uirdata.errors import SourceError, UsageError
from uirdata.facts.overlaps import Overlap, overlapping_scenes
from uirdata.facts.paper_table import account, load_paper_table
from uirdata.layout import Layout
from uirdata.planning import CropSetting, FoundPair, Group, GroupKey, GroupPlan, PlannedSample
from uirdata.sources import Source
from uirdata.storage.pair_tables import read_found
from uirdata.storage.tables import write_objects
from uirdata.subsets import Subset, Use

DEFAULT_CROP = CropSetting(512, 256)
WHOLE = CropSetting(0, 0)

_ARROW_TYPES = {"str": pa.string(), "int": pa.int32(), "bool": pa.bool_()}
PLAN_SCHEMA = pa.schema([(field.name, _ARROW_TYPES[str(field.type)]) for field in fields(PlannedSample)])


@dataclass(frozen=True)
class Left:
    """A source or file that could not be used, and the reason."""

    source: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """
    Every sample of a build.

    Attributes:
        groups: sorted by split, degradation and source.
        seed: seed of levels and recipes.
        left: sources that have not been fetched.
    """

    groups: tuple[Group, ...]
    seed: int
    left: tuple[Left, ...]

    def samples(self) -> Iterator[PlannedSample]:
        """Return an iterator over every sample, group by group; samples are generated anew at each call."""
        return chain.from_iterable(group.samples(self.seed) for group in self.groups)

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the sources that the plan reads."""
        return tuple(dict.fromkeys(group.group.source for group in self.groups))


def make_plan(
    subset: Subset,
    sources: Mapping[str, Source],
    layout: Layout,
    *,
    crop: CropSetting | None = None,
    seed: int = 0,
    overlaps: Sequence[Overlap] = (),
    clean: bool = False,
    may_be_empty: bool = False,
) -> Plan:
    """
    Plan all samples of a subset from the pairs that were found on the disk.

    Training crops use `crop`, else the setting of the subset, else that of the source, else size 512 at stride 256.
    Images of val and test stay whole unless the subset has a crop size for them. Sources that have not been fetched are
    left out and listed.

    Args:
        subset: the subset to build.
        sources: all sources, by id.
        layout: the folders of the sources.
        crop: crop setting of the user; None uses that of the subset or of the source.
        seed: seed of levels and recipes.
        overlaps: training scenes that are in benchmarks.
        clean: leave out these scenes.
        may_be_empty: return a plan without samples if no source has been fetched.

    Raises:
        SourceError: none of the subset's sources has been fetched.
        UsageError: the subset has two crop settings for one group.
    """
    found: dict[str, list[FoundPair] | None] = {}
    groups: dict[GroupKey, GroupPlan] = {}
    for use in subset.uses:
        if use.source not in found:
            found[use.source] = read_found(layout, use.source)
        pairs = found[use.source]
        if pairs is None:
            continue
        source = sources[use.source]
        group, setting = GroupKey(use.split, use.degradation, use.source), crop_setting(use, source, crop)
        before = groups.get(group)
        if before is not None and before.crop != setting:
            raise UsageError(f"subset {subset.name} has two crop settings for {group}: {before.crop} and {setting}")
        uses = (*before.uses, use) if before else (use,)
        held = scenes_held(source.id, pairs, overlaps, layout) if use.split == "train" else {}
        groups[group] = GroupPlan(group, uses, setting, pairs, source.licence, held, clean)
    left = tuple(Left(name, f"not fetched; run `uir fetch {name}`") for name, pairs in found.items() if pairs is None)
    if not any(found.values()) and not may_be_empty:
        reasons = "; ".join(f"{item.source}: {item.reason}" for item in left)
        raise SourceError(
            f"nothing to build for {subset.name}. {reasons or 'No usable pair was found: `uir verify` shows why'}"
        )
    return Plan(tuple(groups[group] for group in sorted(groups)), seed, left)


def expected_samples(subset: Subset, source: Source) -> list[tuple[GroupKey, int | None]]:
    """
    Return the number of samples that a source will give that has not been fetched, from its manifest alone.

    For training pairs of a source that the paper crops: the number of the paper's crops. Otherwise the number of pairs
    that its authors publish, times the number of LQ that are made of each image. None if no number is published.
    """
    rows = account(load_paper_table(), {source.id: source})
    fed: dict[str, int | None] = {}
    for row in rows:
        for _, feed in row.parts:
            before = fed.get(row.row.degradation, 0)
            fed[row.row.degradation] = None if feed.pairs is None or before is None else before + feed.pairs
    published = source.published()
    expected: dict[GroupKey, int | None] = {}
    for use in subset.uses:
        if use.source != source.id:
            continue
        group = GroupKey(use.split, use.degradation, use.source)
        pairs = [n for (split, kind, _), n in published.items() if split == use.split and kind in ("", use.degradation)]
        number = sum(pairs) * use.per_image if pairs else None
        if use.split == "train" and source.crop is not None and fed.get(use.degradation) is not None:
            number = fed[use.degradation]
        expected[group] = number
    return list(expected.items())


def scenes_held(source: str, found: Sequence[FoundPair], overlaps: Sequence[Overlap], layout: Layout) -> dict[str, str]:
    """
    Return the training scenes of a source that are in benchmarks: scene to names of benchmarks, joined by commas.

    Lists of scenes always apply; entries about equal scene names apply only if the benchmark has been fetched.
    """
    wanted = {o.benchmark for o in overlaps if o.source == source and o.kind == "equal-scene"}
    theirs = {name: {item.pair.scene for item in read_found(layout, name) or []} for name in wanted}
    scenes = [item.pair.scene for item in found if item.pair.split == "train"]
    return overlapping_scenes(overlaps, source, scenes, theirs)


def crop_setting(use: Use, source: Source, asked: CropSetting | None) -> CropSetting:
    """Return the crop setting of the images of one use."""
    if use.split != "train":
        return CropSetting(use.size, use.stride or use.size) if use.size else WHOLE
    if asked is not None:
        return asked
    if use.size is not None:
        return CropSetting(use.size, use.stride or use.size)
    return CropSetting(source.crop.size, source.crop.stride) if source.crop else DEFAULT_CROP


def write_plan(path: Path, samples: Iterable[PlannedSample]) -> int:
    """
    Write a plan as parquet, one row per sample; return the number of rows.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    return write_objects(path, samples, PLAN_SCHEMA)
