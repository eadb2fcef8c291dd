"""Downsampling, noise, blur and JPEG: images shared on the web once or twice, at the size of their GT."""

from __future__ import annotations

import math

import numpy as np

from uirdata.degradations.base import (
    Choice,
    Degradation,
    Draw,
    Integer,
    Level,
    Mixture,
    NamedOperation,
    OneOf,
    StepTemplate,
    Uniform,
    Value,
)
from uirdata.degradations.resampling import METHODS, resize, scaled
from uirdata.images import RgbImage


def rescale(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - it is deterministic
    *,
    factor: float,
    gt_height: int,
    gt_width: int,
    method: str = "bicubic",
) -> RgbImage:
    """
    Resize to a multiple of the GT's size.

    Args:
        image: (H, W, 3) RGB uint8 of any size.
        rng: not used.
        factor: 1 restores the GT's size.
        gt_height: pixels.
        gt_width: pixels.
        method: "area", "bilinear" or "bicubic"; the last two do not average over skipped pixels, so they alias.
    """
    if not 0 < factor <= 8 or method not in METHODS:
        raise ValueError(f"expected a factor above 0 and up to 8, and a method of {', '.join(METHODS)}")
    height, width = scaled(gt_height, factor), scaled(gt_width, factor)
    if height * width > _MOST_PIXELS:
        raise ValueError(f"expected a size of at most {_MOST_PIXELS:,} pixels")
    return image.copy() if (height, width) == image.shape[:2] else resize(image, height, width, method)


_METHOD = Choice(METHODS)
_MOST_PIXELS = 1 << 28
_BACK = StepTemplate("rescale", {"factor": 1.0, "method": "bicubic"})


def _blur(low: float, high: float) -> OneOf:
    """Return Real-ESRGAN's mixture: six families with their shares, and a sinc filter with probability 0.1."""
    size = Choice((7, 9, 11, 13, 15, 17, 19, 21))
    sigma, turn = Uniform(low, high), Uniform(-math.pi, math.pi)
    circle: dict[str, Value | Draw] = {"size": size, "sigma_x": sigma}
    ellipse: dict[str, Value | Draw] = {**circle, "sigma_y": sigma, "rotation": turn}
    generalised: dict[str, Value | Draw] = {
        "family": "generalised",
        "beta": Mixture((Uniform(0.5, 1.0), Uniform(1.0, 4.0)), (0.5, 0.5)),
    }
    plateau: dict[str, Value | Draw] = {
        "family": "plateau",
        "beta": Mixture((Uniform(1.0, 1.0), Uniform(1.0, 2.0)), (0.5, 0.5)),
    }
    families = (
        circle,
        ellipse,
        {**circle, **generalised},
        {**ellipse, **generalised},
        {**circle, **plateau},
        {**ellipse, **plateau},
    )
    small = StepTemplate("sinc-blur", {"size": Choice((7, 9, 11)), "cutoff": Uniform(math.pi / 3, math.pi)})
    large = StepTemplate("sinc-blur", {"size": Choice((13, 15, 17, 19, 21)), "cutoff": Uniform(math.pi / 5, math.pi)})
    return OneOf(
        (*((StepTemplate("gaussian-blur", family),) for family in families), (small,), (large,)),
        (*(0.9 * share for share in (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)), 0.1 * 3 / 8, 0.1 * 5 / 8),
    )


def _noise(sigma: float, scale: float) -> OneOf:
    """Return Gaussian or Poisson noise with equal probability, gray with probability 0.4."""
    return OneOf(
        (
            (
                StepTemplate(
                    "gaussian-noise", {"sigma": Uniform(1.0, sigma), "correlation": Choice((0.0, 1.0), (0.6, 0.4))}
                ),
            ),
            (
                StepTemplate(
                    "poisson-noise", {"scale": Uniform(0.05, scale), "gray": Choice((False, True), (0.6, 0.4))}
                ),
            ),
        ),
        (0.5, 0.5),
    )


def _rescale(factor: Value | Draw) -> StepTemplate:
    return StepTemplate("rescale", {"factor": factor, "method": _METHOD})


_JPEG = StepTemplate("jpeg", {"quality": Integer(30, 95)})
_SINC = StepTemplate(
    "sinc-blur", {"size": Choice((7, 9, 11, 13, 15, 17, 19, 21)), "cutoff": Uniform(math.pi / 3, math.pi)}
)


def _simple(factor: int, sigma: float, quality: int) -> Level:
    steps = (
        StepTemplate("rescale", {"factor": 1 / factor, "method": "bicubic"}),
        StepTemplate("gaussian-noise", {"sigma": sigma}),
        StepTemplate("gaussian-blur", {"sigma_x": Uniform(0.6, 1.5), "size": 9}),
        StepTemplate("jpeg", {"quality": quality}),
        _BACK,
    )
    return Level(f"x{factor}-noise-{sigma:g}-q{quality}", steps, "in the order of the type's name")


DEGRADATION = Degradation(
    name="downsample-noise-blur-jpeg",
    abbreviation="DNBJ",
    kind="mixed",
    paper_pairs=643_328,
    operations=(NamedOperation("rescale", rescale, resizes=True),),
    levels=(
        *(
            _simple(factor, sigma, quality)
            for factor in (2, 4)
            for sigma, quality in ((5.0, 60), (10.0, 40), (20.0, 30))
        ),
        Level(
            "first-order",
            (_blur(0.2, 3.0), _rescale(Uniform(0.25, 0.75)), _noise(30.0, 3.0), _JPEG, _BACK),
            "blur, resize, noise, JPEG, once",
        ),
        Level(
            "second-order",
            (
                _blur(0.2, 3.0),
                OneOf(((_rescale(Uniform(1.0, 1.5)),), (_rescale(Uniform(0.15, 1.0)),), ()), (0.2, 0.7, 0.1)),
                _noise(30.0, 3.0),
                _JPEG,
                OneOf(((_blur(0.2, 1.5),), ()), (0.8, 0.2)),
                # The second resize is relative to a GT at a quarter of the size, as there for a network of scale four.
                OneOf(
                    ((_rescale(Uniform(0.25, 0.3)),), (_rescale(Uniform(0.075, 0.25)),), (_rescale(0.25),)),
                    (0.3, 0.4, 0.3),
                ),
                _noise(25.0, 2.5),
                OneOf(
                    (
                        (_rescale(0.25), OneOf(((_SINC,), ()), (0.8, 0.2)), _JPEG),
                        (_JPEG, _rescale(0.25), OneOf(((_SINC,), ()), (0.8, 0.2))),
                    ),
                    (0.5, 0.5),
                ),
                _BACK,
            ),
            "Wang et al., Real-ESRGAN (2021), section 3.3, with the published ranges; brought back to the GT's size",
        ),
        Level(
            "second-order-mild",
            (
                _blur(0.2, 1.5),
                _rescale(Uniform(0.5, 1.0)),
                _noise(10.0, 1.0),
                _JPEG,
                OneOf(((_blur(0.2, 1.0),), ()), (0.5, 0.5)),
                _rescale(Uniform(0.5, 1.0)),
                _noise(8.0, 1.0),
                _JPEG,
                _BACK,
            ),
            "the same chain for a network that keeps the size",
        ),
    ),
)
