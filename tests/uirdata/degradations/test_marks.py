"""Streaks and flakes: their profiles, and how many and how strong they are on average."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import flat
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


def test_a_hard_flake_has_an_edge_of_seven_tenths_of_a_pixel():
    profile = flake(41.0, 0.0, 0.0, 0.0)
    middle = profile.shape[0] // 2
    inside, outside = profile[middle, middle + 20 : middle + 22].astype(float)
    # Half a pixel to either side of the radius; a logistic edge of width w rises by 4 / w in its logarithm.
    rise = math.log(inside / (1 - inside)) - math.log(outside / (1 - outside))
    assert rise == pytest.approx(4 / 0.7, rel=0.01)


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


def marks_drawn(monkeypatch, module, mark, fall, **settings):
    """Return the arguments of the nearest layer's marks, in 150 images: an array of three sizes by arguments each."""
    drawn = []
    monkeypatch.setattr(module, mark, lambda *arguments: drawn.append(arguments) or np.ones((1, 1), np.float32))
    for attempt in range(150):
        fall(flat(0, 2, 2), rng(f"{attempt}"), density=0.0, **settings)
    return np.array(drawn).reshape(150, -1, 3, len(drawn[0]))[:, -1]


def test_the_nearest_streaks_have_the_stated_length_width_and_direction_on_average(monkeypatch):
    settings = {"length": 60.0, "width": 2.0, "angle": 20.0}
    drawn = marks_drawn(monkeypatch, rain_streak, "streak", rain_streak.rain_streak, **settings)
    assert drawn[:, :, 0].mean() == pytest.approx(60.0, rel=0.02)
    assert drawn[:, :, 1].mean() == pytest.approx(2.0, rel=1e-9)
    assert drawn[:, :, 2].mean() == pytest.approx(20.0, abs=0.5)


def test_the_nearest_flakes_move_by_the_stated_way_on_average(monkeypatch):
    drawn = marks_drawn(monkeypatch, snow, "flake", snow.snow, size=20.0, travel=12.0, angle=60.0)
    assert drawn[:, :, 2].mean() == pytest.approx(12.0, rel=0.03)
    # The direction of a layer differs from it by 12 degrees: the standard error of 150 is one.
    assert drawn[:, :, 3].mean() == pytest.approx(60.0, abs=2.0)
    # A layer's share of the size, by the mean of its three sizes.
    assert drawn[:, :, 0].mean() == pytest.approx(20.0 * snow._LAYERS[-1][1] * np.mean(snow._SIZES), rel=1e-9)
