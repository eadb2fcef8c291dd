"""Pictures that two sources share, as lists of overlaps say: none of the user's is trained on and tested with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from uirdata.errors import UsageError
from uirdata.facts.overlaps import Overlap, load_overlaps, overlapping_scenes
from uirdata.layout import Layout
from uirdata.pipeline.building.kept_splits import rows_here
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.planning import GroupPlan
from uirdata.sources import MANIFESTS, Source
from uirdata.storage.pair_tables import read_found
from uirdata.storage.shard_states import parse_path
from uirdata.storage.shards import read_info


def known_overlaps(layout: Layout) -> tuple[Overlap, ...]:
    """Return the published overlaps, and those that audits of the root have found."""
    return load_overlaps([MANIFESTS / "overlaps", layout.overlaps])


def refuse_shared_pictures(plan: Plan, sources: Mapping[str, Source], tested: Collection[str] = ()) -> None:
    """
    Refuse to train on pictures that another source is tested with, if one of the two is the user's own.

    Overlaps among published sources stay in the paper's variant, and are said beside each score.

    Args:
        plan: whose training scenes are judged.
        sources: all sources, by id.
        tested: sources that are tested with, besides those of the plan.

    Raises:
        UsageError: there are such pictures.
    """
    against = _sources_of(plan, "test") | set(tested)
    for group in plan.groups:
        if isinstance(group, GroupPlan) and group.group.split == "train" and not group.clean:
            _refuse(group.group.source, group.overlaps, against, sources, "--variant clean leaves them out of training")


def refuse_shared_with_pool(plan: Plan, sources: Mapping[str, Source], layout: Layout, folder: Path) -> None:
    """
    As `refuse_shared_pictures`, for a plan and what a pool has already: its test sources, and its training scenes.

    Raises:
        UsageError: there are such pictures.
        ShardError: the pool cannot be read.
    """
    shards: Collection[str] = read_info(folder).get("shards", {})
    refuse_shared_pictures(plan, sources, {parse_path(path)[2] for path in shards if parse_path(path)[0] == "test"})
    tested = _sources_of(plan, "test")
    overlaps = [overlap for overlap in known_overlaps(layout) if overlap.benchmark in tested]
    trained = [path for path in shards if parse_path(path)[0] == "train"]
    rows = rows_here(folder, trained, {overlap.source for overlap in overlaps}, ["source", "scene"])
    if rows is None:
        return
    names = {overlap.benchmark for overlap in overlaps if overlap.kind == "equal-scene"}
    theirs = {name: {item.pair.scene for item in read_found(layout, name) or []} for name in names}
    scenes: dict[str, list[str]] = {}
    for row in rows.to_pylist():
        scenes.setdefault(row["source"], []).append(row["scene"])
    for source, of_it in scenes.items():
        held = overlapping_scenes(overlaps, source, of_it, theirs)
        _refuse(source, held, tested, sources, f"{folder} trains on them already: build into another folder with --out")


def _refuse(
    source: str, held: Mapping[str, str], tested: Collection[str], sources: Mapping[str, Source], way_out: str
) -> None:
    own = {name for name in (source, *tested) if name in sources and sources[name].local_dir is not None}
    against = set(tested) if source in own else set(tested) & own
    shared = {scene: names for scene, joined in held.items() if (names := set(joined.split(",")) & against - {source})}
    if shared:
        benchmarks = ", ".join(sorted(set.union(*shared.values())))
        raise UsageError(
            f"{len(shared):,} scenes of {source}, such as {min(shared)}, are test pictures of {benchmarks}, as "
            f"`uir audit` or a published list has found: {way_out}"
        )


def _sources_of(plan: Plan, split: str) -> set[str]:
    return {group.group.source for group in plan.groups if group.group.split == split}
