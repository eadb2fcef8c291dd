"""Grids of the best, the median and the worst image of each group: LQ, restored, GT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskdcpt.evaluation.cases import Case
from maskdcpt.evaluation.evaluator import Evaluator
from maskdcpt.evaluation.scores import ImageScore
from maskdcpt.images import image_grid, image_tensor, to_rgb, write_image
from uirdata.errors import UirError, one_file
from uirdata.html_pages import centre
from uirdata.images import RgbImage

SIDE_PX = 320
"""Side of the middle window that is shown, in pixels."""

PLACES = ("best", "median", "worst")
SHOWN = "shown"
"""Folder of the same images as single files, whole, next to that of the grids."""

_MOST_PX = 1600 * 1600


def extremes(rows: Sequence[ImageScore]) -> dict[str, int]:
    """
    Return the best, the median and the worst image of one group, by the gain in PSNR over the LQ.

    Without GT they are chosen by the first learned metric that they have, of which smaller is better.

    Returns:
        Place to position in `rows`; no position twice, so a group of two has two. Empty where nothing was scored.
    """
    gains = [_goodness(row) for row in rows]
    known = sorted((index for index, gain in enumerate(gains) if gain is not None), key=lambda i: -(gains[i] or 0.0))
    if not known:
        return {}
    chosen: dict[str, int] = {}
    for place, position in zip(PLACES, (known[0], known[len(known) // 2], known[-1]), strict=True):
        if position not in chosen.values():
            chosen[place] = position
    return chosen


def write_grids(folder: Path, cases: Sequence[Case], rows: Sequence[ImageScore], evaluator: Evaluator) -> None:
    """
    Write grids/<group>.png, with a line of LQ, restored and GT for the best, the median and the worst image; and the
    same images whole, as shown/<group>/<place>-lq.png, -restored.png and -gt.png.

    Args:
        folder: of the evaluation.
        cases: of the images.
        rows: their scores, in the same order.
        evaluator: restores the images again, with the same result.

    Raises:
        StorageError: the folder cannot be written.
    """
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(row.test_set or row.degradation, []).append(index)
    for name, members in groups.items():
        lines = []
        for place, position in extremes([rows[index] for index in members]).items():
            try:
                with one_file(cases[members[position]].key):
                    loaded = cases[members[position]].load()
            except UirError:
                # It could be read before; a file that was removed since has its row, but no image.
                continue
            shown = {"lq": to_rgb(image_tensor(loaded.lq)[0]), "restored": evaluator.restore(loaded.lq)}
            shown |= {} if loaded.gt is None else {"gt": loaded.gt}
            lines.append([image_tensor(_square(image))[0] for image in shown.values()])
            for what, image in shown.items():
                if image.shape[0] * image.shape[1] <= _MOST_PX:
                    write_image(folder / SHOWN / name / f"{place}-{what}.png", image)
        if lines:
            write_image(folder / "grids" / f"{name}.png", image_grid(lines))


def _square(image: RgbImage) -> RgbImage:
    """Return the middle window, padded with black, so that all lines of a grid have one size."""
    window = centre(image, SIDE_PX)
    missing = [(0, SIDE_PX - side) for side in window.shape[:2]]
    return np.pad(window, (*missing, (0, 0)))


def _goodness(row: ImageScore) -> float | None:
    if row.broken:
        return None
    if row.psnr is not None and row.lq_psnr is not None:
        return row.psnr - row.lq_psnr
    known = [value for name, value in row.learned.items() if not name.startswith("lq_") and value is not None]
    return -known[0] if known else None
