"""Raindrops against the geometry of discs scattered at random, and of a lens with a wide view of the scene."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import flat
from uirdata.degradations.light import to_light
from uirdata.degradations.raindrop import _draw_drops, raindrop
from uirdata.seeding import rng_for


def rng(purpose="drops"):
    return rng_for(0, "test", purpose)


@pytest.mark.parametrize(("size", "spread", "density"), [(5.0, 0.0, 400.0), (3.0, 0.4, 1000.0)])
def test_drops_cover_what_discs_at_random_places_cover(size, spread, density):
    cover = _draw_drops(1500, 1500, rng(f"{spread}"), density=density, size=size, spread=spread, view=0.8).cover.sum()

    def moment(k):
        # Of a number whose logarithm is normal: the median to the power of k, times exp(k^2 spread^2 / 2).
        return size**k * math.exp((k * spread) ** 2 / 2)

    # Small drops are taller than wide by up to 0.35 / 12 of their radius; waves of 0.02 to 0.1 add half of their
    # mean square each, and there are three.
    area = math.pi * (moment(2) + 0.5 * 0.35 / 12 * moment(3)) * (1 + 1.5 * (0.1**3 - 0.02**3) / (3 * 0.08))
    # What a Boolean model leaves uncovered: exp(-density * area).
    assert -math.log(1 - cover / 1500**2) == pytest.approx(density / 100_000 * area, rel=0.02)


def one_drop(*, size=24.0, view=0.6):
    """Return a drop that lies completely in an image of 160 lines of 200 pixels."""
    drops = _draw_drops(160, 200, rng_for(15, "one", "drop"), density=1.4, size=size, spread=0.0, view=view)
    rows, columns = np.divmod(drops.where, 200)
    assert rows.min() > 0
    assert columns.max() < 199
    return drops, rows, columns


@pytest.mark.parametrize("view", [0.4, 0.6, 0.9])
def test_a_drop_shows_the_stated_share_of_the_scene_upside_down(view):
    size = 24.0
    flat_glass, _, _ = one_drop(size=size, view=0.0)
    # Flat glass shows one point, the one behind the drop's middle.
    middle_x, middle_y = flat_glass.column[0], flat_glass.row[0]
    assert np.ptp(flat_glass.column) < 1e-3
    drops, rows, columns = one_drop(size=size, view=view)
    near = np.hypot(columns - middle_x, rows - middle_y) < 0.3 * size
    # Near its middle a sphere turns the view by 2 / pi of what it turns at its rim, where half of the view is reached.
    slope, straight = np.polyfit(columns[near] - middle_x, drops.column[near], 1)
    assert slope == pytest.approx(-2 / math.pi * view * 100 / size, rel=0.02)
    # Without refraction the same point is seen, moved towards the scene's middle by the share that is in view.
    assert straight == pytest.approx(100 + (middle_x - 100) * (1 - view), abs=0.5)
    slope, straight = np.polyfit(rows[near] - middle_y, drops.row[near], 1)
    # A drop is up to 1.35 times as tall as wide, and compresses the image by as much less.
    assert 1 / 1.35 < -slope * size / (2 / math.pi * view * 80) < 1.02
    assert straight == pytest.approx(80 + (middle_y - 80) * (1 - view), abs=0.5)


def test_a_drops_rim_is_half_as_bright_as_its_middle():
    drops, _, _ = one_drop()
    whole = drops.brightness[drops.cover == 1]
    assert whole.max() == pytest.approx(1.1, rel=0.001)
    assert drops.brightness.min() / whole.max() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("opacity", [0.4, 0.9])
def test_a_drop_adds_the_skys_light_by_its_opacity(opacity):
    # Black except for a white line at the top, half of the brightest twentieth, the estimate of the sky.
    gt = flat(0, 640, 640)
    gt[:16] = 255
    lq = raindrop(gt, rng("sky"), density=40.0, size=15.0, spread=0.0, blur=0.0, view=0.0, sky=1.0, opacity=opacity)
    covered = np.zeros(640 * 640)
    drops = _draw_drops(640, 640, rng("sky"), density=40.0, size=15.0, spread=0.0, view=0.0)
    covered[drops.where] = drops.cover
    seen = to_light(lq)[100:, :, 0].sum() / covered.reshape(640, 640)[100:].sum()
    # Over the disc: brighter in the middle, and more sky the lower.
    y, x = np.mgrid[-1:1:801j, -1:1:801j]
    distance = np.hypot(x, y)
    share = ((1.1 - 0.55 * distance**5) * np.clip(0.35 + 0.75 * y, 0, 1))[distance <= 1].mean()
    assert seen == pytest.approx(opacity * 0.5 * share, rel=0.02)
