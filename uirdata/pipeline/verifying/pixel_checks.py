"""Checks of pixels: can a file be decoded completely, and do an LQ and a GT show the same scene."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.decoding import decode, to_eight_bits
from uirdata.errors import ImageError, one_file
from uirdata.fast_decoding import decode_fast
from uirdata.images import RgbImage
from uirdata.storage.checks import FileCheck, PairCheck, pair_key

Gray = NDArray[np.float32]

WRONG_PARTNER = 0.3
"""
Below this likeness an LQ and a GT do not show the same scene, provided both have clear structure (`clarity`).

Measured on photographs of 30 published sets: 65 real pairs of all kinds have 0.47 or more; crops of 128 to 512 pixels
with noise of sigma 50, blur, darkness, haze or snow made on them have 0.43 or more; 99 of 100 crops of different
scenes have 0.21 or less from 192 pixels on, and nine of ten have less than 0.3 at 128.
"""

_CLEAR = 4.0
_JUDGED_PX = 128
_COARSE_PX = 96
_SHIFT_RESPONSE = 0.2
_SHIFT_SHARE = 0.01
_SHIFT_PX = 4.0


@dataclass(frozen=True)
class Group:
    """
    A GT and its LQ: the task of one worker, so that the GT is decoded once.

    Attributes:
        root: the folder that the paths are relative to.
        gt: path of the GT; "" if there is none.
        lqs: paths of the LQ; none for a clean image.
        gt_border: pixels to cut off each side of the GT.
    """

    root: Path
    gt: str
    lqs: tuple[str, ...]
    gt_border: int


@dataclass(frozen=True)
class Seen:
    """The results of a group."""

    files: tuple[FileCheck, ...]
    pairs: tuple[PairCheck, ...]


def inspect_group(group: Group, on_file: Callable[[str], object] | None = None) -> Seen:
    """
    Decode the files of a group, compare each LQ with the GT, and return the results.

    Args:
        group: the files.
        on_file: called with the path of each file before it is read.
    """
    tell = on_file or str
    files: list[FileCheck] = []
    pairs: list[PairCheck] = []
    gt_check, gt = None, None
    if group.gt:
        tell(group.gt)
        gt_check, gt = inspect_file(group.root, group.gt)
        files.append(gt_check)
    for path in group.lqs:
        tell(path)
        lq_check, lq = inspect_file(group.root, path)
        files.append(lq_check)
        if gt_check is None or gt is None or lq is None or gt_check.problem or lq_check.problem:
            continue
        border = group.gt_border
        inner = gt[border : gt.shape[0] - border, border : gt.shape[1] - border]
        if inner.shape == lq.shape:
            pairs.append(_compared(gt_check, lq_check, border, inner, lq))
    return Seen(tuple(files), tuple(pairs))


def inspect_file(root: Path, path: str) -> tuple[FileCheck, RgbImage | None]:
    """
    Read and decode a file.

    Returns:
        The result of the check, and the pixels, (H, W, 3) RGB uint8; None if it cannot be decoded.
    """
    try:
        stat = (root / path).stat()
        data = (root / path).read_bytes()
    except OSError as error:
        return FileCheck(path, 0, 0, problem=f"it cannot be read ({error.strerror or error})"), None
    sha256 = hashlib.sha256(data).hexdigest()
    check = FileCheck(path, stat.st_size, stat.st_mtime_ns, sha256=sha256)
    try:
        with one_file(path):
            pixels, mode, remark = _pixels(data, path)
            # A few pixels are enough to exclude nearly every image.
            constant = bool((pixels[::16, ::16] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
    except ImageError as error:
        why = str(error).removeprefix(f"{path}: ").removesuffix("; fetch or copy it again")
        return replace(check, mode="?", problem=why), None
    height, width = pixels.shape[:2]
    problem = "all its pixels are equal" if constant else ""
    about = replace(check, height=height, width=width, mode=mode, constant=constant, problem=problem, remark=remark)
    return about, pixels


def _pixels(data: bytes, path: str) -> tuple[RgbImage, str, str]:
    """Return the pixels, how they are stored, and what of the metadata was dropped."""
    fast = decode_fast(data)
    if fast is not None:
        return fast, "RGB", ""
    decoded = decode(data, path)
    return to_eight_bits(decoded.pixels), decoded.mode, "; ".join(decoded.remarks)


def _compared(gt_check: FileCheck, lq_check: FileCheck, border: int, gt: RgbImage, lq: RgbImage) -> PairCheck:
    try:
        with one_file(lq_check.path):
            return compare(gt_check, lq_check, border, gt, lq)
    except ImageError as error:
        key = pair_key(gt_check, lq_check, border)
        return PairCheck(key, identical=False, shift=0.0, likeness=0.0, problem=f"cannot be compared: {error}")


def compare(gt_check: FileCheck, lq_check: FileCheck, border: int, gt: RgbImage, lq: RgbImage) -> PairCheck:
    """
    Return the result of comparing an LQ with its GT.

    Args:
        gt_check: result of the check of the GT's file.
        lq_check: result of the check of the LQ's file.
        border: pixels that were cut off each side of the GT.
        gt: (H, W, 3) RGB uint8.
        lq: (H, W, 3) RGB uint8.
    """
    key = pair_key(gt_check, lq_check, border)
    if np.array_equal(gt, lq):
        return PairCheck(key, identical=True, shift=0.0, likeness=1.0, warning="identical: the LQ is the GT")
    gt_gray, lq_gray = _gray(gt), _gray(lq)
    alike = likeness(gt_gray, lq_gray)
    shift, response = registration(gt_gray, lq_gray)
    problem = warning = ""
    if alike < WRONG_PARTNER:
        if min(gt.shape[:2]) >= _JUDGED_PX and min(clarity(gt_gray), clarity(lq_gray)) >= _CLEAR:
            problem = f"wrong partner: the LQ does not show what the GT shows (likeness {alike:.2f})"
        else:
            warning = f"hard to compare: there is too little to see (likeness {alike:.2f})"
    elif response >= _SHIFT_RESPONSE and shift >= max(_SHIFT_PX, _SHIFT_SHARE * min(gt.shape[:2])):
        warning = f"shifted: the LQ's content lies {shift:.1f} pixels from the GT's"
    elif (gt_check.mode in _COLOURLESS) != (lq_check.mode in _COLOURLESS):
        warning = f"modes differ: the LQ is {lq_check.mode}, the GT is {gt_check.mode}"
    return PairCheck(
        key, identical=False, shift=round(shift, 2), likeness=round(alike, 3), problem=problem, warning=warning
    )


_COLOURLESS = frozenset({"1", "L", "LA", "I", "F", "I;16", "I;16L", "I;16B"})


def likeness(gt: Gray, lq: Gray) -> float:
    """
    Return how similar the structure of two images is, from -1 to 1.

    Brightness and contrast are normalised locally, so that haze, darkness and noise have little effect; then the
    normalised cross-correlation is computed at two scales, over shifts up to a sixteenth of the longer side, and the
    highest value is returned.

    Args:
        gt: (H, W) grey levels.
        lq: (H, W) of the same size.
    """
    best = -1.0
    for side in (256, _COARSE_PX):
        x, y = _small(gt, side), _small(lq, side)
        margin = min(side // 16, (min(x.shape) - 8) // 2)
        if margin < 0:
            continue
        x, y = _evened(x, side / 24), _evened(y, side / 24)
        inner = x[margin : x.shape[0] - margin, margin : x.shape[1] - margin]
        if float(inner.std()) < 1e-6 or float(y.std()) < 1e-6:
            continue
        best = max(best, float(cv2.matchTemplate(y, inner, cv2.TM_CCOEFF_NORMED).max()))
    return best


def clarity(gray: Gray) -> float:
    """
    Return the strength of the coarse structure of an image relative to its noise: 1 is as strong as the noise.

    The noise is estimated by the median response to a mask to which flat and sloping areas do not respond (after
    Immerkaer, 1996), and decreases when the image is made smaller.

    Args:
        gray: (H, W) grey levels.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    noise = float(np.median(np.abs(cv2.filter2D(gray, -1, mask)))) / 6.0 / 0.6745
    small = _small(gray, _COARSE_PX)
    detail = small - cv2.GaussianBlur(small, (0, 0), _COARSE_PX / 24)
    # Rounding to whole levels is noise of 0.3 levels.
    return float(np.std(detail) / (noise * min(1.0, _COARSE_PX / max(gray.shape)) + 0.3))


