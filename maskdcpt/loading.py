"""
From shards to batches: which sample comes when, and which window of it, fixed by the seed alone.

An *epoch* is a list of *slots*: every sample as often as its degradation's repeat ratio says. The slots of epoch e are
shuffled by a generator that knows only (seed, e); the window and the flip of a slot come from one that knows only
(seed, e, slot). So the n-th sample of a run, down to its pixels, is the same for any number of loader workers, ranks
and restarts, and the whole position of a run is one number: how many samples it has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from maskdcpt.batches import PackedBatch, empty_batch
from maskdcpt.config import DataConfig, Sampling
from maskdcpt.windows import mirrored_to, random_window, turn_into
from uirdata.errors import ShardError, UsageError, nearest
from uirdata.images import RgbImage, Window
from uirdata.seeding import rng_for, seed_for


class Item(Protocol):
    """A sample with its pixels: what `uirdata.open_shards(...)[i]` gives."""

    @property
    def key(self) -> str:
        """Name of the sample."""

    @property
    def lq(self) -> RgbImage:
        """(H, W, 3) RGB uint8."""

    @property
    def gt(self) -> RgbImage:
        """(H, W, 3) RGB uint8."""

    @property
    def label(self) -> int:
        """Position of its degradation in `class_names`."""


class Samples(Protocol):
    """What this module needs of a set of shards; `uirdata.open_shards` gives one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The label order."""

    @property
    def degradations(self) -> Sequence[str] | NDArray[Any]:
        """Degradation of each sample."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...

    def place(self, index: int) -> Place:
        """Say how large a sample is and what it shows, without its pixels."""
        ...

    def pair(self, place: Any, window: Window | None = None, *, fresh: int | None = None) -> tuple[RgbImage, RgbImage]:
        """Give LQ and GT, or a window of both; `fresh`: the seed of an LQ that is made anew, where it was made here."""
        ...


class Place(Protocol):
    """What is known of a sample before its pixels are read; `uirdata.open_shards(...).place(i)` gives one."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def label(self) -> int:
        """Position of its degradation in `class_names`."""


def open_samples(data: DataConfig, split: str) -> Samples:
    """
    Open the shards of a run.

    Raises:
        UsageError: no shards are named, or no such subset or split.
        ShardError: the folder has no manifest, or a shard is missing or cut short.
    """
    from uirdata import load_subset, open_shards

    if not data.shards:
        raise UsageError("no shards are named: --shards DIR, or data.shards; `uir build-shards` makes them")
    if not data.subset:
        return open_shards(data.shards, split)
    subset = load_subset(data.subset, extra=_own_manifests(data))
    try:
        return open_shards(data.shards, split, subset)
    except ShardError as error:
        if "holds no sample of" not in str(error):
            raise
        raise UsageError(
            f'{error}; or train on all that the shards hold: --set data.subset="", or a preset that does so, such as '
            "pretrain-small and finetune-small"
        ) from error


def repeat_ratios(data: DataConfig, samples: Samples) -> Mapping[str, int]:
    """Give the repeat ratios of a run: its own, else those of its subset for the degradations that are there."""
    if data.repeat or not data.subset:
        return data.repeat
    from uirdata import load_subset

    present = set(samples.degradations)
    ratios = load_subset(data.subset, extra=_own_manifests(data)).repeat
    return {name: ratio for name, ratio in ratios.items() if name in present}


def _own_manifests(data: DataConfig) -> list[Path]:
    """Say where the user's own subsets lie: beside the shards, where `uir` keeps them."""
    folder = Path(data.shards).resolve().parent / "manifests"
    return [folder] if folder.is_dir() else []


class Draw(NamedTuple):
    """One drawing of a sample: which epoch, which slot of it, which sample lies there."""

    epoch: int
    slot: int
    sample: int


