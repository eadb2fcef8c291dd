"""uir degradations: the nineteen types and their levels, as a table and as images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..console import Console
from ..options import DRY_RUN, SEED, common

if TYPE_CHECKING:
    from uirdata.images import RgbImage


@click.command()
@click.argument("names", nargs=-1, metavar="[TYPE]...")
@click.option(
    "--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Write a contact sheet to this PNG file."
)
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write an HTML page with an image of every level.",
)
@click.option(
    "--photo",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Image to degrade. [default: a generated one]",
)
@SEED
@DRY_RUN
@common
def degradations(
    names: tuple[str, ...],
    sheet: Path | None,
    page: Path | None,
    photo: Path | None,
    seed: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    List the degradation types; with TYPEs, their levels.

    \b
    Examples:
      uir degradations
      uir degradations noise haze
      uir degradations --sheet sheet.png --photo photo.jpg
      uir degradations --html levels.html
    """
    from uirdata.degradations import DEGRADATIONS, find_degradation

    chosen = [find_degradation(name) for name in names] or list(DEGRADATIONS.values())
    rows = [
        {
            "type": d.name,
            "short": d.abbreviation,
            "kind": d.kind,
            "levels": len(d.levels),
            "pairs in UIR-2.5M": d.paper_pairs + d.paper_pairs_real,
            "of them real": d.paper_pairs_real,
        }
        for d in chosen
    ]
    levels = [{"type": d.name, "level": level.name, "note": level.note} for d in chosen for level in d.levels]
    console.data([{**row, "levels": [level for level in levels if level["type"] == row["type"]]} for row in rows])
    console.table(rows)
    if names:
        console.table(levels)
    console.line(f"{len(chosen)} types, {len(levels)} levels")
    if sheet is not None and not dry_run:
        _write_sheet(sheet, photo, seed, names)
        console.remark(f"wrote {sheet}")
    if page is not None and not dry_run:
        from uirdata.pipeline.reporting.levels_page import write_levels_page

        write_levels_page(page, _image(photo), seed=seed, names=names)
        console.remark(f"wrote {page}")


def _image(photo: Path | None) -> RgbImage:
    from uirdata.degradations.sheet import test_scene
    from uirdata.images import read_image

    return test_scene() if photo is None else read_image(photo)


def _write_sheet(sheet: Path, photo: Path | None, seed: int, names: tuple[str, ...]) -> None:
    from uirdata.degradations.sheet import contact_sheet
    from uirdata.images import encode_image
    from uirdata.storage.files import writing

    with writing(sheet) as partial:
        partial.write_bytes(encode_image(contact_sheet(_image(photo), seed=seed, names=names), "png"))
