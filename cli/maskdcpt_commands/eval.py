"""maskdcpt eval: scores of a checkpoint on shards or test sets, with their protocol."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from uirdata.errors import PartlyDone, UirError, UsageError

from ..console import Console
from ..options import (
    CHECKPOINT_HELP,
    DEVICE,
    DRY_RUN,
    ROOT,
    SKIP_BROKEN,
    CheckpointPlace,
    ShardPlace,
    common,
)

if TYPE_CHECKING:
    from maskdcpt.evaluation.scores import EvalReport, Means, Protocol
    from maskdcpt.evaluation.test_sets import Bench

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("eval")
@click.option("--checkpoint", type=CheckpointPlace(), help=CHECKPOINT_HELP)
@click.option("--shards", type=ShardPlace(), help="A shard folder, or hf://datasets/OWNER/NAME.")
@click.option(
    "--bench", "bench_name", metavar="NAME", help="A table of the paper: 5d, 12d, denoise, real, single, mixed."
)
@click.option("--split", default="test", show_default=True, help="Split of the shards: train, val or test.")
@click.option("--subset", default="", metavar="NAME", help="Evaluate only this subset, in its label order.")
@click.option("--out", type=_FOLDER, help="Folder for images.parquet, report.json and grids; resumes if interrupted.")
@click.option("--classifier", type=CheckpointPlace(), help="Checkpoint whose classifier classifies the degradations.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Besides PSNR and SSIM: lpips, fid, piqe, brisque, niqe; none.",
)
@click.option("--weights", type=_FOLDER, help="Folder with the weights of these metrics.  [default: torch's cache]")
@click.option("--list-weights", is_flag=True, help="List these weights and where to put them, and exit.")
@click.option("--raw", is_flag=True, help="Evaluate the raw weights, not their EMA.")
@click.option("--quantise", "--8-bit", "quantise", is_flag=True, help="Round LQs and outputs to 8 bits, as if saved.")
@click.option("--y", "y_channel", is_flag=True, help="Compute PSNR and SSIM on the luma alone (BT.601).")
@click.option("--crop-border", type=click.IntRange(0), default=0, help="Pixels left out on each side.")
@click.option("--swapped-mosaic", is_flag=True, help="Swap red and blue of mosaics, as the published test does.")
@click.option("--tile", "tile_px", type=click.IntRange(0), default=0, help="Side of tiles, px; 0 uses whole images.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Images per degradation or test set; 0 uses all.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images of the same size at once.")
@SKIP_BROKEN
@DEVICE
@ROOT
@DRY_RUN
@common
def evaluate(
    checkpoint: str | Path | None,
    shards: str | Path | None,
    bench_name: str | None,
    split: str,
    subset: str,
    out: Path | None,
    classifier: str | Path | None,
    metrics: tuple[str, ...],
    weights: Path | None,
    list_weights: bool,
    raw: bool,
    quantise: bool,
    y_channel: bool,
    crop_border: int,
    swapped_mosaic: bool,
    tile_px: int,
    limit: int,
    batch: int,
    skip_broken: bool,
    device: str,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Compute scores of restored images and of the LQs, on shards or on the test sets of one of the paper's tables.

    By default on RGB, floats and whole images, as in the published test files. With --out a row for each image is
    written, and image grids of the best, the median and the worst. --bench reads test sets where `uir fetch` put them,
    below --root, and shows the paper's numbers beside. Of a pre-trained checkpoint the classifier is evaluated, on
    shards. Several GPUs: torchrun --nproc-per-node 4 --no-python maskdcpt eval ... --out DIR.

    \b
    Examples:
      maskdcpt eval --checkpoint runs/fine --shards uir-data/shards
      maskdcpt eval --checkpoint nafnet_maskdcpt_5d.pth --bench 5d --out results/nafnet
      maskdcpt eval --checkpoint nafnet_maskdcpt_5d.pth --bench 5d --metric none --8-bit
      maskdcpt eval --bench 5d --dry-run                  which of its test sets exist
      maskdcpt eval --list-weights --metric lpips --weights weights
    """
    if list_weights:
        _list_weights(metrics, weights, console)
        return
    if (shards is None) == (bench_name is None):
        raise UsageError("set either --shards DIR or --bench NAME: the images to evaluate on")
    _check_options(bench_name is not None, subset, swapped_mosaic, weights, metrics)
    if dry_run:
        _plan(shards, bench_name, split, subset, limit, root, console)
        return
    if checkpoint is None:
        raise UsageError("--checkpoint FILE is missing: the network to evaluate")
    from maskdcpt.evaluation.evaluate import Setting, bench_protocol, evaluate_bench
    from maskdcpt.evaluation.evaluate import evaluate as evaluate_shards
    from maskdcpt.evaluation.scores import Protocol
    from maskdcpt.evaluation.test_sets import find_bench
    from maskdcpt.metrics.learned import learned_metrics
    from uirdata.pipeline.choosing import subset_of_shards

    asked = _named(metrics)
    changes: dict[str, Any] = {
        "weights": "params" if raw else "params_ema",
        "quantise": quantise,
        "y_channel": y_channel,
        "crop_border": crop_border,
        "tile_px": tile_px,
        "limit": limit,
        "swapped_mosaic": swapped_mosaic,
    }
    setting = Setting(device, batch, weights, skip_broken=skip_broken)
    with console.progress() as progress:
        if bench_name is not None:
            bench: Bench | None = find_bench(bench_name)
            report = evaluate_bench(
                checkpoint,
                find_bench(bench_name),
                root,
                out=out,
                protocol=bench_protocol(find_bench(bench_name), asked, **changes),
                classifier=classifier,
                setting=setting,
                progress=progress,
            )
        else:
            assert shards is not None
            bench = None
            learned = tuple(metric.name for metric in learned_metrics(asked or ()))
            report = evaluate_shards(
                checkpoint,
                shards,
                split=split,
                subset=subset_of_shards(shards, subset),
                out=out,
                protocol=Protocol(**changes, learned=learned),
                classifier=classifier,
                setting=setting,
                progress=progress,
            )
    if int(os.environ.get("RANK", "0")):
        # Under torchrun only the first process prints.
        return
    console.data(report.to_document())
    _show(report, console)
    if bench is not None:
        _show_beside_paper(report, bench, console)
    _raise_for(report, skip_broken)


