"""The plan of a user's selection: ids, a subset, and the crop setting of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from uirdata.errors import UsageError, nearest
from uirdata.layout import Layout
from uirdata.pipeline.building.narrowed import Narrowing, narrowed
from uirdata.pipeline.building.sample_plan import Plan, make_plan
from uirdata.pipeline.building.shared_pictures import known_overlaps, refuse_shared_pictures
from uirdata.pipeline.choosing import all_sources, chosen_subset
from uirdata.planning import CropSetting
from uirdata.sources import Source
from uirdata.subsets import Subset

Variant = Literal["paper", "clean"]

_SIZE = 512


@dataclass(frozen=True)
class SubsetPlan:
    """
    A plan, with the subset and the sources that it was made from.

    Attributes:
        subset: the selected subset.
        sources: all sources, by id.
        plan: every sample.
        whole: the selected subset before it was narrowed; its classes say the order of labels.
    """

    subset: Subset
    sources: Mapping[str, Source]
    plan: Plan
    whole: Subset


def plan_subset(
    layout: Layout,
    ids: Sequence[str] = (),
    subset: str | Subset | None = None,
    *,
    size: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    variant: Variant = "paper",
    narrowing: Narrowing | None = None,
    may_be_empty: bool = False,
) -> SubsetPlan:
    """
    Plan the samples of ids, of a subset, or of all fetched sources if neither is given.

    Args:
        layout: the folders of the sources.
        ids: ids of sources; with a subset, only these sources of it.
        subset: a subset or its name.
        size: side of the training crops in pixels; None uses the setting of the subset or of the source.
        stride: step between crops in pixels; half the size when None and a size is given.
        seed: seed of levels and recipes.
        variant: `clean` leaves out training scenes that are known to be in a benchmark.
        narrowing: the part of the subset that is made.
        may_be_empty: return a plan without samples if no source has been fetched.

    Raises:
        UsageError: an id, the subset, the variant, a degradation or a level is unknown; or an own source trains on
            what another one tests with, or is tested with what another one trains on.
        SourceError: none of the sources has been fetched.
    """
    if variant not in ("paper", "clean"):
        raise UsageError(f"there is no variant {variant!r}: {nearest(variant, ('paper', 'clean'))}")
    sources = all_sources(layout)
    chosen = whole = chosen_subset(layout, ids, subset, sources)
    if narrowing is not None:
        chosen = narrowed(chosen, narrowing, [sources[name] for name in chosen.sources if name in sources])
    plan = make_plan(
        chosen,
        sources,
        layout,
        crop=_crop_setting(size, stride),
        seed=seed,
        overlaps=known_overlaps(layout),
        clean=variant == "clean",
        may_be_empty=may_be_empty,
    )
    refuse_shared_pictures(plan, sources)
    return SubsetPlan(chosen, sources, plan, whole)


def _crop_setting(size: int | None, stride: int | None) -> CropSetting | None:
    if size is None and stride is None:
        return None
    # An overlap of half a crop, as in the published crop scripts for GoPro and REDS.
    return CropSetting(size or _SIZE, stride or (size or _SIZE) // 2 or 1)
