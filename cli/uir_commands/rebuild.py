"""uir build-shards --from-hub: rebuild published shards from the user's own downloads."""

from __future__ import annotations

from pathlib import Path

from uirdata.errors import PartlyDone
from uirdata.layout import Layout
from uirdata.pipeline.building.build_plan import Slice
from uirdata.pipeline.building.engines import Engine

from ..console import Console


def rebuild_from(
    console: Console,
    repository: str,
    layout: Layout,
    folder: Path,
    engine: Engine,
    *,
    task: Slice | None,
    dry_run: bool,
) -> None:
    """
    Rebuild the shards that were published as a repository or at a URL, and show the result.

    Raises:
        PartlyDone: sources are missing, or rebuilt shards differ from the published ones.
    """
    from uirdata.pipeline.building.rebuild import plan_rebuild, rebuild
    from uirdata.pipeline.building.sample_reader import source_folders
    from uirdata.pipeline.choosing import all_sources
    from uirdata.pipeline.opening import is_remote

    place = repository if is_remote(repository) else f"hf://datasets/{repository}"
    plan = plan_rebuild(place, folder, task)
    sources = all_sources(layout)
    there = [name for name in plan.sources if name in sources and layout.pairs(name).exists()]
    missing = [name for name in plan.sources if name not in there]
    others = f"; other tasks: {plan.waiting:,}" if plan.waiting else ""
    console.line(
        f"to build: {plan.samples:,} samples in {len(plan.todo):,} shards; {plan.here:,} are in {folder}{others}"
    )
    for name in missing:
        console.warning(f"source {name} is left out: not fetched; run `uir fetch {name}`")
    if dry_run:
        console.data({"samples": plan.samples, "shards": [state.path for state in plan.todo], "missing": missing})
        return
    with console.progress() as progress:
        report = rebuild(plan, source_folders(sources, layout, there), engine=engine, progress=progress)
    console.data(
        {
            "folder": str(folder),
            "shards_built": report.shards,
            "samples_built": report.samples,
            "complete": report.complete,
            "differ": report.differ,
            "left": report.left,
            "waiting_for_other_tasks": report.waiting,
        }
    )
    console.line(f"{report.samples:,} samples in {report.shards:,} shards, all with the published bytes")
    if report.waiting:
        console.line("other tasks of this build have not finished; the last one to finish writes info.json")
    for path, reason in report.differ.items():
        console.warning(f"{path} differs from the published shard and is not kept: {reason}")
    if not report.complete:
        raise PartlyDone(
            f"{len(report.differ):,} shards differ, {len(report.left):,} lack their sources; fix the problems listed "
            "above and run the same command again"
        )