def registration(gt: Gray, lq: Gray) -> tuple[float, float]:
    """
    Return the shift between an LQ and its GT, by phase correlation (Kuglin and Hines, 1975).

    Args:
        gt: (H, W) grey levels.
        lq: (H, W) of the same size.

    Returns:
        The shift in pixels, and how clear the peak is: 0 (not at all) to 1.
    """
    scale = min(1.0, 1024 / max(gt.shape))
    x, y = (_evened(_scaled(gray, scale), 8.0, blur=_box_blur) for gray in (gt, lq))
    if min(x.shape) < 16:
        return 0.0, 0.0
    window = cv2.createHanningWindow((x.shape[1], x.shape[0]), cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(x, y, window)
    return float(np.hypot(dx, dy)) / scale, float(response)


def _gray(image: RgbImage) -> Gray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _small(gray: Gray, side: int) -> Gray:
    return _scaled(gray, min(1.0, side / max(gray.shape)))


def _scaled(gray: Gray, scale: float) -> Gray:
    if scale == 1.0:
        return gray
    size = (max(8, round(gray.shape[1] * scale)), max(8, round(gray.shape[0] * scale)))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _evened(gray: Gray, sigma: float, *, blur: Callable[[Gray, float], Gray] | None = None) -> Gray:
    """Return an image with brightness and contrast normalised within `sigma` pixels."""
    blur = blur if blur is not None else _gaussian_blur
    detail = gray - blur(gray, sigma)
    power = blur(detail * detail, sigma)
    # One grey level of noise must not be amplified to structure.
    return np.asarray(detail / np.sqrt(power + 1.0), dtype=np.float32)


def _gaussian_blur(gray: Gray, sigma: float) -> Gray:
    return np.asarray(cv2.GaussianBlur(gray, (0, 0), sigma), dtype=np.float32)


def _box_blur(gray: Gray, sigma: float) -> Gray:
    """Blur with a box of the same variance: at full size a Gaussian would take most of the time of a pair."""
    side = 2 * round(sigma * 3.0**0.5) + 1
    return np.asarray(cv2.blur(gray, (side, side)), dtype=np.float32)
