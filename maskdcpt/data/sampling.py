"""The order of samples over a run, determined by the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from maskdcpt.config.train_config import Sampling
from uirdata.errors import UsageError, nearest
from uirdata.seeding import rng_for


class Draw(NamedTuple):
    """One draw of a sample: the epoch, the slot in it, and the sample in that slot."""

    epoch: int
    slot: int
    sample: int


@dataclass(frozen=True)
class Slots:
    """
    The slots of an epoch.

    Attributes:
        groups: the indices of the samples of each degradation, ascending.
        counts: the number of slots of each degradation.
    """

    groups: tuple[NDArray[np.int64], ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def samples(self, epoch: int) -> NDArray[np.int64]:
        """
        Return the sample of each slot.

        Where a degradation has a whole number of slots per sample this is the same in every epoch. Otherwise the
        samples take turns: the numbers of draws of two samples never differ by more than one.
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
    Return the slots of an epoch: how often each sample occurs in it.

    Args:
        degradations: of each sample.
        repeat: how often the samples of a degradation occur in an epoch, by its name; default 1, and 0 skips them.
        sampling: `repeat` uses these ratios, as the paper; `balanced` assigns each degradation as many slots as the
            largest one has.

    Raises:
        UsageError: a repeat ratio is negative or for a degradation that the samples do not have, or no sample is left.
    """
    names = np.asarray(degradations, dtype=str)
    known = list(dict.fromkeys(names.tolist()))
    for name, ratio in repeat.items():
        if name not in known:
            raise UsageError(f"data.repeat names {name!r}, of which the shards hold no sample; {nearest(name, known)}")
        if ratio < 0:
            raise UsageError(f"data.repeat of {name} is {ratio}; a sample cannot occur {ratio} times in an epoch")
    groups = tuple(np.flatnonzero(names == name).astype(np.int64) for name in known)
    counts = [len(group) * repeat.get(name, 1) for group, name in zip(groups, known, strict=True)]
    if sampling == "balanced":
        largest = max((len(g) for g, c in zip(groups, counts, strict=True) if c), default=0)
        counts = [largest if count else 0 for count in counts]
    if not sum(counts):
        raise UsageError("there is no sample to train on; build shards of this subset and split first")
    return Slots(groups, tuple(counts))


class Stream:
    """The endless sequence of a run's draws: `stream[n]` is draw n, counted from 0."""

    def __init__(self, slots: Slots, seed: int) -> None:
        self._slots = slots
        self._seed = seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._samples: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    @property
    def epoch_length(self) -> int:
        """The number of slots in an epoch."""
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
    This process's part of a step's batch, and the number of pieces that it is split into.

    Attributes:
        batch: samples in a step, over all ranks.
        pieces: the number of forward passes that a rank splits its part into, to fit into its memory.
        rank: of this process.
        ranks: the number of processes.
    """

    batch: int
    pieces: int = 1
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError for a batch that does not divide into ranks and pieces."""
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
        """Return the position of a piece of this rank in the batch; the batch is the same for any ranks and pieces."""
        start = (piece * self.ranks + self.rank) * self.piece
        return slice(start, start + self.piece)


class StepSampler(Sampler[list[Draw]]):
    """The draws of each piece of each step, starting from a position of the stream."""

    def __init__(self, stream: Stream, share: Share, *, start: int, steps: int, skip: int = 0) -> None:
        """
        Args:
            stream: the order.
            share: this process's part.
            start: the number of samples that the run has seen.
            steps: the number of steps to yield.
            skip: the number of pieces to leave out at the beginning.
        """
        self._stream = stream
        self._share = share
        self._start = start
        self._steps = steps
        self._skip = skip

    def __len__(self) -> int:
        return self._steps * self._share.pieces - self._skip

    def __iter__(self) -> Iterator[list[Draw]]:
        numbers = range(self._share.batch)
        for number in range(self._skip, self._steps * self._share.pieces):
            step, piece = divmod(number, self._share.pieces)
            base = self._start + step * self._share.batch
            yield [self._stream[base + n] for n in numbers[self._share.slice(piece)]]
