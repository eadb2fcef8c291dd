"""Rain streaks: drops that fall through the image during the exposure, and the veil of distant rain."""

from __future__ import annotations

from functools import partial

import numpy as np

from uirdata.degradations.base import Degradation, LogUniform, NamedOperation, Uniform, one_step_level
from uirdata.degradations.particles import lay_over, lay_veil, scatter, streak
from uirdata.images import RgbImage, to_uint8

# Layers from far to near: share of the streaks, and their length, width and opacity relative to the nearest. Farther
# streaks are shorter, finer and more, but less than by perspective (twice as far: half as long and wide, four
# times as many), because the farthest rain is not seen as streaks but as the veil.
_LAYERS = ((0.60, 0.28, 0.55, 0.55), (0.28, 0.55, 0.75, 0.8), (0.12, 1.0, 1.0, 1.0))
# Drops differ in size, and a large one falls faster: its streak is longer and wider. Relative length and width.
_SIZES = ((0.5, 0.75), (1.0, 1.0), (1.5, 1.25))


def rain_streak(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    density: float,
    length: float,
    width: float = 1.5,
    angle: float = 0.0,
    opacity: float = 0.6,
    light: float = 0.9,
    veil: float = 0.0,
) -> RgbImage:
    """
    Add streaks in three layers of distance, and a veil.

    The form is that of Yang et al., "Deep Joint Rain Detection and Removal from a Single Image" (2017), equation 3:
    several layers of streaks of different shape and direction, and the accumulation of distant rain as a haze. A streak
    is not added but blended: a drop shows the sky in place of the scene behind it for as long as it is in front of the
    pixel (Garg and Nayar, "Vision and Rain", 2007), so rain is hardly visible in front of a white wall.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: positions, strengths and the small differences of direction are drawn from it.
        density: streaks per 10,000 pixels, all layers together.
        length: of the nearest streaks, pixels.
        width: of the nearest streaks, pixels.
        angle: of the fall, degrees from the vertical; positive leans to the right at the top.
        opacity: of the strongest streak, 0 to 1.
        light: brightness of the drops, 0 to 1.
        veil: share of the farthest scene that is replaced by the air, 0 to 1.
    """
    if density < 0 or length < 1 or width <= 0 or not (0 <= opacity <= 1 and 0 <= veil < 1):
        raise ValueError("expected density >= 0, length >= 1, width > 0, opacity and veil from 0 to 1")
    height, columns = image.shape[:2]
    cover = np.zeros((height, columns), dtype=np.float32)
    for share, scale, breadth, strength in _LAYERS:
        lean = angle + rng.normal(0.0, 1.5)
        marks = [
            streak(
                max(2.0, length * scale * relative_length * rng.uniform(0.85, 1.15)),
                max(0.8, width * breadth * relative_width),
                lean,
            )
            for relative_length, relative_width in _SIZES
        ]
        layer = scatter((height, columns), rng, marks, density=density * share, faintest=0.2)
        # Drops in front of drops: their transmissions are multiplied.
        cover = 1 - (1 - cover) * (1 - np.minimum(layer * np.float32(strength), 1))
    seen = image.astype(np.float32)
    lay_veil(seen, 225 * light, image, rng, veil=veil, near=0.15)
    lay_over(seen, 255 * light, np.float32(opacity) * cover)
    return to_uint8(seen)


_level = partial(one_step_level, "rain-streak")
_SLANT = Uniform(-30.0, 30.0)
_LIGHT = Uniform(0.8, 1.0)

DEGRADATION = Degradation(
    name="rain-streak",
    abbreviation="RS",
    kind="single",
    paper_pairs=28_422,
    paper_pairs_real=11_150,
    operations=(NamedOperation("rain-streak", rain_streak),),
    levels=(
        _level("drizzle", density=60.0, length=14.0, width=1.0, angle=_SLANT, opacity=0.6, light=_LIGHT),
        _level(
            "light",
            "as Rain100L: few streaks, one direction",
            density=18.0,
            length=50.0,
            width=2.2,
            angle=_SLANT,
            opacity=0.8,
            light=_LIGHT,
        ),
        _level("moderate", density=45.0, length=50.0, width=2.0, angle=_SLANT, opacity=0.75, light=_LIGHT),
        _level(
            "heavy",
            "as Rain100H: dense and bright",
            density=75.0,
            length=Uniform(65.0, 140.0),
            width=Uniform(1.6, 2.4),
            angle=Uniform(-20.0, 20.0),
            opacity=0.85,
            light=Uniform(0.9, 1.0),
        ),
        _level(
            "long-faint",
            "drawn out and soft, under a veil, as in layered images of heavy rain",
            density=Uniform(25.0, 50.0),
            length=Uniform(120.0, 220.0),
            width=Uniform(1.6, 3.0),
            angle=Uniform(-12.0, 12.0),
            opacity=Uniform(0.3, 0.5),
            light=_LIGHT,
            veil=Uniform(0.1, 0.5),
        ),
        _level("storm", density=120.0, length=70.0, width=2.2, angle=_SLANT, opacity=0.7, light=_LIGHT, veil=0.35),
        _level(
            "fine-dense",
            "thin and many, as in CDD-11",
            density=160.0,
            length=35.0,
            width=1.1,
            angle=_SLANT,
            opacity=0.6,
            light=_LIGHT,
        ),
        *(
            _level(
                f"slant-{'left' if angle < 0 else 'right'}-{abs(angle)}",
                density=50.0,
                length=50.0,
                width=2.0,
                angle=float(angle),
                opacity=0.75,
                light=_LIGHT,
            )
            for angle in (-45, -20, 20, 45)
        ),
        *(
            _level(
                f"veil-{percent}",
                "streaks and the haze of distant rain, as Outdoor-Rain",
                density=90.0,
                length=40.0,
                width=1.4,
                angle=_SLANT,
                opacity=0.5,
                light=_LIGHT,
                veil=percent / 100,
            )
            for percent in (20, 40, 60)
        ),
        _level(
            "any",
            density=Uniform(10.0, 110.0),
            length=LogUniform(14.0, 140.0),
            width=Uniform(1.0, 2.4),
            angle=_SLANT,
            opacity=Uniform(0.4, 0.85),
            light=_LIGHT,
            veil=Uniform(0.0, 0.4),
        ),
    ),
)
