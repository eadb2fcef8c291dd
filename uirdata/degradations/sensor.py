"""Noise of a sensor under a Bayer filter: added to one colour per pixel, and developed with the image."""

from __future__ import annotations

from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

# From a camera's white-balanced primaries to linear sRGB. The camera is the mean of the four whose matrices Brooks et
# al. (see below) publish, those of the Darmstadt Noise Dataset. Rows sum to 1: gray stays gray.
_TO_SRGB = np.array([[1.622, -0.566, -0.056], [-0.182, 1.476, -0.294], [0.023, -0.426, 1.403]])
_TO_CAMERA = np.linalg.inv(_TO_SRGB)

BAYER_PHASES = MappingProxyType({"rggb": (0, 0), "grbg": (0, 1), "gbrg": (1, 0), "bggr": (1, 1)})
"""Row and column of the first red pixel."""

_CROSS = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], dtype=np.float32)
_SQUARE = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]], dtype=np.float32)


# Demosaicing interpolates red and blue with the help of green, by their difference (1) or not at all (0). Half is
# closest to SIDD's ratio of the channels' noise and its correlation between neighbours.
_LIKENESS = np.float32(0.5)


def bayer_noise(
    light: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    electrons: float,
    read_noise: float,
    red_gain: float = 2.0,
    blue_gain: float = 1.7,
    row_noise: float = 0.0,
    phase: str = "rggb",
) -> NDArray[np.float32]:
    """
    Return the noise that an image gets on a sensor, after development.

    The image is taken back to the sensor as in Brooks et al., "Unprocessing Images for Learned Raw Denoising" (2019):
    colour matrix and white balance are inverted. There every pixel has the variance value / electrons + (read_noise /
    electrons)^2 (Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data",
    2008; the Poisson part is approximated as normal). The noise is then interpolated as by demosaicing, green first and
    the others partly by their difference to green, which gives it grain, and goes through white balance and colour
    matrix. The image itself is not interpolated: it went through a camera before.

    Args:
        light: (H, W, 3) linear sRGB, 0 to 1.
        rng: one normal number per pixel is drawn, and one per row if there is row noise; both with a border of one.
        electrons: that a white pixel collects before white balance.
        read_noise: standard deviation, electrons.
        red_gain: of the white balance.
        blue_gain: of the white balance.
        row_noise: standard deviation of the common offset of a row, electrons.
        phase: of the Bayer filter, one of `BAYER_PHASES`.

    Returns:
        (H, W, 3) float32, to be added to `light`.
    """
    if electrons <= 0 or read_noise < 0 or row_noise < 0 or phase not in BAYER_PHASES:
        raise ValueError(f"expected electrons > 0, noise of at least 0 and a phase of {', '.join(BAYER_PHASES)}")
    height, width = light.shape[:2]
    gains = np.array([red_gain, 1.0, blue_gain])
    # Half a border each for the phase and the interpolation; the neighbours' noise is independent.
    padded = np.pad(light, ((2, 2), (2, 2), (0, 0)), mode="edge")
    sensor = _mix(padded, _TO_CAMERA / gains[:, None], 2**14)
    row, column = BAYER_PHASES[phase]
    red, blue = (slice(row, None, 2), slice(column, None, 2)), (slice(1 - row, None, 2), slice(1 - column, None, 2))
    raw = sensor[:, :, 1].copy()
    raw[red], raw[blue] = sensor[(*red, 0)], sensor[(*blue, 2)]
    np.maximum(raw, 0, out=raw)
    variance = raw * np.float32(1 / electrons) + np.float32((read_noise / electrons) ** 2)
    noise = np.sqrt(variance)
    noise *= rng.standard_normal(noise.shape, dtype=np.float32)
    if row_noise:
        noise += np.float32(row_noise / electrons) * rng.standard_normal((noise.shape[0], 1), dtype=np.float32)
    # In integer steps, so that the interpolation, whose weights are powers of two, is exact.
    noise = np.rint(noise * np.float32(2**18)) * np.float32(2**-18)
    # Interpolation of a plane with gaps is the convolution of the plane with zeros in the gaps.
    green = noise.copy()
    green[red] = green[blue] = 0
    green = _filter(green, _CROSS)
    planes = [green]
    for site in (red, blue):
        difference = np.zeros_like(noise)
        difference[site] = noise[site] - _LIKENESS * green[site]
        planes.append(_LIKENESS * green + _filter(difference, _SQUARE))
    demosaiced = cv2.merge([planes[1], planes[0], planes[2]])
    developed = _mix(np.asarray(demosaiced, dtype=np.float32), _TO_SRGB * gains, 2**15)
    return developed[2 : 2 + height, 2 : 2 + width]


def _mix(colours: NDArray[np.float32], matrix: NDArray[np.float64], steps: int) -> NDArray[np.float32]:
    """Return a colour matrix applied to (H, W, 3), in integer steps: float32 sums are exact on all processors."""
    whole = np.rint(colours * np.float32(steps))
    mixed = cv2.transform(whole, np.rint(matrix * 256).astype(np.float32))
    return np.asarray(mixed, dtype=np.float32).reshape(colours.shape) * np.float32(1 / (256 * steps))


def _filter(plane: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    filtered = cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(filtered, dtype=np.float32).reshape(plane.shape)
