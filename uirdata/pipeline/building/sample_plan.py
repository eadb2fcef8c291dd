"""The plan of a build: from what was found on the disk to samples; and the crops themselves, for who wants files."""

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
    """A source that a plan could not use, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """
    Every sample of a build.

    Attributes:
        groups: sorted by split, degradation and source.
        seed: of levels and recipes.
        left: sources that are not there.
    """

    groups: tuple[Group, ...]
    seed: int
    left: tuple[Left, ...]

    def samples(self) -> Iterator[PlannedSample]:
        """Give every sample, group by group; made anew each time."""
        return chain.from_iterable(group.samples(self.seed) for group in self.groups)

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the sources that it reads."""
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
    Plan all samples of a subset from what was found on the disk.

    Training crops follow `crop`, else the subset's own setting, else the source's, else 512 at stride 256. Images of
    val and test stay whole unless the subset says otherwise. Sources that are not there are left out and named.

    Args:
        subset: what to build.
        sources: all sources, by id.
        layout: where they lie.
        crop: as the user asks; None leaves it to the subset and the sources.
        seed: of levels and recipes.
        overlaps: which training scenes benchmarks hold.
        clean: leave those scenes out.
        may_be_empty: give a plan without samples where no source is there.

    Raises:
        SourceError: none of the subset's sources is there.
        UsageError: the subset cuts one group in two ways.
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
            raise UsageError(f"{subset.name} cuts {group} in two ways: {before.crop} and {setting}")
        uses = (*before.uses, use) if before else (use,)
        held = scenes_held(source.id, pairs, overlaps, layout) if use.split == "train" else {}
        groups[group] = GroupPlan(group, uses, setting, pairs, source.licence, held, clean)
    left = tuple(
        Left(name, f"not fetched; `uir fetch {name}` brings it") for name, pairs in found.items() if pairs is None
    )
    if not any(found.values()) and not may_be_empty:
        reasons = "; ".join(f"{item.source}: {item.reason}" for item in left)
        raise SourceError(
            f"nothing to build for {subset.name}. {reasons or 'No usable pair was found: `uir verify` says why'}"
        )
    return Plan(tuple(groups[group] for group in sorted(groups)), seed, left)


def expected_samples(subset: Subset, source: Source) -> list[tuple[GroupKey, int | None]]:
    """
    Say what a source will give that is not here yet, from its manifest alone.

    Training pairs of a source that the paper cuts: as many as the paper's crops give. Else as many as its authors
    publish, times the variants that are made of each image. None where nobody says.
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
    Say which training scenes of a source lie in benchmarks: scene to their names, joined by commas.

    Lists that name scenes are followed always; those that speak of equal names, where the benchmark was fetched too.
    """
    wanted = {o.benchmark for o in overlaps if o.source == source and o.kind == "equal-scene"}
    theirs = {name: {item.pair.scene for item in read_found(layout, name) or []} for name in wanted}
    scenes = [item.pair.scene for item in found if item.pair.split == "train"]
    return overlapping_scenes(overlaps, source, scenes, theirs)


def crop_setting(use: Use, source: Source, asked: CropSetting | None) -> CropSetting:
    """Decide how the images of one use are cut."""
    if use.split != "train":
        return CropSetting(use.size, use.stride or use.size) if use.size else WHOLE
    if asked is not None:
        return asked
    if use.size is not None:
        return CropSetting(use.size, use.stride or use.size)
    return CropSetting(source.crop.size, source.crop.stride) if source.crop else DEFAULT_CROP


def write_plan(path: Path, samples: Iterable[PlannedSample]) -> int:
    """
    Write a plan as parquet, a row per sample; give the number of rows.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    return write_objects(path, samples, PLAN_SCHEMA)
