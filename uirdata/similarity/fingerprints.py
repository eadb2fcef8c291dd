"""
Fingerprints of images: hashes that survive re-encoding, resizing, cropping, flips and brightness, and their look-up.

An image has one hash of the whole and many of small windows. A window is placed by the content, where a difference of
Gaussians peaks, not by a grid: so a crop has the same windows as the image that it was cut from, wherever it was cut.
Windows are taken at a half and a quarter of the resolution, and for a small image also at full resolution; the windows
of an image at half size are again the same.

The 64 bits of a hash are the signs of the lowest frequencies of a cosine transform without the constant: a gain or an
offset of brightness changes none of them, and a flip changes known ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.images import RgbImage
from uirdata.screening import grey_levels

Hashes = NDArray[np.uint64]
Flip = Literal["", "horizontal", "vertical", "both"]

VERSION = 1
"""Version of the hashes; hashes of two versions cannot be compared."""

WINDOWS = np.dtype([("hash", "<u8"), ("x", "<u2"), ("y", "<u2"), ("scale", "u1")])
"""A window: its hash, its centre in pixels of the image, and the factor by which the image was reduced for it."""

WHOLE_DISTANCE = 5
"""Two images may be the same if the hashes of the whole differ in at most this number of bits."""

WINDOW_DISTANCE = 10
"""Two windows may be the same if their hashes differ in at most this number of bits."""

MIN_WINDOWS = 2
"""Number of windows that must agree on the placement of one image in another; random images do not reach it."""

_SCALES = (2, 4)
_SMALL_PX = 200
_SMALL_SCALES = (1, 2, 4)
_HALF_SIDE = 16
_PEAK_RADIUS = 6
_PEAK_SIGMA = 2.5
_PEAK_CONTRAST = 2.0
_WHOLE_SIDE = 33
_WHOLE_CONTRAST = 2.0
_AGREEMENT_PX = 12.0
_BANDS = ((42, 22), (21, 21), (0, 21))
_CHUNK = 1 << 18
_LARGEST_BUCKET = 1024


@dataclass(frozen=True)
class Fingerprint:
    """
    The hashes of an image.

    Attributes:
        height: of the image, in pixels.
        width: of the image.
        whole: hash of the whole; None for an image without contrast.
        windows: array of `WINDOWS`.
    """

    height: int
    width: int
    whole: int | None
    windows: NDArray[np.void]


class Matches(NamedTuple):
    """Pairs of similar hashes: indices of the queries, of the indexed hashes, and number of different bits."""

    queries: NDArray[np.int64]
    found: NDArray[np.int64]
    distances: NDArray[np.int64]


class Placement(NamedTuple):
    """
    Position of one image in another: x' = scale * x + left, y' = scale * y + top, after the flip.

    Attributes:
        flip: of the first image.
        scale: of the first image.
        left: in pixels of the other image.
        top: in pixels of the other image.
        windows: number of windows that agree.
        distance: mean number of bits in which they differ.
    """

    flip: Flip
    scale: float
    left: float
    top: float
    windows: int
    distance: float


def fingerprint(image: RgbImage) -> Fingerprint:
    """Return the fingerprint of an image, (H, W, 3) RGB uint8. Raises ValueError for sides above 65,535 pixels."""
    height, width = image.shape[:2]
    if max(height, width) > np.iinfo(np.uint16).max:
        raise ValueError(f"an image of {width} x {height} pixels has no fingerprint: sides end at 65,535")
    grey = grey_levels(image)
    whole = cv2.resize(grey, (_WHOLE_SIDE, _WHOLE_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    has_contrast = float(whole.std()) >= _WHOLE_CONTRAST
    return Fingerprint(
        height,
        width,
        int(_hash(whole[None])[0]) if has_contrast else None,
        np.concatenate(
            [_windows_at(grey, scale) for scale in (_SCALES if min(grey.shape) >= _SMALL_PX else _SMALL_SCALES)]
        ),
    )


def flipped(hashes: Hashes, flip: Flip) -> Hashes:
    """Return the hashes of the flipped images: odd frequencies along a flipped axis change their sign."""
    changed: Hashes = hashes ^ _FLIP_MASKS[flip]
    return changed


def bits_that_differ(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    """Return the number of different bits of two hashes, element by element."""
    difference = np.ascontiguousarray(one ^ other)
    counts: NDArray[np.int64] = _ONES[difference.view(np.uint16).reshape(*difference.shape, 4)].sum(
        axis=-1, dtype=np.int64
    )
    return counts


class HashIndex:
    """
    An index that finds hashes similar to a given one.

    The 64 bits are divided into three bands, from the lowest frequencies to the highest; hashes that are equal in a
    band share a bucket. With `probe`, buckets of bands with one different bit are searched as well; then all hashes
    that differ in up to 5 bits are found. Without it, all that differ in up to 2 are found, and most in up to 6.

    A bucket of more than 1,024 hashes carries no information (clipped skies, ruled paper) and is skipped.

    Args:
        hashes: hashes to index; the buckets need about 50 MB plus 12 bytes per hash.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._hashes = hashes
        self._orders: list[NDArray[np.int32]] = []
        self._starts: list[NDArray[np.int32]] = []
        for shift, bits in _BANDS:
            keys = _band(hashes, shift, bits)
            self._orders.append(np.argsort(keys, kind="stable").astype(np.int32))
            starts = np.zeros((1 << bits) + 1, dtype=np.int32)
            np.cumsum(np.bincount(keys, minlength=1 << bits), out=starts[1:])
            self._starts.append(starts)

    def near(self, queries: Hashes, distance: int, *, probe: bool = False) -> Iterator[Matches]:
        """
        Yield the pairs of a query and an indexed hash that differ in at most `distance` bits, each once, in parts.

        The size of a part bounds the memory: some hundred thousand queries, some million candidates.
        """
        for begin in range(0, len(queries), _CHUNK):
            part = queries[begin : begin + _CHUNK]
            for band in range(len(_BANDS)):
                masks = [0, *(1 << bit for bit in range(_BANDS[band][1]))] if probe else [0]
                for mask in masks:
                    yield from self._look(part, begin, band, mask, distance, probe=probe)

    def _look(self, part: Hashes, begin: int, band: int, mask: int, distance: int, *, probe: bool) -> Iterator[Matches]:
        keys = _band(part, *_BANDS[band]) ^ mask
        first = self._starts[band][keys].astype(np.int64)
        counts = self._starts[band][keys + 1] - first
        counts[counts > _LARGEST_BUCKET] = 0
        asked = np.flatnonzero(counts)
        ends = np.cumsum(counts[asked])
        # Split where the candidates reach the bound; one query has at most one bucket of them.
        limits = np.searchsorted(
            ends, np.arange(_CANDIDATES, (ends[-1] if len(ends) else 0) + _CANDIDATES, _CANDIDATES)
        )
        for some in np.split(asked, np.unique(limits)):
            if not len(some):
                continue
            queries = np.repeat(some, counts[some])
            offsets = np.arange(len(queries)) - np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
            found = self._orders[band][first[queries] + offsets].astype(np.int64)
            bits = bits_that_differ(part[queries], self._hashes[found])
            keep = bits <= distance
            queries, found, bits = queries[keep], found[keep], bits[keep]
            for earlier in range(band):
                # The same pair was returned when the earlier band was searched.
                one, other = (
                    _band(h, *_BANDS[earlier]).astype(np.uint64) for h in (part[queries], self._hashes[found])
                )
                new = bits_that_differ(one, other) > (1 if probe else 0)
                queries, found, bits = queries[new], found[new], bits[new]
            if len(queries):
                yield Matches(queries + begin, found, bits)


