"""uir demo: the whole way on the sample subset."""

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
    "--workers", type=click.IntRange(1), default=os.cpu_count(), show_default="cores", help="Build processes."
)
@ROOT
@DRY_RUN
@common
def demo(workers: int, root: Path, dry_run: bool, console: Console) -> None:
    """
    Go the whole way on photographs that ship inside installed packages. Needs no network.

    Fetches, verifies, crops, degrades, shards and counts them; pre-trains a small NAFNet with masks and degradation
    labels; fine-tunes it, and the same network from scratch; tries both on photographs that they never saw. Writes
    ROOT/demo, and one page to look at.

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
                "pre-training brings": f"{row.restored - row.scratch:+.2f}",
            }
            for row in report.rows
        ],
        title="Held-out photographs, PSNR in dB on RGB",
        right=["gain", "pre-training brings"],
    )
    console.line(
        f"The pre-trained classifier names the degradation of {report.accuracy:.0%} of the held-out images "
        f"(guessing: {report.chance:.0%})."
    )
    for name in report.not_better:
        console.line(f"{name}: the restored images do not beat the LQ.")
    console.line(f"{report.statistics.samples:,} samples in {report.folder / 'shards'}; {_times(report.seconds)}.")
    console.line(f"Try it: maskdcpt restore PHOTO --checkpoint {report.checkpoint} --out restored")
    console.line(f"Page: {report.page}")


def _times(seconds: object) -> str:
    assert isinstance(seconds, dict)
    return (
        ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
        + f"; {sum(seconds.values()):.0f} s in all"
    )
