"""uir sources: list the sources."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import ROOT, SUBSET, common
from .source_views import (
    ACCESS,
    cost_of,
    cost_text,
    first_words,
    show_source,
    source_document,
)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@ROOT
@common
def sources(ids: tuple[str, ...], subset: str | None, root: Path, console: Console) -> None:
    """
    List the sources: types, pairs, bytes, licence and kind of access. Downloads nothing.

    With IDs, shows all details: files and their mirrors, known defects, the rows of the paper's table that it feeds.

    \b
    Examples:
      uir sources
      uir sources --subset 5d
      uir sources gopro
    """
    from uirdata.pipeline.choosing import chosen_sources

    layout = Layout(root)
    chosen = chosen_sources(layout, ids, subset)
    console.data([source_document(source) for source in chosen])
    if ids and subset is None:
        for source in chosen:
            show_source(console, source)
        return
    rows = [
        {
            "id": source.id,
            "types": ", ".join(source.degradations) or "clean",
            "pairs": sum(source.published().values()) or None,
            "download": cost_text(source),
            "reached": ACCESS[source.access].split(":")[0],
            "licence": first_words(source.licence),
            "here": "yes" if layout.pairs(source.id).exists() else "",
        }
        for source in chosen
    ]
    console.table(rows, right=["download", "pairs"])
    costs = [cost_of(source) for source in chosen]
    console.line(
        f"{len(chosen)} sources; {size_text(sum(known for known, _ in costs))} to download, and "
        f"{sum(unknown for _, unknown in costs)} files of unknown size. "
        "`uir sources ID` shows the details of one"
    )
