"""Streaks and flakes: their profiles, and how many and how strong they are on average."""

from __future__ import annotations

import math

import numpy as np
import pytest

from uirdata.degradations import rain_streak, snow
from uirdata.degradations.particles import flake, scatter, streak
from uirdata.seeding import rng_for


def rng(purpose="marks"):
    return rng_for(0, "test", purpose)


@pytest.mark.parametrize("length", [60.0, 201.0])
def test_a_streak_fades_as_a_raised_cosine_over_the_last_third_of_each_half(length):
    along = streak(length, 3.0, 0.0)
    along = along[:, along.shape[1] // 2]
    fade = length / 6 + 0.5
    # A raised cosine is half full, on either side.
    assert along.sum() == pytest.approx(length - fade, rel=0.002)
    middle = len(along) // 2
    assert along[middle + math.floor(length / 2 - fade)] == pytest.approx(1, abs=1e-3)
    assert along[middle + round(length / 2 - fade / 2)] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("diameter", "softness"), [(40.0, 0.5), (30.0, 1.0)])
def test_a_flakes_edge_falls_by_its_softness(diameter, softness):
    mark = flake(diameter, softness, 0.0, 0.0)
    profile = mark[mark.shape[0] // 2, mark.shape[1] // 2 :].astype(float)
    # Steepest at the radius: one over the width of the edge, which is the radius times the softness.
    steepest = np.diff(profile).min() * -1
    assert steepest / profile.max() == pytest.approx(1 / (diameter / 2 * softness), rel=0.02)
    assert np.argmin(np.diff(profile)) == pytest.approx(diameter / 2, abs=1)


def test_a_hard_flake_is_drawn_without_jags():
    profile = flake(41.0, 0.0, 0.0, 0.0)
    profile = profile[profile.shape[0] // 2].astype(float)
    # An edge of 0.7 pixels: between 0.1 and 0.9 lie 2 * ln(9) / 4 of it.
    grid = np.linspace(0, len(profile) - 1, 100 * len(profile))
    edge = np.interp(grid, np.arange(len(profile)), profile)[: len(grid) // 2]
    assert ((edge > 0.1) & (edge < 0.9)).mean() * (len(profile) - 1) / 2 < 1.5


@pytest.mark.parametrize("faintest", [0.2, 0.6])
def test_marks_have_strengths_from_the_faintest_to_one(faintest):
    layer = scatter((1000, 1000), rng(), [np.ones((1, 1), np.float32)], density=100.0, faintest=faintest)
    mean = (1 + faintest) / 2
    # 10,000 marks; the number alone has a standard error of 1 percent.
    assert layer.sum() == pytest.approx(10_000 * mean, rel=0.025)
    # Of the marks that lie alone.
    alone = layer[(layer > 0) & (layer <= 1)]
    assert alone.min() == pytest.approx(faintest, abs=0.005)
    assert alone.max() == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("module", [rain_streak, snow])
def test_the_layers_share_the_density_that_is_asked_for(module):
    assert sum(layer[0] for layer in module._LAYERS) == pytest.approx(1, abs=1e-9)
