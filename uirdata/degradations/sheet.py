"""The contact sheet: one photograph, degraded by every type at several levels, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uirdata.degradations.base import Degradation, Recipe
from uirdata.images import RgbImage
from uirdata.seeding import rng_for

_GAP = 4
_LABEL = 14


def contact_sheet(
    photo: RgbImage,
    *,
    seed: int,
    types: Sequence[Degradation] | None = None,
    columns: int = 6,
    tile: int = 256,
) -> RgbImage:
    """
    Draw types by levels: a row per type, first the photograph, then levels from across the type's list.

    Args:
        photo: (H, W, 3) RGB uint8; its middle square is used, at its own resolution, enlarged if it is smaller than a
            tile.
        seed: what the recipes are drawn from, together with the names of type and level.
        types: those to show; all of them, if not given.
        columns: levels per type, at most.
        tile: side of a picture, pixels.

    Returns:
        RGB uint8, with the names above the pictures.
    """
    from uirdata.degradations import degradations, degrade  # the package imports this module's siblings, not this one

    chosen = list(degradations().values()) if types is None else list(types)
    gt = _middle(photo, tile)
    cell_height, cell_width = tile + _LABEL + _GAP, tile + _GAP
    sheet = Image.new("RGB", ((columns + 1) * cell_width + _GAP, len(chosen) * cell_height + _GAP), (24, 24, 24))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for row, degradation in enumerate(chosen):
        top = _GAP + row * cell_height
        cells = [(degradation.name, gt)]
        for name, recipe in sheet_recipes(degradation, seed=seed, count=columns):
            cells.append((name, degrade(gt, recipe)))
        for column, (label, picture) in enumerate(cells):
            left = _GAP + column * cell_width
            draw.text((left, top), label, fill=(240, 240, 240) if column else (255, 210, 80), font=font)
            sheet.paste(Image.fromarray(picture), (left, top + _LABEL))
    return np.array(sheet, dtype=np.uint8)


def sheet_recipes(degradation: Degradation, *, seed: int, count: int) -> list[tuple[str, Recipe]]:
    """Choose up to `count` levels, spread over the type's list, and draw a recipe for each: (level, recipe)."""
    from uirdata.degradations import sample_recipe

    levels = degradation.levels
    picked = np.unique(np.linspace(0, len(levels) - 1, min(count, len(levels))).round().astype(int))
    return [
        (levels[i].name, sample_recipe(degradation, rng_for(seed, levels[i].name, degradation.name), levels[i].name))
        for i in picked
    ]


def _middle(photo: RgbImage, side: int) -> RgbImage:
    height, width = photo.shape[:2]
    if min(height, width) < side:
        scale = side / min(height, width)
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        photo = np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC), dtype=np.uint8)
        height, width = photo.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(photo[top : top + side, left : left + side])
