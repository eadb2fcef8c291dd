"""
What goes where, decided before a pixel is touched.

Found pairs and a subset's uses become samples (a crop of a pair, or of a clean image with a level to degrade it by),
and samples become shards. Nothing here depends on workers, order of work or earlier interruptions, so neither does a
byte of the result.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

from uirdata.cropping import Box, crop_boxes
from uirdata.degradations import find_degradation
from uirdata.errors import UsageError
from uirdata.pairing import Pair
from uirdata.records import check_key
from uirdata.seeding import rng_for
from uirdata.subsets import Use

# Lossless WebP of photographs takes 0.33 to 0.39 of the raw bytes; noise takes up to 0.9.
_BYTES_PER_PIXEL = 3 * 0.45

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True)
class FoundPair:
    """A pair that lies on the disk: its names, and the height and width of its LQ in pixels."""

    pair: Pair
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """
    One sample before its pixels: what to read, where to cut, how to degrade.

    Attributes:
        key: its name in the pool.
        source: id of the source.
        split: train, val or test.
        degradation: the type of its LQ.
        level: name of the level, made or published; "" where a source does not tell.
        made: the LQ is made here, from `level`.
        real: captured, not made.
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
    def group(self) -> tuple[str, str, str]:
        """Split, degradation and source: samples of one group share shards."""
        return self.split, self.degradation, self.source


