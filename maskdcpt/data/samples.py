"""
From shards to batches: the order of samples and their windows, determined by the seed alone.

An *epoch* is a list of *slots*: every sample as often as the repeat ratio of its degradation. The slots of epoch e are
shuffled by a generator seeded from (seed, e); the window and the flip of a slot come from one that is seeded from
(seed, e, slot). So the n-th sample of a run, down to its pixels, is the same for any number of loader workers, ranks
and restarts, and the position of a run is one number: how many samples it has seen.
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
    """A sample with its pixels, as `uirdata.open_shards(...)[i]` returns it."""

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
    """What this module needs from a set of shards; `uirdata.open_shards` returns one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The label order."""

    @property
    def degradations(self) -> Sequence[str] | NDArray[Any]:
        """Degradation of each sample."""

    @property
    def digest(self) -> str:
        """A digest of which samples these are, in which order, down to their pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...

    def place(self, index: int) -> SampleInfo:
        """Return the size and the label of a sample, without its pixels."""
        ...

    def pair(self, place: Any, window: Window | None = None, *, fresh: int | None = None) -> tuple[RgbImage, RgbImage]:
        """Return LQ and GT, or a window of both; `fresh`: the seed of a new LQ, where the LQ was synthesised."""
        ...


class SampleInfo(Protocol):
    """What is known of a sample before its pixels are read; `uirdata.open_shards(...).place(i)` returns one."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def label(self) -> int:
        """Position of its degradation in `class_names`."""


TO_TRAIN = (
    'train on all that the shards hold: --set data.subset="", or a preset that does so, such as pretrain-small and '
    "finetune-small"
)
"""What can be done in training where shards hold nothing of a subset."""


def open_samples(
    shards: str | Path,
    split: str,
    subset: Subset | None = None,
    *,
    otherwise: str = "name no subset, which takes all that the shards hold",
) -> Samples:
    """
    Return the samples of a split of shards: all of them, or those of a subset, in its label order.

    Args:
        shards: a folder, or an address.
        split: train, val or test.
        subset: None takes all.
        otherwise: what the user can do where the shards hold nothing of the subset, for the message.

    Raises:
        UsageError: no shards are named, there is no such split, or no sample of the subset in it.
        ShardError: the folder has no manifest, or a shard is missing or truncated.
    """
    from uirdata import open_shards

    if not str(shards):
        raise UsageError("no shards are named: set --shards DIR, or data.shards; `uir build-shards` builds them")
    if subset is None:
        return open_shards(shards, split)
    try:
        return open_shards(shards, split, subset)
    except NoSamplesError as error:
        raise UsageError(f"{error}; or {otherwise}") from error


def repeat_ratios(own: Mapping[str, int], subset: Subset | None, samples: Samples) -> Mapping[str, int]:
    """Return the repeat ratios of a run: its own, else those of its subset for the degradations in the samples."""
    if own or subset is None:
        return own
    present = set(samples.degradations)
    return {name: ratio for name, ratio in subset.repeat.items() if name in present}
