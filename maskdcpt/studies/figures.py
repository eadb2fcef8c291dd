"""Figures of runs: curves over the steps, the preliminary study, features in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskdcpt.training.logs.metrics_log import read_curves
from uirdata.errors import UirError, UsageError, nearest
from uirdata.storage.files import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maskdcpt.studies.probe import FeatureMap, ProbeResult

ENDINGS = (".png", ".svg", ".pdf")


def draw_curves(runs: Sequence[Path], quantity: str, out: Path) -> list[str]:
    """
    Draw one quantity over the steps, a line for each run.

    Args:
        runs: folders of runs.
        quantity: such as "loss" or "validation/psnr".
        out: .png, .svg or .pdf.

    Returns:
        The names of the runs in the figure: the last parts of their paths that make them unique.

    Raises:
        UsageError: a run has no such quantity, or the file has another ending.
        UirError: a run has no metrics, or matplotlib is not installed.
    """
    figure = _figure(out, 8, 4.5)
    axes = figure.add_subplot()
    names = _told_apart(runs)
    for run, name in zip(runs, names, strict=True):
        curves = read_curves(run)
        if quantity not in curves:
            raise UsageError(f"{run} has no {quantity!r}: {nearest(quantity, curves)}")
        marker = "o" if len(curves[quantity].steps) < 30 else ""
        axes.plot(curves[quantity].steps, curves[quantity].values, label=name, marker=marker, markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel(quantity)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, out)
    return names


def draw_bands(curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]], out: Path, *, quantity: str) -> None:
    """
    Draw the mean of several runs of one kind over the steps, with the range from the smallest to the largest value.

    Args:
        curves: name to the points of its runs; only steps that all runs have are drawn.
        out: .png, .svg or .pdf.
        quantity: what the values are.

    Raises:
        UsageError: the file has another ending.
        UirError: matplotlib is not installed.
    """
    figure = _figure(out, 10, 4.5)
    axes = figure.add_subplot()
    for name, runs in curves.items():
        steps = sorted(set.intersection(*({step for step, _ in run} for run in runs)))
        values = np.array([[dict(run)[step] for step in steps] for run in runs])
        (line,) = axes.plot(steps, values.mean(axis=0), label=name, marker="o", markersize=3)
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.15)
    axes.set_xlabel("step")
    axes.set_ylabel(quantity)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, out)


def draw_probe(results: Sequence[ProbeResult], out: Path) -> None:
    """
    Draw the two halves of Fig. 2 from what was measured: accuracy over the steps, and over the mask ratio.

    Args:
        results: of one network.
        out: .png, .svg or .pdf.

    Raises:
        UsageError: the file has another ending.
        UirError: matplotlib is not installed.
    """
    figure = _figure(out, 9, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    for ratio in sorted({result.ratio for result in results}):
        line = sorted((r for r in results if r.ratio == ratio), key=lambda r: r.step)
        spread = [100 * r.spread for r in line]
        left.errorbar(
            [r.step for r in line],
            [100 * r.accuracy for r in line],
            spread,
            marker="o",
            capsize=3,
            label=f"{ratio:.0%} hidden",
        )
    for step in sorted({result.step for result in results}):
        line = sorted((r for r in results if r.step == step), key=lambda r: r.ratio)
        right.plot(
            [100 * r.ratio for r in line],
            [100 * r.accuracy for r in line],
            marker="o",
            label=f"step {step:,}",
        )
    left.set_xlabel("training steps")
    left.set_ylabel("accuracy of the nearest neighbours, %")
    right.set_xlabel("hidden, %")
    for axes in (left, right):
        axes.axhline(100 * results[0].chance, color="grey", linestyle=":", label="guessing")
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, out)


def draw_map(features: FeatureMap, out: Path) -> None:
    """
    Draw features in the plane, a colour for each class.

    Args:
        features: of images.
        out: .png, .svg or .pdf.

    Raises:
        UsageError: the file has another ending.
        UirError: matplotlib is not installed.
    """
    figure = _figure(out, 7, 6)
    axes = figure.add_subplot()
    for label, name in enumerate(features.class_names):
        points = features.points[features.labels == label]
        if len(points):
            axes.scatter(points[:, 0], points[:, 1], s=14, label=name)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, out)


def _figure(out: Path, width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UirError("drawing needs matplotlib: pip install matplotlib") from error
    if out.suffix not in ENDINGS:
        raise UsageError(f"{out}: the ending of a figure must be .png, .svg or .pdf")
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, out: Path) -> None:
    with writing(out) as partial:
        figure.savefig(partial, dpi=150, format=out.suffix[1:])


def _told_apart(runs: Sequence[Path]) -> list[str]:
    """
    Return names of runs: as many last parts of their paths as make them unique.

    >>> _told_apart([Path("a/scratch/fine"), Path("a/dcpt/fine")])
    ['scratch/fine', 'dcpt/fine']
    """
    parts = [run.resolve().parts for run in runs]
    for count in range(1, max(len(path) for path in parts)):
        names = ["/".join(path[-count:]) for path in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(run) for run in runs]
