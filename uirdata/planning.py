"""
The plan of samples and shards, made before any pixel is read.

Found pairs and the uses of a subset become samples (a crop of a pair, or of a clean image with a level to degrade it
by), and samples become shards. Nothing here depends on the number of workers, the order of work or earlier
interruptions, so the bytes of the result do not either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import NamedTuple, Protocol

from uirdata.cropping import Box, crop_boxes
from uirdata.degradations import find_degradation
from uirdata.errors import UsageError, nearest
from uirdata.pairing import Pair
from uirdata.records import check_key
from uirdata.seeding import rng_for
from uirdata.subsets import Use

# Lossless WebP of photographs takes 0.33 to 0.39 of the raw bytes; noise takes up to 0.9.
_BYTES_PER_PIXEL = 3 * 0.45

# A JSON member with its header.
_BYTES_OF_TEXT = 2_000

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_]+")


class GroupKey(NamedTuple):
    """What the samples of a shard have in common. Keys sort by their fields in this order."""

    split: str
    degradation: str
    source: str

    def __str__(self) -> str:
        """Return it as info.json and messages name a group: `train/noise/wed`."""
        return "/".join(self)


@dataclass(frozen=True)
class FoundPair:
    """A pair on the disk: its names, and the height and width of its LQ in pixels."""

    pair: Pair
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """
    One planned sample, without pixels: what to read, where to crop, how to degrade.

    Attributes:
        key: its name in the pool.
        source: id of the source.
        split: train, val or test.
        degradation: the type of its LQ.
        level: name of the level, synthesised or published; "" if the source does not state it.
        made: the LQ is synthesised, from `level`.
        real: captured, not synthesised.
        scene: as `Pair.scene`.
        gt_path: below the source's folder.
        lq_path: below the source's folder; "" where `made`.
        gt_border: as `Pair.gt_border`.
        top: of the crop, in pixels.
        left: of the crop.
        height: of the crop.
        width: of the crop.
        overlaps: benchmarks that hold this scene, joined by commas.
        licence: of the source.
    """

    key: str
    source: str
    split: str
    degradation: str
    level: str
    made: bool
    real: bool
    scene: str
    gt_path: str
    lq_path: str
    gt_border: int
    top: int
    left: int
    height: int
    width: int
    overlaps: str
    licence: str

    @property
    def box(self) -> Box:
        """The crop."""
        return Box(self.top, self.left, self.height, self.width)

    @property
    def crop(self) -> tuple[str, str, int, int, int, int]:
        """Identity of the GT crop: samples with equal source and crop have the same GT pixels."""
        return self.source, self.gt_path, self.top, self.left, self.height, self.width

    @property
    def group(self) -> GroupKey:
        """Split, degradation and source: samples of one group share shards."""
        return GroupKey(self.split, self.degradation, self.source)


@dataclass(frozen=True)
class PlannedShard:
    """
    One planned tar, without pixels.

    Attributes:
        path: relative to the shard folder, with "/".
        samples: in the order in which they are written.
    """

    path: str
    samples: tuple[PlannedSample, ...]

    def digest(self, seed: int, form: str) -> str:
        """Return a hash of everything that decides the bytes of the tar: a shard that has it is reused."""
        digest = hashlib.sha256(f"{seed} {form} {self.path}".encode())
        for sample in self.samples:
            digest.update(repr(astuple(sample)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class CropSetting:
    """Size and stride of crops in pixels; size 0 takes images whole."""

    size: int
    stride: int

    def __post_init__(self) -> None:
        """Check that size and stride are possible."""
        if self.size < 0 or (self.size > 0 and self.stride < 1):
            raise UsageError(f"crops of size {self.size} at stride {self.stride} cannot be cut; both must be positive")

    def boxes(self, found: FoundPair) -> tuple[Box, ...]:
        """Return the crops of a pair; what somebody has cut already is taken whole."""
        if self.size == 0 or found.pair.cut:
            return (Box(0, 0, found.height, found.width),)
        return crop_boxes(found.height, found.width, size=self.size, stride=self.stride)


class Group(Protocol):
    """
    All samples of one split, degradation and source, generated on demand: whole data sets have millions.

    Attributes:
        group: split, degradation, source.
        crop: size and stride of the crops.
    """

    @property
    def group(self) -> GroupKey:
        """Split, degradation, source."""
        ...

    @property
    def crop(self) -> CropSetting:
        """Size and stride of the crops."""
        ...

    def samples(self, seed: int) -> Iterator[PlannedSample]:
        """Yield the samples, the same ones in the same order each time; `seed` is the seed of the build."""
        ...


@dataclass(frozen=True)
class GroupPlan:
    """
    A `Group` of pairs that were found on the disk.

    Attributes:
        group: split, degradation, source.
        uses: what the subset takes of the source; a sample that two uses select is made once.
        crop: size and stride of the crops.
        found: the usable pairs of the source, of any split and degradation.
        licence: of the source.
        overlaps: scene to the benchmarks that contain it, joined by commas.
        clean: leave out the scenes of `overlaps`.
        left_out: crops that screening leaves out, as GT path and box, with the reason.
    """

    group: GroupKey
    uses: tuple[Use, ...]
    crop: CropSetting
    found: Sequence[FoundPair]
    licence: str
    overlaps: Mapping[str, str] = field(default_factory=dict)
    clean: bool = False
    left_out: Mapping[tuple[str, Box], str] = field(default_factory=dict)

    def samples(self, seed: int) -> Iterator[PlannedSample]:
        """
        Yield the samples, the same ones in the same order each time.

        Args:
            seed: the seed of the build; decides levels, and later the recipes.

        Raises:
            UsageError: the type has no levels, so it cannot be synthesised from clean images, or a use names an unknown
                level.
        """
        seen: set[str] = set()
        for use in self.uses:
            for sample in self._of(use, seed):
                if sample.key not in seen:
                    seen.add(sample.key)
                    yield sample

    def _of(self, use: Use, seed: int) -> Iterator[PlannedSample]:
        mine = [item for item in self.found if item.pair.split == use.split and item.pair.gt]
        published = [item for item in mine if item.pair.degradation == use.degradation]
        if published:
            chosen = [item for item in published if not use.levels or item.pair.level in use.levels]
            levels: tuple[str, ...] = ()
        else:
            chosen = [item for item in mine if not item.pair.degradation]
            levels = _levels_to_make(use) if chosen else ()
        for item in chosen:
            if self.clean and item.pair.scene in self.overlaps:
                continue
            for box in self.crop.boxes(item):
                if (item.pair.gt, box) in self.left_out:
                    continue
                key = _key(use.degradation, item.pair, box)
                if item.pair.lq:
                    yield self._sample(use, item.pair, box, item.pair.level, key)
                    continue
                for level, number in _variants(use, item.pair, box, levels, seed):
                    yield self._sample(use, item.pair, box, level, f"{key}-{level}-{number}")

    def _sample(self, use: Use, pair: Pair, box: Box, level: str, key: str) -> PlannedSample:
        check_key(key)
        return PlannedSample(
            key=key,
            source=pair.source,
            split=pair.split,
            degradation=use.degradation,
            level=level,
            made=not pair.lq,
            real=pair.real and bool(pair.lq),
            scene=pair.scene,
            gt_path=pair.gt,
            lq_path=pair.lq,
            gt_border=pair.gt_border,
            top=box.top,
            left=box.left,
            height=box.height,
            width=box.width,
            overlaps=self.overlaps.get(pair.scene, ""),
            licence=self.licence,
        )


def deal(
    group: GroupKey,
    samples: Iterable[PlannedSample],
    *,
    shard_bytes: int,
    lazy: bool = False,
    first_number: int = 0,
    known: Mapping[str, str] | None = None,
) -> Iterator[PlannedShard]:
    """
    Yield the shards of a group, each with its samples.

    A shard is full when its estimated bytes reach `shard_bytes`. The estimate uses only sizes in pixels, so it does not
    change when an image turns out to be broken. Samples keep their order.

    Args:
        group: the group of all the samples.
        samples: in order.
        shard_bytes: approximate size of a tar.
        lazy: a synthesised LQ takes no space, and a GT is stored once for all samples made of it.
        first_number: number of the first new shard.
        known: keys that are in a shard already, with its path, or "" to skip them. The shards that are named
            come after the new ones, with all their samples.
    """
    places = known or {}
    again: dict[str, list[PlannedSample]] = {}
    members: list[PlannedSample] = []
    number, room = first_number, float(shard_bytes)
    for sample in samples:
        if sample.key in places:
            if places[sample.key]:
                again.setdefault(places[sample.key], []).append(sample)
            continue
        need = estimated_bytes(sample, members[-1] if members else None, lazy=lazy)
        if members and room < need:
            yield PlannedShard(shard_path(group, number), tuple(members))
            members, number, room = [], number + 1, float(shard_bytes)
        members.append(sample)
        room -= need
    if members:
        yield PlannedShard(shard_path(group, number), tuple(members))
    for path in sorted(again):
        yield PlannedShard(path, tuple(again[path]))


def shard_path(group: GroupKey, number: int) -> str:
    """
    Return the path of a shard.

    >>> shard_path(GroupKey("train", "noise", "wed"), 7)
    'train/noise/wed-00007.tar'
    """
    return f"{group.split}/{group.degradation}/{group.source}-{number:05d}.tar"


def parse_shard_path(path: str) -> tuple[GroupKey, int]:
    """
    Return the group and the number that `shard_path` made a path of.

    >>> parse_shard_path("train/noise/wed-00007.tar")
    (GroupKey(split='train', degradation='noise', source='wed'), 7)
    """
    split, degradation, name = path.removesuffix(".tar").split("/")
    source, _, number = name.rpartition("-")
    return GroupKey(split, degradation, source), int(number)


def estimated_bytes(sample: PlannedSample, before: PlannedSample | None = None, *, lazy: bool = False) -> int:
    """
    Return the estimated size of a sample on the disk in bytes; within about a third for photographs.

    Args:
        sample: the sample.
        before: the preceding sample, for lazy shards, which store a GT once.
        lazy: a synthesised LQ is not stored.
    """
    images = 2
    if lazy and sample.made:
        images = 0 if before is not None and before.crop == sample.crop else 1
    return int(images * sample.height * sample.width * _BYTES_PER_PIXEL) + _BYTES_OF_TEXT


def _levels_to_make(use: Use) -> tuple[str, ...]:
    known = tuple(level.name for level in find_degradation(use.degradation).levels)
    if not known:
        raise UsageError(f"{use.degradation} cannot be made of {use.source}'s clean images; it has no levels")
    for level in use.levels:
        if level not in known:
            raise UsageError(f"{use.degradation} of {use.source} has no level {level!r}: {nearest(level, known)}")
    return use.levels or known


def _variants(use: Use, pair: Pair, box: Box, levels: Sequence[str], seed: int) -> Iterator[tuple[str, int]]:
    """Yield a level and its number for each LQ to make of a crop: no level is repeated while others are left."""
    name = f"{pair.source}/{pair.gt}/{box.top},{box.left},{box.height},{box.width}/{use.degradation}"
    rng = rng_for(seed, name, "levels " + ",".join(levels))
    order: list[str] = []
    while len(order) < use.per_image:
        order += [levels[int(i)] for i in rng.permutation(len(levels))]
    counts: dict[str, int] = {}
    for level in order[: use.per_image]:
        number = counts.get(level, 0)
        counts[level] = number + 1
        yield level, number


def _key(degradation: str, pair: Pair, box: Box) -> str:
    path = pair.lq or pair.gt
    stem = _NOT_IN_KEYS.sub("_", path.rsplit("/", 1)[-1].rsplit(".", 1)[0])[-20:]
    # The stem is for readers; the digest distinguishes equal names in other folders and sources, and types.
    digest = hashlib.sha256(f"{pair.source}/{pair.split}/{degradation}/{path}".encode()).hexdigest()[:10]
    return f"{stem}-{digest}-{box.top}-{box.left}-{box.height}-{box.width}"
