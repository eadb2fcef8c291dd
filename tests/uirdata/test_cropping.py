from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uirdata.cropping import Box, crop_boxes


@pytest.mark.parametrize(
    ("height", "width", "size", "stride", "published"),
    [
        (720, 1280, 512, 256, 8),  # GoPro and REDS: 2,103 x 8 and 24,000 x 8 crops
        (1120, 1680, 512, 204, 28),  # DPDD: 28 windows, of which 20 are kept
        (3000, 5328, 512, 384, 112),  # SIDD: the larger of its two image sizes
    ],
)
def test_window_counts_are_those_of_the_published_scripts(
    height: int, width: int, size: int, stride: int, published: int
) -> None:
    assert len(crop_boxes(height, width, size=size, stride=stride)) == published


@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.integers(1, 128), stride=st.integers(1, 128))
def test_windows_lie_inside_and_leave_no_pixel_out(height: int, width: int, size: int, stride: int) -> None:
    stride = min(stride, size)
    covered_rows, covered_columns = set(), set()
    for box in crop_boxes(height, width, size=size, stride=stride):
        assert box.top >= 0
        assert box.left >= 0
        assert box.top + box.height <= height
        assert box.left + box.width <= width
        assert (box.height, box.width) == (min(size, height), min(size, width))
        covered_rows.update(range(box.top, box.top + box.height))
        covered_columns.update(range(box.left, box.left + box.width))
    assert covered_rows == set(range(height))
    assert covered_columns == set(range(width))


def test_a_small_image_is_one_smaller_window() -> None:
    assert crop_boxes(40, 600, size=512, stride=256) == (Box(0, 0, 40, 512), Box(0, 88, 40, 512))


def test_sizes_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        crop_boxes(10, 10, size=0, stride=1)
