"""
Decoders for the image formats of shards: faster than Pillow, and limited to the usual variants.

Each returns None for data that it does not support or cannot read; `uirdata.decoding` then decodes them or reports the
error.
"""

from __future__ import annotations

import io
import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uirdata.decoding.formats import MOST_PIXELS

# Signature and header chunk of a PNG of 8-bit RGB, not interlaced; the dots are width and height.
_PNG_HEAD = re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(.{4})(.{4})\x08\x02\0\0\0", re.DOTALL)
# Chunks that may hold an orientation or a transparent colour, and the bytes with which they then begin.
_IN_WORDS = (b"Raw profile", b"XML:com.adobe")
_NOT_PLAIN = {b"eXIf": (b"",), b"tRNS": (b"",), b"tEXt": _IN_WORDS, b"zTXt": _IN_WORDS, b"iTXt": _IN_WORDS}


def decode_fast(data: bytes, window: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8] | None:
    """
    Return the pixels of a lossless WebP or an 8-bit RGB PNG.

    Args:
        data: bytes of the file.
        window: top, left, height and width of the part to return, in pixels; None returns the whole image.

    Returns:
        (H, W, 3) RGB uint8; None for any other format, and if the window does not lie in the image.
    """
    if data.startswith(b"RIFF"):
        return _webp(data, window)
    image = _png(data)
    return None if image is None else part_of(image, window)


def part_of(image: NDArray[np.uint8], window: tuple[int, int, int, int] | None) -> NDArray[np.uint8] | None:
    """Return the pixels of a window, the whole image if `window` is None, or None if it does not lie in the image."""
    if window is None:
        return image
    top, left, height, width = window
    part = image[top : top + height, left : left + width]
    return part if min(top, left) >= 0 and part.shape[:2] == (height, width) else None


def _webp(data: bytes, window: tuple[int, int, int, int] | None) -> NDArray[np.uint8] | None:
    """Decode a bare lossless WebP, which cannot have an orientation."""
    if data[8:16] != b"WEBPVP8L" or len(data) != 8 + int.from_bytes(data[4:8], "little"):
        return None
    bits = int.from_bytes(data[21:25], "little")
    if (1 + (bits & 0x3FFF)) * (1 + ((bits >> 14) & 0x3FFF)) > MOST_PIXELS:
        return None
    if window is not None and _window_options_work():
        return _webp_window(data, window)
    # The same libwebp as Pillow's, without the conversion from RGBA: a fifth less time. cv2 is slow to import.
    import cv2

    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    part = None if decoded is None else part_of(decoded.astype(np.uint8, copy=False), window)
    return None if part is None else cv2.cvtColor(part, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _webp_window(data: bytes, window: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
    """Decode with libwebp only the rows down to the last of the window, and output only the window."""
    from webp._webp import ffi, lib

    top, left, height, width = window
    image = np.empty((height, width, 3), np.uint8)
    config = ffi.new("WebPDecoderConfig *")
    if not lib.WebPInitDecoderConfig(config):
        return None
    # The package does not name these fields; their order is that of libwebp (decode.h, WebPDecoderOptions).
    options = ffi.cast("int *", ffi.addressof(config, "options"))
    options[2:7] = [1, left, top, width, height]
    config.output.colorspace = lib.MODE_RGB
    config.output.is_external_memory = 1
    config.output.u.RGBA.rgba = ffi.cast("uint8_t *", image.ctypes.data)
    config.output.u.RGBA.stride = width * 3
    config.output.u.RGBA.size = image.nbytes
    return image if lib.WebPDecode(data, len(data), config) == lib.VP8_STATUS_OK else None


@cache
def _window_options_work() -> bool:
    """Whether the options are at the assumed offsets, tested once on a known image."""
    image = np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, exact=True)
    part = _webp_window(file.getvalue(), (3, 5, 7, 9))
    return part is not None and bool(np.array_equal(part, image[3:10, 5:14]))


def _png(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an 8-bit RGB PNG three times as fast as Pillow."""
    head = _PNG_HEAD.match(data)
    if head is None or not _is_whole_and_plain(data):
        return None
    width, height = (int.from_bytes(side, "big") for side in head.groups())
    if width * height > MOST_PIXELS:
        return None
    # Imported here to keep commands that read no PNG fast.
    from kornia_rs.io import decode_image_png_u8

    try:
        image: NDArray[np.uint8] = decode_image_png_u8(data, (height, width), "rgb")
    except (KeyboardInterrupt, SystemExit):
        raise
    # kornia-rs raises bare exceptions, and panics of Rust, which are no Exception; Pillow reports the reason.
    except BaseException:
        return None
    return image


def _is_whole_and_plain(png: bytes) -> bool:
    """Whether a PNG is complete and has no special chunks. kornia-rs invents what a truncated file lacks."""
    at = 8
    while at + 12 <= len(png):
        name, body = png[at + 4 : at + 8], at + 8
        if name in _NOT_PLAIN and png.startswith(_NOT_PLAIN[name], body):
            return False
        at = body + int.from_bytes(png[at : at + 4], "big") + 4
        if name == b"IEND":
            return at == len(png)
    return False
