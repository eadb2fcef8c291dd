"""Blur kernels, and their application."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.images import RgbImage, to_uint8

Kernel = NDArray[np.float64]

LONGEST = 2000
WIDEST = 300
"""Limits in pixels: of the longest motion, and of the largest radius or sigma; above all levels, within memory."""

# Far above the error of float64 arithmetic (1e-12 grey levels), far below a grey level.
_TIE = 2.0**-20
_PIECE = 2**14


def round_levels(values: NDArray[np.float64]) -> RgbImage:
    """
    Round to uint8 so that the last bits of the arithmetic have no effect.

    Kernels with round weights put many pixels exactly between two grey levels, where an error of 1e-13 (another
    processor, another order of summation) would decide. All such ties are rounded up.
    """
    flat, levels = np.ascontiguousarray(values).reshape(-1), np.empty(values.shape, dtype=np.uint8)
    found = levels.reshape(-1)
    # In pieces that fit into the cache: twice as fast as with whole temporaries.
    for start in range(0, flat.size, _PIECE):
        found[start : start + _PIECE] = to_uint8(flat[start : start + _PIECE] + _TIE)
    return levels


def convolve(image: NDArray[np.generic], kernel: Kernel) -> NDArray[np.float64]:
    """
    Convolve every channel; the border is mirrored without repeating the edge, as in the published implementations.

    Args:
        image: (H, W) or (H, W, C), any real type.
        kernel: of odd sizes. An impulse in the image becomes this kernel, not its mirror image.

    Returns:
        float64 of the image's shape, not rounded.
    """
    values = np.ascontiguousarray(image, dtype=np.float64)
    # OpenCV correlates; the flip makes it a convolution.
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])
    blurred = cv2.filter2D(values, cv2.CV_64F, flipped, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float64).reshape(image.shape)


def convolve_separable(image: NDArray[np.generic], row: Kernel) -> NDArray[np.float64]:
    """Convolve with the outer product of a symmetric 1-D kernel with itself; otherwise as `convolve`."""
    values = np.ascontiguousarray(image, dtype=np.float64)
    blurred = cv2.sepFilter2D(values, cv2.CV_64F, row, row, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, dtype=np.float64).reshape(image.shape)


def smooth(values: NDArray[np.float32], sigma: float, *, steps: int) -> NDArray[np.float32]:
    """
    Blur by a Gaussian in integer arithmetic, so that all processors round alike.

    Args:
        values: (H, W) or (H, W, C), in units of 1 / `steps`.
        sigma: pixels.
        steps: a power of two. The weights sum to 2^22 / `steps`, so that values below 4 in magnitude keep every sum
            below 2^24, which float32 holds exactly.

    Returns:
        float32, in units of 1 / `steps`; the border is repeated.
    """
    if sigma > WIDEST:
        raise ValueError(f"expected a sigma of at most {WIDEST} pixels")
    whole = values * np.float32(steps)
    np.rint(whole, out=whole)
    unit = 2**22 // steps
    row = np.rint(gaussian_row(sigma, 2 * math.ceil(3.5 * sigma) + 1) * unit)
    row[len(row) // 2] += unit - row.sum()
    weights, alone = row.astype(np.float32), np.ones(1, dtype=np.float32)
    for along_x, along_y in ((weights, alone), (alone, weights)):
        blurred = cv2.sepFilter2D(whole, cv2.CV_32F, along_x, along_y, borderType=cv2.BORDER_REPLICATE)
        whole = np.asarray(blurred, dtype=np.float32)
        # In place: a large temporary costs more than the arithmetic. Both units are powers of two.
        whole *= np.float32(1 / unit)
        np.rint(whole, out=whole)
    whole *= np.float32(1 / steps)
    return whole.reshape(values.shape)


def gaussian_row(sigma: float, size: int) -> Kernel:
    """Return a 1-D Gaussian of odd `size`, summing to 1. Its outer product with itself is the isotropic 2-D kernel."""
    offsets = np.arange(size, dtype=np.float64) - (size - 1) / 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def gaussian_kernel(
    size: int, sigma_x: float, sigma_y: float, rotation: float, *, family: str = "gaussian", beta: float = 1.0
) -> Kernel:
    """
    Return an elliptic kernel.

    With m = d^T S^-1 d, d the offset from the centre in pixels and S the covariance with the axes `sigma_x` and
    `sigma_y` turned by `rotation`, the weights are, up to their sum:

    - "gaussian": exp(-m / 2)
    - "generalised": exp(-m^beta / 2); sharper than a Gaussian for beta < 1, flatter on top for beta > 1
    - "plateau": 1 / (1 + m^beta)

    The families are those of Liu et al., "Estimating Generalized Gaussian Blur Kernels for Out-of-Focus Image
    Deblurring" (2020), and Wang et al., "Real-ESRGAN" (2021), section 3.1.

    Args:
        size: odd, pixels.
        sigma_x: standard deviation along the first axis, pixels.
        sigma_y: along the second.
        rotation: of the first axis, radians, from x towards y (down).
        family: one of the three.
        beta: shape; not used by "gaussian".

    Returns:
        (size, size), summing to 1.
    """
    offsets = np.arange(size, dtype=np.float64) - (size - 1) / 2
    x, y = np.meshgrid(offsets, offsets)
    cos, sin = math.cos(rotation), math.sin(rotation)
    m = ((cos * x + sin * y) / sigma_x) ** 2 + ((cos * y - sin * x) / sigma_y) ** 2
    if family == "gaussian":
        weights = np.exp(-0.5 * m)
    elif family == "generalised":
        weights = np.exp(-0.5 * m**beta)
    elif family == "plateau":
        weights = 1.0 / (1.0 + m**beta)
    else:
        raise ValueError(f"family is {family!r}, expected gaussian, generalised or plateau")
    return np.asarray(weights / weights.sum())


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """
    Return the circular low-pass filter that rings: cutoff * J1(cutoff * r) / (2 pi r), scaled to the sum 1.

    Wang et al., "Real-ESRGAN" (2021), equation 6; J1 is the Bessel function of the first kind and first order.

    Args:
        size: odd, pixels.
        cutoff: radians per pixel, 0 to pi. Higher frequencies are removed.
    """
    offsets = np.arange(size, dtype=np.float64) - (size - 1) / 2
    radius = np.hypot(*np.meshgrid(offsets, offsets))
    centre = radius == 0
    radius[centre] = 1.0
    weights = cutoff * _bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    # The limit at r = 0, since J1(x) / x tends to 1/2.
    weights[centre] = cutoff**2 / (4 * math.pi)
    return np.asarray(weights / weights.sum())


def line_kernel(length: float, angle: float) -> Kernel:
    """
    Return the kernel of a uniform motion along a straight line.

    Args:
        length: pixels, at least 1; 1 is no motion.
        angle: degrees, counter-clockwise from the right.
    """
    if length > LONGEST:
        raise ValueError(f"expected a length of at most {LONGEST:,} pixels")
    half = (length - 1) / 2
    dx, dy = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    steps = np.linspace(-half, half, 16 * math.ceil(length) + 1)
    return path_kernel(np.stack([steps * dx, steps * dy], axis=1))


def path_kernel(points: NDArray[np.float64]) -> Kernel:
    """
    Return the kernel of a motion along a path that is sampled at equal times.

    Args:
        points: (N, 2) as (x, y), pixels. Each adds its share to the four pixels around it, by bilinear weights, so the
            centroid of the kernel is that of the points.

    Returns:
        Square, of odd size, with the origin in the centre; sums to 1.
    """
    radius = max(1, math.ceil(float(np.abs(points).max()) - 1e-9))
    if radius > LONGEST:
        raise ValueError(f"expected a path of at most {LONGEST:,} pixels")
    size = 2 * radius + 1
    kernel = np.zeros((size + 1, size + 1))
    corner = np.floor(points + 1e-9).astype(np.int64)
    fraction = np.clip(points - corner, 0.0, 1.0)
    column, row = (corner + radius).T
    for down in (0, 1):
        for right in (0, 1):
            share_x = fraction[:, 0] if right else 1 - fraction[:, 0]
            share_y = fraction[:, 1] if down else 1 - fraction[:, 1]
            np.add.at(kernel, (row + down, column + right), share_x * share_y)
    kernel = kernel[:size, :size]
    return np.asarray(kernel / kernel.sum())


def disk_kernel(radius: float, *, blades: int = 0, rotation: float = 0.0) -> Kernel:
    """
    Return the image of a point that is out of focus: the shape of the aperture.

    Args:
        radius: of the circle of confusion, pixels; 0 is the identity.
        blades: 0 for a disk, 3 or more for the regular polygon with its corners on that circle.
        rotation: of the polygon, degrees.

    Returns:
        Square, of odd size; edge pixels have their covered share; sums to 1.
    """
    if blades and blades < 3:
        raise ValueError(f"{blades} blades enclose nothing: expected 0 or at least 3")
    if not 0 <= radius <= WIDEST:
        raise ValueError(f"expected a radius from 0 to {WIDEST} pixels")
    oversampling = 9
    reach = math.ceil(radius)
    offsets = (np.arange((2 * reach + 1) * oversampling) + 0.5) / oversampling - reach - 0.5
    x, y = np.meshgrid(offsets, offsets)
    if blades:
        # Distance to the nearest side is the apothem, in the sector around each side's middle.
        sector = 2 * math.pi / blades
        phase = (np.arctan2(y, x) - math.radians(rotation)) % sector - sector / 2
        inside = np.hypot(x, y) * np.cos(phase) <= radius * math.cos(sector / 2) + 1e-9
    else:
        inside = x**2 + y**2 <= radius**2
    covered = inside.reshape(2 * reach + 1, oversampling, 2 * reach + 1, oversampling).sum(axis=(1, 3))
    if not covered.any():
        return np.ones((1, 1))
    return np.asarray(covered / covered.sum())


def _bessel_j1(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Bessel's integral by the midpoint rule, which is exact to the last bits once the nodes outnumber x; x stays below
    # 50 here. SciPy would be a dependency for this one function.
    nodes = (np.arange(128) + 0.5) * (math.pi / 128)
    distinct, where = np.unique(x, return_inverse=True)
    values = np.cos(nodes[:, None] - np.sin(nodes)[:, None] * distinct.ravel()).mean(axis=0)
    return np.asarray(values[where].reshape(x.shape))
