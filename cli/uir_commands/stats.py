"""uir stats: count the samples of shards."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import DRY_RUN, ROOT, ShardPlace, common
from .plan_options import names_of

_FEW_LEVELS = 30


@click.command()
@click.argument("folder", required=False, type=ShardPlace(), metavar="[DIR]")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write one self-contained HTML page."
)
@click.option("--levels", is_flag=True, help="Also count each level.")
@click.option("--degradation", metavar="NAME,...", default="", help="Count only these degradations.")
@click.option("--level", metavar="PATTERN,...", default="", help="Count only these levels, such as 'gaussian-*'.")
@click.option("--explain", is_flag=True, help="Show for each source how it contributes to the paper's numbers.")
@ROOT
@DRY_RUN
@common
def stats(
    folder: str | Path | None,
    page: Path | None,
    levels: bool,
    degradation: str,
    level: str,
    explain: bool,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Count samples, images, pixels and bytes of shards, next to the paper's table.

    DIR is a shard folder, or remote shards, of which only the manifest is downloaded. Default: ROOT/shards.

    \b
    Examples:
      uir stats
      uir stats hf://datasets/OWNER/NAME
      uir stats /data/shards --html stats.html
      uir stats --degradation noise --level 'gaussian-*'
      uir stats --explain
    """
    from uirdata.pipeline.reporting.statistics_page import count_shards, write_statistics_page

    folder = folder or Layout(root).shards
    statistics = count_shards(folder).only(names_of(degradation), names_of(level))
    tables = statistics.tables()
    console.data({"folder": str(folder), "samples": statistics.samples, "rejected": statistics.rejected, **tables})
    is_own = not any(row.samples for row in statistics.beside_paper())
    for title, rows in tables.items():
        if title == "beside the paper's table" and is_own:
            # Twenty-five rows of zeros say nothing of the user's own shards.
            continue
        # A hundred levels would scroll the other tables off the screen.
        if title != "by level" or levels or (is_own and len(rows) <= _FEW_LEVELS):
            console.table([_readable(row) for row in rows], title=title, right=["bytes", "real"])
    if explain:
        for row in statistics.beside_paper():
            console.line(f"{row.row}: {row.samples:,} of {row.paper:,}. {row.note}".rstrip())
            for part in row.parts:
                console.line(f"    {part}")
    for reason, number in statistics.rejected.items():
        console.line(f"left out {number:,}: {reason}")
    if page is not None and not dry_run:
        write_statistics_page(folder, page)
        console.remark(f"wrote {page}")


def _readable(row: object) -> dict[str, object]:
    assert isinstance(row, dict)
    return {key: size_text(value) if key == "bytes" else value for key, value in row.items()}
