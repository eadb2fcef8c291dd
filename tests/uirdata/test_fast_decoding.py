from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from uirdata import fast_decoding
from uirdata.errors import ImageError
from uirdata.fast_decoding import decode_fast
from uirdata.images import CODECS, Codec, Window, decode_image, encode_image

HEIGHT, WIDTH = 37, 45
IMAGE = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    top, left = draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))
    return Window(top, left, draw(st.integers(1, HEIGHT - top)), draw(st.integers(1, WIDTH - left)))


@settings(max_examples=60, deadline=None)
@given(windows(), st.sampled_from(["webp", "png", "jpeg"]))
def test_a_window_is_what_would_be_cut_out_of_the_whole(window: Window, kind: Codec | str) -> None:
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(IMAGE).save(file, "JPEG")
        data = file.getvalue()
    else:
        data = encode_image(IMAGE, next(codec for codec in CODECS if codec == kind))
    top, left, height, width = window
    part = decode_image(data, name="it", window=window)
    assert np.array_equal(part, decode_image(data, name="it")[top : top + height, left : left + width])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("window", [(0, 0, 38, 45), (0, 0, 37, 46), (36, 0, 2, 2), (-5, 0, 3, 5), (0, -9, 5, 3)])
def test_a_window_that_leaves_the_image_is_an_error_and_never_other_pixels(
    codec: Codec, window: tuple[int, int, int, int]
) -> None:
    data = encode_image(IMAGE, codec)
    assert decode_fast(data, window) is None
    with pytest.raises(ImageError, match=r"it: has 37 x 45 pixels, in which Window\(.*\) does not lie"):
        decode_image(data, name="it", window=Window(*window))


@pytest.mark.parametrize("kept", [8, 30, 400])
def test_a_window_of_a_webp_that_was_cut_short_is_an_error_though_its_rows_may_be_there(kept: int) -> None:
    data = encode_image(IMAGE, "webp")[:kept]
    with pytest.raises(ImageError, match="cut short or no image"):
        decode_image(data, name="it", window=Window(0, 0, 2, 2))


def test_windows_of_webp_are_cut_by_libwebp_itself() -> None:
    # If a release of the package orders the options differently, this fails; windows stay correct, but are slower.
    assert fast_decoding._window_options_work()


def test_windows_are_correct_without_libwebp_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_decoding, "_window_options_work", lambda: False)
    part = decode_fast(encode_image(IMAGE, "webp"), (3, 4, 20, 30))
    assert part is not None
    assert np.array_equal(part, IMAGE[3:23, 4:34])
