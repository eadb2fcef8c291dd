from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import synthetic_image
from uirdata.similarity.alignment import common_parts, correlation, cut, flip_image
from uirdata.similarity.fingerprints import Placement


def test_common_parts_show_the_same_pixels() -> None:
    image = synthetic_image(120, 160)
    one, other = image[20:100, 10:90], image[50:120, 40:160]
    one_part, other_part = common_parts(one.shape, other.shape, Placement("", 1.0, -30, -30, 9, 0.0))
    assert one_part == (30, 30, 50, 50)
    assert other_part == (0, 0, 50, 50)
    assert np.array_equal(cut(one, one_part), cut(other, other_part))


def test_an_image_of_half_the_size_is_found_at_twice_its_length() -> None:
    one_part, other_part = common_parts((50, 60), (200, 200), Placement("", 2.0, 100, -20, 9, 0.0))
    assert one_part == (10, 0, 40, 50)
    assert other_part == (0, 100, 80, 100)


def test_images_that_do_not_overlap_have_no_common_part() -> None:
    one_part, other_part = common_parts((50, 50), (50, 50), Placement("", 1.0, 80, 0, 2, 0.0))
    assert 0 in one_part[2:]
    assert 0 in other_part[2:]


def test_correlation_ignores_brightness_and_knows_others() -> None:
    image = synthetic_image(100, 120, 1)
    assert correlation(image, (image * 0.5 + 30).astype(np.uint8)) > 0.999
    assert correlation(image, synthetic_image(100, 120, 2)) < 0.7
    assert correlation(image, np.full((9, 9, 3), 7, np.uint8)) == 0.0


@pytest.mark.parametrize(("how", "corner"), [("", 0), ("horizontal", 1), ("vertical", 2), ("both", 3)])
def test_flips(how: str, corner: int) -> None:
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    assert flip_image(image, how)[0, 0, 0] == corner  # type: ignore[arg-type]
