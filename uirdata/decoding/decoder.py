"""The pixels of image files, upright, RGB, with 8 or 16 bits; any failure is an ImageError that names the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile

from uirdata.decoding import heif, jpeg, netpbm, png, tiff, webp
from uirdata.decoding.deep_tiff import deep_tiff
from uirdata.decoding.formats import HEAD_BYTES, MOST_PIXELS, Format, NotReadError, sniffed
from uirdata.decoding.metadata import Metadata
from uirdata.decoding.octets import InMemory, Octets, OnDisk
from uirdata.decoding.pixels import Pixels, compact, upright
from uirdata.errors import ImageError
from uirdata.file_kinds import RAW

_BMP_HEADER_BYTES = 1 << 16
_DNG_VERSION = 0xC612
_DEEP_MODES = {0: "I;16", 2: "RGB", 4: "LA", 6: "RGBA"}
# Channels of OpenCV in the order of RGB and RGBA.
_TO_RGB = [2, 1, 0, 3]


@dataclass(frozen=True, eq=False)
class Decoded:
    """
    An image file, decoded.

    Attributes:
        pixels: (H, W, 3) RGB, upright; uint8, or uint16 where the file has more than 8 bits.
        alpha: (H, W) of the same depth; None where the file has none, or it was not asked for.
        mode: Pillow's name of how the pixels are stored.
        frames: number of images in the file; `pixels` are those of the first.
        icc: the colour profile of the file; b"" if there is none.
        exif: the EXIF block, in the form of a TIFF file; b"" if there is none.
        remarks: what was dropped or converted, and why.
    """

    pixels: Pixels
    alpha: Pixels | None
    mode: str
    frames: int
    icc: bytes
    exif: bytes
    remarks: tuple[str, ...]


class TooLargeError(ImageError):
    """An image has more pixels than are decoded."""


def decode(data: bytes, name: str, *, full: bool = False, most_pixels: int = MOST_PIXELS) -> Decoded:
    """
    Return the pixels and the metadata of an image file.

    Args:
        data: bytes of the file.
        name: name of the file, for error messages.
        full: return the alpha channel, too, and convert CMYK by its colour profile.
        most_pixels: larger images are not decoded.

    Raises:
        ImageError: the data are empty, truncated, no image of a format that is read, or too large.
    """
    with _naming(name, is_empty=not data):
        octets = InMemory(data)
        form = sniffed(data[:HEAD_BYTES])
        _size(octets, form, name, most_pixels)
        about, frames = _metadata(octets, form)
        layers, mode = _layers(data, octets, form, about, full=full)
        layers = upright(layers, _orientation(octets, form, about))
        return Decoded(
            pixels=compact(layers[:, :, :3]),
            alpha=compact(layers[:, :, 3]) if full and layers.shape[2] == 4 else None,
            mode=mode,
            frames=frames,
            icc=about.icc,
            exif=data if form == "TIFF" else about.exif,
            remarks=tuple(about.remarks),
        )


def stored_size(path: Path) -> tuple[int, int]:
    """
    Return the (height, width) of the upright image in a file, from its header and its orientation.

    Raises:
        ImageError: the file is missing, empty, or no image of a format that is read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    with file:
        octets = OnDisk(file)
        with _naming(str(path), is_empty=octets.size == 0, otherwise="is no image"):
            form = sniffed(octets.part(0, HEAD_BYTES))
            height, width = _size(octets, form, str(path), MOST_PIXELS)
            about, _ = _metadata(octets, form, quick=True)
            return (width, height) if _orientation(octets, form, about) >= 5 else (height, width)


def revision(data: bytes) -> str:
    """
    Return what is added to the sha256 of an image file where it stands for the pixels in stored results.

    Releases up to 0.1 cut 16 bits to 8 instead of rounding them, and turned or inverted some TIFF files.

    Returns:
        "" for a file whose pixels have been the same in all releases.
    """
    try:
        octets = InMemory(data)
        form = sniffed(data[:HEAD_BYTES])
        if form == "PNG":
            return "-2" if png.header(octets).depth == 16 else ""
        return "-2" if form == "TIFF" and tiff.layout(octets).needs_care else ""
    except ValueError:
        return ""


@contextmanager
def _naming(name: str, *, is_empty: bool, otherwise: str = "is cut short or no image") -> Iterator[None]:
    """Turn any failure of a decoder into an ImageError that names the file."""
    try:
        yield
    except ImageError:
        raise
    except NotReadError as error:
        raise ImageError(f"{name}: is no image that is read: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory to decode it") from error
    # Decoders raise whatever a damaged file makes of them: struct.error, KeyError, OverflowError, cv2.error, ...
    except Exception as error:
        what = "is empty" if is_empty else f"{otherwise} ({error or type(error).__name__})"
        raise ImageError(f"{name}: {what}; fetch or copy it again") from error


def _size(octets: Octets, form: Format, name: str, most_pixels: int) -> tuple[int, int]:
    """Return (height, width) as stored, from the header; a header that promises too much is an ImageError."""
    height, width = _size_in_header(octets, form)
    if not 0 < height * width <= most_pixels:
        kind = TooLargeError if height * width else ImageError
        raise kind(
            f"{name}: its header says {width} x {height} pixels, expected 1 to {most_pixels} in all; it was not decoded"
        )
    return height, width


