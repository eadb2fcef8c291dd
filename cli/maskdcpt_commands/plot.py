"""maskdcpt plot: draw the curves of runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..console import Console
from ..options import common


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--quantity", default="loss", show_default=True, help="Such as loss, accuracy, validation/psnr.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("curves.png"), show_default=True)
@common
def plot(runs: tuple[Path, ...], quantity: str, out: Path, console: Console) -> None:
    """
    Draw one quantity of one or more runs in one figure, a PNG, SVG or PDF.

    \b
    Examples:
      maskdcpt plot runs/pre
      maskdcpt plot runs/scratch runs/fine --quantity validation/psnr --out psnr.svg
    """
    from maskdcpt.studies.figures import draw_curves

    names = draw_curves(runs, quantity, out)
    console.data({"figure": str(out), "runs": names})
    console.line(f"{out}: {quantity} of {', '.join(names)}")
