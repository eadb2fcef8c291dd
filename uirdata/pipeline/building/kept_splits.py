"""A picture keeps its split: what a pool has tested with never becomes training data in it, nor the reverse."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from uirdata.errors import ShardError
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.planning import GroupPlan
from uirdata.storage.manifest_rows import checked_rows
from uirdata.storage.shard_states import MANIFEST, list_parts, parse_path


def refuse_moved_pictures(folder: Path, plan: Plan) -> None:
    """
    Check that no picture of a pool is planned for another split than the one that it has there.

    Another test share, or a subset that names another split, would move it; scores on the test split would then be
    those of training data.

    Raises:
        ShardError: pictures would move; the message says how many, one of them, and the ways out.
    """
    if not (folder / MANIFEST).is_dir() or not any((folder / MANIFEST).glob("*.parquet")):
        return
    planned = {
        (group.group.source, item.pair.gt or item.pair.lq): group.group.split
        for group in plan.groups
        if isinstance(group, GroupPlan)
        for item in group.found
        if item.pair.split == group.group.split
    }
    ids = {source for source, _ in planned}
    parts = [part for part in list_parts(folder) if parse_path(part.state.path)[2] in ids]
    if not parts:
        return
    rows = checked_rows(folder, parts, ["source", "split", "gt_path"])
    here = rows.group_by(["source", "gt_path", "split"]).aggregate([])
    moved = [
        (row["source"], row["gt_path"], row["split"], now)
        for batch in pa.Table.to_batches(here, max_chunksize=100_000)
        for row in batch.to_pylist()
        if (now := planned.get((row["source"], row["gt_path"]))) is not None and now != row["split"]
    ]
    if not moved:
        return
    source, path, was, now = min(moved)
    raise ShardError(
        f"{folder}: {len(moved):,} pictures that are {was} here would be {now}, such as {path} of {source}: scores on "
        f"the test split would be those of training data. Keep the split (`uir fetch {source} --from DIR --test-share "
        "F` with the share that the pool was built with), or build into another folder with --out"
    )
