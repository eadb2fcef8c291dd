"""maskdcpt report: one HTML page of a run."""

from __future__ import annotations

from pathlib import Path

import click

from ..console import Console
from ..options import DEVICE, ShardPlace, common


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page.  [default: RUN/report.html]")
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="An evaluation.  [default: those below RUN]",
)
@click.option("--shards", type=ShardPlace(), help="Evaluate and probe on these first; without it, show what is there.")
@click.option("--split", default="test", show_default=True, help="Of the shards.")
@click.option("--title", default="", help="Of the page.")
@DEVICE
@common
def report(
    run: Path,
    out: Path | None,
    results: tuple[Path, ...],
    shards: str | Path | None,
    split: str,
    title: str,
    device: str,
    console: Console,
) -> None:
    """
    Write one HTML page of a run: before and after, curves, tables, named degradations, features in the plane.

    RUN is what `maskdcpt train --out` or `maskdcpt eval --out` wrote. The page needs no other file and no network. With
    --shards the run is evaluated into RUN/test and its features are laid out in RUN/features.json, where they are not
    there yet.

    \b
    Examples:
      maskdcpt report runs/fine --shards uir-data/shards
      maskdcpt report runs/fine --results results/nafnet --out page.html
    """
    from maskdcpt.pages.run_page import prepare_report, write_report

    target = out or run / "report.html"
    with console.progress() as progress:
        if shards is not None:
            prepare_report(run, shards, split=split, device=device, progress=progress)
        write_report(run, target, results=results, title=title)
    console.data({"page": str(target)})
    console.line(str(target))
