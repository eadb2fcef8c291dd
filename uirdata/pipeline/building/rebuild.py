"""
Building published shards again from the user's own downloads: the same bytes, shard by shard, or a named difference.

The published manifest says which file each sample was cut from, where, and by which recipe its LQ was made. A rebuilt
tar whose sha256 is the published one takes the published part of the manifest beside it; another is not kept.
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
from uirdata.storage.shards import INFO, ShardState, list_shards, part_path, pool_codec, read_info, shard_state
from uirdata.storage.tables import read_table


@dataclass(frozen=True)
class RebuildPlan:
    """
    What a rebuild has to do.

    Attributes:
        place: where the manifest was published.
        manifest: folder that its copy lies in.
        folder: where the shards are to lie.
        todo: published shards that are not there.
        here: how many are there.
        sources: ids that the shards to build come from.
        task: the part of the published shards that is built here.
        waiting: shards of other tasks that are not there yet.
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
        """How many samples are to be made."""
        return sum(state.samples for state in self.todo)


@dataclass
class RebuildReport:
    """
    What came of a rebuild.

    Attributes:
        shards: built now, with the published bytes.
        samples: in them.
        differ: shards whose bytes would differ, each with the reason.
        left: shards of sources that are not there.
        waiting: shards of other tasks that are not there yet; the last task to end writes info.json.
    """

    shards: int = 0
    samples: int = 0
    differ: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    waiting: int = 0

    @property
    def complete(self) -> bool:
        """All published shards of this task are there."""
        return not self.differ and not self.left


def plan_rebuild(place: str, folder: Path, task: Slice | None = None) -> RebuildPlan:
    """
    Fetch a published manifest and compare it with a folder.

    Args:
        place: as for `open_shards`.
        folder: empty, or that of an earlier rebuild.
        task: build only this part of the published shards.

    Raises:
        DownloadError: the manifest did not arrive.
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
    Build what is left, and keep what has the published bytes.

    Args:
        plan: from `plan_rebuild`.
        folders: where the unpacked files of each source lie; shards of others are left.
        engine: where shards are made; this process when None.
        progress: is told of samples.

    Raises:
        StorageError: the disk is full or the folder cannot be written; finished shards stay.
        ShardError: another build is at work in the folder.
    """
    listener = progress or Silent()
    info = read_info(plan.manifest)
    settings = BuildSettings(seed=info["seed"], codec=pool_codec(plan.manifest), lazy=bool(info.get("lazy")))
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
                _copy(part_path(plan.manifest, made.path), part_path(plan.folder, made.path))
                report.shards += 1
                report.samples += made.samples
            else:
                report.differ[made.path] = _difference(plan, made)
                part_path(plan.folder, made.path).unlink()
                (plan.folder / made.path).unlink()
        listener.end("samples")
        # Asked again: other tasks have gone on meanwhile.
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
    return path.rpartition("/")[2].rpartition("-")[0]


def _planned(manifest: Path, path: str) -> PlannedShard:
    rows = read_table(part_path(manifest, path)).to_pylist()
    return PlannedShard(path, tuple(planned_sample(row) for row in rows))


def _difference(plan: RebuildPlan, made: ShardState) -> str:
    """Name the first sample that differs, and the file that it was cut from."""
    if made.rejected:
        return f"{len(made.rejected):,} samples could not be made: {made.rejected[0].reason}"
    theirs = _rows(plan.manifest, made.path)
    for key, row in _rows(plan.folder, made.path).items():
        other = theirs[key]
        if row["gt_sha256"] != other["gt_sha256"]:
            return f"the pixels of {row['source']}/{row['gt_path']} are others: another version of that file"
        if row["recipe"] != other["recipe"]:
            return f"this release draws another recipe for {key}; use the release that {INFO} names (made_by)"
        if row["lq_sha256"] != other["lq_sha256"]:
            cause = f"{row['source']}/{row['lq_path']} are others" if row["lq_path"] else f"the LQ of {key} are others"
            return f"the pixels of {cause}; {INFO} names the libraries that made them"
        if row["licence"] != other["licence"] or row["overlaps"] != other["overlaps"]:
            return f"what is noted of {key} differs, not its pixels"
    return f"the pixels are the same, and encoded otherwise; {INFO} names the libraries that did it"


def _rows(folder: Path, path: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in read_table(part_path(folder, path)).to_pylist()}


def _copy(source: Path, target: Path) -> None:
    with writing(target) as partial:
        partial.write_bytes(source.read_bytes())
