"""The contact sheet: one photograph, degraded by every type at several levels, for visual inspection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uirdata.degradations import degradations, degrade, find_degradation, sample_recipe
from uirdata.degradations.base import Degradation, Recipe
from uirdata.images import RgbImage, to_uint8
from uirdata.seeding import rng_for

_GAP = 4
_LABEL = 14


def contact_sheet(
    photo: RgbImage,
    *,
    seed: int,
    names: Sequence[str] = (),
    columns: int = 6,
    tile: int = 256,
) -> RgbImage:
    """
    Return a grid of types by levels: a row per type, first the photograph, then levels spread over the type's list.

    Args:
        photo: (H, W, 3) RGB uint8; its central square is used, at its own resolution, enlarged if it is smaller than a
            tile.
        seed: seed of the recipes, together with the names of type and level.
        names: of the types to show; all of them, if none are given.
        columns: levels per type, at most.
        tile: side of an image, pixels.

    Returns:
        RGB uint8, with the names above the images.

    Raises:
        UsageError: one of the names is not a type.
    """
    chosen = [find_degradation(name) for name in names] or list(degradations().values())
    gt = _middle(photo, tile)
    cell_height, cell_width = tile + _LABEL + _GAP, tile + _GAP
    sheet = Image.new("RGB", ((columns + 1) * cell_width + _GAP, len(chosen) * cell_height + _GAP), (24, 24, 24))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for row, degradation in enumerate(chosen):
        top = _GAP + row * cell_height
        cells = [(degradation.name, gt)]
        for name, recipe in sheet_recipes(degradation, seed=seed, count=columns):
            cells.append((name, degrade(gt, recipe)))
        for column, (label, image) in enumerate(cells):
            left = _GAP + column * cell_width
            draw.text((left, top), label, fill=(240, 240, 240) if column else (255, 210, 80), font=font)
            sheet.paste(Image.fromarray(image), (left, top + _LABEL))
    return np.array(sheet, dtype=np.uint8)


def sheet_recipes(degradation: Degradation, *, seed: int, count: int) -> list[tuple[str, Recipe]]:
    """Return up to `count` levels, spread over the type's list, each with a recipe: (level, recipe)."""
    levels = degradation.levels
    picked = np.unique(np.linspace(0, len(levels) - 1, min(count, len(levels))).round().astype(int))
    return [
        (levels[i].name, sample_recipe(degradation, rng_for(seed, levels[i].name, degradation.name), levels[i].name))
        for i in picked
    ]


def test_scene() -> RgbImage:
    """
    Return a synthetic image as a substitute for a photograph: sky, hills, houses with windows, and grass.

    Returns:
        (512, 512, 3) RGB uint8, always the same.
    """
    side, rng = 512, rng_for(0, "scene", "contact sheet")
    rows, columns = np.mgrid[0:side, 0:side] / side
    image = np.stack([90 + 130 * rows, 140 + 90 * rows, 225 - 20 * rows], axis=2)
    for height, colour in ((0.42, (96, 120, 140)), (0.52, (74, 100, 84))):
        ridge = height + sum(rng.uniform(0.01, 0.04) * np.sin((k * columns + rng.random()) * 6.3) for k in (1, 2, 3, 5))
        image[rows > ridge] = colour
    for left in np.arange(0.05, 0.9, 0.15):
        top, width = rng.uniform(0.3, 0.55), rng.uniform(0.08, 0.12)
        house = (columns > left) & (columns < left + width) & (rows > top) & (rows < 0.72)
        image[house] = rng.integers(60, 230, 3)
        window = ((columns - left) * 50 % 2 > 1) & ((rows - top) * 36 % 2 > 1)
        image[house & window] = (40, 44, 60) if rng.random() < 0.6 else (250, 235, 170)
    grass = rows > 0.7
    image[grass] = np.stack([70 + 60 * rows, 120 + 40 * rows, 50 + 30 * rows], axis=2)[grass]
    image += rng.normal(0, 1, (side, side, 1)) * np.where(grass, 16, 2.5)[:, :, None]
    return to_uint8(image)


def _middle(photo: RgbImage, side: int) -> RgbImage:
    height, width = photo.shape[:2]
    if min(height, width) < side:
        scale = side / min(height, width)
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        photo = np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC), dtype=np.uint8)
        height, width = photo.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(photo[top : top + side, left : left + side])