@dataclass(frozen=True)
class PlannedShard:
    """
    One tar before its pixels.

    Attributes:
        path: relative to the shard folder, with "/".
        samples: in the order in which they are written.
    """

    path: str
    samples: tuple[PlannedSample, ...]

    def digest(self, seed: int, codec: str) -> str:
        """Name everything that decides the tar's bytes: a finished shard with this digest need not be built again."""
        digest = hashlib.sha256(f"{seed} {codec} {self.path}".encode())
        for sample in self.samples:
            digest.update(repr(astuple(sample)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class CropSetting:
    """Size and stride of crops in pixels; size 0 takes images whole."""

    size: int
    stride: int

    def __post_init__(self) -> None:
        """Refuse what cannot cut anything."""
        if self.size < 0 or (self.size > 0 and self.stride < 1):
            raise UsageError(f"crops of size {self.size} at stride {self.stride} cannot be cut; both must be positive")

    def boxes(self, height: int, width: int) -> tuple[Box, ...]:
        """Give the crops of an image of this height and width."""
        if self.size == 0:
            return (Box(0, 0, height, width),)
        return crop_boxes(height, width, size=self.size, stride=self.stride)


def plan_samples(
    use: Use,
    found: Sequence[FoundPair],
    *,
    crop: CropSetting,
    seed: int,
    licence: str,
    overlaps: Mapping[str, str] | None = None,
) -> Iterator[PlannedSample]:
    """
    Turn one use of a source into samples: its published pairs of the type, or where it has none, its clean images.

    Args:
        use: which degradation and split of the source, which levels, how many variants of each crop.
        found: the pairs of that source, of any split and degradation; those that the use does not name are passed over.
        crop: how to cut.
        seed: the run's seed; decides levels, and later the recipes.
        licence: of the source.
        overlaps: scene to the benchmarks that hold it, joined by commas.

    Raises:
        UsageError: the type has no levels, so it cannot be made of clean images.
    """
    mine = [item for item in found if item.pair.split == use.split and item.pair.gt]
    published = [item for item in mine if item.pair.degradation == use.degradation]
    if published and use.levels:
        published = [item for item in published if item.pair.level in use.levels]
    chosen = published or [item for item in mine if not item.pair.degradation]
    levels = use.levels or tuple(level.name for level in find_degradation(use.degradation).levels)
    if chosen and not published and not levels:
        raise UsageError(f"{use.degradation} cannot be made of {use.source}'s clean images; it has no levels")
    for item in chosen:
        pair = item.pair
        made = not pair.lq
        for box in crop.boxes(item.height, item.width):
            for level, suffix in _variants(use, pair, box, levels, seed) if made else [(pair.level, "")]:
                key = _key(pair, box) + suffix
                check_key(key)
                yield PlannedSample(
                    key=key,
                    source=pair.source,
                    split=pair.split,
                    degradation=use.degradation,
                    level=level,
                    made=made,
                    real=pair.real and not made,
                    scene=pair.scene,
                    gt_path=pair.gt,
                    lq_path=pair.lq,
                    gt_border=pair.gt_border,
                    top=box.top,
                    left=box.left,
                    height=box.height,
                    width=box.width,
                    overlaps=(overlaps or {}).get(pair.scene, ""),
                    licence=licence,
                )


def plan_shards(
    samples: Iterable[PlannedSample],
    *,
    shard_bytes: int,
    first_number: Mapping[tuple[str, str, str], int] | None = None,
) -> list[PlannedShard]:
    """
    Deal samples out to shards.

    A shard is full when its estimated bytes reach `shard_bytes`; the estimate uses sizes in pixels alone, so it stays
    the same when an image turns out to be broken. Samples keep their order within their group.

    Args:
        samples: of any groups, mixed.
        shard_bytes: about how large a tar becomes.
        first_number: the number of the first new shard of a group; 0 where it is not named.

    Raises:
        UsageError: two samples have one key.
    """
    groups: dict[tuple[str, str, str], list[list[PlannedSample]]] = {}
    room: dict[tuple[str, str, str], float] = {}
    seen: set[str] = set()
    for sample in samples:
        if sample.key in seen:
            raise UsageError(f"two samples are called {sample.key}; the subset names a use of {sample.source} twice")
        seen.add(sample.key)
        shards = groups.setdefault(sample.group, [])
        need = 2 * sample.height * sample.width * _BYTES_PER_PIXEL
        if not shards or room[sample.group] < need:
            shards.append([])
            room[sample.group] = float(shard_bytes)
        shards[-1].append(sample)
        room[sample.group] -= need
    first = first_number or {}
    return [
        PlannedShard(shard_path(group, number), tuple(members))
        for group in sorted(groups)
        for number, members in enumerate(groups[group], start=first.get(group, 0))
    ]


def shard_path(group: tuple[str, str, str], number: int) -> str:
    """
    Name a shard.

    >>> shard_path(("train", "noise", "wed"), 7)
    'train/noise/wed-00007.tar'
    """
    split, degradation, source = group
    return f"{split}/{degradation}/{source}-{number:05d}.tar"


def estimated_bytes(samples: Sequence[PlannedSample]) -> int:
    """Estimate what samples take on the disk, in bytes; within about a third for photographs."""
    return int(sum(2 * s.height * s.width * _BYTES_PER_PIXEL for s in samples))


def _variants(use: Use, pair: Pair, box: Box, levels: Sequence[str], seed: int) -> Iterator[tuple[str, str]]:
    """Give (level, end of the key) for each LQ to make of a crop: levels without repetition while there are enough."""
    name = f"{pair.source}/{pair.gt}/{box.top},{box.left},{box.height},{box.width}/{use.degradation}"
    rng = rng_for(seed, name, "levels " + ",".join(levels))
    order: list[str] = []
    while len(order) < use.per_image:
        order += [levels[int(i)] for i in rng.permutation(len(levels))]
    counts: dict[str, int] = {}
    for level in order[: use.per_image]:
        number = counts.get(level, 0)
        counts[level] = number + 1
        yield level, f"-{use.degradation}-{level}-{number}"


def _key(pair: Pair, box: Box) -> str:
    path = pair.lq or pair.gt
    stem = _NOT_IN_KEYS.sub("_", path.rsplit("/", 1)[-1].rsplit(".", 1)[0])[-24:]
    # The stem is for people; the digest tells apart files of equal names in other folders and sources.
    digest = hashlib.sha256(f"{pair.source}/{pair.split}/{path}".encode()).hexdigest()[:10]
    return f"{stem}-{digest}-{box.top}-{box.left}-{box.height}-{box.width}"
