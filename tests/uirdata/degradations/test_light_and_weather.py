from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import flat, random_image, scene
from uirdata.degradations import sensor
from uirdata.degradations.depth import draw_depth
from uirdata.degradations.haze import RESIDE_AIRLIGHTS, RESIDE_BETAS, apply_haze, haze
from uirdata.degradations.light import from_light, quantise, to_light
from uirdata.degradations.low_light import low_light
from uirdata.degradations.moire import _profile, moire
from uirdata.degradations.particles import flake, scatter, streak
from uirdata.degradations.rain_streak import rain_streak
from uirdata.degradations.raindrop import _defocus, raindrop
from uirdata.degradations.real_noise import camera_noise
from uirdata.degradations.snow import snow
from uirdata.seeding import rng_for


def rng(purpose="weather"):
    return rng_for(0, "test", purpose)


@pytest.mark.parametrize("curve", ["srgb", "gamma-2p2", "linear"])
def test_light_and_back_is_the_image(curve):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(from_light(to_light(levels, curve), curve), levels)


def test_srgb_is_the_standards():
    # IEC 61966-2-1: linear up to 0.04045, a power of 2.4 above.
    light = to_light(np.array([[[10, 128, 255]]], np.uint8))
    assert np.allclose(light, [[[10 / 255 / 12.92, ((128 / 255 + 0.055) / 1.055) ** 2.4, 1.0]]], atol=1e-7)


def test_a_curve_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="srgb"):
        to_light(scene(), "rec709")


@pytest.mark.parametrize(("stops", "white"), [(1, 188), (2, 137), (3, 99), (4, 71)])
def test_every_stop_halves_the_light(stops, white):
    # 255 times the sRGB curve at 1/2, 1/4, 1/8 and 1/16: 187.5, 137.0, 99.1, 70.7.
    assert np.unique(low_light(flat(255), rng(), stops=float(stops))) == white
    gt = flat(200)
    ratio = to_light(low_light(gt, rng(), stops=1.0)).mean() / to_light(gt).mean()
    assert ratio == pytest.approx(0.5, abs=0.004)


def test_no_missing_light_is_the_image():
    assert np.array_equal(low_light(scene(), rng(), stops=0.0), scene())


@pytest.mark.parametrize(("channel", "gains"), [(0, (3.0, 1.0)), (2, (1.0, 3.0))])
def test_a_channel_that_is_amplified_has_more_noise(channel, gains):
    gray = np.full((256, 256, 3), 0.3, np.float32)
    plain = sensor.bayer_noise(gray, rng(), electrons=500.0, read_noise=0.0, red_gain=1.0, blue_gain=1.0)
    raised = sensor.bayer_noise(gray, rng(), electrons=500.0, read_noise=0.0, red_gain=gains[0], blue_gain=gains[1])
    assert raised[..., channel].std() > 1.3 * plain[..., channel].std()


def test_a_converters_steps_are_equal_and_end_at_white():
    light = np.linspace(-0.2, 1.2, 1001, dtype=np.float32)
    assert np.allclose(np.unique(quantise(light, 3)) * 7, np.arange(8), atol=1e-6)


def test_a_converter_of_few_bits_leaves_few_levels():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    assert len(np.unique(low_light(ramp, rng(), stops=0.0, bits=3))) == 8
    assert len(np.unique(low_light(ramp, rng(), stops=2.0, bits=4))) == 5


@pytest.mark.parametrize(("light", "read_noise"), [(0.5, 0.0), (0.1, 12.0), (0.0, 12.0)])
def test_the_sensor_counts_photons_and_adds_its_read_noise(light, read_noise):
    electrons = 1000.0
    noise = sensor.bayer_noise(
        np.full((256, 256, 3), light, np.float32),
        rng(),
        electrons=electrons,
        read_noise=read_noise,
        red_gain=1.0,
        blue_gain=1.0,
        phase="grbg",
    )
    # Back on the sensor, where green was sampled: at (0, 0) and (1, 1) of every cell.
    green = (noise @ np.linalg.inv(sensor._TO_SRGB).T)[..., 1]
    expected = light / electrons + (read_noise / electrons) ** 2
    sampled = np.stack([green[0::2, 0::2], green[1::2, 1::2]])
    # Four standard errors of the variance of 32,768 values are 3.1 percent.
    assert sampled.var() == pytest.approx(expected, rel=0.035)
    # Where it was not, four neighbours were averaged.
    assert green[0::2, 1::2].var() == pytest.approx(expected / 4, rel=0.06)


