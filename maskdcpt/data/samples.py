"""
From shards to batches: which sample comes when, and which window of it, fixed by the seed alone.

An *epoch* is a list of *slots*: every sample as often as its degradation's repeat ratio says. The slots of epoch e are
shuffled by a generator that knows only (seed, e); the window and the flip of a slot come from one that knows only
(seed, e, slot). So the n-th sample of a run, down to its pixels, is the same for any number of loader workers, ranks
and restarts, and the whole position of a run is one number: how many samples it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from uirdata.errors import NoSamplesError, UsageError
from uirdata.images import RgbImage, Window

if TYPE_CHECKING:
    from uirdata.subsets import Subset


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

    def place(self, index: int) -> SampleInfo:
        """Say how large a sample is and what it shows, without its pixels."""
        ...

    def pair(self, place: Any, window: Window | None = None, *, fresh: int | None = None) -> tuple[RgbImage, RgbImage]:
        """Give LQ and GT, or a window of both; `fresh`: the seed of an LQ that is made anew, where it was made here."""
        ...


class SampleInfo(Protocol):
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


def open_samples(shards: str | Path, split: str, subset: Subset | None = None) -> Samples:
    """
    Open shards: all that a split holds, or what a subset names, in its label order.

    Raises:
        UsageError: no shards are named, there is no such split, or nothing of the subset in it.
        ShardError: the folder has no manifest, or a shard is missing or cut short.
    """
    from uirdata import open_shards

    if not str(shards):
        raise UsageError("no shards are named: --shards DIR, or data.shards; `uir build-shards` makes them")
    if subset is None:
        return open_shards(shards, split)
    try:
        return open_shards(shards, split, subset)
    except NoSamplesError as error:
        raise UsageError(
            f'{error}; or train on all that the shards hold: --set data.subset="", or a preset that does so, such as '
            "pretrain-small and finetune-small"
        ) from error


def repeat_ratios(own: Mapping[str, int], subset: Subset | None, samples: Samples) -> Mapping[str, int]:
    """Return the repeat ratios of a run: its own, else those of its subset for the degradations that are there."""
    if own or subset is None:
        return own
    present = set(samples.degradations)
    return {name: ratio for name, ratio in subset.repeat.items() if name in present}
