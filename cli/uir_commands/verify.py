"""uir verify: check bytes, archives and pairs."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.errors import SourceError
from uirdata.layout import Layout

from ..console import Console
from ..options import DRY_RUN, JOBS, ROOT, SUBSET, common
from .source_views import show_counts, show_verification, verification_document


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option("--deep", is_flag=True, help="Decode every image, and compare every LQ with its GT.")
@click.option("--pin", is_flag=True, help="Print the manifest lines that pin size and sha256 of the downloaded files.")
@ROOT
@JOBS
@DRY_RUN
@common
def verify(
    ids: tuple[str, ...],
    subset: str | None,
    deep: bool,
    pin: bool,
    root: Path,
    jobs: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Check bytes, archives and pairs; show what is wrong, where, and how to fix it.

    Rewrites ROOT/sources/ID/pairs.parquet. A second run checks only what has changed. Without arguments it checks all
    sources that have been fetched.

    \b
    Examples:
      uir verify
      uir verify --subset sample --deep
    """
    from uirdata.pipeline.choosing import fetched_sources
    from uirdata.pipeline.verifying.verify import pin_lines
    from uirdata.pipeline.verifying.verify import verify as run_verify

    layout = Layout(root)
    chosen = fetched_sources(layout, ids, subset)
    if dry_run:
        rows = [{"id": source.id, "would write": str(layout.pairs(source.id))} for source in chosen]
        console.data(rows)
        console.table(rows)
        return
    if pin:
        lines = {source.id: pin_lines(source, layout) for source in chosen}
        console.data({name: list(of_source) for name, of_source in lines.items()})
        for name, of_source in lines.items():
            if of_source:
                console.line(f"# {name}.toml")
            for line in of_source:
                console.line(line)
        return
    with console.progress() as progress:
        report = run_verify(chosen, layout, deep=deep, jobs=jobs, progress=progress)
    console.data([verification_document(item) for item in report.sources])
    console.table(
        [
            {
                "id": item.id,
                "state": item.state,
                "pairs found": item.inventory.total if item.inventory else 0,
                "published": sum(item.published.values()) or None,
                "left out": sum(item.inventory.left_out.values()) if item.inventory else 0,
                "files ok": item.files_ok,
                "missing": len(item.missing),
                "changed": len(item.changed),
            }
            for item in report.sources
        ],
        right=["published"],
    )
    show_counts(console, report.sources)
    for item in report.sources:
        show_verification(console, item)
    faulty = [item.id for item in report.sources if item.state == "faulty"]
    if faulty:
        raise SourceError(f"problems found in {', '.join(faulty)}; see above what to do")
