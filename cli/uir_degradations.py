"""uir degradations: the nineteen types and their levels, as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import Console
from cli.options import DRY_RUN, SEED, common


@click.command()
@click.argument("names", nargs=-1, metavar="[TYPE]...")
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Write a contact sheet there, as PNG.")
@click.option(
    "--photo", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Whose picture. [default: one made]"
)
@SEED
@DRY_RUN
@common
def degradations(
    names: tuple[str, ...], sheet: Path | None, photo: Path | None, seed: int, dry_run: bool, console: Console
) -> None:
    """
    List the degradation types; with TYPEs, their levels.

    \b
    Examples:
      uir degradations
      uir degradations noise haze
      uir degradations --sheet sheet.png --photo photo.jpg
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


def _write_sheet(sheet: Path, photo: Path | None, seed: int, names: tuple[str, ...]) -> None:
    from uirdata.degradations.sheet import contact_sheet, test_scene
    from uirdata.images import encode_image, read_image
    from uirdata.storage.tables import writing

    picture = test_scene() if photo is None else read_image(photo)
    with writing(sheet) as partial:
        partial.write_bytes(encode_image(contact_sheet(picture, seed=seed, names=names), "png"))
