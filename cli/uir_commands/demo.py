"""uir demo: the whole pipeline on the sample subset."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from uirdata.errors import UsageError
from uirdata.layout import Layout

from ..console import Console
from ..options import DRY_RUN, ROOT, common


@click.command()
@click.option(
    "--workers", type=click.IntRange(1), default=os.cpu_count(), show_default="cores", help="Number of build processes."
)
@ROOT
@DRY_RUN
@common
def demo(workers: int, root: Path, dry_run: bool, console: Console) -> None:
    """
    Run the whole pipeline on photographs of installed packages. Needs no network.

    Fetches, verifies, crops, degrades, shards and counts them; pre-trains a small NAFNet with masks and degradation
    labels; fine-tunes it, and trains the same network from scratch; tests both on held-out photographs. Writes
    ROOT/demo, with one HTML page of the results.

    \b
    Examples:
      uir demo
      uir demo --root /tmp/demo
    """
    try:
        from maskdcpt.demo import STEPS, run_demo
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the demo needs {error.name}; install it with `pip install 'universal-image-restoration[demo]'`"
        ) from None
    if dry_run:
        console.data({"steps": list(STEPS), "folder": str(root / "demo")})
        for step in STEPS:
            console.line(step)
        console.line(f"would write {root / 'demo'}")
        return
    with console.progress() as progress:
        report = run_demo(Layout(root), workers=workers, progress=progress)
    console.data(
        {
            "rows": [asdict(row) for row in report.rows],
            "accuracy": report.accuracy,
            "chance": report.chance,
            "samples": report.statistics.samples,
            "seconds": dict(report.seconds),
            "not_better": list(report.not_better),
            "page": str(report.page),
            "checkpoint": str(report.checkpoint),
        }
    )
    console.table(
        [
            {
                "degradation": row.degradation,
                "images": row.images,
                "LQ": row.lq,
                "restored": row.restored,
                "gain": f"{row.restored - row.lq:+.2f}",
                "from scratch": row.scratch,
                "gain of pre-training": f"{row.restored - row.scratch:+.2f}",
            }
            for row in report.rows
        ],
        title="Held-out photographs, PSNR in dB on RGB",
        right=["gain", "gain of pre-training"],
    )
    console.line(
        f"The pre-trained classifier has an accuracy of {report.accuracy:.0%} on the held-out images "
        f"(chance: {report.chance:.0%})."
    )
    for name in report.not_better:
        console.line(f"{name}: the restored images do not have a higher PSNR than the LQ.")
    console.line(f"{report.statistics.samples:,} samples in {report.folder / 'shards'}; {_times(report.seconds)}.")
    console.line(f"To try it: maskdcpt restore PHOTO --checkpoint {report.checkpoint} --out restored")
    console.line(f"Page: {report.page}")


def _times(seconds: object) -> str:
    assert isinstance(seconds, dict)
    return (
        ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
        + f"; {sum(seconds.values()):.0f} s in total"
    )
