"""maskdcpt bench: time and memory of a network on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..console import Console
from ..options import BACKBONE, DEVICE, CheckpointPlace, common


@click.command()
@BACKBONE
@click.option("--checkpoint", type=CheckpointPlace(), help="Time this network instead of --backbone.")
@click.option("--size", "side", type=click.IntRange(16), default=256, show_default=True, help="Side in pixels.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--ratio", type=click.FloatRange(0, 1, max_open=True), default=0.5, show_default=True, help="Mask ratio.")
@click.option("--patch", type=click.IntRange(1), default=16, show_default=True, help="Patch size of masks, px.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--training", is_flag=True, help="Time forward and backward passes.")
@click.option("--half", is_flag=True, help="Use bfloat16 if the device supports it.")
@DEVICE
@common
def bench(
    backbone: str,
    checkpoint: str | Path | None,
    side: int,
    batch: int,
    ratio: float,
    patch: int,
    repeats: int,
    training: bool,
    half: bool,
    device: str,
    console: Console,
) -> None:
    """
    Measure time and memory of a network on this machine: plain, and masked with each backend.

    The variants take turns, so that other load affects all of them; the median of the repeats is shown. For a backend
    that cannot run here, or cannot run this network, the reason is shown.

    \b
    Examples:
      maskdcpt bench
      maskdcpt bench --backbone restormer --size 128 --batch 4 --training --device cuda
    """
    from maskdcpt.studies.timing import TimingSettings, measure

    settings = TimingSettings(
        backbone=backbone,
        checkpoint=checkpoint,
        side=side,
        batch=batch,
        ratio=ratio,
        patch=patch,
        repeats=repeats,
        training=training,
        half=half,
    )
    with console.progress() as progress:
        measured = measure(settings, device=device, progress=progress)
    console.data(asdict(measured))
    rows = [
        {
            "way": row.way,
            "ms": "" if row.milliseconds is None else f"{row.milliseconds:,.1f}",
            "images/s": "" if row.images_per_second is None else f"{row.images_per_second:,.2f}",
            "over plain": "" if row.over_plain is None else f"{row.over_plain:.2f}",
            "peak memory": "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f} MiB",
            "": row.problem,
        }
        for row in measured.rows
    ]
    console.table(rows, title=measured.title, right=["ms", "images/s", "over plain", "peak memory"])
