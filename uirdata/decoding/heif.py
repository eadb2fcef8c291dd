"""AVIF and HEIF files: opened by Pillow, and by the extra `heif` (pillow-heif); imported only for such files."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

from PIL import ImageFile

from uirdata.decoding.metadata import Metadata, bare_exif


def opened(data: bytes, form: Literal["AVIF", "HEIF"]) -> ImageFile.ImageFile:
    """Return the image in a file, not decoded yet; of HEIF it is upright."""
    if form == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile(io.BytesIO(data))
    from pillow_heif import HeifImageFile

    # Pillow's own plug-ins are constructed so, too; this one is not annotated.
    made: Callable[[io.BytesIO], ImageFile.ImageFile] = HeifImageFile
    return made(io.BytesIO(data))


def metadata(image: ImageFile.ImageFile) -> tuple[Metadata, int]:
    """Return metadata and number of images. What the container says of the orientation is in the EXIF block."""
    about = Metadata(exif=bare_exif(image.info.get("exif") or b""), icc=image.info.get("icc_profile") or b"")
    about.drop_unfit_profile()
    return about, int(getattr(image, "n_frames", 1))