def place(
    queries: NDArray[np.void], found: NDArray[np.void], distances: NDArray[np.int64], flip: Flip, size: tuple[int, int]
) -> Placement | None:
    """
    Return the position of an image in another, from windows of the one that are similar to windows of the other.

    Args:
        queries: windows of the first image.
        found: the matching windows of the other image, as many.
        distances: number of bits in which they differ.
        flip: of the first image.
        size: height and width of the first image.

    Returns:
        The position on which most windows agree; None if fewer than `MIN_WINDOWS` agree.
    """
    x, y = _flip_points(queries["x"].astype(np.float64), queries["y"].astype(np.float64), flip, size)
    scales = found["scale"].astype(np.float64) / queries["scale"]
    best: Placement | None = None
    for scale in np.unique(scales):
        same = scales == scale
        left, top = found["x"][same] - scale * x[same], found["y"][same] - scale * y[same]
        # Centres are whole pixels of the reduced images, so true matches are off by some pixels of the larger one.
        reach = _AGREEMENT_PX * max(1.0, float(scale))
        agree = (np.abs(left[:, None] - left) <= reach) & (np.abs(top[:, None] - top) <= reach)
        members = agree[int(np.argmax(agree.sum(axis=1)))]
        # A window that matches two others of a repeated pattern counts once.
        witnesses = len(np.unique(np.stack([x[same][members], y[same][members]]), axis=1).T)
        if witnesses >= MIN_WINDOWS and (best is None or witnesses > best.windows):
            best = Placement(
                flip,
                float(scale),
                float(np.median(left[members])),
                float(np.median(top[members])),
                witnesses,
                float(np.mean(distances[same][members])),
            )
    return best


