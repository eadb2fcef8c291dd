from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.conftest import synthetic_image
from uirdata.cropping import crop_boxes
from uirdata.images import RgbImage
from uirdata.screening import (
    Limits,
    Quality,
    blur_effect,
    grey_levels,
    least_sharp,
    measure,
    sharpness,
    sharpness_energies,
)

skimage_data = pytest.importorskip("skimage.data")
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")


def photograph(name: str) -> RgbImage:
    return np.asarray(getattr(skimage_data, name)(), dtype=np.uint8)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("sigma", [0, 2])
def test_the_blur_effect_is_that_of_scikit_image(name: str, sigma: int) -> None:
    reference = pytest.importorskip("skimage.measure").blur_effect

    grey = grey_levels(photograph(name))
    blurred = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), dtype=np.uint8) if sigma else grey
    assert blur_effect(blurred) == pytest.approx(reference(blurred.astype(np.float64)), abs=1e-4)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_pass_and_their_degraded_copies_do_not(name: str) -> None:
    image = photograph(name)
    assert Limits().reasons(measure(image)) == ()
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), 4), dtype=np.uint8)
    assert Limits().reasons(measure(blurred)) == ("blurred",)
    assert Limits().reasons(measure((image * 0.09).astype(np.uint8))) in {("dark",), ("flat", "dark")}
    # Half the contrast is no less sharp.
    assert measure((image * 0.5).astype(np.uint8)).blur == pytest.approx(measure(image).blur, abs=0.03)


def test_sky_with_grain_is_flat_and_not_called_blurred() -> None:
    grain = np.random.default_rng(0).normal(0, 1.5, (128, 128, 3))
    sky = np.clip(np.rint(np.linspace(150, 190, 128)[:, None, None] + grain), 0, 255).astype(np.uint8)
    assert Limits().reasons(measure(sky)) == ("flat",)
    assert Limits().reasons(measure(np.full((40, 40, 3), 9, np.uint8))) == ("flat", "dark")
    assert measure(synthetic_image(128, 128)).flatness == 0.0


def test_limits_are_reached_at_their_own_value() -> None:
    limits = Limits(flatness=0.9, blur=0.6, brightness=30)
    assert limits.reasons(Quality(0.9, 0.6, 30)) == ("flat", "dark")
    assert limits.reasons(Quality(0.89, 0.6, 31)) == ("blurred",)
    assert limits.reasons(Quality(0.89, 0.59, 31)) == ()


def test_the_energy_of_a_ramp_is_its_slope_times_the_weight_of_the_operator() -> None:
    ramp = np.repeat(np.tile(np.arange(0, 120, 3, dtype=np.uint8), (40, 1))[:, :, None], 3, axis=2)
    energies = sharpness_energies(ramp)
    # Sobel at 3 pixels sums to 8 times the slope; the two columns at the border reflect to 0.
    assert energies[0] == pytest.approx(8 * 3 * 40 * 38)
    assert len(energies) == 4
    assert np.all(np.diff(energies) > 0)


def test_ranks_multiply_the_four_energies_scaled_over_the_crops() -> None:
    table = [np.array(row, dtype=np.float64) for row in ([10, 1, 5, 7], [20, 3, 5, 9], [15, 2, 5, 8])]
    # The third energy does not differ, so it has no influence.
    assert sharpness(table).tolist() == [0.0, 1.0, 0.125]
    assert sharpness(table[:1]).tolist() == [1.0]


def test_the_blurred_half_of_an_image_is_dropped_first() -> None:
    image = synthetic_image(256, 512, 3)
    image[:, :256] = cv2.GaussianBlur(image[:, :256], (0, 0), 3)
    boxes = crop_boxes(256, 512, size=128, stride=128)
    crops = [image[box.top : box.top + 128, box.left : box.left + 128] for box in boxes]
    dropped = least_sharp(sharpness([sharpness_energies(crop) for crop in crops]), 0.5)
    assert [boxes[index].left < 256 for index in dropped] == [True] * 4


@pytest.mark.parametrize(("crops", "share", "dropped"), [(28, 0.3, 8), (3, 0.3, 0), (100, 0.29, 29), (5, 0.0, 0)])
def test_the_share_to_drop_is_rounded_down(crops: int, share: float, dropped: int) -> None:
    ranks = np.random.default_rng(1).permutation(crops) / crops
    found = least_sharp(ranks, share)
    assert len(found) == dropped
    assert set(found) == set(np.argsort(ranks)[:dropped].tolist())
