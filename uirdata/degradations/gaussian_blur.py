"""Blur by a smooth kernel: the Gaussian families, and the sinc filter, which rings."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from uirdata.degradations.base import (
    Choice,
    Degradation,
    Draw,
    Level,
    Mixture,
    NamedOperation,
    OneOf,
    StepTemplate,
    Uniform,
    Value,
)
from uirdata.degradations.kernels import (
    convolve,
    convolve_separable,
    gaussian_kernel,
    gaussian_row,
    round_levels,
    sinc_kernel,
)
from uirdata.images import RgbImage


def gaussian_blur(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - the kernel is in the recipe
    *,
    sigma_x: float,
    sigma_y: float | None = None,
    rotation: float = 0.0,
    size: int = 21,
    family: str = "gaussian",
    beta: float = 1.0,
) -> RgbImage:
    """
    Blur with a kernel of `kernels.gaussian_kernel`, and round.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: not used.
        sigma_x: standard deviation along the first axis, pixels.
        sigma_y: along the second; `sigma_x` if not given.
        rotation: of the first axis, radians, from x towards y (down).
        size: of the kernel, odd, pixels.
        family: "gaussian", "generalised" or "plateau".
        beta: shape of the last two.
    """
    if sigma_x <= 0 or (sigma_y is not None and sigma_y <= 0) or size < 1 or size % 2 == 0:
        raise ValueError("expected sigmas above 0 and an odd size")
    if family == "gaussian" and sigma_y in (None, sigma_x):
        # The isotropic Gaussian is a product of two one-dimensional ones, in a fifth of the time.
        return round_levels(convolve_separable(image, gaussian_row(sigma_x, size)))
    kernel = gaussian_kernel(size, sigma_x, sigma_y or sigma_x, rotation, family=family, beta=beta)
    return round_levels(convolve(image, kernel))


def sinc_blur(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - the kernel is in the recipe
    *,
    cutoff: float,
    size: int = 21,
) -> RgbImage:
    """
    Filter with the circular low-pass of `kernels.sinc_kernel`, and round; values outside 0 to 255 are clipped.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: not used.
        cutoff: radians per pixel, above 0 and up to pi.
        size: of the kernel, odd, pixels.
    """
    if not 0 < cutoff <= math.pi + 1e-6 or size < 1 or size % 2 == 0:
        raise ValueError("expected a cutoff above 0 and up to pi, and an odd size")
    return round_levels(convolve(image, sinc_kernel(size, cutoff)))


_GAUSSIAN = NamedOperation("gaussian-blur", gaussian_blur)
_SINC = NamedOperation("sinc-blur", sinc_blur)

# Real-ESRGAN, first order; the paper trains its blur on the same families.
_SIZES = Choice((7, 9, 11, 13, 15, 17, 19, 21))
_SIGMA = Uniform(0.2, 3.0)
_ROTATION = Uniform(-math.pi, math.pi)
_GENERALISED_BETA = Mixture((Uniform(0.5, 1.0), Uniform(1.0, 4.0)), (0.5, 0.5))
_PLATEAU_BETA = Mixture((Uniform(1.0, 1.0), Uniform(1.0, 2.0)), (0.5, 0.5))
_ELLIPSE: Mapping[str, Value | Draw] = {"size": _SIZES, "sigma_x": _SIGMA, "sigma_y": _SIGMA, "rotation": _ROTATION}
_CIRCLE: Mapping[str, Value | Draw] = {"size": _SIZES, "sigma_x": _SIGMA}

_FAMILIES: Mapping[str, Mapping[str, Value | Draw]] = {
    "isotropic": _CIRCLE,
    "anisotropic": _ELLIPSE,
    "generalised": {**_CIRCLE, "family": "generalised", "beta": _GENERALISED_BETA},
    "generalised-anisotropic": {**_ELLIPSE, "family": "generalised", "beta": _GENERALISED_BETA},
    "plateau": {**_CIRCLE, "family": "plateau", "beta": _PLATEAU_BETA},
    "plateau-anisotropic": {**_ELLIPSE, "family": "plateau", "beta": _PLATEAU_BETA},
}
# Small sinc kernels cannot represent a low cutoff, hence two ranges; three of the eight sizes are small.
_SINC_SMALL = StepTemplate("sinc-blur", {"size": Choice((7, 9, 11)), "cutoff": Uniform(math.pi / 3, math.pi)})
_SINC_LARGE = StepTemplate("sinc-blur", {"size": Choice((13, 15, 17, 19, 21)), "cutoff": Uniform(math.pi / 5, math.pi)})
_PUBLISHED_MIX = OneOf(
    (*((StepTemplate("gaussian-blur", f),) for f in _FAMILIES.values()), (_SINC_SMALL,), (_SINC_LARGE,)),
    (*(0.9 * share for share in (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)), 0.1 * 3 / 8, 0.1 * 5 / 8),
)

DEGRADATION = Degradation(
    name="gaussian-blur",
    abbreviation="GB",
    kind="single",
    paper_pairs=531_816,
    operations=(_GAUSSIAN, _SINC),
    levels=(
        *(
            Level(
                f"sigma-{sigma:.1f}".replace(".", "p"),
                (StepTemplate("gaussian-blur", {"sigma_x": sigma, "size": 2 * math.ceil(3 * sigma) + 1}),),
            )
            for sigma in (0.6, 0.8, 1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0)
        ),
        *(
            Level(name, (StepTemplate("gaussian-blur", parameters),), "Real-ESRGAN, first order")
            for name, parameters in _FAMILIES.items()
        ),
        *(
            Level(
                f"sinc-{degrees}",
                (StepTemplate("sinc-blur", {"cutoff": round(math.radians(degrees), 6)}),),
                "cutoff in degrees per pixel; 180 is the finest pattern that pixels can show",
            )
            for degrees in (36, 60, 90, 120, 150)
        ),
        Level("published-mix", (_PUBLISHED_MIX,), "Real-ESRGAN, first order: all families with their shares"),
    ),
)
