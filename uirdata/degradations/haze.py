"""Haze: with increasing depth the scene fades into the airlight."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Choice, Degradation, NamedOperation, Uniform, one_step_level
from uirdata.degradations.depth import draw_depth
from uirdata.degradations.kernels import round_levels
from uirdata.images import RgbImage

RESIDE_AIRLIGHTS = (0.8, 0.85, 0.9, 0.95, 1.0)
RESIDE_BETAS = (0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2)
"""Every pair of these is in the outdoor training set of Li et al., "Benchmarking Single-Image Dehazing and Beyond"."""


def haze(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    airlight: float,
    beta: float,
    near: float = 2.2,
    far: float = 4.0,
    roughness: float = 0.5,
    warmth: float = 0.0,
) -> RgbImage:
    """
    Add haze over a depth map that is drawn for the image.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the depth is drawn from it, see `depth.draw_depth`.
        airlight: brightness of the air, 0 to 1.
        beta: scattering per unit of depth.
        near: smallest depth. The published RESIDE outdoor pairs have 2.2 and 4.0, when the model is solved for
            the depth with the A and beta of their names.
        far: largest depth.
        roughness: see `depth.draw_depth`.
        warmth: colour of the air; 0.1 removes a tenth of blue and a twentieth of green, like dust; negative values are
            bluish and remove red.
    """
    if not 0 <= airlight <= 1 or beta < 0 or not 0 <= near <= far:
        raise ValueError("expected an airlight from 0 to 1, beta >= 0 and 0 <= near <= far")
    tint = (1.0, 1 - warmth / 2, 1 - warmth) if warmth >= 0 else (1 + warmth, 1 + warmth / 2, 1.0)
    depth = draw_depth(image, rng, near=near, far=far, roughness=roughness)
    return apply_haze(image, depth, airlight=(airlight * tint[0], airlight * tint[1], airlight * tint[2]), beta=beta)


def apply_haze(
    image: RgbImage, depth: NDArray[np.floating], *, airlight: float | tuple[float, float, float], beta: float
) -> RgbImage:
    """
    Add haze over a known depth map: I = J t + A (1 - t), t = exp(-beta d).

    Koschmieder's law; as in RESIDE it is applied to the grey levels and not to linear light.

    Args:
        image: (H, W, 3) RGB uint8, J.
        depth: (H, W), d, in any unit.
        airlight: A, 0 to 1, for all channels or for each.
        beta: scattering, in the inverse of the unit of `depth`.
    """
    transmission = np.exp(-beta * depth.astype(np.float64))
    air = 255.0 * np.broadcast_to(np.asarray(airlight, dtype=np.float64), 3)
    # Plane by plane: several times as fast as broadcasting one plane over three channels.
    planes = [
        round_levels(light + (plane - light) * transmission)
        for plane, light in zip(cv2.split(image), air.tolist(), strict=True)
    ]
    return np.asarray(cv2.merge(planes), dtype=np.uint8)


_level = partial(one_step_level, "haze")


def _digits(value: float) -> str:
    return f"{value:g}".replace(".", "p")


DEGRADATION = Degradation(
    name="haze",
    abbreviation="H",
    kind="single",
    paper_pairs=72_030,
    operations=(NamedOperation("haze", haze),),
    levels=(
        *(
            _level(
                f"a{_digits(airlight)}-b{_digits(beta)}",
                "RESIDE-OTS",
                airlight=airlight,
                beta=beta,
                roughness=Uniform(0.2, 0.8),
            )
            for airlight in RESIDE_AIRLIGHTS
            for beta in RESIDE_BETAS
        ),
        _level(
            "outdoor",
            "all 35 settings of RESIDE-OTS",
            airlight=Choice(RESIDE_AIRLIGHTS),
            beta=Choice(RESIDE_BETAS),
            roughness=Uniform(0.2, 0.8),
        ),
        _level(
            "indoor",
            "RESIDE-ITS: A 0.7 to 1, beta 0.6 to 1.8, a room's depth",
            airlight=Uniform(0.7, 1.0),
            beta=Uniform(0.6, 1.8),
            near=0.3,
            far=1.2,
            roughness=Uniform(0.5, 1.0),
        ),
        _level("fog", "a long view", airlight=Uniform(0.7, 0.9), beta=Uniform(0.3, 0.5), near=0.5, far=6.0),
        _level("dense-fog", airlight=Uniform(0.75, 0.95), beta=Uniform(0.6, 0.9), near=0.8, far=4.0, roughness=0.3),
        _level(
            "dust",
            "warm air",
            airlight=Uniform(0.7, 0.9),
            beta=Uniform(0.2, 0.4),
            near=1.0,
            far=5.0,
            warmth=Uniform(0.15, 0.4),
        ),
        _level(
            "blue-haze",
            "a far view on a clear day",
            airlight=Uniform(0.75, 0.95),
            beta=Uniform(0.15, 0.35),
            near=0.5,
            far=6.0,
            warmth=Uniform(-0.2, -0.05),
        ),
    ),
)
