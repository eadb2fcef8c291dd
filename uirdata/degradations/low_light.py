"""Low light: a shorter exposure, with the noise and the coarse quantisation that come with it."""

from __future__ import annotations

from functools import partial

import numpy as np

from uirdata.degradations.base import Degradation, Integer, LogUniform, NamedOperation, Uniform, one_step_level
from uirdata.degradations.light import expose, from_light, quantise, to_light
from uirdata.degradations.sensor import bayer_noise
from uirdata.images import RgbImage


def low_light(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    stops: float,
    electrons: float = 0.0,
    read_noise: float = 0.0,
    bits: int = 0,
    curve: str = "srgb",
) -> RgbImage:
    """
    Reduce the exposure: each stop halves the linear light, then sensor noise and converter quantisation are added.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the noise is drawn from it, see `sensor.bayer_noise`.
        stops: number of stops by which the light is reduced, 0 or more.
        electrons: that a white pixel would collect; 0 means no noise.
        read_noise: standard deviation, electrons; used only with `electrons`.
        bits: of the converter; 0 means no quantisation.
        curve: the camera's, see `light.to_light`.
    """
    if stops < 0 or electrons < 0 or read_noise < 0 or bits < 0:
        raise ValueError("expected all parameters to be at least 0")
    light = expose(to_light(image, curve), -stops)
    if electrons:
        light = light + bayer_noise(light, rng, electrons=electrons, read_noise=read_noise)
    if bits:
        light = quantise(light, bits)
    return from_light(light, curve)


_level = partial(one_step_level, "low-light")

DEGRADATION = Degradation(
    name="low-light",
    abbreviation="LL",
    kind="single",
    # As the paper prints its rows. The ticks look exchanged: 1,385 (LOL-v1 and LOL-v2-synthetic) is ticked as real and
    # 6,289 (LOL-v2-real and LSRW, both captured) is not.
    paper_pairs=6_289,
    paper_pairs_real=1_385,
    operations=(NamedOperation("low-light", low_light),),
    levels=(
        *(_level(f"stops-{stops}", "exposure alone", stops=float(stops)) for stops in (1, 2, 3, 4, 5, 6)),
        *(
            _level(
                f"stops-{stops}-camera",
                "a camera with a large sensor",
                stops=float(stops),
                electrons=20_000.0,
                read_noise=5.0,
                bits=12,
            )
            for stops in (2, 3, 4, 5, 6)
        ),
        *(
            _level(
                f"stops-{stops}-phone", "a small sensor", stops=float(stops), electrons=3_000.0, read_noise=4.0, bits=10
            )
            for stops in (2, 3, 4, 5)
        ),
        _level(
            "any",
            "from dusk to night, any camera",
            stops=Uniform(2.0, 5.5),
            electrons=LogUniform(1_500.0, 30_000.0),
            read_noise=Uniform(2.0, 8.0),
            bits=Integer(10, 14),
        ),
    ),
)
