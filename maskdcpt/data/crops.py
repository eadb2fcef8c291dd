"""Windows of images: where they lie, how a small image is lengthened, and which way they are turned."""

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
    Draw a window of an image, every place as likely as the others.

    A side shorter than `size` is taken whole; `mirrored_to` lengthens it. (The published code mirrors `size - 3` rows
    to every image: it tests the channels.)

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        size: of the window, both sides, in pixels.
        rng: asked for the row, then for the column.
    """
    top = int(rng.integers(max(0, height - size) + 1))
    left = int(rng.integers(max(0, width - size) + 1))
    return Window(top, left, min(size, height), min(size, width))


def mirrored_to(image: RgbImage, size: int) -> RgbImage:
    """Lengthen sides shorter than `size` by mirroring at the right and bottom edge; the edge itself is not repeated."""
    below, right = max(0, size - image.shape[0]), max(0, size - image.shape[1])
    if not below and not right:
        return image
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")


def middle_window(image: RgbImage, size: int) -> RgbImage:
    """Cut the middle of an image, mirrored first where it is too small."""
    image = mirrored_to(image, size)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def turn_into(into: RgbImage, image: RgbImage, turn: int) -> None:
    """
    Write one of the eight images that flips and quarter turns make of a square one.

    Args:
        into: (S, S, 3) uint8, contiguous: written.
        image: (S, S, 3) uint8.
        turn: 0 the image itself, 1 to 3 so many quarter turns against the clock; 4 to 7 the same after a flip left to
            right.

    Raises:
        ValueError: the two are not of one size.
    """
    if into.shape != image.shape or image.shape[0] != image.shape[1]:
        raise ValueError(f"a square image was expected in {into.shape}, not {image.shape}")
    # Turns by strides, as numpy makes them, cost as much as decoding a tenth of the picture when they are copied.
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
            raise ValueError(f"turn {turn}: 0 to 7 are there")


class Cut(NamedTuple):
    """Where a drawing is cut, which way it is turned, and from which seed its LQ is made anew, if at all."""

    place: SampleInfo
    window: Window
    turn: int
    fresh: int | None


@dataclass(frozen=True)
class Crops(Dataset[tuple[RgbImage, RgbImage, int, int]]):
    """
    Samples cut to one size.

    Attributes:
        samples: where the pixels come from.
        size: of the crops, both sides, in pixels.
        seed: of the run.
        augment: turn and flip, each of the eight ways as likely as the others.
        fresh: make LQs anew at each drawing, keyed as windows are.
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
        """Give the drawings of a piece, each written at once where the batch keeps it."""
        batch = empty_batch(len(draws), self.size, self.size)
        # All the drawing of lots first: between two images the processor has forgotten how.
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
