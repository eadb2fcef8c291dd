"""
Rebuilding of published shards from the user's own downloads: the same bytes, shard by shard, or a reported difference.

The published manifest states from which file and window each sample was cropped, and the recipe of its LQ. A rebuilt
tar with the published sha256 is kept, with the published part of the manifest; any other tar is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uirdata.errors import ShardError
from uirdata.pipeline.building.build import REJECTED, only_builder
from uirdata.pipeline.building.build_plan import BuildSettings, Slice
from uirdata.pipeline.building.engines import Engine, LocalEngine
from uirdata.pipeline.building.materialise import planned_sample
from uirdata.pipeline.building.shard_task import ShardTask, SourcePixels
from uirdata.pipeline.opening import metadata
from uirdata.planning import PlannedShard
from uirdata.progress import Progress, Silent
from uirdata.storage.files import writing
from uirdata.storage.manifest_rows import read_part_rows
from uirdata.storage.pool_info import INFO, pool_codec, read_info, required
from uirdata.storage.shard_states import (
    ShardState,
    list_shards,
    parse_path,
    part_in,
    part_path,
    shard_state,
    tar_in,
)


@dataclass(frozen=True)
class RebuildPlan:
    """
    The work of a rebuild.

    Attributes:
        place: where the manifest was published.
        manifest: the folder of its local copy.
        folder: the folder of the rebuilt shards.
        todo: published shards that are missing in the folder.
        here: number of shards that exist in the folder.
        sources: ids of the sources of the shards to build.
        task: the part of the published shards that this task builds.
        waiting: number of missing shards that other tasks have to build.
    """

    place: str
    manifest: Path
    folder: Path
    todo: tuple[ShardState, ...]
    here: int
    sources: tuple[str, ...]
    task: Slice
    waiting: int

    @property
    def samples(self) -> int:
        """Number of samples to build."""
        return sum(state.samples for state in self.todo)


@dataclass
class RebuildReport:
    """
    The result of a rebuild.

    Attributes:
        shards: number of shards built in this run, with the published bytes.
        samples: number of samples in these shards.
        differ: shards whose bytes differ from the published ones, each with the reason.
        left: shards of sources that have not been fetched.
        waiting: number of missing shards of other tasks; the last task to finish writes info.json.
    """

    shards: int = 0
    samples: int = 0
    differ: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    waiting: int = 0

    @property
    def complete(self) -> bool:
        """Whether all published shards of this task exist."""
        return not self.differ and not self.left


def plan_rebuild(place: str, folder: Path, task: Slice | None = None) -> RebuildPlan:
    """
    Download a published manifest, compare it with a folder, and return what is to be built.

    Args:
        place: as for `open_shards`.
        folder: an empty folder, or that of an earlier rebuild.
        task: build only this part of the published shards.

    Raises:
        DownloadError: the manifest could not be downloaded.
        ShardError: the folder holds other shards.
    """
    manifest, _ = metadata(place)
    published = list_shards(manifest)
    held = read_info(folder)
    if held and held != read_info(manifest):
        raise ShardError(f"{folder} holds other shards than {place}; use another folder with --out")
    mine = task or Slice()
    lacking = [not _is_here(folder, state) for state in published]
    own = [number % mine.parts == mine.part - 1 for number in range(len(published))]
    todo = tuple(state for state, lacks, is_own in zip(published, lacking, own, strict=True) if lacks and is_own)
    sources = tuple(sorted({_source(state.path) for state in todo}))
    waiting = sum(lacking) - len(todo)
    return RebuildPlan(place, manifest, folder, todo, len(published) - sum(lacking), sources, mine, waiting)


def rebuild(
    plan: RebuildPlan, folders: Mapping[str, Path], *, engine: Engine | None = None, progress: Progress | None = None
) -> RebuildReport:
    """
    Build the missing shards, and keep those with the published bytes.

    Args:
        plan: from `plan_rebuild`.
        folders: folder of the unpacked files of each source; shards of other sources are not built.
        engine: where shards are built; this process when None.
        progress: receives the samples that are done.

    Raises:
        StorageError: the disk is full or the folder cannot be written; finished shards are kept.
        ShardError: another build is running in the folder.
    """
    listener = progress or Silent()
    info = read_info(plan.manifest)
    seed = required(plan.manifest, info, "seed")
    settings = BuildSettings(seed=seed, codec=pool_codec(plan.manifest), lazy=bool(info.get("lazy")))
    report = RebuildReport(left=[state.path for state in plan.todo if _source(state.path) not in folders])
    wanted = {state.path: state for state in plan.todo if state.path not in report.left}
    tasks = (
        ShardTask(plan.folder, _planned(plan.manifest, path), SourcePixels(folders, settings.seed), settings)
        for path in wanted
    )
    with only_builder(plan.folder, plan.task):
        listener.begin("samples", sum(state.samples for state in wanted.values()))
        for made in (engine or LocalEngine()).run(tasks, listener):
            if made.sha256 == wanted[made.path].sha256:
                _copy(part_path(plan.manifest, made.path), part_in(plan.folder, made.path))
                report.shards += 1
                report.samples += made.samples
            else:
                report.differ[made.path] = _difference(plan, made)
                part_in(plan.folder, made.path).unlink()
                tar_in(plan.folder, made.path).unlink()
        listener.end("samples")
        # Read again: other tasks may have finished shards in the meantime.
        absent = [state for state in list_shards(plan.manifest) if not _is_here(plan.folder, state)]
        report.waiting = len(absent) - len(report.differ) - len(report.left)
        if not absent:
            for name in (REJECTED, INFO):
                _copy(plan.manifest / name, plan.folder / name)
    return report


def _is_here(folder: Path, published: ShardState) -> bool:
    state = shard_state(folder, published.path)
    return state is not None and state.sha256 == published.sha256


def _source(path: str) -> str:
    return parse_path(path)[2]


def _planned(manifest: Path, path: str) -> PlannedShard:
    rows = read_part_rows(manifest, path).to_pylist()
    return PlannedShard(path, tuple(planned_sample(row) for row in rows))


def _difference(plan: RebuildPlan, made: ShardState) -> str:
    """Return why a shard differs: the first sample that differs, and the file that it was cropped from."""
    if made.rejected:
        return f"{len(made.rejected):,} samples could not be made: {made.rejected[0].reason}"
    theirs = _rows(plan.manifest, made.path)
    for key, row in _rows(plan.folder, made.path).items():
        other = theirs[key]
        if row["gt_sha256"] != other["gt_sha256"]:
            return f"the pixels of {row['source']}/{row['gt_path']} differ: another version of that file"
        if row["recipe"] != other["recipe"]:
            return f"this release draws another recipe for {key}; use the release that {INFO} states (made_by)"
        if row["lq_sha256"] != other["lq_sha256"]:
            cause = f"{row['source']}/{row['lq_path']} differ" if row["lq_path"] else f"the LQ of {key} differ"
            return f"the pixels of {cause}; {INFO} states the versions of the libraries that made them"
        if row["licence"] != other["licence"] or row["overlaps"] != other["overlaps"]:
            return f"the licence or the overlaps of {key} differ, not its pixels"
    return f"the pixels are the same, but encoded differently; {INFO} states the versions of the libraries that did it"


def _rows(folder: Path, path: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in read_part_rows(folder, path).to_pylist()}


def _copy(source: Path, target: Path) -> None:
    with writing(target) as partial:
        partial.write_bytes(source.read_bytes())
