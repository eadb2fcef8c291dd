"""Reading and writing of users' image files that keeps bit depth, colour profile, alpha and EXIF."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from uirdata.errors import ImageError
from uirdata.images import decode_image, reason

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
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
        remark: what was converted on reading, such as "was CMYK"; "" for nothing.
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


def decode_image_file(data: bytes, name: str) -> ImageFile:
    """
    Return an image of any mode: grey, palette, CMYK, with alpha, of 8 or 16 bits, rotated by EXIF.

    Args:
        data: of the file.
        name: of the file, for error messages.

    Raises:
        ImageError: the data is empty, truncated, not an image, or holds several images.
    """
    pixels: Pixels = decode_image(data, name=name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            # Photographs of many phones are MPO: a JPEG followed by a second, smaller image.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if frames > 1:
                raise ImageError(f"{name}: holds {frames} images (an animation or pages); save and restore each alone")
            exif = image.getexif()
            orientation = int(exif.get(_ORIENTATION, 1))
            icc = image.info.get("icc_profile")
            remark = f"was {_SPACES[image.mode]}, is RGB now" if image.mode in _SPACES else ""
            alpha: Pixels | None = None
            if image.mode == "CMYK" and icc:
                pixels, icc = _through_profile(image, icc), None
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                alpha = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))[:, :, 3]
            if _is_deep(image, data):
                pixels, alpha = _deep(data, orientation, pixels, alpha)
            if len(exif):
                # The pixels are upright now; a reader must not rotate them again.
                exif[_ORIENTATION] = 1
            return ImageFile(pixels, alpha, icc if _fits_rgb(icc) else None, _exif_bytes(exif), remark)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, ImageCms.PyCMSError) as error:
        raise ImageError(
            f"{name}: is truncated or not an image ({reason(error)}); download or copy it again"
        ) from error


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


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether a file has 16 bits per channel, of which Pillow returns eight."""
    if image.format == "PNG":
        return data[24] == 16
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) == 16)
    return False


def _deep(data: bytes, orientation: int, pixels: Pixels, alpha: Pixels | None) -> tuple[Pixels, Pixels | None]:
    """Return pixels and alpha with all 16 bits; unchanged, with eight, where OpenCV cannot read the file."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        return pixels, alpha
    layers = np.asarray(found, dtype=np.uint16)
    if layers.ndim == 2:
        layers = np.repeat(layers[:, :, None], 3, axis=2)
    layers = _upright(layers, orientation)
    rgb = np.ascontiguousarray(layers[:, :, 2::-1])
    return rgb, np.ascontiguousarray(layers[:, :, 3]) if layers.shape[2] == 4 else None


def _upright(pixels: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Return pixels in upright orientation; EXIF: 2 mirrored, 3 rotated by 180, 4 flipped, 5 to 8 these transposed."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _through_profile(image: Image.Image, icc: bytes) -> Pixels:
    """Convert CMYK to sRGB by its own profile, without which the colours are not defined."""
    srgb = ImageCms.createProfile("sRGB")
    turned = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), srgb, outputMode="RGB")
    assert turned is not None  # only with inPlace
    return np.array(ImageOps.exif_transpose(turned), dtype=np.uint8)


def _fits_rgb(icc: bytes | None) -> bool:
    # Bytes 16 to 20 of a profile name its colour space; the pixels are RGB by now.
    return icc is not None and icc[16:20] == b"RGB "


def _exif_bytes(exif: Image.Exif) -> bytes | None:
    return exif.tobytes() if len(exif) else None


def _with_chunks(png: bytes, chunks: Mapping[bytes, bytes]) -> bytes:
    """Return a PNG with chunks inserted after its header of 33 bytes."""
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )
    return png[:33] + added + png[33:]
