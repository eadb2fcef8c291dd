"""The plan of a user's selection: ids, a subset, and the crop setting of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from uirdata.errors import UsageError, nearest
from uirdata.facts.overlaps import load_overlaps
from uirdata.layout import Layout
from uirdata.pipeline.building.narrowed import Narrowing, narrowed
from uirdata.pipeline.building.sample_plan import Plan, make_plan
from uirdata.pipeline.choosing import all_sources, chosen_subset
from uirdata.planning import CropSetting, GroupPlan
from uirdata.sources import MANIFESTS, Source
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
        UsageError: an id, the subset, the variant, a degradation or a level is unknown; or one own source trains on
            what another one tests with.
        SourceError: none of the sources has been fetched.
    """
    if variant not in ("paper", "clean"):
        raise UsageError(f"there is no variant {variant!r}: {nearest(variant, ('paper', 'clean'))}")
    sources = all_sources(layout)
    chosen = chosen_subset(layout, ids, subset, sources)
    if narrowing is not None:
        chosen = narrowed(chosen, narrowing, [sources[name] for name in chosen.sources if name in sources])
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
    if variant == "paper":
        _refuse_own_overlaps(plan, sources)
    return SubsetPlan(chosen, sources, plan)


def _refuse_own_overlaps(plan: Plan, sources: Mapping[str, Source]) -> None:
    """
    Refuse to train on pictures of the user's own that another own source of the plan tests with, as an audit has found.

    Overlaps among published sources stay in the paper's variant, and are said beside each score.
    """
    own = {name for name, source in sources.items() if source.local_dir is not None}
    tested = {group.group.source for group in plan.groups if group.group.split == "test"} & own
    for group in plan.groups:
        if not isinstance(group, GroupPlan) or group.group.split != "train" or group.group.source not in own:
            continue
        scenes = {scene: set(names.split(",")) & tested for scene, names in group.overlaps.items()}
        if shared := sorted(scene for scene, names in scenes.items() if names):
            benchmarks = ", ".join(sorted(set.union(*scenes.values())))
            raise UsageError(
                f"{len(shared):,} scenes of {group.group.source}, such as {shared[0]}, are test pictures of "
                f"{benchmarks}, as `uir audit` has found: --variant clean leaves them out of training"
            )


def _crop_setting(size: int | None, stride: int | None) -> CropSetting | None:
    if size is None and stride is None:
        return None
    # An overlap of half a crop, as in the published crop scripts for GoPro and REDS.
    return CropSetting(size or _SIZE, stride or (size or _SIZE) // 2 or 1)