@dataclass(frozen=True)
class Slots:
    """
    What an epoch holds.

    Attributes:
        groups: per degradation the indices of its samples, ascending.
        counts: per degradation how many slots it has.
    """

    groups: tuple[NDArray[np.int64], ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def samples(self, epoch: int) -> NDArray[np.int64]:
        """
        Give the sample of each slot.

        Where a degradation has a whole number of slots per sample this is the same in every epoch. Otherwise the
        samples take turns: none is ever drawn twice more than another.
        """
        parts = [
            group[(np.arange(count, dtype=np.int64) + epoch * count) % len(group)]
            for group, count in zip(self.groups, self.counts, strict=True)
            if count
        ]
        return np.concatenate(parts)


def epoch_slots(
    degradations: Sequence[str] | NDArray[Any], repeat: Mapping[str, int], sampling: Sampling = "repeat"
) -> Slots:
    """
    Decide how often each sample stands in an epoch.

    Args:
        degradations: one a sample.
        repeat: how often each degradation's samples stand in an epoch, once where none is named; 0 leaves them out.
        sampling: `repeat` does just that, as the paper; `balanced` gives each degradation as many slots as the largest.

    Raises:
        UsageError: a repeat ratio is negative or for a degradation that the samples do not have, or nothing is left.
    """
    names = np.asarray(degradations, dtype=str)
    known = list(dict.fromkeys(names.tolist()))
    for name, ratio in repeat.items():
        if name not in known:
            raise UsageError(f"data.repeat names {name!r}, of which the shards hold no sample; {nearest(name, known)}")
        if ratio < 0:
            raise UsageError(f"data.repeat of {name} is {ratio}; a sample cannot stand {ratio} times in an epoch")
    groups = tuple(np.flatnonzero(names == name).astype(np.int64) for name in known)
    counts = [len(group) * repeat.get(name, 1) for group, name in zip(groups, known, strict=True)]
    if sampling == "balanced":
        largest = max((len(g) for g, c in zip(groups, counts, strict=True) if c), default=0)
        counts = [largest if count else 0 for count in counts]
    if not sum(counts):
        raise UsageError("there is no sample to train on; build shards of this subset and split first")
    return Slots(groups, tuple(counts))


class Stream:
    """The endless order of a run: number n, from 0, to what is drawn there."""

    def __init__(self, slots: Slots, seed: int) -> None:
        self._slots = slots
        self._seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._samples: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    @property
    def epoch_length(self) -> int:
        """How many samples an epoch has."""
        return len(self._slots)

    def __getitem__(self, number: int) -> Draw:
        epoch, position = divmod(number, len(self._slots))
        if epoch != self._epoch:
            rng = rng_for(self._seed, str(epoch), "order of an epoch")
            self._order = rng.permutation(len(self._slots))
            self._samples = self._slots.samples(epoch)
            self._epoch = epoch
        slot = int(self._order[position])
        return Draw(epoch, slot, int(self._samples[slot]))


@dataclass(frozen=True)
class Share:
    """
    Which part of a step's batch this process works on, and in how many pieces.

    Attributes:
        batch: samples in a step, over all ranks.
        pieces: into how many a rank cuts its part, to fit its memory.
        rank: of this process.
        ranks: how many processes there are.
    """

    batch: int
    pieces: int = 1
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        """Refuse a batch that does not divide."""
        if self.batch % (self.pieces * self.ranks):
            raise UsageError(
                f"a batch of {self.batch} does not divide into {self.ranks} ranks x {self.pieces} pieces (data.batch, "
                "data.accumulate); change one of them"
            )

    @property
    def piece(self) -> int:
        """Samples in one forward pass."""
        return self.batch // (self.pieces * self.ranks)

    def slice(self, piece: int) -> slice:
        """Say where a piece of this rank lies in the batch, which is the same for any ranks and pieces."""
        start = (piece * self.ranks + self.rank) * self.piece
        return slice(start, start + self.piece)


class StepSampler(Sampler[list[Draw]]):
    """The draws of each piece of each step from one position of the stream on."""

    def __init__(self, stream: Stream, share: Share, *, start: int, steps: int) -> None:
        """
        Args:
            stream: the order.
            share: this process's part.
            start: how many samples the run has seen.
            steps: how many steps to deliver.
        """
        self._stream = stream
        self._share = share
        self._start = start
        self._steps = steps

    def __len__(self) -> int:
        return self._steps * self._share.pieces

    def __iter__(self) -> Iterator[list[Draw]]:
        numbers = range(self._share.batch)
        for step in range(self._steps):
            base = self._start + step * self._share.batch
            for piece in range(self._share.pieces):
                yield [self._stream[base + n] for n in numbers[self._share.slice(piece)]]


class Cut(NamedTuple):
    """Where a drawing is cut, which way it is turned, and from which seed its LQ is made anew, if at all."""

    place: Place
    window: Window
    turn: int
    fresh: int | None


@dataclass(frozen=True)
class Crops(Dataset[tuple[RgbImage, RgbImage, int, int]]):
    """
    Samples cut to one size.

    Attributes:
        samples: where the pixels come from.
        size: of the crops, both sides, in pixels.
        seed: of the run.
        augment: turn and flip, each of the eight ways as likely as the others.
        fresh: make LQs anew at each drawing, keyed as windows are.
    """

    samples: Samples
    size: int
    seed: int
    augment: bool = True
    fresh: bool = False

    def __getitem__(self, draw: Draw) -> tuple[RgbImage, RgbImage, int, int]:
        pixels = np.empty((2, self.size, self.size, 3), np.uint8)
        cut = self._cut(draw)
        self._fill(pixels, cut)
        return pixels[0], pixels[1], cut.place.label, draw.sample

    def __getitems__(self, draws: Sequence[Draw]) -> PackedBatch:
        """Give the drawings of a piece, each written at once where the batch keeps it."""
        batch = empty_batch(len(draws), self.size, self.size)
        # All the drawing of lots first: between two images the processor has forgotten how.
        for row, (draw, cut) in enumerate([(draw, self._cut(draw)) for draw in draws]):
            self._fill(batch.pixels.numpy()[:, row], cut)
            batch.label[row], batch.sample[row] = cut.place.label, draw.sample
        return batch

    def _cut(self, draw: Draw) -> Cut:
        name = f"{draw.epoch}/{draw.slot}"
        place = self.samples.place(draw.sample)
        rng = rng_for(self.seed, name, "crop")
        window = random_window(place.height, place.width, self.size, rng)
        turn = int(rng.integers(8)) if self.augment else 0
        return Cut(place, window, turn, seed_for(self.seed, name, "fresh LQ") if self.fresh else None)

    def _fill(self, pixels: NDArray[np.uint8], cut: Cut) -> None:
        pair = self.samples.pair(cut.place, cut.window, fresh=cut.fresh)
        for image, into in zip(pair, pixels, strict=True):
            turn_into(into, mirrored_to(image, self.size), cut.turn)
