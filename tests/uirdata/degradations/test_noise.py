from __future__ import annotations

import math

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import flat
from uirdata.degradations.noise import gaussian_noise, photon_noise, poisson_noise, salt_and_pepper
from uirdata.seeding import rng_for

SIDE = 256


def rng(purpose="noise"):
    return rng_for(0, "test", purpose)


@pytest.mark.parametrize("sigma", [5.0, 25.0, 40.0])
def test_sigma_measures_as_sigma_and_the_mean_stays(sigma):
    noise = gaussian_noise(flat(128, SIDE, SIDE), rng(), sigma=sigma).astype(float) - 128
    # Rounding adds the variance of a uniform number, 1/12; four standard errors of the estimate are 0.64 percent.
    assert noise.std() == pytest.approx(math.sqrt(sigma**2 + 1 / 12), rel=0.0064)
    # A cast instead of rounding would move the mean by half a level; four standard errors are below 0.4.
    assert abs(noise.mean()) < 4 * sigma / math.sqrt(noise.size) + 0.01


def test_gaussian_noise_is_white():
    noise = gaussian_noise(flat(128, SIDE, SIDE), rng(), sigma=25.0).astype(float) - 128
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[:, :, 1:] * noise[:, :, :-1]):
        assert abs(shifted.mean() / noise.var()) < 0.02


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_channels_are_correlated_as_asked_and_sigma_is_kept(correlation):
    noise = gaussian_noise(flat(128, SIDE, SIDE), rng(), sigma=25.0, correlation=correlation).astype(float) - 128
    assert noise.std() == pytest.approx(25.0, rel=0.012)
    assert np.corrcoef(noise[..., 0].ravel(), noise[..., 2].ravel())[0, 1] == pytest.approx(correlation, abs=0.02)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_poisson_variance_is_scale_squared_times_the_signal(scale, gray):
    levels = np.array([20, 60, 100, 140])
    variances = []
    for level in levels:
        noise = poisson_noise(flat(int(level), SIDE, SIDE), rng(f"poisson {level}"), scale=scale, gray=gray)
        noise = noise.astype(float) - level
        # Integers stay as they are at scale 1; other scales are rounded, which adds 1/12.
        variances.append(noise.var() - 1 / 12)
        assert abs(noise.mean()) < 0.25
    slope = float((levels * variances).sum() / (levels * levels).sum())
    assert slope == pytest.approx(scale**2, rel=0.03)
    assert np.allclose(variances, scale**2 * levels, rtol=0.05)


def test_gray_poisson_noise_is_the_same_in_all_channels():
    noise = poisson_noise(flat(100, 32, 32), rng(), scale=2.0, gray=True).astype(int)
    assert np.array_equal(noise[..., 0], noise[..., 1])
    assert np.array_equal(noise[..., 0], noise[..., 2])


@pytest.mark.parametrize(("peak", "level"), [(5.0, 255), (30.0, 51), (120.0, 128), (2.0, 40)])
def test_photons_are_counted_by_the_poisson_law(peak, level):
    mean = level * peak / 255
    lq = photon_noise(flat(level, SIDE, SIDE), rng(f"{peak}"), peak=peak)
    limit = math.floor(peak)  # more photons than at white are clipped
    for count in range(limit):
        expected = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
        shown = round(count * 255 / peak)
        error = math.sqrt(expected * (1 - expected) / lq.size)
        if expected > 0.001:
            assert (lq == shown).mean() == pytest.approx(expected, abs=5 * error), count


def test_photon_variance_is_the_signal_times_255_over_the_peak():
    lq = photon_noise(flat(80, SIDE, SIDE), rng(), peak=60.0).astype(float)
    assert lq.mean() == pytest.approx(80, abs=0.3)
    assert lq.var() == pytest.approx(80 * 255 / 60, rel=0.02)


def test_black_has_no_photon_noise():
    assert not photon_noise(flat(0), rng(), peak=30.0).any()
    assert not poisson_noise(flat(0), rng(), scale=3.0).any()


@pytest.mark.parametrize(("density", "salt"), [(0.05, 0.5), (0.3, 0.2), (0.1, 1.0), (0.1, 0.0)])
def test_salt_and_pepper_have_their_shares(density, salt):
    lq = salt_and_pepper(flat(100, SIDE, SIDE), rng(), density=density, salt=salt)
    white, black = (lq == 255).all(axis=2).mean(), (lq == 0).all(axis=2).mean()
    error = 4 * math.sqrt(density / SIDE**2)
    assert white == pytest.approx(density * salt, abs=error * (salt > 0))
    assert black == pytest.approx(density * (1 - salt), abs=error * (salt < 1))
    assert (lq == 100).all(axis=2).mean() == pytest.approx(1 - density, abs=error)


def test_coloured_specks_fall_on_each_channel_alone():
    lq = salt_and_pepper(flat(100, SIDE, SIDE), rng(), density=0.1, per_channel=True)
    struck = lq != 100
    assert struck.mean() == pytest.approx(0.1, abs=0.004)
    assert struck.all(axis=2).mean() < 0.005