def test_four_times_the_electrons_halve_the_noise():
    light = np.full((96, 96, 3), 0.4, np.float32)
    few = sensor.bayer_noise(light, rng(), electrons=500.0, read_noise=0.0)
    many = sensor.bayer_noise(light, rng(), electrons=2000.0, read_noise=0.0)
    # Both in steps of 2^-15, through the colour matrix.
    assert np.allclose(few, 2 * many, rtol=1e-4, atol=5e-4)


def test_camera_noise_is_coarse_strongest_in_red_and_leaves_the_mean():
    noise = camera_noise(flat(140, 128, 128), rng(), electrons=400.0, read_noise=3.0).astype(float) - 140
    deviation = noise.std(axis=(0, 1))
    assert deviation[0] > 1.3 * deviation[1]
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean(axis=(0, 1)) / noise.var(axis=(0, 1))
    assert (neighbours > 0.3).all()
    assert np.abs(noise.mean(axis=(0, 1))).max() < 2


def test_the_cameras_own_denoising_smooths_colour_more_than_brightness():
    gt = flat(140, 128, 128)
    raw = camera_noise(gt, rng(), electrons=400.0, read_noise=3.0).astype(float)
    smooth = camera_noise(gt, rng(), electrons=400.0, read_noise=3.0, smoothing=2.0).astype(float)
    brightness = smooth.mean(axis=2).std() / raw.mean(axis=2).std()
    colour = (smooth[..., 0] - smooth[..., 1]).std() / (raw[..., 0] - raw[..., 1]).std()
    assert colour < 0.6 * brightness


def test_haze_inverts_to_the_gt_with_the_known_depth():
    gt = random_image(40, 50)
    depth = np.linspace(0.5, 6.0, 2000).reshape(40, 50)
    for airlight, beta in ((0.8, 0.04), (0.9, 0.12), (1.0, 0.2)):
        lq = apply_haze(gt, depth, airlight=airlight, beta=beta)
        transmission = np.exp(-beta * depth)[..., None]
        inverted = (lq - 255 * airlight) / transmission + 255 * airlight
        assert (np.abs(inverted - gt) <= 0.5 / transmission + 1e-6).all()


def test_haze_has_the_stated_airlight_and_scattering():
    black, white = flat(0), flat(255)
    depth = np.full((128, 128), 3.0)
    low, high = (apply_haze(gt, depth, airlight=0.8, beta=0.2).mean() for gt in (black, white))
    assert (high - low) / 255 == pytest.approx(math.exp(-0.6), abs=0.004)
    assert np.unique(apply_haze(white, np.full((128, 128), 1e3), airlight=0.8, beta=0.2)) == 204


def test_the_35_settings_of_reside_are_among_the_levels():
    from uirdata.degradations import DEGRADATIONS

    settings = set()
    for level in DEGRADATIONS["haze"].levels:
        parameters = level.steps[0].parameters
        settings.add((parameters["airlight"], parameters["beta"]) if level.note == "RESIDE-OTS" else None)
    expected = {(a, b) for a in (0.8, 0.85, 0.9, 0.95, 1.0) for b in (0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2)}
    assert settings - {None} == expected
    assert len(RESIDE_AIRLIGHTS) * len(RESIDE_BETAS) == 35


def test_warm_air_is_red_and_cold_air_is_blue():
    warm = haze(flat(0), rng(), airlight=0.8, beta=0.5, warmth=0.3).mean(axis=(0, 1))
    cold = haze(flat(0), rng(), airlight=0.8, beta=0.5, warmth=-0.3).mean(axis=(0, 1))
    assert warm[0] > warm[1] > warm[2]
    assert cold[0] < cold[1] < cold[2]


