"""uir forget: let go of a source."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import DRY_RUN, ROOT, common


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--downloads", is_flag=True, help="Remove what was downloaded, too, and what was unpacked from it.")
@ROOT
@DRY_RUN
@common
def forget(ids: tuple[str, ...], downloads: bool, root: Path, dry_run: bool, console: Console) -> None:
    """
    Let go of sources: of your own folder, or of what --from took. Your own files stay where they are.

    Of your own folder, its manifest and the list of its pairs are removed; of a folder that --from took, our links and
    copies.

    \b
    Examples:
      uir forget my-photos
      uir forget gopro --downloads --dry-run
    """
    from uirdata.pipeline.choosing import chosen_sources
    from uirdata.pipeline.fetching.forget import forget as let_go

    layout = Layout(root)
    rows = []
    for source in chosen_sources(layout, ids):
        gone = let_go(source, layout, downloads=downloads, dry_run=dry_run)
        rows.append(
            {"id": gone.id, "paths": [str(path) for path in gone.paths], "bytes": gone.bytes, "kept": gone.kept}
        )
        verb = "would be removed" if dry_run else "removed"
        for path in gone.paths:
            console.line(f"{gone.id}: {verb}: {path}")
        if gone.kept:
            console.warning(f"{gone.id}: kept: {gone.kept}")
        elif not gone.paths:
            console.line(f"{gone.id}: nothing of it is here")
        else:
            console.line(f"{gone.id}: {size_text(gone.bytes)}")
    console.data(rows)
