"""
Evaluation of a checkpoint: a row for each image, and means with the protocol by which they were computed.

The protocol is that of the published test files: the whole image, padded by reflection to what the network needs and
cropped back, output clipped to 0..1, PSNR and SSIM on RGB in float64, averaged over images within a degradation or test
set and then over those. `lq_psnr` and `lq_ssim` are the same scores of the LQ, so a table shows the gain.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from maskdcpt.compute.distributed import Process, joined
from maskdcpt.data.samples import Samples, open_samples
from maskdcpt.evaluation.cases import found_sets, sample_cases
from maskdcpt.evaluation.contamination import contamination
from maskdcpt.evaluation.evaluator import Evaluator
from maskdcpt.evaluation.image_grids import write_grids
from maskdcpt.evaluation.job import Done, Job, Setting, run_job
from maskdcpt.evaluation.score_files import REPORT, TABLE
from maskdcpt.evaluation.scores import (
    CellMeans,
    EvalReport,
    ImageScore,
    Means,
    Protocol,
    mean_of,
    mean_of_means,
    means_of,
)
from maskdcpt.evaluation.test_sets import Bench, Cell
from maskdcpt.metrics.learned import LearnedScorer, digest, learned_metrics
from maskdcpt.weights.checkpoints import Checkpoint
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.training_data import training_data
from uirdata.errors import SourceError, UsageError
from uirdata.facts.overlaps import load_overlaps
from uirdata.layout import Layout
from uirdata.pipeline.choosing import extra_manifests, subset_of_shards
from uirdata.progress import Progress, Silent
from uirdata.subsets import Subset

__all__ = [
    "REPORT",
    "TABLE",
    "Planned",
    "Setting",
    "bench_protocol",
    "evaluate",
    "evaluate_bench",
    "plan_bench",
    "plan_shards",
]


def evaluate(
    checkpoint: Checkpoint | str | Path,
    shards: str | Path | Samples,
    *,
    split: str = "test",
    subset: Subset | str | None = None,
    out: str | Path | None = None,
    protocol: Protocol | None = None,
    classifier: Checkpoint | str | Path | None = None,
    setting: Setting | None = None,
    progress: Progress | None = None,
) -> EvalReport:
    """
    Restore and classify every sample of a split, and compare with the GT.

    A pre-trained checkpoint has no last layer that was trained to restore: only its classifier is evaluated. Under
    torchrun the images are shared among the processes, and each returns the whole report.

    >>> report = evaluate(checkpoint, shards, split="test")
    >>> report.mean.images, report.mean.psnr > 0
    (6, True)

    Args:
        checkpoint: or its path.
        shards: a shard folder, or samples that are open already.
        split: of the shards.
        subset: of the shards, or its name; None takes all samples of the split.
        out: folder for a row per image (images.parquet), the report and image grids; an interrupted evaluation with
            the same inputs resumes from its rows. Required for several processes.
        protocol: the published one when None.
        classifier: checkpoint whose classifier is used; the checkpoint's own when None.
        setting: device, batch and the like.
        progress: receives the number of images done.

    Raises:
        UsageError: there is no such split, nothing to evaluate, or `out` holds another evaluation.
        UirError: the checkpoint or the shards cannot be read, a metric's weights are missing, or `out` cannot be
            written.
    """
    chosen, how = protocol or Protocol(), setting or Setting()
    out = None if out is None else Path(out)
    restoring, naming = _loaded(checkpoint, classifier)
    where = str(shards) if isinstance(shards, (str, Path)) else "samples in memory"
    if isinstance(shards, (str, Path)):
        subset = subset_of_shards(shards, subset)
        samples = open_samples(shards, split, subset)
    else:
        samples = shards
    cases = sample_cases(samples, chosen.limit)
    if not cases:
        raise UsageError(f"{where} has no sample of the split {split}")
    with joined(how.device, torch.get_num_threads()) as process:
        learned = _scorer(chosen, how, process)
        evaluator = Evaluator(
            restoring, naming, chosen, process.device, class_names=samples.class_names, learned=learned
        )
        digests = {"weights": digest(restoring.path), "classifier": digest(naming.path)}
        place = {
            "shards": _place(where),
            "split": split,
            "subset": subset if isinstance(subset, str) else subset.name if subset else "",
            "samples": _samples_digest(samples),
        }
        done = run_job(Job(evaluator, cases, chosen, how, out, process), {**digests, **place}, progress or Silent())
        names = list(dict.fromkeys(row.degradation for row in done.rows))
        parts = tuple(
            _with_set_metrics(
                means_of((r for r in done.rows if r.degradation == name), name, skip_broken=how.skip_broken),
                name,
                done,
                how.skip_broken,
            )
            for name in names
        )
        report = EvalReport(
            checkpoint=str(restoring.path),
            shards=where,
            split=split,
            protocol=chosen,
            class_names=evaluator.class_names,
            images=done.rows,
            by_degradation=parts,
            mean=mean_of_means(parts),
            unreadable=done.unreadable,
            training=training_data(restoring).sentences,
            backbone=restoring.backbone,
            broken=_broken(done),
            **_learned_facts(learned, digests),
        )
        _finish(report, done, evaluator, out, process, grids=how.grids)
        return report


def evaluate_bench(
    checkpoint: Checkpoint | str | Path,
    bench: Bench,
    root: Path,
    *,
    out: str | Path | None = None,
    protocol: Protocol | None = None,
    classifier: Checkpoint | str | Path | None = None,
    setting: Setting | None = None,
    progress: Progress | None = None,
) -> EvalReport:
    """
    Evaluate on the test sets of a table of the paper as they were published, from the folders of `uir fetch`.

    The value of a cell is the mean of its test sets, each the mean of its images; the mean over all their images is
    reported too. Missing test sets are reported, also in the cells that they belong to.

    Args:
        checkpoint: or its path; fine-tuned or published.
        bench: the table.
        root: of the data, as `uir --root`.
        out: as in `evaluate`.
        protocol: the published one with the bench's metrics when None.
        classifier: as in `evaluate`.
        setting: as in `evaluate`.
        progress: receives the number of images done.

    Raises:
        SourceError: none of its test sets is downloaded.
        UsageError: the checkpoint does not restore, or `out` holds another evaluation.
        UirError: as in `evaluate`.
    """
    chosen, how = protocol or bench_protocol(bench), setting or Setting()
    out = None if out is None else Path(out)
    restoring, naming = _loaded(checkpoint, classifier)
    if not restoring.restores:
        raise UsageError(f"{restoring.path}: was pre-trained, not fine-tuned: it does not restore; fine-tune it first")
    layout = Layout(root)
    by_set, missing = found_sets(
        bench.sets,
        layout,
        limit=chosen.limit,
        swapped_mosaic=chosen.swapped_mosaic,
        manifests=extra_manifests(layout),
    )
    if not by_set:
        raise SourceError(
            f"none of the test sets of {bench.name} is below {root}; `uir fetch --subset {bench.subset} --root {root}` "
            "downloads them, or takes your own files with --from DIR"
        )
    cases = [case for found in by_set.values() for case in found]
    with joined(how.device, torch.get_num_threads()) as process:
        learned = _scorer(chosen, how, process)
        evaluator = Evaluator(restoring, naming, chosen, process.device, learned=learned)
        digests = {"weights": digest(restoring.path), "classifier": digest(naming.path)}
        place = {"bench": bench.name, "root": _place(str(root))}
        done = run_job(Job(evaluator, cases, chosen, how, out, process), {**digests, **place}, progress or Silent())
        training = training_data(restoring)
        overlaps = load_overlaps()
        known = {test_set.name: test_set for test_set in bench.sets}
        parts = tuple(
            replace(
                _with_set_metrics(
                    means_of((r for r in done.rows if r.test_set == name), name, skip_broken=how.skip_broken),
                    name,
                    done,
                    how.skip_broken,
                ),
                expected=known[name].images,
                contamination=tuple(contamination(known[name], training.sources, layout, overlaps)),
            )
            for name in dict.fromkeys(row.test_set for row in done.rows)
        )
        kinds = list(dict.fromkeys(row.degradation for row in done.rows))
        report = EvalReport(
            checkpoint=str(restoring.path),
            shards=str(root),
            split="",
            protocol=chosen,
            class_names=evaluator.class_names,
            images=done.rows,
            by_degradation=tuple(
                means_of((r for r in done.rows if r.degradation == kind), kind, skip_broken=how.skip_broken)
                for kind in kinds
            ),
            mean=mean_of_means(parts),
            unreadable=done.unreadable,
            bench=bench.name,
            by_set=parts,
            cells=tuple(_cell(bench, cell, parts, done.rows, how.skip_broken) for cell in bench.cells),
            missing=missing,
            training=training.sentences,
            backbone=restoring.backbone,
            broken=_broken(done),
            **_learned_facts(learned, digests),
        )
        _finish(report, done, evaluator, out, process, grids=how.grids)
        return report


@dataclass(frozen=True)
class Planned:
    """
    A test set or a degradation of a planned evaluation.

    Attributes:
        name: of the test set or degradation.
        images: number of images that exist.
        expected: number of images as published; 0 where it is not known.
        problem: why there are none; "" where there are some.
    """

    name: str
    images: int
    expected: int
    problem: str


def plan_bench(bench: Bench, root: Path, *, limit: int = 0) -> list[Planned]:
    """Return which images of a bench exist, without a checkpoint and without reading an image."""
    layout = Layout(root)
    found, missing = found_sets(bench.sets, layout, limit=limit, manifests=extra_manifests(layout))
    return [
        Planned(test_set.name, len(found.get(test_set.name, ())), test_set.images, missing.get(test_set.name, ""))
        for test_set in bench.sets
    ]


def plan_shards(shards: str | Path, *, split: str, subset: Subset | None = None, limit: int = 0) -> list[Planned]:
    """
    Return which samples of a split would be evaluated.

    Raises:
        UsageError: there is no such split, or it has no sample of the subset.
        ShardError: `shards` is not a shard folder.
    """
    cases = sample_cases(open_samples(shards, split, subset), limit)
    counts: dict[str, int] = {}
    for case in cases:
        counts[case.degradation] = counts.get(case.degradation, 0) + 1
    return [Planned(name, count, 0, "") for name, count in counts.items()]


def bench_protocol(bench: Bench, metrics: Sequence[str] | None = None, **changes: Any) -> Protocol:
    """
    Return the published protocol of a bench.

    Args:
        bench: whose metrics are computed.
        metrics: computed in their place; PSNR and SSIM always are.
        **changes: fields of `Protocol`.

    Raises:
        UsageError: there is no such metric.
    """
    names = [name for name in (bench.metrics if metrics is None else metrics) if name not in ("psnr", "ssim")]
    return Protocol(learned=tuple(metric.name for metric in learned_metrics(names)), **changes)


def _loaded(
    checkpoint: Checkpoint | str | Path, classifier: Checkpoint | str | Path | None
) -> tuple[Checkpoint, Checkpoint]:
    restoring = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    naming = restoring if classifier is None else classifier
    return restoring, naming if isinstance(naming, Checkpoint) else load_checkpoint(naming)


def _scorer(protocol: Protocol, setting: Setting, process: Process) -> LearnedScorer | None:
    if not protocol.learned:
        return None
    return LearnedScorer(learned_metrics(protocol.learned), setting.weights, process.device, setting.engine)


def _with_set_metrics(means: Means, group: str, done: Done, skip_broken: bool) -> Means:
    found = done.set_metrics.get(group, {})
    # Of an output that is not finite no picture was written: the metric is that of the others.
    outputs = any(row.is_broken("psnr") for row in done.rows if (row.test_set or row.degradation) == group)
    refused = outputs and not skip_broken
    known = {name: None if refused or not _is_finite(value) else value for name, value in found.items()}
    return replace(means, learned={**means.learned, **known})


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _broken(done: Done) -> dict[str, str]:
    """Return what is not finite: by the key of the image, and of metrics of sets by the group."""
    groups = {
        group: ", ".join(name for name, value in found.items() if value is not None and not math.isfinite(value))
        for group, found in done.set_metrics.items()
    }
    return {row.key: row.broken for row in done.rows if row.broken} | {k: v for k, v in groups.items() if v}


def _cell(bench: Bench, cell: Cell, parts: Sequence[Means], rows: Sequence[ImageScore], skip_broken: bool) -> CellMeans:
    names = [test_set.name for test_set in cell.sets]
    mine = [part for part in parts if part.name in names]
    images = [row for row in rows if row.test_set in names]
    over = means_of(images, cell.name, intervals=False, skip_broken=skip_broken)
    values, pooled = {}, {}
    for metric in bench.metrics:
        # A metric that was not computed for every set has no value: a mean of fewer sets is not that of the cell.
        each = [part.value(metric) for part in mine]
        if each and None not in each:
            values[metric] = mean_of(each) or 0.0
        over_all = over.value(metric)
        if over_all is not None:
            pooled[metric] = over_all
    missing = tuple(name for name in names if name not in {part.name for part in mine})
    return CellMeans(bench.table, cell.name, tuple(names), missing, values, pooled, cell.note)


def _learned_facts(learned: LearnedScorer | None, digests: Mapping[str, str]) -> dict[str, Any]:
    if learned is None:
        return {"digests": digests}
    variants = {metric.name: metric.pinned for metric in (*learned.of_images, *learned.of_sets)}
    return {"engine": learned.engine, "variants": variants, "digests": {**digests, **learned.digests}}


def _finish(
    report: EvalReport, done: Done, evaluator: Evaluator, out: Path | None, process: Process, *, grids: bool
) -> None:
    if process.leads and out is not None:
        done.kept.finish(report)
        if grids and evaluator.restores:
            write_grids(out, done.cases, done.rows, evaluator)
    process.wait()


def _samples_digest(samples: Samples) -> str:
    """Return a sha256 that differs for samples with other pixels."""
    records = getattr(samples, "records", ())
    lines = [f"{record.key} {record.lq_sha256} {record.gt_sha256}" for record in records]
    return hashlib.sha256("\n".join(lines or map(str, samples.degradations)).encode()).hexdigest()


def _place(where: str) -> str:
    return str(Path(where).resolve()) if Path(where).exists() else where
