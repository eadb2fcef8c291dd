"""Noise of a real camera: added on the sensor, under the colour filter, and developed with the image."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import (
    Choice,
    Degradation,
    Draw,
    LogUniform,
    NamedOperation,
    Uniform,
    Value,
    one_step_level,
)
from uirdata.degradations.kernels import smooth
from uirdata.degradations.light import from_light, to_light
from uirdata.degradations.sensor import BAYER_PHASES, bayer_noise
from uirdata.images import RgbImage


def camera_noise(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    electrons: float,
    read_noise: float,
    red_gain: float = 2.0,
    blue_gain: float = 1.7,
    row_noise: float = 0.0,
    smoothing: float = 0.0,
    phase: str = "rggb",
) -> RgbImage:
    """
    Convert the image to linear light, add a sensor's noise, and develop it again.

    The sRGB curve is inverted, the noise of `sensor.bayer_noise` is added, and the curve is applied again. This
    distinguishes the noise of SIDD from white noise: stronger in the shadows after the curve, coarser and stronger in
    red and blue, correlated between the channels.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: one normal number per pixel is drawn, and one per row if there is row noise.
        electrons: that a white pixel collects before white balance: 20,000 for a large sensor at base ISO, a tenth of
            that for a phone; halves with every doubling of the ISO.
        read_noise: standard deviation, electrons.
        red_gain: of the white balance.
        blue_gain: of the white balance.
        row_noise: standard deviation of the common offset of a row, electrons.
        smoothing: sigma of the camera's own denoising of colour, pixels, a fifth of it for brightness; 0 means none.
        phase: of the Bayer filter: "rggb", "grbg", "gbrg" or "bggr".
    """
    if smoothing < 0:
        raise ValueError("expected a smoothing of at least 0")
    light = to_light(image)
    developed = bayer_noise(
        light,
        rng,
        electrons=electrons,
        read_noise=read_noise,
        red_gain=red_gain,
        blue_gain=blue_gain,
        row_noise=row_noise,
        phase=phase,
    )
    if smoothing:
        developed = _smooth_colour(developed, smoothing)
    return from_light(light + developed)


def _smooth_colour(noise: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    # Cameras smooth colour far more than brightness, which leaves blotches of colour: five times as far, according to
    # the correlation of neighbours in the published pairs of PolyU, Nam and CC15.
    # The smoothing is linear: brightness may be subtracted before or after.
    brightness = (noise[:, :, 0] + noise[:, :, 1] + noise[:, :, 2]) * np.float32(1 / 3)
    colour, coarse = smooth(noise, sigma, steps=8192), smooth(brightness, sigma, steps=8192)
    fine = smooth(brightness, sigma / 5, steps=8192)
    return np.asarray(colour + (fine - coarse)[:, :, None], dtype=np.float32)


_GAINS: dict[str, Value | Draw] = {
    "red_gain": Uniform(1.7, 2.4),
    "blue_gain": Uniform(1.4, 2.0),
    "phase": Choice(tuple(BAYER_PHASES)),
}

_level = partial(one_step_level, "camera-noise", **_GAINS)

DEGRADATION = Degradation(
    name="real-noise",
    abbreviation="RN",
    kind="single",
    paper_pairs_real=30_608,
    operations=(NamedOperation("camera-noise", camera_noise),),
    levels=(
        *(
            _level(f"camera-iso-{iso}", "a large sensor", electrons=round(40_000 * 100 / iso, 3), read_noise=3.0)
            for iso in (1600, 3200, 6400, 12800, 25600)
        ),
        *(
            _level(f"phone-iso-{iso}", "a small sensor, as SIDD", electrons=round(5_000 * 100 / iso, 3), read_noise=2.5)
            for iso in (100, 400, 800, 1600, 3200)
        ),
        *(
            _level(
                f"developed-iso-{iso}",
                "with the camera's own denoising, as CC15 and PolyU",
                electrons=round(40_000 * 100 / iso, 3),
                read_noise=3.0,
                smoothing=3.0,
            )
            for iso in (1600, 3200, 6400)
        ),
        _level("banding", "rows in common", electrons=200.0, read_noise=4.0, row_noise=3.0),
        _level(
            "any",
            "any of these cameras",
            electrons=LogUniform(120.0, 5_000.0),
            read_noise=Uniform(1.5, 5.0),
            row_noise=Choice((0.0, 1.0), (0.8, 0.2)),
            smoothing=Choice((0.0, 2.0, 3.0), (0.6, 0.2, 0.2)),
        ),
    ),
)
