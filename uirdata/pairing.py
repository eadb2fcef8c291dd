"""Which LQ belongs to which GT: names in, pairs out. No disk, no pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """
    An LQ and its GT, or a clean GT alone.

    Attributes:
        source: id of the source.
        split: train, val or test.
        degradation: one of the nineteen types; "" for a clean image, whose LQ is made here.
        real: captured, not made.
        gt: path below the source's folder, with "/".
        lq: the same for the LQ; "" for a clean image.
        level: what the name of the file or its folder tells of the level; "" if nothing.
        scene: pairs of a source with equal scenes show the same thing; split by it.
        gt_border: pixels to cut off each side of the GT before it covers the LQ (RESIDE indoor: 10).
    """

    source: str
    split: str
    degradation: str
    real: bool
    gt: str
    lq: str
    level: str
    scene: str
    gt_border: int = 0


@dataclass(frozen=True)
class LeftOut:
    """A file that a rule looked at and did not pair, with the reason in plain words."""

    path: str
    reason: str
