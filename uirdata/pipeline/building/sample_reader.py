"""Reading, cropping and degrading of samples from the unpacked sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from uirdata.degradations import Recipe, degrade, sample_recipe
from uirdata.errors import PairError, UirError
from uirdata.images import RgbImage, read_image
from uirdata.layout import Layout
from uirdata.planning import PlannedSample
from uirdata.seeding import rng_for
from uirdata.sources import Source


class SampleReader:
    """
    Makes the pixels of planned samples. Caches the last GT and LQ, so that an image is decoded once for all its crops.

    Args:
        folders: folder of the files of each source.
        seed: seed of the build; determines the recipes.
    """

    def __init__(self, folders: Mapping[str, Path], seed: int) -> None:
        self._folders = folders
        self._seed = seed
        self._last: dict[str, tuple[str, RgbImage]] = {}

    def pixels(self, sample: PlannedSample) -> tuple[RgbImage, RgbImage, str]:
        """
        Return the pixels and the recipe of one sample.

        Returns:
            GT and LQ, both (height, width, 3) RGB uint8, and the recipe as JSON ("" for published pairs).

        Raises:
            ImageError: a file is missing, truncated or not an image.
            PairError: LQ and GT differ in size, or the image is smaller than planned.
        """
        gt = self._image("gt", sample.source, sample.gt_path)
        border = sample.gt_border
        if border:
            gt = gt[border:-border, border:-border]
        gt_crop = self._cut(gt, sample, sample.gt_path)
        if sample.made:
            recipe = recipe_for(sample, self._seed)
            return gt_crop, degrade(gt_crop, recipe), recipe.to_json()
        lq = self._image("lq", sample.source, sample.lq_path)
        if lq.shape != gt.shape:
            raise PairError(
                f"{sample.lq_path} has {lq.shape[1]} x {lq.shape[0]} pixels, "
                f"its GT {sample.gt_path} has {gt.shape[1]} x {gt.shape[0]}; `uir verify {sample.source}` leaves it out"
            )
        return gt_crop, self._cut(lq, sample, sample.lq_path), ""

    def _image(self, role: str, source: str, path: str) -> RgbImage:
        name = f"{source}/{path}"
        last = self._last.get(role)
        if last is not None and last[0] == name:
            return last[1]
        image = read_image(self._folders[source] / path)
        self._last[role] = (name, image)
        return image

    def _cut(self, image: RgbImage, sample: PlannedSample, path: str) -> RgbImage:
        box = sample.box
        if box.top + box.height > image.shape[0] or box.left + box.width > image.shape[1]:
            raise PairError(
                f"{path} has {image.shape[1]} x {image.shape[0]} pixels, less than when it was planned; "
                f"run `uir verify {sample.source}`"
            )
        cut = image[box.top : box.top + box.height, box.left : box.left + box.width]
        # A copy: degradations may expect contiguous rows, and the whole image can be freed.
        return cut.copy()


def recipe_for(sample: PlannedSample, seed: int) -> Recipe:
    """Return the recipe of a generated sample; it depends only on the seed and the sample's key."""
    return sample_recipe(sample.degradation, rng_for(seed, sample.key, "recipe"), sample.level)


def source_folders(sources: Mapping[str, Source], layout: Layout, names: Iterable[str]) -> dict[str, Path]:
    """Return the folder of the unpacked files of each source; the user's own folders stay where they are."""
    return {name: sources[name].local_dir or layout.source(name) for name in names}


def describe_failure(error: UirError) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split())