def _check_options(
    is_bench: bool, subset: str, swapped_mosaic: bool, weights: Path | None, metrics: tuple[str, ...]
) -> None:
    """Refuse options that would change nothing."""
    of_shards = click.get_current_context().get_parameter_source("split") is ParameterSource.COMMANDLINE
    if is_bench and (subset or of_shards):
        raise UsageError("--subset and --split choose samples of --shards; a bench has its own test sets")
    if swapped_mosaic and not is_bench:
        raise UsageError("--swapped-mosaic is for the test sets of --bench; samples of shards are taken as they are")
    if weights is not None and not (_named(metrics) or (is_bench and not metrics)):
        raise UsageError("--weights are those of learned metrics; choose some, such as --metric lpips")


def _named(metrics: tuple[str, ...]) -> list[str] | None:
    """Return the metrics of --metric; None if the option is missing, [] for `none` (only PSNR and SSIM)."""
    if not metrics:
        return None
    names = [name for text in metrics for name in text.split(",") if name]
    return [] if names == ["none"] else names


def _plan(
    shards: str | Path | None,
    bench_name: str | None,
    split: str,
    subset: str,
    limit: int,
    root: Path,
    console: Console,
) -> None:
    from maskdcpt.evaluation.evaluate import plan_bench, plan_shards
    from maskdcpt.evaluation.test_sets import find_bench
    from uirdata.pipeline.choosing import subset_of_shards

    if bench_name is not None:
        planned = plan_bench(find_bench(bench_name), root, limit=limit)
    else:
        assert shards is not None
        planned = plan_shards(shards, split=split, subset=subset_of_shards(shards, subset), limit=limit)
    console.data([asdict(plan) for plan in planned])
    console.table(
        [
            {"": plan.name, "images": plan.images, "published": plan.expected or None, "missing": plan.problem}
            for plan in planned
        ],
        right=["published"],
    )


def _list_weights(metrics: tuple[str, ...], weights: Path | None, console: Console) -> None:
    from maskdcpt.metrics import LEARNED
    from maskdcpt.metrics.learned import learned_metrics, weights_folder

    folder = weights_folder(weights)
    chosen = learned_metrics([name for name in _named(metrics) or LEARNED if name not in ("psnr", "ssim")])
    rows = [
        {
            "metric": metric.name,
            "put it at": str(folder / file.path),
            "there": (folder / file.path).is_file(),
            "from": file.url,
        }
        for metric in chosen
        for file in metric.files
    ]
    console.data(rows)
    console.table(rows)
    console.remark("psnr, ssim and piqe need no weights; the others are computed by pyiqa, for non-commercial use")


def _show(report: EvalReport, console: Console) -> None:
    from maskdcpt.metrics.learned import unlike_published

    metrics = [
        name
        for name in ("psnr", "ssim", *report.protocol.learned)
        if any(means.value(name) is not None for means in report.groups)
    ]
    rows = [_row(report, means, metrics) for means in (*report.groups, report.mean)]
    right = [name for name in rows[0] if name not in ("degradation", "test set", "images")]
    console.table(rows, right=right)
    console.line(f"protocol: {_protocol_text(report.protocol)}")
    for text in _over_fewer(report, metrics):
        console.line(text)
    for name, variant in report.variants.items():
        console.line(f"{name}: {variant}; {report.engine}")
    for path in unlike_published(report.digests):
        console.line(f"weights: {path} is not the published file: its sha256 differs")
    few = [means.name for means in report.groups if means.value("fid") is not None and means.images < 2048]
    if few:
        console.line("fid: biased with fewer images than its 2,048 features; compare only equal numbers of images")
    for sentence in report.training:
        console.line(f"trained: {sentence}")
    for means in report.groups:
        for text in means.contamination:
            console.line(f"known overlap: {text}")
    for name, reason in report.missing.items():
        console.line(f"missing: {name}: {reason}")