@pytest.mark.parametrize(("warmth", "share"), [(0.4, (1.0, 0.8, 0.6)), (-0.2, (0.8, 0.9, 1.0))])
def test_the_colour_of_the_air_is_the_stated_one(warmth, share):
    # Air so thick that nothing else is seen.
    air = haze(flat(0), rng(), airlight=0.8, beta=50.0, warmth=warmth)
    assert np.array_equal(np.unique(air.reshape(-1, 3), axis=0), [np.rint(255 * 0.8 * np.array(share))])


def test_a_drawn_depth_fills_its_range_and_recedes_upwards():
    depths = [draw_depth(scene(90, 120), rng(f"{i}"), near=1.0, far=5.0, roughness=0.2) for i in range(8)]
    for depth in depths:
        assert depth.shape == (90, 120)
        assert depth.min() == pytest.approx(1.0, abs=0.01)
        assert depth.max() == pytest.approx(5.0, abs=0.01)
    mean = np.mean(depths, axis=0)
    assert mean[:30].mean() > mean[-30:].mean() + 0.5


def test_a_streak_has_its_length_width_and_direction():
    mark = streak(201.0, 3.0, 0.0)
    assert np.flatnonzero(mark[:, mark.shape[1] // 2]).size == pytest.approx(201, abs=5)
    # The integral of a Gaussian that is half as high at its width: width * sqrt(pi / (4 ln 2)).
    assert mark[mark.shape[0] // 2].sum() == pytest.approx(3.0 * math.sqrt(math.pi / (4 * math.log(2))), rel=0.02)
    leaning = streak(41.0, 2.0, 30.0)
    y, x = np.mgrid[0 : leaning.shape[0], 0 : leaning.shape[1]]
    y, x = y - leaning.shape[0] // 2, x - leaning.shape[1] // 2
    # At the top (y < 0) it leans to the right.
    angle = 0.5 * math.degrees(math.atan2(2 * (leaning * x * -y).sum(), (leaning * (y * y - x * x)).sum()))
    assert angle == pytest.approx(30.0, abs=1.0)


def test_a_flake_is_half_as_bright_at_its_diameter():
    mark = flake(12.0, 0.5, 0.0, 0.0)
    # An edge that is symmetric around the radius leaves the integral at the diameter.
    assert mark[mark.shape[0] // 2].sum() == pytest.approx(12, rel=0.01)
    assert mark.max() <= 1
    drawn_out = flake(12.0, 0.5, 10.0, 0.0)
    assert drawn_out[:, drawn_out.shape[1] // 2].sum() == pytest.approx(22, rel=0.01)


def test_marks_are_as_many_as_asked_and_come_from_outside_too():
    dot = np.ones((1, 1), np.float32)
    layer = scatter((1000, 1000), rng(), [dot], density=500.0, faintest=1.0)
    assert layer.sum() == pytest.approx(50_000, abs=4 * math.sqrt(50_000))
    wide = scatter((300, 400), rng(), [np.ones((41, 41), np.float32)], density=5.0)
    assert wide[:20].mean() == pytest.approx(wide.mean(), rel=0.4)


def test_rain_brightens_what_is_darker_than_its_light_and_spares_what_is_not():
    gt = random_image(128, 128)
    lq = rain_streak(gt, rng(), density=60.0, length=30.0, light=0.8)
    dark = gt <= 204
    assert (lq[dark] >= gt[dark]).all()
    assert (lq[~dark] <= gt[~dark]).all()
    assert np.array_equal(rain_streak(flat(204), rng(), density=60.0, length=30.0, light=0.8), flat(204))


@pytest.mark.parametrize("angle", [-35.0, 0.0, 35.0])
def test_rain_falls_in_the_asked_direction(angle):
    lq = rain_streak(flat(40, 256, 256), rng(), density=40.0, length=40.0, angle=angle)[..., 0].astype(float)
    # Differences of neighbours bend the direction of what is a pixel wide.
    down, right = np.gradient(cv2.GaussianBlur(lq, (0, 0), 2.0))
    # The structure tensor: streaks lie across the mean gradient.
    across = 0.5 * math.degrees(math.atan2(2 * (right * down).mean(), (right * right - down * down).mean()))
    assert across == pytest.approx(angle, abs=3.5)


def test_rain_falls_in_the_asked_direction_on_average():
    angles = []
    for seed in range(12):
        gt = flat(40, 160, 160)
        lq = rain_streak(gt, rng(f"{seed}"), density=25.0, length=50.0, angle=40.0)[..., 0].astype(float)
        down, right = np.gradient(cv2.GaussianBlur(lq, (0, 0), 2.0))
        angles.append(0.5 * math.degrees(math.atan2(2 * (right * down).mean(), (right * right - down * down).mean())))
    # The layers' own directions differ from it by 1.5 degrees.
    assert np.mean(angles) == pytest.approx(40.0, abs=1.2)


@pytest.mark.parametrize(("fall", "size"), [(rain_streak, {"length": 40.0}), (snow, {"size": 12.0})])
def test_the_strongest_mark_covers_as_much_as_stated(fall, size):
    # So many that somewhere nothing shows through the marks but what their opacity lets through.
    lq = fall(flat(0), rng(), density=20000.0, opacity=0.6, light=0.8, **size)
    assert lq.max() == pytest.approx(255 * 0.8 * 0.6, abs=1)


@pytest.mark.parametrize(("fall", "size", "air"), [(rain_streak, {"length": 40.0}, 225), (snow, {"size": 12.0}, 235)])
def test_the_veil_is_strongest_where_the_scene_is_farthest(fall, size, air):
    lq = fall(scene(80, 80) // 255, rng(), density=0.0, veil=0.5, light=0.8, **size)
    assert lq.max() == pytest.approx(air * 0.8 * 0.5, abs=1)


def test_rain_covers_more_the_denser_it_is():
    covers = [(rain_streak(flat(40), rng(), density=d, length=30.0) > 44).mean() for d in (5.0, 20.0, 80.0)]
    assert covers[0] < 0.6 * covers[1] < 0.36 * covers[2] * 2


def test_snow_covers_and_veils():
    gt = flat(40, 200, 200)
    bare = snow(gt, rng(), density=40.0, size=12.0)
    assert np.median(bare) == pytest.approx(40, abs=4)
    assert (bare > 150).mean() > 0.005
    veiled = snow(gt, rng(), density=40.0, size=12.0, veil=0.5)
    assert np.median(veiled) > 70


def test_a_drop_shows_the_scene_upside_down():
    gt = flat(110, 240, 240)
    gt[:60] = (230, 20, 20)
    gt[180:] = (20, 20, 230)
    lq = raindrop(gt, rng(), density=40.0, size=18.0, spread=0.0, blur=0.0, sky=0.0, opacity=1.0)[70:170].astype(int)
    red, blue = lq[..., 0] - lq[..., 2] > 60, lq[..., 2] - lq[..., 0] > 60
    assert red.sum() > 200
    assert blue.sum() > 200
    # In the gray middle, a drop's blue lies some pixels above its red.
    above = sum((blue[:-gap] & red[gap:]).sum() for gap in (26, 30, 34))
    below = sum((red[:-gap] & blue[gap:]).sum() for gap in (26, 30, 34))
    assert above > 4 * below


def test_the_sky_comes_in_at_a_drops_lower_end():
    gt = flat(60, 240, 240)
    gt[:40] = 250
    bare, lit = (
        raindrop(gt, rng(), density=40.0, size=18.0, blur=0.0, sky=sky).astype(int)[60:].sum() for sky in (0.0, 1.0)
    )
    assert lit > 1.05 * bare


@pytest.mark.parametrize("blur", [2.0, 5.0, 9.5])
def test_a_drop_is_blurred_by_the_stated_sigma(blur):
    spot = np.zeros((121, 122, 4), np.float32)
    spot[55:66, 56:67] = 1.0
    spread = _defocus(spot, blur)[..., 0].astype(float)
    assert spread.sum() == pytest.approx(121, rel=0.01)
    rows, columns = np.mgrid[0:121, 0:122]
    for offset in (rows - 60, columns - 61):
        # Eleven pixels in a row have a variance of (11^2 - 1) / 12.
        assert (spread * offset**2).sum() / spread.sum() == pytest.approx(blur**2 + 10, rel=0.03)


def test_no_drops_is_the_image():
    assert np.array_equal(raindrop(scene(), rng(), density=0.0, size=8.0), scene())


@pytest.mark.parametrize("scale", [1.8, 1.7])
def test_moire_beats_at_the_difference_of_the_two_grids(scale):
    lq = moire(
        flat(150, 200, 200), rng(), scale=scale, rotation=0.0, tilt=0.0, barrel=0.0, lens=0.3, noise=0.0, phase="rggb"
    )
    red = to_light(lq)[..., 0][40:160, 40:160]
    spectrum = np.abs(np.fft.rfft((red - red.mean()).mean(axis=0) * np.hanning(120), 4096))
    peak = np.argmax(spectrum) / 4096
    # Red is sampled at every second camera pixel, scale / 2 per screen pixel; stripes repeat with each screen pixel.
    assert peak == pytest.approx(abs(1 - scale / 2), abs=0.006)


@pytest.mark.parametrize(("share", "aperture", "lens"), [(0.27, 0.5, 0.0), (0.88, 0.3, 0.1), (0.27, 0.8, 0.2)])
def test_a_camera_pixel_averages_the_stripe_over_its_area_and_the_lens(share, aperture, lens):
    grid = 64 * 32
    stripe = ((np.arange(grid) / grid - 0.1) % 1.0 < share) / share
    box = (np.minimum(np.arange(grid), grid - np.arange(grid)) / grid <= aperture / 2).astype(float)
    offsets = (np.arange(grid) - grid // 2) / grid
    # The lens' Gaussian, wrapped around the period.
    gauss = sum(np.exp(-0.5 * ((offsets + turn) / lens) ** 2) for turn in range(-3, 4)) if lens else offsets == 0
    gauss = np.roll(gauss, -(grid // 2)).astype(float)
    kernel = np.fft.fft(box / box.sum()) * np.fft.fft(gauss / gauss.sum())
    exact = np.fft.ifft(np.fft.fft(stripe) * kernel).real[::32]
    # Of a pattern with sharp edges, 32 harmonics leave a ripple.
    assert np.abs(_profile(0.1, share, aperture, lens) - exact).max() < (0.01 if lens else 0.12)
    assert _profile(0.1, share, aperture, lens).mean() == pytest.approx(1, abs=1e-6)


def test_a_lens_that_cannot_see_the_stripes_makes_no_moire():
    lq = moire(flat(150, 80, 80), rng(), scale=1.3, rotation=4.0, lens=3.0, noise=0.0)
    inner = lq[20:60, 20:60].astype(int)
    assert np.abs(inner - 150).max() <= 2


def test_the_photograph_of_a_screen_stays_aligned():
    gt = np.kron(rng("blocks").integers(40, 220, (10, 12, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    lq = moire(gt, rng(), scale=1.5, rotation=5.0, tilt=0.1, barrel=0.02, lens=0.8, noise=0.0).astype(float)
    best = min(
        ((np.roll(gt, (dy, dx), (0, 1))[8:-8, 8:-8] - lq[8:-8, 8:-8]) ** 2).mean() + 0 * (dy or dx)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    )
    assert best == ((gt[8:-8, 8:-8] - lq[8:-8, 8:-8]) ** 2).mean()


def test_outdoor_haze_lies_over_the_depths_of_the_published_pairs():
    # Their transmission with the A and beta of their names gives depths from 2.3 to 3.9, but for a percent at each end.
    lq = haze(scene(160, 160) // 255, rng(), airlight=1.0, beta=0.2)
    depth = -np.log(1 - np.clip(lq[..., 0], 1, 254) / 255) / 0.2
    assert depth.min() == pytest.approx(2.2, abs=0.05)
    assert depth.max() == pytest.approx(4.0, abs=0.05)
