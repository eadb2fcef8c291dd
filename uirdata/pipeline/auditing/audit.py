"""
Search for images that are in a data set twice, and for images that are also in a benchmark.

Three searches, each for what the one before cannot find: equal pixels; hashes of whole images, for copies that were
re-encoded, resized, flipped or changed in brightness; hashes of windows, for crops. The last two only propose
candidates: a pair counts if the pixels of its common part correlate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uirdata.errors import ImageError, one_file
from uirdata.pipeline.auditing.gt_images import GtImage, look_at
from uirdata.pipeline.building.sample_plan import Left
from uirdata.pipeline.building.sample_reader import describe_failure
from uirdata.pipeline.parallel import in_order
from uirdata.progress import Progress, Silent
from uirdata.similarity.alignment import Part, common_parts, correlation, cut, flip_image
from uirdata.similarity.fingerprints import (
    FLIPS,
    MIN_WINDOWS,
    WHOLE_DISTANCE,
    WINDOW_DISTANCE,
    Flip,
    HashIndex,
    Placement,
    flipped,
    place,
)
from uirdata.storage.fingerprint_cache import Batch, FingerprintCache, Wholes

Kind = Literal["exact", "near", "crop"]

MIN_SIMILARITY = 0.9
"""Two images count as the same from this correlation of their common part on, both resized to 64 x 64."""

_SMALLEST_PART_PX = 24
_NEARLY_ALL = 0.9
_BLOCK_WINDOWS = 8_000_000


@dataclass(frozen=True)
class Hit:
    """
    Two images that show the same.

    Attributes:
        kind: exact (equal pixels), near (nearly all of both images) or crop (a part of at least one).
        similarity: correlation of their common part, at most 1.
        windows: number of windows that match; 0 if the hashes of the whole images matched.
        distance: number of differing bits of their hashes, of 64; the mean over the windows.
        flip: how the first image is flipped.
        one: the image of the data set that is audited.
        one_part: its common part with the other, after the flip: top, left, height, width in pixels.
        other: an image of the benchmark, or another image of the data set.
        other_part: its common part with the first.
    """

    kind: Kind
    similarity: float
    windows: int
    distance: float
    flip: Flip
    one: GtImage
    one_part: Part
    other: GtImage
    other_part: Part


@dataclass(frozen=True)
class AuditReport:
    """
    The result of an audit.

    Attributes:
        within: pairs of equal images of the data set, in different scenes.
        against: pairs of an image of the data set and an equal image of a benchmark.
        images: number of images of the data set that were compared.
        benchmark_images: number of images of benchmarks that were compared.
        failures: images that could not be read.
    """

    within: list[Hit]
    against: list[Hit]
    images: int
    benchmark_images: int
    failures: list[Left] = field(default_factory=list)

    @property
    def hits(self) -> list[Hit]:
        """All hits."""
        return [*self.against, *self.within]


def audit(
    audited: Sequence[GtImage],
    benchmarks: Sequence[GtImage],
    cache: FingerprintCache,
    *,
    min_similarity: float = MIN_SIMILARITY,
    workers: int = 1,
    progress: Progress | None = None,
) -> AuditReport:
    """
    Search for images that are in a data set twice, and for images that are also in benchmarks.

    Crops of one scene overlap by design, and frames of one video are similar: within the data set only images of
    different scenes are compared.

    Args:
        audited: images of the data set.
        benchmarks: images of the benchmarks.
        cache: cache of the fingerprints.
        min_similarity: least correlation of a hit.
        workers: number of processes.
        progress: receives the images that are done.

    Raises:
        StorageError: the cache cannot be written.
    """
    listener = progress or Silent()
    mine, failures = look_at(audited, cache, workers=workers, progress=listener)
    theirs, more = look_at(benchmarks, cache, workers=workers, progress=listener)
    contents = _Contents([*mine, *theirs])
    check = _Check(contents, min_similarity, workers, listener)
    within = _compare(contents, cache, mine, mine, check, within=True)
    against = _compare(contents, cache, mine, theirs, check, within=False)
    return AuditReport(within, against, len(mine), len(theirs), [*failures, *more])


@dataclass(frozen=True)
class _Proposal:
    """A candidate: two contents that may show the same."""

    one: int
    other: int
    flip: Flip
    distance: float
    placement: Placement | None


class _Contents:
    """Numbers of the contents, which several images may share, and the scene of each content."""

    def __init__(self, images: Iterable[GtImage]) -> None:
        self.numbers: dict[str, int] = {}
        self.first: list[GtImage] = []
        scenes: dict[tuple[str, str], int] = {}
        scene_of: list[int] = []
        for image in images:
            scene = scenes.setdefault((image.source, image.scene), len(scenes))
            number = self.numbers.setdefault(image.content, len(self.first))
            if number == len(self.first):
                self.first.append(image)
                scene_of.append(scene)
            elif scene_of[number] != scene:
                scene_of[number] = -1 - number  # in several scenes: different from any other
        self.scenes: NDArray[np.int64] = np.array(scene_of, dtype=np.int64)

    def wanted(self, images: Iterable[GtImage]) -> dict[str, int]:
        """Return the number of each content of some images."""
        return {image.content: self.numbers[image.content] for image in images}


@dataclass(frozen=True)
class _Check:
    """Parameters of the check of candidates."""

    contents: _Contents
    min_similarity: float
    workers: int
    progress: Progress


def _compare(
    contents: _Contents,
    cache: FingerprintCache,
    mine: Sequence[GtImage],
    theirs: Sequence[GtImage],
    check: _Check,
    *,
    within: bool,
) -> list[Hit]:
    queries, indexed = contents.wanted(mine), contents.wanted(theirs)
    ones = cache.wholes(queries)
    others = ones if within else cache.wholes(indexed)
    pixels = {**ones.pixels, **others.pixels}
    allowed = _Allowed(contents.scenes, within=within)
    proposals: dict[tuple[int, int], _Proposal] = {}
    for proposal in chain(_whole_proposals(ones, others, allowed), _window_proposals(cache, queries, indexed, allowed)):
        pair = (proposal.one, proposal.other)
        if pixels[proposal.one] != pixels[proposal.other]:
            proposals[pair] = _better(proposals.get(pair), proposal)
    by_content: dict[int, list[GtImage]] = {}
    for image in theirs:
        by_content.setdefault(indexed[image.content], []).append(image)
    mine_by_content: dict[int, list[GtImage]] = {}
    for image in mine:
        mine_by_content.setdefault(queries[image.content], []).append(image)
    exact = _exact_hits(mine, theirs, queries, indexed, pixels, within=within)
    return [*exact, *_checked(proposals.values(), mine_by_content, by_content, check, within=within)]


class _Allowed:
    """Decides which pairs of contents are compared."""

    def __init__(self, scenes: NDArray[np.int64], *, within: bool) -> None:
        self._scenes, self._within = scenes, within

    def __call__(self, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not self._within:
            different: NDArray[np.bool_] = ones != others
            return different
        allowed: NDArray[np.bool_] = (ones < others) & (self._scenes[ones] != self._scenes[others])
        return allowed


def _whole_proposals(ones: Wholes, others: Wholes, allowed: _Allowed) -> Iterator[_Proposal]:
    index = HashIndex(others.hashes)
    for flip in FLIPS:
        for found in index.near(flipped(ones.hashes, flip), WHOLE_DISTANCE, probe=True):
            one, other = ones.numbers[found.queries], others.numbers[found.found]
            keep = allowed(one, other)
            for numbers in zip(*(a[keep].tolist() for a in (one, other, found.distances)), strict=True):
                yield _Proposal(numbers[0], numbers[1], flip, float(numbers[2]), None)


def _window_proposals(
    cache: FingerprintCache, queries: Mapping[str, int], indexed: Mapping[str, int], allowed: _Allowed
) -> Iterator[_Proposal]:
    for block in cache.blocks(indexed, _BLOCK_WINDOWS):
        index = HashIndex(np.ascontiguousarray(block.windows["hash"]))
        for batch in cache.batches(queries):
            hashes = np.ascontiguousarray(batch.windows["hash"])
            for flip in FLIPS:
                parts = [np.zeros((3, 0), dtype=np.int64)]
                for found in index.near(flipped(hashes, flip), WINDOW_DISTANCE):
                    one, other = batch.owners[found.queries], block.owners[found.found]
                    keep = allowed(batch.numbers[one], block.numbers[other])
                    parts.append(np.stack([found.queries[keep], found.found[keep], found.distances[keep]]))
                yield from _placed(batch, block, np.concatenate(parts, axis=1), flip)


def _placed(batch: Batch, block: Batch, matches: NDArray[np.int64], flip: Flip) -> Iterator[_Proposal]:
    """Yield the pairs of images of which enough windows match at one placement."""
    queries, found, distances = matches
    pair = batch.owners[queries].astype(np.int64) * len(block.numbers) + block.owners[found]
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    enough = sizes >= MIN_WINDOWS
    for begin, size in zip(starts[enough], sizes[enough], strict=True):
        some = order[begin : begin + size]
        one, other = batch.owners[queries[some[0]]], block.owners[found[some[0]]]
        height, width = batch.sizes[one].tolist()
        placement = place(
            batch.windows[queries[some]], block.windows[found[some]], distances[some], flip, (height, width)
        )
        if placement is not None:
            yield _Proposal(int(batch.numbers[one]), int(block.numbers[other]), flip, placement.distance, placement)


def _better(before: _Proposal | None, now: _Proposal) -> _Proposal:
    """Return the better of two candidates for a pair: the one with more windows, else with fewer bits."""
    if before is None or before.placement is None:
        return now if before is None or now.placement is not None or now.distance < before.distance else before
    return now if now.placement is not None and now.placement.windows > before.placement.windows else before


def _exact_hits(
    mine: Sequence[GtImage],
    theirs: Sequence[GtImage],
    queries: Mapping[str, int],
    indexed: Mapping[str, int],
    pixels: Mapping[int, str],
    *,
    within: bool,
) -> Iterator[Hit]:
    groups: dict[str, list[GtImage]] = {}
    for image in theirs:
        if indexed[image.content] in pixels:
            groups.setdefault(pixels[indexed[image.content]], []).append(image)
    if within:
        for group in groups.values():
            yield from (_exact(group[0], other) for other in group[1:] if _scene(other) != _scene(group[0]))
        return
    for image in mine:
        if queries[image.content] in pixels:
            yield from (_exact(image, other) for other in groups.get(pixels[queries[image.content]], ()))


def _exact(one: GtImage, other: GtImage) -> Hit:
    return Hit("exact", 1.0, 0, 0.0, "", one, _all_of(one), other, _all_of(other))


def _checked(
    proposals: Collection[_Proposal],
    mine: Mapping[int, Sequence[GtImage]],
    theirs: Mapping[int, Sequence[GtImage]],
    check: _Check,
    *,
    within: bool,
) -> Iterator[Hit]:
    listener = check.progress
    # Sorted by the first image, so that a worker's last one is often the next.
    ordered = sorted(proposals, key=lambda proposal: (proposal.one, proposal.other))
    tasks = ((p, check.contents.first[p.one], check.contents.first[p.other]) for p in ordered)
    listener.begin("checking", len(ordered))
    for proposal, checked in zip(ordered, in_order(_check_pair, tasks, check.workers), strict=True):
        listener.advance("checking")
        if isinstance(checked, str):
            listener.note(checked)
            continue
        similarity, one_part, other_part, kind = checked
        if similarity < check.min_similarity:
            continue
        for one, other in product(mine[proposal.one], theirs[proposal.other]):
            if not within or _scene(one) != _scene(other):
                windows = proposal.placement.windows if proposal.placement else 0
                distance = proposal.distance
                yield Hit(kind, similarity, windows, distance, proposal.flip, one, one_part, other, other_part)
    listener.end("checking")


def _check_pair(task: tuple[_Proposal, GtImage, GtImage]) -> tuple[float, Part, Part, Kind] | str:
    """Return similarity, common parts and kind of two images; a message if an image can no longer be read."""
    proposal, one, other = task
    try:
        with one_file(f"{one.place.path} and {other.place.path}"):
            return _compared(proposal, one, other)
    except ImageError as error:
        return describe_failure(error)


def _compared(proposal: _Proposal, one: GtImage, other: GtImage) -> tuple[float, Part, Part, Kind]:
    first, second = one.place.pixels(), other.place.pixels()
    first = flip_image(first, proposal.flip)
    one_part, other_part = common_parts(first.shape[:2], second.shape[:2], proposal.placement)
    if min(*one_part[2:], *other_part[2:]) < _SMALLEST_PART_PX:
        return 0.0, one_part, other_part, "crop"
    similarity = correlation(cut(first, one_part), cut(second, other_part))
    shares = [p[2] * p[3] / (i.shape[0] * i.shape[1]) for p, i in ((one_part, first), (other_part, second))]
    return similarity, one_part, other_part, "near" if min(shares) >= _NEARLY_ALL else "crop"


def _all_of(image: GtImage) -> Part:
    return 0, 0, image.height, image.width


def _scene(image: GtImage) -> tuple[str, str]:
    return image.source, image.scene
