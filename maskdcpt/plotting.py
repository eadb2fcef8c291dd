"""Curves of runs as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskdcpt.tracking import read_curves
from uirdata.errors import UirError, UsageError, nearest


def draw_curves(runs: Sequence[Path], quantity: str, out: Path) -> list[str]:
    """
    Draw one quantity over the steps, a line for each run.

    Args:
        runs: folders of runs.
        quantity: such as "loss" or "validation/psnr".
        out: .png, .svg or .pdf.

    Returns:
        The names of the runs as the figure has them.

    Raises:
        UsageError: a run has no such quantity, or the file has another ending.
        UirError: a run has no metrics, or matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UirError("drawing needs matplotlib: pip install matplotlib") from error
    if out.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{out}: a figure is .png, .svg or .pdf")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    names = []
    for run in runs:
        curves = read_curves(run)
        if quantity not in curves:
            raise UsageError(f"{run} has no {quantity!r}: {nearest(quantity, curves)}")
        name = run.name or str(run)
        axes.plot(curves[quantity].steps, curves[quantity].values, label=name)
        names.append(name)
    axes.set_xlabel("step")
    axes.set_ylabel(quantity)
    axes.grid(alpha=0.3)
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    return names