def _over_fewer(report: EvalReport, metrics: list[str]) -> list[str]:
    """Return which means are not over all images, or not over all groups."""
    texts = []
    for name in metrics:
        found = [
            f"{group.fewer[name]:,} of {group.images:,} in {group.name}"
            for group in report.groups
            if name in group.fewer
        ]
        if found:
            texts.append(f"{name}: over fewer images than the table says: {', '.join(found)}; the others are too small")
        without = [group.name for group in report.groups if group.value(name) is None and not group.broken]
        if without and report.mean.value(name) is not None:
            texts.append(f"{name}: {', '.join(without)} have no value, so the mean is over the others")
    return texts


def _row(report: EvalReport, means: Means, metrics: list[str]) -> dict[str, Any]:
    images = f"{means.images:,}" + (f" of {means.expected:,}" if means.expected not in (0, means.images) else "")
    row: dict[str, Any] = {"test set" if report.bench else "degradation": means.name, "images": images}
    for name in metrics:
        row[f"LQ {name.upper()}"] = _figure(name, means.value(f"lq_{name}"))
        row[name.upper()] = _figure(name, means.value(name)) + _interval(name, means.intervals.get(name))
        if name == "psnr":
            row["gain"] = "" if means.gain is None else f"{means.gain:+.2f}"
    if report.mean.accuracy is not None:
        row["accuracy"] = "" if means.accuracy is None else f"{means.accuracy:.0%}"
    if report.mean.broken:
        row["NaN or infinite"] = means.broken
    if any(group.contamination for group in report.groups):
        row["overlap"] = "known" if means.contamination else ""
    return row


def _figure(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:.{3 if name in ('ssim', 'lpips') else 2}f}"


def _interval(name: str, interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({_figure(name, interval[0])} to {_figure(name, interval[1])})"


def _show_beside_paper(report: EvalReport, bench: Bench, console: Console) -> None:
    from maskdcpt.evaluation.paper_tables import beside_paper

    console.table(beside_paper(report, bench), title=f"Beside table {bench.table} of the paper")
    if any(cell.missing for cell in report.cells) or any(m.expected not in (0, m.images) for m in report.by_set):
        console.line("* from fewer images or test sets than in the paper")
    for cell in report.cells:
        if cell.note:
            console.line(f"{cell.name}: {cell.note}")


def _protocol_text(protocol: Protocol) -> str:
    parts = [
        "RGB" if not protocol.y_channel else "luma (BT.601)",
        "8 bits" if protocol.quantise else "unrounded floats",
        "whole images" if not protocol.tile_px else f"tiles of {protocol.tile_px}",
        f"border of {protocol.crop_border} left out" if protocol.crop_border else "no border left out",
        "EMA of the weights" if protocol.weights == "params_ema" else "raw weights",
        "mean of images, then of groups",
        f"the first {protocol.limit} of each" if protocol.limit else "",
        "mosaics with red and blue swapped" if protocol.swapped_mosaic else "",
    ]
    return ", ".join(part for part in parts if part)


def _raise_for(report: EvalReport, skip_broken: bool) -> None:
    if report.broken:
        first, what = next(iter(report.broken.items()))
        text = f"{len(report.broken)} images have outputs or scores that are NaN or infinite, such as {first} ({what})"
        if skip_broken and not report.mean.images:
            raise UirError(f"{text}: these are all, so there is no mean")
        if skip_broken:
            raise PartlyDone(f"{text}; the means are over the others")
        raise UirError(f"{text}; their means are refused. --skip-broken averages the others, and counts these")
    if report.mean.fewer:
        names = ", ".join(report.mean.fewer)
        raise PartlyDone(f"not all images have a value of {names}; the means are over the others, as counted above")
    asked = (*(["ssim"] if report.mean.psnr is not None else []), *report.protocol.learned)
    without = [name for name in asked if report.mean.value(name) is None]
    if without:
        raise PartlyDone(f"no image has a value of {', '.join(without)}: all are too small, too few or without a GT")
    if report.unreadable:
        raise PartlyDone(f"{len(report.unreadable)} images cannot be read; the scores are those of the others")
    if report.missing:
        raise PartlyDone(f"{len(report.missing)} test sets are missing: {', '.join(report.missing)}")
