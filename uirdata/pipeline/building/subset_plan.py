"""The plan of what a user asks for: ids, a subset, how training images are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from uirdata.errors import UsageError, nearest
from uirdata.facts.overlaps import load_overlaps
from uirdata.layout import Layout
from uirdata.pipeline.building.sample_plan import Plan, make_plan
from uirdata.pipeline.choosing import all_sources, chosen_subset
from uirdata.planning import CropSetting
from uirdata.sources import MANIFESTS, Source
from uirdata.subsets import Subset

Variant = Literal["paper", "clean"]

_SIZE = 512


@dataclass(frozen=True)
class SubsetPlan:
    """
    A plan, with what it was made of.

    Attributes:
        subset: what was asked for.
        sources: all sources, by id.
        plan: every sample.
    """

    subset: Subset
    sources: Mapping[str, Source]
    plan: Plan


def plan_subset(
    layout: Layout,
    ids: Sequence[str] = (),
    subset: str | Subset | None = None,
    *,
    size: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    variant: Variant = "paper",
    may_be_empty: bool = False,
) -> SubsetPlan:
    """
    Plan the samples of ids, of a subset, or of all that has been fetched where neither is given.

    Args:
        layout: where the sources lie.
        ids: of sources; with a subset, those of its sources that are wanted.
        subset: or its name.
        size: of training crops, in pixels; None leaves it to the subset and the sources.
        stride: from crop to crop; half a crop when None and a size is given.
        seed: of levels and recipes.
        variant: `clean` leaves out training scenes that are known to lie in a benchmark.
        may_be_empty: return a plan without samples where no source is there.

    Raises:
        UsageError: an id, the subset or the variant is not known.
        SourceError: none of the sources is there.
    """
    if variant not in ("paper", "clean"):
        raise UsageError(f"there is no variant {variant!r}: {nearest(variant, ('paper', 'clean'))}")
    sources = all_sources(layout)
    chosen = chosen_subset(layout, ids, subset, sources)
    plan = make_plan(
        chosen,
        sources,
        layout,
        crop=_crop_setting(size, stride),
        seed=seed,
        overlaps=load_overlaps([MANIFESTS / "overlaps", layout.overlaps]),
        clean=variant == "clean",
        may_be_empty=may_be_empty,
    )
    return SubsetPlan(chosen, sources, plan)


def _crop_setting(size: int | None, stride: int | None) -> CropSetting | None:
    if size is None and stride is None:
        return None
    # Half a window of overlap, as the published crop scripts for GoPro and REDS.
    return CropSetting(size or _SIZE, stride or (size or _SIZE) // 2 or 1)