def _size_in_header(octets: Octets, form: Format) -> tuple[int, int]:
    if form == "PNG":
        header = png.header(octets)
        return header.height, header.width
    if form == "WebP":
        return webp.size(octets)
    if form == "TIFF":
        found_tiff = tiff.layout(octets)
        if _DNG_VERSION in found_tiff.directory.entries:
            raise NotReadError(f"it is {RAW}")
        return found_tiff.size
    if form == "PPM":
        ppm = netpbm.header(octets.part(0, _BMP_HEADER_BYTES))
        return ppm.height, ppm.width
    if form == "BMP":
        width, height = BmpImageFile(io.BytesIO(octets.part(0, _BMP_HEADER_BYTES))).size
        return height, width
    if form in ("AVIF", "HEIF"):
        width, height = heif.opened(octets.part(0, octets.size), form).size
        return height, width
    found = jpeg.size(octets)
    if found is None:
        raise ValueError("its header is damaged")
    return found


def _metadata(octets: Octets, form: Format, *, quick: bool = False) -> tuple[Metadata, int]:
    """Return metadata and number of images; of a photograph with a second one behind it (MPO), the first counts."""
    if form == "PNG":
        return png.metadata(octets, quick=quick)
    if form == "JPEG":
        return jpeg.metadata(octets), 1
    if form == "WebP":
        return webp.metadata(octets)
    if form == "TIFF":
        return tiff.metadata(octets, tiff.layout(octets).directory)
    if form in ("AVIF", "HEIF"):
        return heif.metadata(heif.opened(octets.part(0, octets.size), form))
    return Metadata(), 1


def _orientation(octets: Octets, form: Format, about: Metadata) -> int:
    return tiff.orientation(tiff.layout(octets).directory, about) if form == "TIFF" else about.orientation()


def _layers(data: bytes, octets: Octets, form: Format, about: Metadata, *, full: bool) -> tuple[Pixels, str]:
    """Return pixels as stored, (H, W, 3) or with alpha (H, W, 4), and Pillow's mode."""
    if form == "PNG":
        header = png.header(octets)
        if header.depth == 16:
            return _deep_png(data, octets), _DEEP_MODES[header.colour]
        image: ImageFile.ImageFile = PngImageFile(io.BytesIO(png.bare(data, octets)))
        image.load()
        # Rows that are missing are black; to unpack the file again takes time.
        if (header.interlaced or not np.asarray(image)[-1].any()) and not png.has_all_rows(octets):
            raise ValueError("rows are missing")
    elif form == "JPEG":
        image = JpegImageFile(io.BytesIO(jpeg.bare(data, octets)))
    elif form == "WebP":
        from PIL.WebPImagePlugin import WebPImageFile

        image = WebPImageFile(io.BytesIO(data))
    elif form == "TIFF":
        found = tiff.layout(octets)
        if found.needs_care:
            return deep_tiff(data, found, about)
        from PIL.TiffImagePlugin import TiffImageFile

        image = TiffImageFile(io.BytesIO(tiff.bare(data, found.directory)))
    elif form in ("AVIF", "HEIF"):
        image = heif.opened(data, form)
    elif form == "BMP":
        image = BmpImageFile(io.BytesIO(data))
    else:
        ppm = netpbm.header(data[:_BMP_HEADER_BYTES])
        if ppm.most > 255:
            return _deep_ppm(data, ppm), _DEEP_MODES[2 if ppm.kind in (3, 6) else 0]
        image = PpmImageFile(io.BytesIO(data))
    image.load()
    return _shallow(image, about, full=full), image.mode


def _shallow(image: Image.Image, about: Metadata, *, full: bool) -> NDArray[np.uint8]:
    if full and image.mode == "CMYK" and about.icc:
        try:
            srgb = ImageCms.createProfile("sRGB")
            profile = ImageCms.ImageCmsProfile(io.BytesIO(about.icc))
            turned = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            about.remarks.append(f"its colour profile does not fit and was not used ({error})")
            turned = None
        about.icc = b""
        if turned is not None:
            return np.array(turned, dtype=np.uint8)
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    if has_alpha and full:
        return np.array(image.convert("RGBA"), dtype=np.uint8)
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    # The alpha channel is dropped, not blended: in sources that have one (LFDOF, RainDS), the colours hold the scene.
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _deep_png(data: bytes, octets: Octets) -> NDArray[np.uint16]:
    """Return the pixels of a PNG of 16 bits, of which Pillow keeps eight."""
    # cv2 is slow to import.
    import cv2

    transparent = png.transparent_colour(octets)
    found: Any = cv2.imdecode(np.frombuffer(png.bare(data, octets, without=(b"tRNS",)), np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16:
        raise ValueError("its rows are damaged")
    layers = np.repeat(found[:, :, None], 3, axis=2) if found.ndim == 2 else found[:, :, _TO_RGB[: found.shape[2]]]
    if transparent is not None and layers.shape[2] == 3:
        shown = (layers != np.array(transparent, dtype=np.uint16)).any(axis=2)
        layers = np.dstack([layers, np.where(shown, np.uint16(65535), np.uint16(0))])
    return np.asarray(layers, dtype=np.uint16)


def _deep_ppm(data: bytes, header: netpbm.Header) -> NDArray[np.uint16]:
    """Return the pixels of a PGM or PPM of more than 8 bits; white becomes 65535."""
    grey = PpmImageFile(io.BytesIO(netpbm.as_grey(data, header) if header.kind in (3, 6) else data))
    grey.load()
    values = np.asarray(grey).astype(np.uint16)
    if header.kind in (3, 6):
        return values.reshape(header.height, header.width, 3)
    return np.repeat(values[:, :, None], 3, axis=2)
