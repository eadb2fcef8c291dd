"""uir status: a checklist of the sources, with the next command for each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import ROOT, SUBSET, common


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@ROOT
@common
def status(ids: tuple[str, ...], subset: str | None, root: Path, console: Console) -> None:
    """
    Show what is here of each source, and the next command. Downloads and changes nothing.

    Without arguments, the sources that have been fetched.

    \b
    Examples:
      uir status --subset 5d
      uir status gopro
    """
    from uirdata.pipeline.choosing import fetched_sources
    from uirdata.pipeline.fetching.status import status as find_status

    layout = Layout(root)
    chosen = fetched_sources(layout, ids, subset)
    found = find_status(chosen, layout)
    console.data([asdict(item) for item in found])
    console.table(
        [
            {
                "id": item.id,
                "state": item.state,
                "pairs": f"{item.pairs:,}" if item.pairs else "",
                "here": item.detail,
                "to download": size_text(item.bytes_to_fetch) if item.bytes_to_fetch != 0 else "",
                "next": item.todo if item.todo.startswith("uir ") else "see below" if item.todo else "",
            }
            for item in found
        ],
        right=["pairs", "to download"],
    )
    for item in found:
        if item.todo and not item.todo.startswith("uir "):
            console.line(f"{item.id}: {item.todo}")
    whole = sum(item.state == "complete" for item in found)
    console.line(f"{whole} of {len(found)} complete{_next_step(ids, subset, whole == len(found), root)}")


def _next_step(ids: tuple[str, ...], subset: str | None, complete: bool, root: Path) -> str:
    what = " ".join([*ids, *(["--subset", subset] if subset else [])])
    where = "" if root == Path("uir-data") else f" --root {root}"
    if complete:
        return f"; next: `uir build-shards {what}".rstrip() + f"{where}`"
    return f"; `uir fetch {what}".rstrip() + f"{where}` gets what can be downloaded, --from DIR takes what you have"
