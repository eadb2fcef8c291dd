"""One pixel format: RGB, uint8, (H, W, 3). Reading files into it, and writing it without loss."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from uirdata.errors import ImageError

RgbImage = NDArray[np.uint8]

Codec = Literal["webp", "png"]
CODECS: tuple[Codec, ...] = ("webp", "png")

# Signature and header chunk of a PNG of 8-bit RGB, not interlaced; width and height stand where the dots are.
_PNG_HEAD = re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(.{4})(.{4})\x08\x02\0\0\0", re.DOTALL)
# Chunks that may say which side is up, or which colour is none; and what they begin with where they do.
_IN_WORDS = (b"Raw profile", b"XML:com.adobe")
_NOT_PLAIN = {b"eXIf": (b"",), b"tRNS": (b"",), b"tEXt": _IN_WORDS, b"zTXt": _IN_WORDS, b"iTXt": _IN_WORDS}

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


def decode_image(data: bytes, *, name: str) -> RgbImage:
    """Decode an image from memory, as `read_image` does; `name` is what an error calls it."""
    image = _decode_lossless_webp(data) if data.startswith(b"RIFF") else _decode_plain_png(data)
    if image is not None:
        return image
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


def _decode_lossless_webp(data: bytes) -> RgbImage | None:
    """Decode a bare lossless WebP, which can say nothing of which side is up; None for all else, which is Pillow's."""
    if data[8:16] != b"WEBPVP8L" or len(data) != 8 + int.from_bytes(data[4:8], "little"):
        return None
    # The same libwebp as Pillow's, without its detour over RGBA: a fifth less time. Slow to import.
    import cv2

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if decoded is None else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _decode_plain_png(data: bytes) -> RgbImage | None:
    """Decode PNG of 8-bit RGB three times as fast as Pillow; None for all else, which Pillow decodes or refuses."""
    head = _PNG_HEAD.match(data)
    if head is None or not _is_whole_and_plain(data):
        return None
    width, height = (int.from_bytes(side, "big") for side in head.groups())
    if width * height > (Image.MAX_IMAGE_PIXELS or 0):
        return None
    # Imported here: commands that read no PNG need not wait for it.
    from kornia_rs.io import decode_image_png_u8

    try:
        image: RgbImage = decode_image_png_u8(data, (height, width), "rgb")
    except Exception:
        # It raises bare exceptions; Pillow finds out what is wrong, and says so.
        return None
    return image


def _is_whole_and_plain(png: bytes) -> bool:
    """Follow a PNG's chunks to its end. The fast decoder makes up what a file that was cut short has lost."""
    at = 8
    while at + 12 <= len(png):
        name, body = png[at + 4 : at + 8], at + 8
        if name in _NOT_PLAIN and png.startswith(_NOT_PLAIN[name], body):
            return False
        at = body + int.from_bytes(png[at : at + 4], "big") + 4
        if name == b"IEND":
            return at == len(png)
    return False


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
