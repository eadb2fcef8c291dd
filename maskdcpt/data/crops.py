"""Crops: random windows of samples, padding of small images, and augmentation by flips and quarter turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from maskdcpt.data.batches import PackedBatch, empty_batch
from maskdcpt.data.samples import SampleInfo, Samples
from maskdcpt.data.sampling import Draw
from uirdata.images import RgbImage, Window
from uirdata.seeding import rng_for, seed_for


def random_window(height: int, width: int, size: int, rng: np.random.Generator) -> Window:
    """
    Return a random window of an image; all positions are equally likely.

    A side shorter than `size` is taken whole; `mirrored_to` pads it. (The published code pads every image by
    `size - 3` rows, because it compares `size` with the number of channels.)

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        size: of the window, both sides, in pixels.
        rng: the row is drawn from it, then the column.
    """
    top = int(rng.integers(max(0, height - size) + 1))
    left = int(rng.integers(max(0, width - size) + 1))
    return Window(top, left, min(size, height), min(size, width))


def mirrored_to(image: RgbImage, size: int) -> RgbImage:
    """Return an image padded to at least `size` by reflection at the right and bottom; the edge is not repeated."""
    below, right = max(0, size - image.shape[0]), max(0, size - image.shape[1])
    if not below and not right:
        return image
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")


def middle_window(image: RgbImage, size: int) -> RgbImage:
    """Return the (size, size, 3) middle of an image, which is padded by reflection first where it is too small."""
    image = mirrored_to(image, size)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def turn_into(into: RgbImage, image: RgbImage, turn: int) -> None:
    """
    Write one of the eight flips and quarter turns of a square image.

    Args:
        into: (S, S, 3) uint8, contiguous: written.
        image: (S, S, 3) uint8.
        turn: 0 the image itself, 1 to 3 the number of counter-clockwise quarter turns; 4 to 7 the same after a
            left-right flip.

    Raises:
        ValueError: the sizes differ or are not square, or there is no such turn.
    """
    if into.shape != image.shape or image.shape[0] != image.shape[1]:
        raise ValueError(f"a square image of shape {into.shape} was expected, not {image.shape}")
    # numpy turns by strides, and copying such a view takes as long as decoding a tenth of the image.
    match turn:
        case 0:
            np.copyto(into, image)
        case 1:
            cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE, dst=into)
        case 2:
            cv2.flip(image, -1, dst=into)
        case 3:
            cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE, dst=into)
        case 4:
            cv2.flip(image, 1, dst=into)
        case 5:
            cv2.transpose(image, dst=into)
        case 6:
            cv2.flip(image, 0, dst=into)
        case 7:
            cv2.flip(cv2.transpose(image), -1, dst=into)
        case _:
            raise ValueError(f"turn is {turn}, expected 0 to 7")


class Cut(NamedTuple):
    """The window of a draw, its turn, and the seed of a new LQ; None keeps the LQ of the shard."""

    place: SampleInfo
    window: Window
    turn: int
    fresh: int | None


@dataclass(frozen=True)
class Crops(Dataset[tuple[RgbImage, RgbImage, int, int]]):
    """
    Samples cut to the same size.

    Attributes:
        samples: where the pixels come from.
        size: of the crops, both sides, in pixels.
        seed: of the run.
        augment: turn and flip; all eight combinations are equally likely.
        fresh: degrade the GT again at each draw, with a seed keyed like that of the window.
    """

    samples: Samples
    size: int
    seed: int
    augment: bool = True
    fresh: bool = False

    def __getitem__(self, draw: Draw) -> tuple[RgbImage, RgbImage, int, int]:
        pixels = np.empty((2, self.size, self.size, 3), np.uint8)
        cut = self._cut(draw)
        self._fill(pixels, cut)
        return pixels[0], pixels[1], cut.place.label, draw.sample

    def __getitems__(self, draws: Sequence[Draw]) -> PackedBatch:
        """Return the crops of a piece, each written directly into the batch."""
        batch = empty_batch(len(draws), self.size, self.size)
        # All random draws first: between the decoding of two images they would run with cold CPU caches.
        for row, (draw, cut) in enumerate([(draw, self._cut(draw)) for draw in draws]):
            self._fill(batch.pixels.numpy()[:, row], cut)
            batch.label[row], batch.sample[row] = cut.place.label, draw.sample
        return batch

    def _cut(self, draw: Draw) -> Cut:
        name = f"{draw.epoch}/{draw.slot}"
        place = self.samples.place(draw.sample)
        rng = rng_for(self.seed, name, "crop")
        window = random_window(place.height, place.width, self.size, rng)
        turn = int(rng.integers(8)) if self.augment else 0
        return Cut(place, window, turn, seed_for(self.seed, name, "fresh LQ") if self.fresh else None)

    def _fill(self, pixels: NDArray[np.uint8], cut: Cut) -> None:
        pair = self.samples.pair(cut.place, cut.window, fresh=cut.fresh)
        for image, into in zip(pair, pixels, strict=True):
            turn_into(into, mirrored_to(image, self.size), cut.turn)