def _flip_points(
    x: NDArray[np.float64], y: NDArray[np.float64], flip: Flip, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    height, width = size
    return (
        width - 1 - x if flip in ("horizontal", "both") else x,
        height - 1 - y if flip in ("vertical", "both") else y,
    )


def _windows_at(grey: NDArray[np.uint8], scale: int) -> NDArray[np.void]:
    height, width = grey.shape[0] // scale, grey.shape[1] // scale
    if min(height, width) <= 2 * _HALF_SIDE + 2:
        return np.zeros(0, WINDOWS)
    # Cropped to whole blocks: the grid of a crop is shifted by less than a reduced pixel, and never stretched.
    whole = grey[: height * scale, : width * scale]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = (cv2.GaussianBlur(small, (0, 0), sigma) for sigma in (_PEAK_SIGMA, 1.6 * _PEAK_SIGMA))
    response = np.abs(next(blurred) - next(blurred))
    highest = cv2.dilate(response, np.ones((2 * _PEAK_RADIUS + 1, 2 * _PEAK_RADIUS + 1), np.uint8))
    margin = _HALF_SIDE + 1
    inside = np.s_[margin : height - margin, margin : width - margin]
    y, x = np.nonzero((response == highest)[inside] & (response > _PEAK_CONTRAST)[inside])
    y, x = y + margin, x + margin
    # A crop's grid is shifted by a fraction of a reduced pixel; between the pixels both have the same peak.
    down = y + _peak_offset(response[y - 1, x], response[y, x], response[y + 1, x])
    across = x + _peak_offset(response[y, x - 1], response[y, x], response[y, x + 1])
    found = np.zeros(len(y), WINDOWS)
    found["hash"], found["scale"] = _hash(_patches(small, down, across)), scale
    # Centre of the reduced pixel, in pixels of the image.
    found["x"], found["y"] = np.rint((across + 0.5) * scale - 0.5), np.rint((down + 0.5) * scale - 0.5)
    return found


def _peak_offset(
    before: NDArray[np.float32], peak: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the position between -0.5 and 0.5 of the maximum of the parabola through three values."""
    curvature = before - 2 * peak + after
    flat = curvature > -1e-6
    offset: NDArray[np.float32] = np.where(flat, 0, (before - after) / (2 * np.where(flat, -1, curvature)))
    return np.clip(offset, -0.5, 0.5)


def _patches(image: NDArray[np.float32], down: NDArray[np.float32], across: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N, side, side) windows around points between pixels, interpolated."""
    top, left = np.floor(down).astype(np.int64), np.floor(across).astype(np.int64)
    b, a = (down - top).astype(np.float32)[:, None, None], (across - left).astype(np.float32)[:, None, None]
    side = 2 * _HALF_SIDE + 2
    larger = np.lib.stride_tricks.sliding_window_view(image, (side, side))[top - _HALF_SIDE, left - _HALF_SIDE]
    rows = (1 - b) * larger[:, :-1] + b * larger[:, 1:]
    patches: NDArray[np.float32] = (1 - a) * rows[:, :, :-1] + a * rows[:, :, 1:]
    return patches


def _hash(patches: NDArray[np.float32]) -> Hashes:
    """Return the hashes of (N, side, side) grey patches: the first bit is the lowest frequency."""
    side = patches.shape[1]
    positions = (np.arange(side) + 0.5) * np.pi / side
    waves = np.cos(np.outer(np.arange(max(_ACROSS.max(), _DOWN.max()) + 1), positions)).astype(np.float32)
    spectrum = waves @ patches @ waves.T
    bits = np.ascontiguousarray(spectrum[:, _DOWN, _ACROSS] > 0)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(len(patches))


def _band(hashes: Hashes, shift: int, bits: int) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = ((hashes >> np.uint64(shift)) & np.uint64((1 << bits) - 1)).astype(np.int64)
    return keys


def _mask(chosen: NDArray[np.bool_]) -> np.uint64:
    return np.uint64(int.from_bytes(np.packbits(chosen).tobytes(), "big"))


# The 64 lowest frequencies, diagonal by diagonal, without the constant.
_FREQUENCIES = [(diagonal - down, down) for diagonal in range(1, 11) for down in range(diagonal + 1)][:64]
_ACROSS, _DOWN = (np.array(axis) for axis in zip(*_FREQUENCIES, strict=True))
_FLIP_MASKS: dict[Flip, np.uint64] = {
    "": np.uint64(0),
    "horizontal": _mask(_ACROSS % 2 == 1),
    "vertical": _mask(_DOWN % 2 == 1),
    "both": _mask((_ACROSS + _DOWN) % 2 == 1),
}
FLIPS: tuple[Flip, ...] = tuple(_FLIP_MASKS)
_ONES = np.array([value.bit_count() for value in range(1 << 16)], dtype=np.uint8)
_CANDIDATES = 1 << 21
