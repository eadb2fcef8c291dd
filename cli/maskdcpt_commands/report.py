"""maskdcpt report: write one HTML page of a run."""

from __future__ import annotations

from pathlib import Path

import click

from ..console import Console
from ..options import DEVICE, ShardPlace, common


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="HTML file.  [default: RUN/report.html]")
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="An evaluation to show.  [default: those below RUN]",
)
@click.option("--shards", type=ShardPlace(), help="Evaluate and probe on these first; default: existing results.")
@click.option("--split", default="test", show_default=True, help="Split of the shards.")
@click.option("--title", default="", help="Title of the page.")
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
    Write one HTML page of a run: images before and after, curves, tables, classified degradations, a map of features.

    RUN is what `maskdcpt train --out` or `maskdcpt eval --out` wrote. The page needs no other file and no network. With
    --shards the evaluation of the run is written to RUN/test and the map of its features to RUN/features.json, if they
    do not exist yet.

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
