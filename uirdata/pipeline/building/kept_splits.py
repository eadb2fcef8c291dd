"""A picture keeps its split: what a pool has tested with never becomes training data in it, nor the reverse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa

from uirdata.errors import ShardError
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.planning import GroupPlan
from uirdata.storage.manifest_rows import checked_rows
from uirdata.storage.shard_states import list_parts, parse_path


def refuse_moved_pictures(folder: Path, plan: Plan, shards: Collection[str]) -> None:
    """
    Check that no picture of a pool is planned for another split than the one that it has there.

    Another test share, or a subset that names another split, would move it; scores on the test split would then be
    those of training data. Shards of an unfinished build are no part of the pool yet: it is finished, or discarded.

    Args:
        folder: the pool.
        plan: what is to be built.
        shards: paths of the shards that its finished builds list.

    Raises:
        ShardError: pictures would move; the message says how many, one of them, and the ways out.
    """
    here = rows_here(folder, shards, set(plan.sources), ["source", "gt_path", "split"])
    if here is None:
        return
    splits: dict[tuple[str, str], set[str]] = {}
    for batch in here.to_batches(max_chunksize=100_000):
        for row in batch.to_pylist():
            splits.setdefault((row["source"], row["gt_path"]), set()).add(row["split"])
    # A published source may use one GT in two splits; it moves only to a split that it does not have.
    moved = {
        (group.group.source, item.pair.gt, min(before), group.group.split)
        for group in plan.groups
        if isinstance(group, GroupPlan)
        for item in group.found
        if item.pair.split == group.group.split
        and (before := splits.get((group.group.source, item.pair.gt)))
        and group.group.split not in before
    }
    if not moved:
        return
    source, path, was, now = min(moved)
    raise ShardError(
        f"{folder}: {len(moved):,} pictures that are {was} here would be {now}, such as {path} of {source}: scores on "
        f"the test split would be those of training data. Keep the split (`uir fetch {source} --from DIR --test-share "
        "F` with the share that the pool was built with), or build into another folder with --out"
    )


def rows_here(
    folder: Path, shards: Collection[str], sources: Collection[str], columns: Sequence[str]
) -> pa.Table | None:
    """Return the different rows of some columns that a pool has of some sources; None if it has none of them."""
    mine = {path for path in shards if parse_path(path)[2] in sources}
    if not mine:
        return None
    parts = [part for part in list_parts(folder) if part.state.path in mine]
    return checked_rows(folder, parts, columns).group_by(list(columns)).aggregate([]) if parts else None
