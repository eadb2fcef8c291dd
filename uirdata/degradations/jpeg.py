"""JPEG artefacts: a round trip through libjpeg."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from uirdata.degradations.base import Choice, Degradation, Integer, NamedOperation, one_step_level
from uirdata.images import RgbImage

_SAMPLING = {
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def jpeg(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - it is deterministic
    *,
    quality: int,
    subsampling: str = "420",
    shift_x: int = 0,
    shift_y: int = 0,
) -> RgbImage:
    """
    Encode as JPEG and decode.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: not used.
        quality: libjpeg's scale, 1 to 100.
        subsampling: of the colour, "420", "422" or "444".
        shift_x: offset of the grid of 8 x 8 blocks, 0 to 7 columns left of the image.
        shift_y: the same in rows. Blocks start at the corner of published images; in crops they start anywhere.
    """
    if not (0 <= shift_x < 8 and 0 <= shift_y < 8):
        raise ValueError("expected shifts from 0 to 7")
    height, width = image.shape[:2]
    padded = np.pad(image, ((shift_y, 0), (shift_x, 0), (0, 0)), mode="edge")
    data = np.frombuffer(encode_jpeg(padded, quality=quality, subsampling=subsampling), dtype=np.uint8)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)[:, :, ::-1]
    return np.ascontiguousarray(decoded[shift_y : shift_y + height, shift_x : shift_x + width])


def encode_jpeg(image: RgbImage, *, quality: int, subsampling: str = "420") -> bytes:
    """
    Return the JPEG bytes, with libjpeg's own quantisation tables for a quality.

    Args:
        image: (H, W, 3) RGB uint8.
        quality: 1 to 100.
        subsampling: "420", "422" or "444".
    """
    if not 1 <= quality <= 100 or subsampling not in _SAMPLING:
        raise ValueError(f"expected quality 1 to 100 and subsampling one of {', '.join(_SAMPLING)}")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[subsampling]]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    return bytes(data)


_level = partial(one_step_level, "jpeg")

DEGRADATION = Degradation(
    name="jpeg",
    abbreviation="J",
    kind="single",
    paper_pairs=88_636,
    operations=(NamedOperation("jpeg", jpeg),),
    levels=(
        *(
            _level(f"q{quality}", quality=quality)
            for quality in (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 75, 80, 85, 90, 95)
        ),
        *(_level(f"q{quality}-444", quality=quality, subsampling="444") for quality in (5, 10, 20, 30, 50, 70, 90)),
        _level("choice", "the ten-degradation setting of DCPT", quality=Choice((10, 20, 30, 40, 50))),
        _level("blind", "Real-ESRGAN", quality=Integer(30, 95)),
        _level(
            "blind-any-grid",
            "any quality, as in a crop of a published image",
            quality=Integer(5, 95),
            subsampling=Choice(("420", "444")),
            shift_x=Integer(0, 7),
            shift_y=Integer(0, 7),
        ),
    ),
)
