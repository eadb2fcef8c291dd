"""The build of a user's selection: planned, screened, compared with the pool, and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uirdata.layout import Layout
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildPlan, BuildSettings, Slice, plan_build
from uirdata.pipeline.building.engines import Engine
from uirdata.pipeline.building.object_pool import ObjectPool
from uirdata.pipeline.building.sample_plan import Left
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.screen import Cut, Screened, plan_with_known_scores, screened_plan
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.pipeline.building.shared_pictures import refuse_shared_with_pool
from uirdata.pipeline.building.subset_plan import SubsetPlan
from uirdata.progress import Progress
from uirdata.storage.shards import Rejected, read_info
from uirdata.transfer import redacted


@dataclass(frozen=True)
class SubsetBuild:
    """
    A build that is ready to run.

    Attributes:
        planned: the selection; its plan has the samples that remain after screening.
        todo: what is to be built.
        screened: each cut that was screened, with its result.
        unscreened: sources that still have to be screened.
    """

    planned: SubsetPlan
    todo: BuildPlan
    screened: tuple[tuple[Cut, Screened], ...] = ()
    unscreened: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildResult:
    """
    The result of a build.

    Attributes:
        place: the shard folder, or its URL in object storage.
        subset: name of the subset that was built.
        shards: number of shards built in this run.
        samples: number of samples in these shards.
        samples_there: number of samples that the pool had already.
        complete: all shards of the build exist; False while other slices are running.
        rejected: samples of the whole pool that could not be made.
        left: sources that have not been fetched.
    """

    place: str
    subset: str
    shards: int
    samples: int
    samples_there: int
    complete: bool
    rejected: tuple[Rejected, ...]
    left: tuple[Left, ...]


def prepare_build(
    planned: SubsetPlan,
    layout: Layout,
    folder: Path,
    settings: BuildSettings,
    *,
    screen: bool = False,
    score: bool = True,
    task: Slice | None = None,
    retry_rejected: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> SubsetBuild:
    """
    Screen a plan, compare it with the pool, and return the build.

    Args:
        planned: from `plan_subset`.
        layout: the folders of the sources.
        folder: the pool.
        settings: must be those of the pool.
        screen: leave out crops that are flat, blurred, dark or duplicated; as in `screened_plan`.
        score: compute the scores that are missing; without it nothing is written, and crops without scores stay.
        task: build only this part of what is to be built.
        retry_rejected: rebuild the shards that left out samples that could not be made.
        workers: number of processes that compute scores.
        progress: receives the images that are done.

    Raises:
        ShardError: the pool was built with another seed, codec or crop.
        UsageError: the pool tests with pictures that the plan trains on, or the reverse, as lists of overlaps say.
        StorageError: the scores cannot be written.
    """
    screened: tuple[tuple[Cut, Screened], ...] = ()
    unscreened: tuple[str, ...] = ()
    sources = planned.sources
    if score:
        plan, screened = screened_plan(
            planned.plan, sources, layout, screen=screen, trust_files=True, workers=workers, progress=progress
        )
    else:
        plan, unscreened = plan_with_known_scores(planned.plan, sources, layout, screen=screen)
    refuse_shared_with_pool(plan, sources, layout, folder)
    todo = plan_build(folder, plan, settings, retry_rejected=retry_rejected, task=task)
    return SubsetBuild(replace(planned, plan=plan), todo, screened, unscreened)


def run_build(
    prepared: SubsetBuild,
    layout: Layout,
    *,
    engine: Engine | None = None,
    discard: bool = False,
    pool: ObjectPool | None = None,
    progress: Progress | None = None,
) -> BuildResult:
    """
    Build the missing shards.

    Args:
        prepared: from `prepare_build`.
        layout: the folders of the sources.
        engine: where shards are built; this process when None.
        discard: delete the shards of another, unfinished build; otherwise they are an error.
        pool: the pool in object storage, if the shards are there.
        progress: receives the samples that are done.

    Raises:
        UirError: as in `build`.
    """
    subset, plan, todo = prepared.planned.subset, prepared.planned.plan, prepared.todo
    report = build(
        todo,
        subsets={subset.name: _classes(prepared)},
        pixels=SourcePixels(source_folders(prepared.planned.sources, layout, plan.sources), plan.seed),
        engine=engine,
        discard=discard,
        progress=progress,
        pool=pool,
    )
    return BuildResult(
        place=redacted(pool.place) if pool is not None else str(todo.folder),
        subset=subset.name,
        shards=report.shards,
        samples=report.samples,
        samples_there=todo.here_samples,
        complete=report.complete,
        rejected=report.rejected,
        left=plan.left,
    )


def _classes(prepared: SubsetBuild) -> Sequence[Sequence[str]]:
    """Return the classes of the subset that the pool has after the build; several builds may each make a part."""
    planned = prepared.planned
    before = read_info(prepared.todo.folder).get("subsets", {}).get(planned.subset.name, [])
    made = {name for types in (*before, *planned.subset.classes) for name in types}
    return [types for types in planned.whole.classes if made & set(types)]
