"""Reading and writing of users' image files that keeps bit depth, colour profile, alpha and EXIF."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from uirdata.decoding import MOST_PIXELS, decode
from uirdata.decoding import Pixels as Pixels
from uirdata.errors import ImageError

_ORIENTATION = 0x0112
_EXIF_PREFIX = b"Exif\0\0"
_SPACES = {"CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "P": "palette", "PA": "palette", "1": "black and white"}


@dataclass(frozen=True, eq=False)
class ImageFile:
    """
    The pixels of an image file, and the metadata that its result keeps.

    Attributes:
        pixels: (H, W, 3) RGB, upright; uint8, or uint16 where the file has 16 bits.
        alpha: (H, W) of the same depth; None where the file has no alpha.
        icc: the ICC colour profile; None where the file has none for RGB.
        exif: the EXIF block, with the orientation set to upright; None where the file has none.
        remark: what was converted or dropped on reading, such as "was CMYK"; "" for nothing.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    remark: str = ""

    @property
    def most(self) -> int:
        """The value of white: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)


def decode_image_file(data: bytes, name: str, *, most_pixels: int = MOST_PIXELS) -> ImageFile:
    """
    Return an image of any mode: grey, palette, CMYK, with alpha, of 8 or 16 bits, rotated by EXIF.

    Args:
        data: of the file.
        name: of the file, for error messages.
        most_pixels: larger images are not decoded.

    Raises:
        ImageError: the data is empty, truncated, not an image, or holds several images.
    """
    decoded = decode(data, name, full=True, most_pixels=most_pixels)
    if decoded.frames > 1:
        raise ImageError(f"{name}: holds {decoded.frames} images (an animation or pages); save and restore each alone")
    remarks = list(decoded.remarks)
    if decoded.mode in _SPACES:
        remarks.insert(0, f"was {_SPACES[decoded.mode]}, is RGB now")
    icc = decoded.icc if _fits_rgb(decoded.icc) else None
    return ImageFile(decoded.pixels, decoded.alpha, icc, _upright_exif(decoded.exif, remarks), "; ".join(remarks))


def encode_image_file(pixels: Pixels, like: ImageFile) -> bytes:
    """
    Return a PNG file with the alpha, the profile and the EXIF block of an image.

    Args:
        pixels: (H, W, 3) RGB of the image's depth.
        like: the image whose metadata is kept.
    """
    layers = pixels if like.alpha is None else np.dstack([pixels, like.alpha])
    if pixels.dtype == np.uint8:
        buffer = io.BytesIO()
        extras: dict[str, bytes] = {"exif": like.exif} if like.exif else {}
        Image.fromarray(layers).save(buffer, "PNG", compress_level=3, icc_profile=like.icc, **extras)
        return buffer.getvalue()
    # Pillow has no RGB of 16 bits.
    order = [2, 1, 0, 3][: layers.shape[2]]
    _, png = cv2.imencode(".png", np.ascontiguousarray(layers[:, :, order]))
    chunks = {}
    if like.icc:
        chunks[b"iCCP"] = b"ICC profile\0\0" + zlib.compress(like.icc)
    if like.exif:
        chunks[b"eXIf"] = like.exif.removeprefix(b"Exif\0\0")
    return _with_chunks(png.tobytes(), chunks)


def _fits_rgb(icc: bytes) -> bool:
    # Bytes 16 to 20 of a profile name its colour space; the pixels are RGB by now.
    return icc[16:20] == b"RGB "


def _upright_exif(block: bytes, remarks: list[str]) -> bytes | None:
    """Return an EXIF block whose orientation is upright; None if there is none, or it cannot be written again."""
    if not block:
        return None
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            # Pillow warns of what it leaves out.
            warnings.simplefilter("ignore")
            exif.load(_EXIF_PREFIX + block)
            if not len(exif):
                return None
            # The pixels are upright now; a reader must not rotate them again.
            exif[_ORIENTATION] = 1
            return exif.tobytes()
    # Pillow raises whatever a damaged block makes of it: struct.error, TypeError, SyntaxError, KeyError, ...
    except Exception:
        dropped = "its EXIF block is damaged and was dropped"
        if dropped not in remarks:
            remarks.append(dropped)
        return None


def _with_chunks(png: bytes, chunks: Mapping[bytes, bytes]) -> bytes:
    """Return a PNG with chunks inserted after its header of 33 bytes."""
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )
    return png[:33] + added + png[33:]
