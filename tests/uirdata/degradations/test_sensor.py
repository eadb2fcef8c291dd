"""Camera noise against closed forms: interpolated white noise, and the definition of a published camera."""

from __future__ import annotations

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import scene
from uirdata.degradations import sensor
from uirdata.degradations.light import from_light, to_light
from uirdata.degradations.low_light import low_light
from uirdata.degradations.real_noise import _smooth_colour, camera_noise
from uirdata.seeding import rng_for

# Brooks et al., "Unprocessing Images for Learned Raw Denoising" (2019): from XYZ to the four cameras of the Darmstadt
# Noise Dataset, as their published code has them.
XYZ_TO_CAMERAS = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
# IEC 61966-2-1: the primaries of sRGB.
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
SIDE = 512


def noise_on_the_sensor(light, *, red_gain=1.0, blue_gain=1.0, height=SIDE, width=SIDE, **noise):
    """Return the interpolated noise before white balance and colour matrix; red is first, at even rows and columns."""
    gray = np.full((height, width, 3), light, np.float32)
    rng = rng_for(0, "test", "sensor")
    developed = sensor.bayer_noise(gray, rng, red_gain=red_gain, blue_gain=blue_gain, **noise)
    return developed @ np.linalg.inv(sensor._TO_SRGB).T / [red_gain, 1.0, blue_gain]


def test_the_camera_is_the_mean_of_the_four_of_the_darmstadt_noise_dataset():
    to_camera = XYZ_TO_CAMERAS.mean(axis=0) @ SRGB_TO_XYZ
    to_camera /= to_camera.sum(axis=1, keepdims=True)
    assert np.allclose(sensor._TO_SRGB, np.linalg.inv(to_camera), atol=0.001)


def test_white_balance_and_colour_matrix_leave_gray_alone():
    assert np.allclose(sensor._TO_SRGB.sum(axis=1), 1, atol=1e-9)
    assert np.allclose(sensor._TO_CAMERA @ sensor._TO_SRGB, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("channel", "gains"), [(0, (2.4, 1.0)), (2, (1.0, 1.8))])
def test_a_channel_collects_fewer_electrons_by_its_gain(channel, gains):
    noise = noise_on_the_sensor(0.3, electrons=500.0, read_noise=0.0, red_gain=gains[0], blue_gain=gains[1])
    own = noise[channel // 2 :: 2, channel // 2 :: 2, channel]
    # Four standard errors of the variance of 65,536 values are 2.2 percent.
    assert own.var() == pytest.approx(0.3 / max(gains) / 500, rel=0.022)


def test_saturated_colours_reach_the_sensor_by_the_cameras_inverse():
    # Only red light: the green pixels see what the inverse of the matrix says, and count accordingly.
    red = np.zeros((SIDE, SIDE, 3), np.float32)
    red[..., 0] = 0.8
    rng = rng_for(0, "test", "red")
    developed = sensor.bayer_noise(red, rng, electrons=200.0, read_noise=0.0, red_gain=1.0, blue_gain=1.0)
    noise = developed @ np.linalg.inv(sensor._TO_SRGB).T
    seen = 0.8 * np.linalg.inv(sensor._TO_SRGB)[:2, 0]
    assert noise[0::2, 0::2, 0].var() == pytest.approx(seen[0] / 200, rel=0.022)
    assert noise[0::2, 1::2, 1].var() == pytest.approx(seen[1] / 200, rel=0.022)


def test_red_is_interpolated_with_half_of_greens_help():
    noise = noise_on_the_sensor(0.0, electrons=100.0, read_noise=10.0)
    variance = (10.0 / 100.0) ** 2
    half = 0.5
    # Green pixel between two reds: half of each red, minus its common part with green, plus its own. Its own
    # green comes in with half * (1 - 1/4), six other greens with half / 8 each.
    between, green = noise[0::2, 1::2, 0], noise[0::2, 1::2, 1]
    expected = 2 * 0.5**2 + (0.75 * half) ** 2 + 6 * (half / 8) ** 2
    assert between.var() == pytest.approx(expected * variance, rel=0.015)
    assert (between * green).mean() == pytest.approx(0.75 * half * variance, rel=0.03)
    # Blue pixel amid four reds: a quarter of each; four greens with half / 8, eight with half / 16.
    amid = noise[1::2, 1::2, 0]
    expected = 4 * 0.25**2 + 4 * (half / 8) ** 2 + 8 * (half / 16) ** 2
    assert amid.var() == pytest.approx(expected * variance, rel=0.03)


def test_interpolation_leaves_what_is_constant_alone():
    ones = np.zeros((12, 14), np.float32)
    ones[0::2, 1::2] = ones[1::2, 0::2] = 1
    assert np.array_equal(sensor._filter(ones, sensor._CROSS)[1:-1, 1:-1], np.ones((10, 12)))
    ones[:] = 0
    ones[1::2, 0::2] = 1
    assert np.array_equal(sensor._filter(ones, sensor._SQUARE)[1:-1, 1:-1], np.ones((10, 12)))


def test_a_row_has_its_noise_in_common():
    height = 16384
    noise = noise_on_the_sensor(0.0, electrons=100.0, read_noise=0.0, row_noise=5.0, height=height, width=8)
    own = noise[0::2, 1::2, 1]
    assert np.allclose(own, own[:, :1], atol=1e-3)
    # One number a row: four standard errors of the deviation of 8,192 rows are 3.1 percent.
    assert own[:, 0].std() == pytest.approx(5.0 / 100.0, rel=0.031)


@pytest.mark.parametrize("sigma", [3.0, 4.0])
def test_the_cameras_denoising_blurs_colour_by_sigma_and_brightness_by_a_fifth(sigma):
    spot = np.zeros((81, 81, 3), np.float32)
    spot[36:45, 36:45] = 1.0
    coloured = spot * np.array([1.0, -1.0, 0.0], np.float32)
    rows = np.mgrid[0:81, 0:81][0] - 40
    for image, expected in ((spot, sigma / 5), (coloured, sigma)):
        seen = _smooth_colour(image, sigma)[..., 0].astype(float)
        assert seen.sum() == pytest.approx(81, rel=0.01)
        # Nine pixels in a row have a variance of (9^2 - 1) / 12.
        assert (seen * rows**2).sum() / seen.sum() - 80 / 12 == pytest.approx(expected**2, rel=0.04)


def test_a_photograph_gets_the_noise_of_its_light():
    gt, light = scene(), to_light(scene())
    settings = {"electrons": 300.0, "read_noise": 4.0, "red_gain": 2.2, "blue_gain": 1.5, "row_noise": 2.0}
    noise = sensor.bayer_noise(light, rng_for(0, "test", "photograph"), phase="gbrg", **settings)
    lq = camera_noise(gt, rng_for(0, "test", "photograph"), phase="gbrg", **settings)
    assert np.array_equal(lq, from_light(light + noise))


def test_a_dark_photograph_gets_the_noise_of_the_light_that_is_left():
    gt, light = scene(), to_light(scene()) / 4
    noise = sensor.bayer_noise(light, rng_for(0, "test", "dark"), electrons=900.0, read_noise=6.0)
    lq = low_light(gt, rng_for(0, "test", "dark"), stops=2.0, electrons=900.0, read_noise=6.0)
    assert np.array_equal(lq, from_light(light + noise))
