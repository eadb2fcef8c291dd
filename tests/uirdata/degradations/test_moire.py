"""The photograph of a screen against Fourier's series of its stripes and the geometry of the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import flat
from uirdata.degradations.light import to_light
from uirdata.degradations.moire import _camera, _screen_places, moire
from uirdata.seeding import rng_for


def rng(purpose="moire"):
    return rng_for(0, "test", purpose)


def beat(light, axis):
    """Return the complex amplitude of beats of 50 pixels along an axis of (400, 400), relative to the mean."""
    # Whole beats in both directions.
    along = light[30:380, 30:380].mean(axis=1 - axis)
    return 2 * (along * np.exp(-2j * math.pi / 50 * np.arange(350))).mean() / along.mean()


def photographed(scale, *, lens=0.0, side=400, purpose="moire", **parameters):
    settings = {"rotation": 0.0, "tilt": 0.0, "barrel": 0.0, "noise": 0.0, **parameters}
    return to_light(moire(flat(150, side, side), rng(purpose), scale=scale, lens=lens, **settings))


@pytest.mark.parametrize(("scale", "lens"), [(1.02, 0.0), (1.02, 0.15), (0.98, 0.1)])
def test_the_beat_is_as_strong_as_a_stripe_a_camera_pixel_and_a_lens_let_it_be(scale, lens):
    # The grids are shifted differently each time, and the positions are looked up in steps of a 64th.
    images = [photographed(scale, lens=lens, purpose=f"{attempt}") for attempt in range(5)]
    across, down = (np.mean([abs(beat(p[..., c], axis)) for p in images for c in range(3)]) for axis in (1, 0))
    # The first harmonic of a stripe of width w is 2 sinc(w); a camera pixel that is sensitive over 0.8 of its pitch
    # multiplies it by sinc(0.8 / scale), and the lens by the transform of its Gaussian.
    seen = 2 * np.sinc(0.8 / scale) * math.exp(-2 * (math.pi * lens / scale) ** 2)
    assert across == pytest.approx(seen * np.sinc(0.27), rel=0.008)
    # A pixel is lit over 0.88 of its height, which leaves so little that the grey levels' steps count.
    assert down == pytest.approx(seen * np.sinc(0.88), rel=0.06)


def test_the_stripes_of_a_pixel_lie_a_third_apart():
    red, green, blue = (beat(photographed(1.02)[..., channel], 1) for channel in range(3))
    for one, next_one in ((red, green), (green, blue)):
        turn = np.angle(next_one / one) / (2 * math.pi)
        assert abs(turn) == pytest.approx(1 / 3, abs=0.004)


def test_colours_are_photographed_in_their_strength_whatever_the_beat():
    light = photographed(1.3, lens=3.0)
    assert light[50:-50, 50:-50].mean() == pytest.approx(float(to_light(flat(150, 1, 1)).mean()), rel=0.005)


def test_noise_has_the_stated_deviation_before_the_colours_are_interpolated():
    sigma = 0.02
    light = photographed(1.0, lens=3.0, side=768, noise=sigma)
    spectrum = np.abs(np.fft.fft2(light - light.mean(axis=(0, 1)), axes=(0, 1))) ** 2 / light[..., 0].size
    frequency = np.fft.fftfreq(768)
    coarse = np.hypot(*np.meshgrid(frequency, frequency)) < 0.025
    coarse[0, 0] = False
    # Interpolation keeps only low frequencies: the power of white noise on every second pixel (green) or every fourth.
    for channel, share in ((0, 1 / 4), (1, 1 / 2), (2, 1 / 4)):
        assert spectrum[coarse, channel].mean() == pytest.approx(sigma**2 / share, rel=0.06)


@pytest.mark.parametrize(("scale", "rotation"), [(0.8, 10.0), (1.5, -25.0)])
def test_the_camera_sees_the_screen_at_its_scale_and_turned(scale, rotation):
    matrix, _, _ = _camera(200, 300, rng(), scale, rotation, 0.0)
    step = matrix[:2, :2] @ np.array([100.0, 0.0])
    assert np.hypot(*step) == pytest.approx(100 * scale, rel=1e-9)
    assert math.degrees(math.atan2(step[1], step[0])) == pytest.approx(rotation, abs=1e-9)


def test_a_tilted_screen_is_nearer_on_one_side_by_the_stated_share():
    height, width, tilt = 300, 400, 0.1
    matrix, _, _ = _camera(height, width, rng(), 1.0, 0.0, tilt)
    angles = np.linspace(0, 2 * math.pi, 721)
    # On the circle through the corners.
    x, y = (width - 1) / 2 + 250 * np.cos(angles), (height - 1) / 2 + 250 * np.sin(angles)
    distance = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    assert distance.max() - distance.min() == pytest.approx(tilt, rel=0.001)
    assert distance.mean() == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("barrel", [-0.05, 0.03])
def test_a_corner_is_moved_outwards_by_the_stated_share(barrel):
    x, y = _screen_places(np.eye(3), 300, 400, barrel)
    assert np.hypot(x[0, 0] - 200, y[0, 0] - 150) == pytest.approx(250 * (1 + barrel), rel=1e-4)
    # Of the way to the corner a half: a quarter of it.
    assert x[150, 300] - 200 == pytest.approx(100 * (1 + barrel * (100 / 250) ** 2), rel=1e-4)
