"""maskdcpt table: show the paper's tables, with your own scores in the same cells."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.errors import UsageError

from ..console import Console
from ..options import common


@click.command()
@click.argument("number", type=click.IntRange(1, 11), metavar="N")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Only columns of this metric, such as psnr.")
@click.option("--ours", multiple=True, metavar="NAME=REPORT", help="Add an evaluation (the --out of maskdcpt eval).")
@click.option("--against", metavar="METHOD", help="Show the difference of --ours to this method.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "latex", "html"]), default="text")
@common
def table(
    number: int, metrics: tuple[str, ...], ours: tuple[str, ...], against: str | None, form: str, console: Console
) -> None:
    """
    Show table N of the paper, 1 to 11, with doubts about its numbers, and your own scores in the same cells.

    \b
    Examples:
      maskdcpt table 1 --metric psnr
      maskdcpt eval --checkpoint runs/fine --bench 5d --out results && maskdcpt table 1 --ours mine=results
      maskdcpt table 1 --ours mine=results --against NAFNet+MaskDCPT --format markdown
    """
    if against is not None and not ours:
        raise UsageError("--against shows the difference of --ours to a method; name an evaluation with --ours")
    from maskdcpt.evaluation.paper_tables import (
        difference_row,
        header,
        legend,
        lines,
        load_table,
        narrowed,
        own_row,
        to_html,
        to_latex,
        to_markdown,
    )

    whole = load_table(number)
    chosen = narrowed(whole, metrics)
    rows = list(chosen.rows)
    for text in ours:
        name, equals, report = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--ours {text!r} is not NAME=REPORT, such as mine=results")
        own = own_row(whole, name, Path(report))
        rows.append(own)
        if against is not None:
            rows.append(difference_row(own, whole.row(against)))
    names = header(chosen)
    cells = [dict(zip(names, line, strict=True)) for line in lines(chosen, rows)]
    console.data({"table": number, "title": chosen.title, "doubts": chosen.doubts, "rows": cells})
    if form == "text":
        console.table(cells, title=f"Table {number}. {chosen.title}", right=names[1:])
        for note in legend(chosen, rows):
            console.line(note)
        return
    console.line({"markdown": to_markdown, "latex": to_latex, "html": to_html}[form](chosen, rows).rstrip())
