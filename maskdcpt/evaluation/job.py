"""The work of an evaluation: images are read, restored and scored in batches, by one or several processes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maskdcpt.compute.distributed import Process
from maskdcpt.evaluation.cases import Case, Loaded
from maskdcpt.evaluation.evaluator import Evaluator
from maskdcpt.evaluation.score_files import ScoreRows
from maskdcpt.evaluation.scores import ImageScore, Protocol
from maskdcpt.metrics.learned import Engine, learned_metrics
from uirdata.errors import ShardError, UirError, UsageError, one_file
from uirdata.progress import Progress


@dataclass(frozen=True)
class Setting:
    """
    Settings that change the scores by rounding only: where and how they are computed.

    Attributes:
        device: auto, cpu, cuda, ...
        batch: images of one size per batch.
        weights: folder of the learned metrics' weights; torch's cache when None.
        engine: of learned metrics; pyiqa when None.
        grids: write the best, the median and the worst image of each group.
        skip_broken: average over the other images where outputs or scores are NaN or infinite; otherwise the means that
            these belong to are refused.
    """

    device: str = "auto"
    batch: int = 1
    weights: Path | None = None
    engine: Engine | None = None
    grids: bool = True
    skip_broken: bool = False


@dataclass(frozen=True)
class Job:
    """
    The cases of an evaluation, and how they are scored.

    Attributes:
        evaluator: restores and scores.
        cases: the images, the same list in every process.
        protocol: settings that change the scores.
        setting: settings that do not.
        out: folder of the evaluation; None writes nothing.
        process: this process, of all that share the work.
    """

    evaluator: Evaluator
    cases: Sequence[Case]
    protocol: Protocol
    setting: Setting
    out: Path | None
    process: Process


@dataclass(frozen=True)
class Done:
    """
    The result of a job.

    Attributes:
        rows: of all processes, in the order of the cases.
        cases: of the rows.
        unreadable: reason by key; of this process.
        kept: the rows on disk.
        set_metrics: metrics of sets, by group; in the leading process.
    """

    rows: tuple[ImageScore, ...]
    cases: tuple[Case, ...]
    unreadable: Mapping[str, str]
    kept: ScoreRows
    set_metrics: Mapping[str, Mapping[str, float | None]]


def run_job(job: Job, identity: Mapping[str, Any], progress: Progress) -> Done:
    """
    Score this process's share of the cases that have no score yet, and gather the rows of all processes.

    Args:
        job: cases and settings.
        identity: what the scores depend on beside the protocol; `out` must not hold an evaluation with another one.
        progress: receives the number of images done.

    Raises:
        UsageError: `out` holds another evaluation, or several processes have none.
        ShardError: no image could be read.
        StorageError: `out` cannot be written.
    """
    process = job.process
    if process.ranks > 1 and job.out is None:
        raise UsageError("an evaluation by several processes needs a folder that they share: --out DIR")
    whole = {**identity, "protocol": asdict(replace(job.protocol, limit=0))}
    kept = ScoreRows(job.out, whole, process.rank)
    # All processes must have read the rows before one of them writes.
    process.wait()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (job.out if job.out is not None else Path(scratch)) / "pictures"
        unreadable = _score_share(job, kept, folder, progress)
        process.wait()
        kept.gather()
        if not kept.known:
            raise ShardError(f"no image could be read; the first error: {next(iter(unreadable.values()))}")
        set_metrics = _set_metrics(job, folder) if process.leads else {}
    cases = tuple(case for case in job.cases if case.key in kept.known)
    others = {case.key for case in job.cases} - kept.known.keys() - unreadable.keys()
    unreadable |= dict.fromkeys(sorted(others), "could not be read by another process, which said why")
    return Done(tuple(kept.known[case.key] for case in cases), cases, unreadable, kept, set_metrics)


def _score_share(job: Job, kept: ScoreRows, folder: Path, progress: Progress) -> dict[str, str]:
    draws = bool(_of_sets(job))
    mine = job.cases[job.process.rank :: job.process.ranks]
    waiting = [
        case for case in mine if case.key not in kept.known or (draws and not _image_paths(case, folder)[0].exists())
    ]
    unreadable: dict[str, str] = {}
    progress.begin("evaluate", len(mine))
    progress.advance("evaluate", len(mine) - len(waiting))
    try:
        for cases, loaded in _batches(waiting, job.setting.batch, unreadable, progress):
            image_files = [_image_paths(case, folder) for case in cases] if draws else []
            for score in job.evaluator.score(cases, loaded, image_files):
                kept.add(score)
                if score.broken:
                    progress.note(f"{score.key}: NaN or infinite: {score.broken}; it has no score")
            progress.advance("evaluate", len(cases))
    finally:
        progress.end("evaluate")
    return unreadable


def _batches(
    cases: Sequence[Case], size: int, unreadable: dict[str, str], progress: Progress
) -> Iterator[tuple[list[Case], list[Loaded]]]:
    """Yield batches of images; consecutive images of one size are in one batch."""
    held: list[Case] = []
    loaded: list[Loaded] = []
    for case in cases:
        try:
            with one_file(case.key):
                item = case.load()
        except UirError as error:
            unreadable[case.key] = str(error)
            progress.note(str(error))
            continue
        if held and (len(held) == size or not _alike(loaded[0], item)):
            yield held, loaded
            held, loaded = [], []
        held.append(case)
        loaded.append(item)
    if held:
        yield held, loaded


def _alike(one: Loaded, other: Loaded) -> bool:
    return one.lq.shape == other.lq.shape and (one.gt is None) == (other.gt is None)


def _of_sets(job: Job) -> tuple[str, ...]:
    return tuple(metric.name for metric in learned_metrics(job.protocol.learned) if metric.of_a_set)


def _image_paths(case: Case, folder: Path) -> tuple[Path, Path]:
    group, name = folder / (case.test_set or case.degradation), hashlib.sha256(case.key.encode()).hexdigest()[:16]
    return group / "restored" / f"{name}.png", group / "gt" / f"{name}.png"


def _set_metrics(job: Job, folder: Path) -> dict[str, dict[str, float | None]]:
    """Return the metrics of sets, for each group of images."""
    scorer = job.evaluator.learned
    if scorer is None or not scorer.of_sets or not folder.is_dir():
        return {}
    return {
        group.name: scorer.distances(group / "restored", group / "gt")
        for group in sorted(folder.iterdir())
        if (group / "gt").is_dir()
    }
