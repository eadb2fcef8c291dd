"""One pixel format: RGB, uint8, (H, W, 3). Reading files into it, and writing it without loss."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from uirdata.errors import ImageError
from uirdata.fast_decoding import decode_fast, part_of

RgbImage = NDArray[np.uint8]


class Window(NamedTuple):
    """A part of an image: row and column of its first pixel, height and width, in pixels."""

    top: int
    left: int
    height: int
    width: int


Codec = Literal["webp", "png"]
CODECS: tuple[Codec, ...] = ("webp", "png")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})


def read_image(path: Path) -> RgbImage:
    """
    Read an image file.

    Returns:
        (H, W, 3) RGB uint8: EXIF orientation applied, alpha dropped, gray repeated, 16 bits scaled and rounded.

    Raises:
        ImageError: the file is missing, empty, cut short, or no image.
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
    Decode an image from memory, as `read_image` does.

    Args:
        data: the file.
        name: what an error calls it.
        window: deliver this part alone; of lossless WebP no more is decoded than the rows down to its last.

    Raises:
        ImageError: the data are empty, cut short, or no image; or the image ends before the window does.
    """
    image = decode_fast(data, window)
    if image is None:
        whole = _decode_any(data, name)
        image = part_of(whole, window)
        if image is None:
            raise ImageError(f"{name}: has {whole.shape[0]} x {whole.shape[1]} pixels, in which {window} does not lie")
    return image


def _decode_any(data: bytes, name: str) -> RgbImage:
    try:
        return _to_rgb(Image.open(io.BytesIO(data)))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        what = "is empty" if not data else f"is cut short or no image ({reason(error)})"
        raise ImageError(f"{name}: {what}; fetch or copy it again") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}; no published source has such a picture") from error


def reason(error: Exception) -> str:
    """Say why Pillow could not read an image; its own words for an unknown format name an object in memory."""
    return "no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)


def image_size(path: Path) -> tuple[int, int]:
    """
    Read (height, width) from the header alone, as `read_image` would deliver them.

    Raises:
        ImageError: the file is missing, empty or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Orientations 5 to 8 are quarter turns.
            # Asked for what a PNG does not say up front, Pillow decodes all of it.
            tags = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            if tags.get(0x0112, 1) >= 5:
                width, height = height, width
            return height, width
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        what = "is empty" if path.exists() and path.stat().st_size == 0 else f"is no image ({error})"
        raise ImageError(f"{path}: {what}; fetch or copy it again") from error


def encode_image(image: RgbImage, codec: Codec) -> bytes:
    """
    Encode without loss.

    `webp` is lossless WebP at method 0, quality 0: the smallest of the formats that Pillow, `datasets` and browsers all
    read. `png` is the fastest to write and to read: a tenth and a third of WebP's time, for a third more bytes.
    """
    if codec == "png":
        # Imported here: commands that write no PNG need not wait for it.
        import fpng

        encoded: bytes = fpng.from_ndarray(np.ascontiguousarray(image))
        return encoded
    if codec != "webp":
        raise ValueError(f"there is no codec {codec!r}: {' or '.join(CODECS)}")
    buffer = io.BytesIO()
    # exact: without it WebP may change pixels that it holds to be invisible.
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=0, quality=0, exact=True)
    return buffer.getvalue()


def pixel_sha256(image: RgbImage) -> str:
    """Give the sha256 of height, width (two little-endian 32-bit integers) and the RGB bytes, in row order."""
    digest = hashlib.sha256(np.array(image.shape[:2], dtype="<u4").tobytes())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def to_uint8(values: NDArray[np.floating]) -> RgbImage:
    """Round to the nearest grey level and clip to 0..255. A bare cast truncates, which darkens by half a level."""
    rounded: RgbImage = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _to_rgb(image: Image.Image) -> RgbImage:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        gray = np.asarray(image, dtype=np.float64)
        # 16-bit files hold 0..65535; "F" files hold grey levels.
        scaled = to_uint8(gray if image.mode == "F" else gray / 257.0)
        return np.repeat(scaled[:, :, None], 3, axis=2)
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    # An alpha channel is dropped, not blended: sources with one (LFDOF, RainDS) hold the scene in the colours.
    return np.array(image.convert("RGB"), dtype=np.uint8)
