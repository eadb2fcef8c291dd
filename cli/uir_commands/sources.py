"""uir sources: list the sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from uirdata.errors import PartlyDone
from uirdata.layout import Layout
from uirdata.sources import Source

from ..console import Console, size_text
from ..options import JOBS, ROOT, SUBSET, common
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
@click.option("--check", is_flag=True, help="Ask every mirror whether it answers, and with what size.")
@ROOT
@JOBS
@common
def sources(ids: tuple[str, ...], subset: str | None, check: bool, root: Path, jobs: int, console: Console) -> None:
    """
    List the sources: types, pairs, bytes, licence and kind of access. Downloads nothing.

    With IDs, shows all details: files and their mirrors, known defects, the rows of the paper's table that it feeds.

    \b
    Examples:
      uir sources
      uir sources --subset 5d
      uir sources gopro
      uir sources --subset 5d --check
    """
    from uirdata.pipeline.choosing import chosen_sources

    layout = Layout(root)
    chosen = chosen_sources(layout, ids, subset)
    if check:
        _check(chosen, layout, jobs, console)
        return
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


def _check(chosen: Sequence[Source], layout: Layout, jobs: int, console: Console) -> None:
    """
    Ask the mirrors, show their answers, and remember the sizes for the plan of a fetch.

    Raises:
        PartlyDone: a file has no mirror that answers.
    """
    from uirdata.pipeline.fetching.fetch import hosts_of_environment
    from uirdata.pipeline.fetching.mirror_checks import check_mirrors
    from uirdata.pipeline.fetching.remembered_sizes import remember_sizes

    with console.progress() as progress:
        checks = check_mirrors(chosen, hosts_of_environment(), jobs=jobs, progress=progress)
    remember_sizes(layout, checks)
    console.data([asdict(item) for item in checks])
    console.table(
        [
            {
                "id": item.source,
                "file": item.file,
                "host": item.host,
                "state": item.state,
                "size": size_text(item.size) if item.size is not None else "",
                "answer": first_words(item.detail, 60),
            }
            for item in checks
        ],
        right=["size"],
    )
    counts = Counter(item.state for item in checks)
    console.line(", ".join(f"{number} {state}" for state, number in counts.most_common()))
    working = {(item.source, item.file) for item in checks if item.state in ("alive", "moved", "gated", "by hand")}
    lost = sorted({f"{item.source}/{item.file}" for item in checks if (item.source, item.file) not in working})
    if lost:
        raise PartlyDone(f"no mirror answers for {', '.join(lost)}; an alternative may: `uir sources ID` lists them")
