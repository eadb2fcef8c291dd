"""The pixel format of all images: RGB, uint8, (H, W, 3); reading files into it and encoding it without loss."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uirdata.decoding import decode, stored_size, to_eight_bits
from uirdata.errors import ImageError
from uirdata.fast_decoding import decode_fast, part_of
from uirdata.file_kinds import IMAGE_SUFFIXES as IMAGE_SUFFIXES

RgbImage = NDArray[np.uint8]


class Window(NamedTuple):
    """A part of an image: row and column of its first pixel, height and width, in pixels."""

    top: int
    left: int
    height: int
    width: int


Codec = Literal["webp", "png"]
CODECS: tuple[Codec, ...] = ("webp", "png")


def read_image(path: Path) -> RgbImage:
    """
    Return the pixels of an image file.

    Returns:
        (H, W, 3) RGB uint8: EXIF orientation applied, alpha dropped, gray repeated, 16 bits scaled and rounded.

    Raises:
        ImageError: the file is missing, empty, truncated, or not an image.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, name=str(path))


def decode_image(data: bytes, *, name: str, window: Window | None = None) -> RgbImage:
    """
    Return the pixels of an image in memory, as `read_image` does for a file.

    Args:
        data: bytes of the file.
        name: name of the image in error messages.
        window: return only this part; a lossless WebP is decoded only down to the last row of the window.

    Raises:
        ImageError: the data are empty, truncated or not an image, or the window does not lie in the image.
    """
    image = decode_fast(data, window)
    if image is None:
        whole = to_eight_bits(decode(data, name).pixels)
        image = part_of(whole, window)
        if image is None:
            raise ImageError(f"{name}: has {whole.shape[0]} x {whole.shape[1]} pixels, in which {window} does not lie")
    return image


def image_size(path: Path) -> tuple[int, int]:
    """
    Return the (height, width) that `read_image` would give, from the header only.

    Raises:
        ImageError: the file is missing, empty or not an image.
    """
    return stored_size(path)


def encode_image(image: RgbImage, codec: Codec) -> bytes:
    """
    Return an image encoded without loss.

    `webp` is lossless WebP at method 0, quality 0: the smallest of the formats that Pillow, `datasets` and browsers all
    read. `png` is the fastest: a tenth of WebP's time to write and a third to read, for a third more bytes.
    """
    if codec == "png":
        # Imported here to keep commands that write no PNG fast.
        import fpng

        encoded: bytes = fpng.from_ndarray(np.ascontiguousarray(image))
        return encoded
    if codec != "webp":
        raise ValueError(f"there is no codec {codec!r}: {' or '.join(CODECS)}")
    buffer = io.BytesIO()
    # exact: otherwise WebP may change pixels that it regards as invisible.
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=0, quality=0, exact=True)
    return buffer.getvalue()


def pixel_sha256(image: RgbImage) -> str:
    """Return the sha256 of height, width (two little-endian 32-bit integers) and the RGB bytes, in row order."""
    digest = hashlib.sha256(np.array(image.shape[:2], dtype="<u4").tobytes())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def to_uint8(values: NDArray[np.floating]) -> RgbImage:
    """Round to the nearest grey level and clip to 0..255. A bare cast truncates, which darkens by half a level."""
    rounded: RgbImage = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
