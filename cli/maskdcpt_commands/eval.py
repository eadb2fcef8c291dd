"""maskdcpt eval, compare: what checkpoints are worth, in numbers that name their protocol."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uirdata.errors import PartlyDone, UsageError

from ..console import Console
from ..options import (
    CHECKPOINT_HELP,
    DEVICE,
    DRY_RUN,
    ROOT,
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
@click.option("--split", default="test", show_default=True, help="Of the shards: train, val or test.")
@click.option("--subset", default="", metavar="NAME", help="Of the shards, only what this names, in its label order.")
@click.option("--out", type=_FOLDER, help="Folder for images.parquet, report.json and grids; interrupted, it goes on.")
@click.option("--classifier", type=CheckpointPlace(), help="Checkpoint whose classifier names the degradations.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Beside PSNR and SSIM: lpips, fid, piqe, brisque, niqe; none.",
)
@click.option("--weights", type=_FOLDER, help="Where the weights of such metrics lie.  [default: torch's cache]")
@click.option("--list-weights", is_flag=True, help="Say which weights there are, where they go, and stop.")
@click.option("--raw", is_flag=True, help="Take the raw weights, not their running average.")
@click.option("--quantise", "--8-bit", "quantise", is_flag=True, help="Round LQs and outputs to 8 bits, as if saved.")
@click.option("--y", "y_channel", is_flag=True, help="PSNR and SSIM on the luma alone (BT.601).")
@click.option("--crop-border", type=click.IntRange(0), default=0, help="Pixels left out on each side.")
@click.option("--swapped-mosaic", is_flag=True, help="Exchange red and blue of mosaics, as the published test does.")
@click.option("--tile", "tile_px", type=click.IntRange(0), default=0, help="Tiles of this side; 0 takes images whole.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Images of each degradation or test set; 0 takes all.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images of one size at once.")
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
    device: str,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Measure restored images beside the LQs, on shards or on the test sets of one of the paper's tables.

    RGB, float, whole images, as the published test files; options say otherwise. With --out a row per image is kept,
    and pictures of the best, the median and the worst. --bench reads test sets where `uir fetch` put them, below
    --root, and shows the paper's numbers beside. A pre-trained checkpoint is judged by its classifier, on shards.
    Several GPUs: torchrun --nproc-per-node 4 --no-python maskdcpt eval ... --out DIR.

    \b
    Examples:
      maskdcpt eval --checkpoint runs/fine --shards uir-data/shards
      maskdcpt eval --checkpoint nafnet_maskdcpt_5d.pth --bench 5d --out results/nafnet
      maskdcpt eval --checkpoint nafnet_maskdcpt_5d.pth --bench 5d --metric none --8-bit
      maskdcpt eval --bench 5d --dry-run                  what of its test sets is there
      maskdcpt eval --list-weights --metric lpips --weights weights
    """
    if list_weights:
        _list_weights(metrics, weights, console)
        return
    if (shards is None) == (bench_name is None):
        raise UsageError("name --shards DIR or --bench NAME, one of them: what it is judged on")
    if dry_run:
        _plan(shards, bench_name, split, subset, limit, root, console)
        return
    if checkpoint is None:
        raise UsageError("--checkpoint FILE is needed: what is judged")
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
    setting = Setting(device, batch, weights)
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
        # Under torchrun the first process speaks.
        return
    console.data(report.to_document())
    _show(report, console)
    if bench is not None:
        _show_beside_paper(report, bench, console)
    _raise_for(report)


def _named(metrics: tuple[str, ...]) -> list[str] | None:
    """None where nothing was asked for; `none` leaves PSNR and SSIM alone."""
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
    for name, variant in report.variants.items():
        console.line(f"{name}: {variant}; {report.engine}")
    for path in unlike_published(report.digests):
        console.line(f"weights: {path} is not the published file, by its sha256")
    few = [means.name for means in report.groups if means.value("fid") is not None and means.images < 2048]
    if few:
        console.line("fid: of fewer images than its 2,048 features it is far from its limit; compare like with like")
    for sentence in report.training:
        console.line(f"trained: {sentence}")
    for means in report.groups:
        for text in means.contamination:
            console.line(f"known overlap: {text}")
    for name, reason in report.missing.items():
        console.line(f"not there: {name}: {reason}")


def _row(report: EvalReport, means: Means, metrics: list[str]) -> dict[str, Any]:
    images = f"{means.images:,}" + (f" of {means.expected:,}" if means.expected not in (0, means.images) else "")
    row: dict[str, Any] = {"test set" if report.bench else "degradation": means.name, "images": images}
    for name in metrics:
        row[f"LQ {name.upper()}"] = _figure(name, means.value(f"lq_{name}"))
        row[name.upper()] = _figure(name, means.value(name)) + _interval(name, means.intervals.get(name))
        if name == "psnr":
            row["gain"] = "" if means.gain is None else f"{means.gain:+.2f}"
    if report.mean.accuracy is not None:
        row["named rightly"] = "" if means.accuracy is None else f"{means.accuracy:.0%}"
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
        console.line("* is of fewer images or test sets than the paper's")
    for cell in report.cells:
        if cell.note:
            console.line(f"{cell.name}: {cell.note}")


def _protocol_text(protocol: Protocol) -> str:
    parts = [
        "RGB" if not protocol.y_channel else "luma (BT.601)",
        "8 bits" if protocol.quantise else "unrounded floats",
        "whole images" if not protocol.tile_px else f"tiles of {protocol.tile_px}",
        f"border of {protocol.crop_border} left out" if protocol.crop_border else "no border left out",
        "running average of the weights" if protocol.weights == "params_ema" else "raw weights",
        "mean of images, then of groups",
        f"the first {protocol.limit} of each" if protocol.limit else "",
        "mosaics with red and blue exchanged" if protocol.swapped_mosaic else "",
    ]
    return ", ".join(part for part in parts if part)


def _raise_for(report: EvalReport) -> None:
    if report.unreadable:
        raise PartlyDone(f"{len(report.unreadable)} images could not be read; the figures are of the others")
    if report.missing:
        raise PartlyDone(f"{len(report.missing)} test sets are not there: {', '.join(report.missing)}")
