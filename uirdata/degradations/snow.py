"""Snow: flakes in layers, from the fine far ones to the large blurred near ones, and the veil behind them."""

from __future__ import annotations

from functools import partial

import numpy as np

from uirdata.degradations.base import Degradation, NamedOperation, Uniform, one_step_level
from uirdata.degradations.particles import flake, lay_over, lay_veil, scatter
from uirdata.images import RgbImage, to_uint8

# Per layer, far to near: share of the flakes, diameter relative to `size`, travel relative to `travel`, softness,
# opacity. The nearest are out of focus: large, soft, and only half opaque.
_LAYERS = (
    (0.70, 0.16, 0.25, 0.5, 0.75),
    (0.245, 0.34, 0.5, 0.7, 1.0),
    (0.045, 0.6, 0.8, 1.0, 0.8),
    (0.01, 1.3, 1.0, 1.2, 0.4),
)
# Flakes in a layer differ in size; these factors are relative.
_SIZES = (0.65, 1.0, 1.4)


def snow(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    density: float,
    size: float,
    travel: float = 6.0,
    angle: float = 20.0,
    opacity: float = 0.9,
    light: float = 0.97,
    veil: float = 0.0,
) -> RgbImage:
    """
    Add flakes in four layers of distance, and a veil.

    Sizes, layers and transparency follow Liu et al., "DesnowNet" (2018), section 4, whose masks overlay flakes of
    several sizes; motion and veil follow Chen et al., "All Snow Removed" (2021).

    Args:
        image: (H, W, 3) RGB uint8.
        rng: positions, strengths and the small differences of size and direction are drawn from it.
        density: flakes per 10,000 pixels, all layers together.
        size: pixels; the diameter of flakes ranges from a tenth of it, far away, to twice it, near and out of focus.
        travel: mean motion of the nearest flakes during the exposure, pixels.
        angle: of the fall, degrees from the vertical.
        opacity: of the strongest flake, 0 to 1.
        light: brightness of the flakes, 0 to 1.
        veil: share of the farthest scene that is replaced by the snowy air, 0 to 1.
    """
    if density < 0 or size <= 0 or travel < 0 or not (0 <= opacity <= 1 and 0 <= veil < 1):
        raise ValueError("expected density >= 0, size > 0, travel >= 0, opacity and veil from 0 to 1")
    shape = (image.shape[0], image.shape[1])
    seen = image.astype(np.float32)
    lay_veil(seen, 235 * light, image, rng, veil=veil, near=0.2)
    cover = np.zeros(shape, dtype=np.float32)
    for share, scale, speed, softness, strength in _LAYERS:
        way = angle + rng.normal(0.0, 12.0)
        marks = [
            flake(max(1.2, size * scale * relative), softness, travel * speed * rng.uniform(0.6, 1.4), way)
            for relative in _SIZES
        ]
        layer = scatter(shape, rng, marks, density=density * share, faintest=0.25)
        cover = 1 - (1 - cover) * (1 - np.minimum(layer, 1) * np.float32(strength))
    lay_over(seen, 255 * light, np.float32(opacity) * cover)
    return to_uint8(seen)


_level = partial(one_step_level, "snow")
_WAY = Uniform(-50.0, 50.0)
_TRAVEL = Uniform(1.0, 8.0)

DEGRADATION = Degradation(
    name="snow",
    abbreviation="S",
    kind="single",
    paper_pairs=73_005,
    operations=(NamedOperation("snow", snow),),
    levels=(
        _level("small", "as Snow100K-S", density=40.0, size=8.0, travel=_TRAVEL, angle=_WAY),
        _level("medium", "as Snow100K-M", density=60.0, size=13.0, travel=_TRAVEL, angle=_WAY),
        _level("large", "as Snow100K-L", density=75.0, size=20.0, travel=_TRAVEL, angle=_WAY),
        _level("flurry", density=12.0, size=10.0, travel=_TRAVEL, angle=_WAY),
        _level("dense", density=150.0, size=12.0, travel=_TRAVEL, angle=_WAY),
        _level("wind", "drawn out by the wind", density=70.0, size=11.0, travel=22.0, angle=Uniform(40.0, 70.0)),
        _level("calm", "hardly moving", density=50.0, size=14.0, travel=0.5, angle=0.0),
        *(
            _level(
                f"veil-{percent}",
                "with a veil, as CSD",
                density=70.0,
                size=12.0,
                travel=_TRAVEL,
                angle=_WAY,
                veil=percent / 100,
            )
            for percent in (20, 40, 60)
        ),
        _level("blizzard", density=180.0, size=14.0, travel=Uniform(10.0, 20.0), angle=_WAY, veil=0.5),
        _level(
            "any",
            density=Uniform(10.0, 150.0),
            size=Uniform(7.0, 20.0),
            travel=Uniform(0.0, 15.0),
            angle=_WAY,
            opacity=Uniform(0.7, 1.0),
            veil=Uniform(0.0, 0.5),
        ),
    ),
)
