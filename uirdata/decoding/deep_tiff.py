"""Pixels of TIFF files with more than 8 bits, and of grey ones with alpha in a plane of its own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from uirdata.decoding import tiff
from uirdata.decoding.directories import shorts
from uirdata.decoding.formats import NotReadError
from uirdata.decoding.metadata import Metadata
from uirdata.decoding.pixels import Pixels

_DTYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}
# Channels of OpenCV in the order of RGB and RGBA.
_TO_RGB = [2, 1, 0, 3]


def deep_tiff(data: bytes, found: tiff.Layout, about: Metadata) -> tuple[Pixels, str]:
    """
    Return the pixels of a TIFF, as stored, and Pillow's name of their mode.

    Neither Pillow nor OpenCV reads all of them right: each receives only what it does, one grey plane or RGB with the
    channels together, without an orientation and min-is-black.

    Returns:
        (H, W, 3) RGB, or (H, W, 4) with alpha.

    Raises:
        NotReadError: there is no agreement on what the values mean.
        ValueError: the file is damaged.
    """
    reason = tiff.refusal(found)
    if reason:
        raise NotReadError(reason)
    values = _together(data, found) if found.samples > 1 and not found.apart else _apart(data, found)
    if values.shape[:2] != found.size:
        raise ValueError("its rows are damaged")
    layers = values if found.bits <= 16 else _scaled(values, found, about)
    white = np.iinfo(layers.dtype).max
    colours, extra = layers[:, :, : found.colours], layers[:, :, found.colours :]
    if found.photometric == 0:
        colours = white - colours
    if found.extra == (1,):
        # The colours were multiplied with alpha.
        alpha = np.maximum(extra.astype(np.float64), 1) / white
        colours = np.clip(np.rint(colours / alpha), 0, white)
    if found.colours == 1:
        colours = np.repeat(colours, 3, axis=2)
    grey = "L" if found.bits == 8 else "I;16"
    mode = {(1, 0): grey, (1, 1): "LA", (3, 0): "RGB", (3, 1): "RGBA"}[found.colours, len(found.extra)]
    return np.concatenate([colours.astype(layers.dtype, copy=False), extra], axis=2), mode


def _apart(data: bytes, found: tiff.Layout) -> NDArray[Any]:
    """Return the values of grey planes, (H, W, C)."""
    return np.dstack([_read(file, found) for file in tiff.grey_planes(data, found)])


def _read(file: bytes, found: tiff.Layout) -> NDArray[Any]:
    image = TiffImageFile(io.BytesIO(file))
    image.load()
    return np.asarray(image).astype(_DTYPES[found.bits])


def _together(data: bytes, found: tiff.Layout) -> NDArray[Any]:
    """Return the values of channels that are stored together, (H, W, C)."""
    if found.colours != 3:
        return _read(tiff.as_grey(data, found), found).reshape(*found.size, found.samples)
    # cv2 is slow to import.
    import cv2

    plain = shorts([2] * len(found.extra), found.directory.order) if found.extra else None
    file = tiff.bare(data, found.directory, t338=plain)
    values: Any = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != _DTYPES[found.bits] or values.shape[2:] != (found.samples,):
        raise ValueError("its rows are damaged")
    return np.ascontiguousarray(values[:, :, _TO_RGB[: found.samples]])


def _scaled(values: NDArray[np.float32], found: tiff.Layout, about: Metadata) -> NDArray[np.uint16]:
    """Return values of floating point as 16 bits, by the range that the file states."""
    stated = found.range_stated
    if stated is None or not np.isfinite(values).all():
        raise ValueError("some of its values are not finite numbers")
    least, most = stated
    about.remarks.append(f"its values of {found.bits} bits from {least:g} to {most:g} were scaled to 16 bits")
    scaled = (values.astype(np.float64) - least) * (65535 / (most - least))
    return np.clip(np.rint(scaled), 0, 65535).astype(np.uint16)
