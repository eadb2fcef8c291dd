"""maskdcpt compare: paired tests between evaluations of the same images."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.errors import PartlyDone

from ..console import Console
from ..options import SKIP_BROKEN, common


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--metric", default="psnr", show_default=True, metavar="NAME", help="psnr, ssim, lpips, ...")
@SKIP_BROKEN
@common
def compare(runs: tuple[Path, ...], metric: str, skip_broken: bool, console: Console) -> None:
    """
    Compare evaluations image by image, and test whether the differences are significant.

    RUN is what `maskdcpt eval --out` wrote, or NAME=FOLDER. Each is compared with the first, on the images that both
    have: mean difference with its 95 % interval (bootstrap over scenes), the share of images with a larger value, and
    two p values from sign-flip permutations: of the mean, and of Wilcoxon's ranks, adjusted for the number of
    tests (Holm).

    \b
    Examples:
      maskdcpt compare results/scratch results/pretrained
      maskdcpt compare base=results/a ours=results/b --metric ssim --json
    """
    from maskdcpt.evaluation.compare import compare_runs

    comparison = compare_runs(runs, metric, skip_broken=skip_broken)
    console.data([row.to_document() for row in comparison])
    rows = []
    for row in comparison:
        test = row.test
        low, high = test.interval if test.interval is not None else (None, None)
        digits = 2 if metric in ("psnr", "lq_psnr", "fid", "piqe", "brisque", "niqe") else 4
        rows.append(
            {
                "group": row.group,
                "runs": f"{row.second} minus {row.first}",
                "images": f"{test.images:,}" + (f", {row.broken:,} skipped" if row.broken else ""),
                "scenes": test.scenes,
                metric: f"{test.difference:+.{digits}f}",
                "95 %": "" if low is None else f"{low:+.{digits}f} to {high:+.{digits}f}",
                "larger in": f"{test.wins:.0%}",
                "p (mean)": f"{row.p_mean:.2g}",
                "p (ranks)": f"{row.p_ranks:.2g}",
            }
        )
    console.table(rows, right=["images", metric, "95 %", "larger in", "p (mean)", "p (ranks)"])
    broken = max(row.broken for row in comparison)
    if broken:
        raise PartlyDone(f"{broken} images are skipped, because their {metric} is NaN or infinite in one of the runs")
