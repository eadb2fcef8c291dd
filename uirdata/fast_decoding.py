"""
Decoders for what shards hold: faster than Pillow, and of no use for anything unusual.

Each gives None for what it does not know or cannot read; Pillow then decodes it, or finds out what is wrong.
"""

from __future__ import annotations

import io
import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Signature and header chunk of a PNG of 8-bit RGB, not interlaced; width and height stand where the dots are.
_PNG_HEAD = re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(.{4})(.{4})\x08\x02\0\0\0", re.DOTALL)
# Chunks that may say which side is up, or which colour is none; and what they begin with where they do.
_IN_WORDS = (b"Raw profile", b"XML:com.adobe")
_NOT_PLAIN = {b"eXIf": (b"",), b"tRNS": (b"",), b"tEXt": _IN_WORDS, b"zTXt": _IN_WORDS, b"iTXt": _IN_WORDS}


def decode_fast(data: bytes, window: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8] | None:
    """
    Decode lossless WebP and PNG of 8-bit RGB.

    Args:
        data: the file.
        window: top, left, height and width of the part to deliver, in pixels; all of it when None.

    Returns:
        (H, W, 3) RGB uint8; None for all else, and where the window does not lie in the image.
    """
    if data.startswith(b"RIFF"):
        return _webp(data, window)
    image = _png(data)
    return None if image is None else part_of(image, window)


def part_of(image: NDArray[np.uint8], window: tuple[int, int, int, int] | None) -> NDArray[np.uint8] | None:
    """Give the pixels of a window, or all where there is none; None where it does not lie in the image."""
    if window is None:
        return image
    top, left, height, width = window
    part = image[top : top + height, left : left + width]
    return part if min(top, left) >= 0 and part.shape[:2] == (height, width) else None


def _webp(data: bytes, window: tuple[int, int, int, int] | None) -> NDArray[np.uint8] | None:
    """Decode a bare lossless WebP, which can say nothing of which side is up."""
    if data[8:16] != b"WEBPVP8L" or len(data) != 8 + int.from_bytes(data[4:8], "little"):
        return None
    if window is not None and _cuts_rightly():
        return _webp_window(data, window)
    # The same libwebp as Pillow's, without its detour over RGBA: a fifth less time. Slow to import.
    import cv2

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    part = None if decoded is None else part_of(decoded.astype(np.uint8, copy=False), window)
    return None if part is None else cv2.cvtColor(part, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _webp_window(data: bytes, window: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
    """Let libwebp decode the rows down to the window's last, and write the window alone."""
    from webp._webp import ffi, lib

    top, left, height, width = window
    image = np.empty((height, width, 3), np.uint8)
    config = ffi.new("WebPDecoderConfig *")
    if not lib.WebPInitDecoderConfig(config):
        return None
    # The package leaves these fields without names; libwebp keeps their order (decode.h, WebPDecoderOptions).
    options = ffi.cast("int *", ffi.addressof(config, "options"))
    options[2:7] = [1, left, top, width, height]
    config.output.colorspace = lib.MODE_RGB
    config.output.is_external_memory = 1
    config.output.u.RGBA.rgba = ffi.cast("uint8_t *", image.ctypes.data)
    config.output.u.RGBA.stride = width * 3
    config.output.u.RGBA.size = image.nbytes
    return image if lib.WebPDecode(data, len(data), config) == lib.VP8_STATUS_OK else None


@cache
def _cuts_rightly() -> bool:
    """Try once, on a picture that is known, that the options are where this module takes them to be."""
    picture = np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", lossless=True, exact=True)
    part = _webp_window(file.getvalue(), (3, 5, 7, 9))
    return part is not None and bool(np.array_equal(part, picture[3:10, 5:14]))


def _png(data: bytes) -> NDArray[np.uint8] | None:
    """Decode PNG of 8-bit RGB three times as fast as Pillow."""
    head = _PNG_HEAD.match(data)
    if head is None or not _is_whole_and_plain(data):
        return None
    width, height = (int.from_bytes(side, "big") for side in head.groups())
    if width * height > (Image.MAX_IMAGE_PIXELS or 0):
        return None
    # Imported here: commands that read no PNG need not wait for it.
    from kornia_rs.io import decode_image_png_u8

    try:
        image: NDArray[np.uint8] = decode_image_png_u8(data, (height, width), "rgb")
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
