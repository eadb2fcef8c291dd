"""A self-contained HTML page of every level of the degradation types: one small image each, of one photograph."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uirdata.degradations import DEGRADATIONS, degrade, find_degradation
from uirdata.degradations.base import Degradation
from uirdata.degradations.resampling import resize
from uirdata.degradations.sheet import sheet_recipes
from uirdata.html_pages import centre, figure, write_page
from uirdata.images import RgbImage


def write_levels_page(target: Path, photo: RgbImage, *, seed: int, names: Sequence[str] = (), side: int = 144) -> None:
    """
    Write the page of `uir degradations --html`: types and their levels.

    Args:
        target: the page.
        photo: (H, W, 3) RGB uint8; reduced, so that a small image shows much of it.
        seed: seed of the recipes, together with the names of type and level.
        names: names of the types to show; all types if empty.
        side: side of an image in pixels.

    Raises:
        UsageError: a name is not that of a type.
        StorageError: the page cannot be written.
    """
    chosen = [find_degradation(name) for name in names] or list(DEGRADATIONS.values())
    # The degraded image is larger than the one shown, because some blurs use pixels beyond the border.
    gt = np.ascontiguousarray(centre(_reduced(photo, 3 * side // 2), 3 * side // 2))
    levels = sum(len(degradation.levels) for degradation in chosen)
    body = [
        f"<p>{len(chosen)} types, {levels} levels, each drawn once (seed {seed}), shown without scaling.</p>",
        f'<div class="row">{figure(centre(gt, side), "the photograph")}</div>',
    ]
    for degradation in chosen:
        body += _type(degradation, gt, seed, side)
    write_page(target, "Degradation types and their levels", body)


def _reduced(photo: RgbImage, side: int) -> RgbImage:
    scale = side / min(photo.shape[:2])
    height, width = (max(side, round(length * scale)) for length in photo.shape[:2])
    return resize(photo, height, width, "area") if scale < 1 else photo


def _type(degradation: Degradation, gt: RgbImage, seed: int, side: int) -> list[str]:
    drawn = sheet_recipes(degradation, seed=seed, count=len(degradation.levels))
    notes = {level.name: level.note for level in degradation.levels}
    images = "".join(figure(centre(degrade(gt, recipe), side), name, notes[name]) for name, recipe in drawn)
    heading = f"{degradation.name} ({degradation.abbreviation}, {degradation.kind}): {len(drawn)} levels"
    return [f"<h2>{html.escape(heading)}</h2>", f'<div class="row">{images}</div>']
