from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from uirdata import fast_decoding
from uirdata.decoding import decode, to_eight_bits
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


MODES = ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "RGB;16", "CMYK", "transparent", "animated", "interlaced"]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(MODES),
    st.sampled_from(["PNG", "WEBP", "JPEG", "TIFF"]),
    st.sampled_from([None, 1, 3, 6, 8]),
    st.integers(1, 24),
    st.integers(1, 24),
)
def test_what_is_decoded_fast_is_what_is_decoded_with_care(
    mode: str, form: str, orientation: int | None, height: int, width: int
) -> None:
    data = encoded(mode, form, orientation, height, width)
    fast = decode_fast(data)
    careful = decode(data, "x")
    if fast is not None:
        assert np.array_equal(fast, careful.pixels)
    assert np.array_equal(decode_image(data, name="x"), to_eight_bits(careful.pixels))
    if form == "PNG" and mode == "RGB" and orientation is None:
        assert fast is not None


def encoded(mode: str, form: str, orientation: int | None, height: int, width: int) -> bytes:
    """Return an image of a mode; the nearest that the format has."""
    layers = np.random.default_rng(height * 99 + width).integers(0, 256, (height, width, 4), np.uint8)
    rgb = Image.fromarray(layers[:, :, :3])
    options: dict[str, Any] = {"lossless": True, "exact": True} if form == "WEBP" else {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    if mode == "RGB;16" or mode == "interlaced":
        return written_png(layers[:, :, :3], 16 if mode == "RGB;16" else 8, interlaced=mode == "interlaced")
    image = {
        "RGBA": lambda: Image.fromarray(layers),
        "LA": lambda: Image.fromarray(layers[:, :, 2:]),
        "I;16": lambda: Image.fromarray(layers[:, :, 0].astype(np.uint16) * 251),
        "CMYK": lambda: Image.frombytes("CMYK", (width, height), layers.tobytes()),
    }.get(mode, lambda: rgb.convert(mode) if mode in ("L", "P", "1") else rgb)()
    if mode == "transparent" and form == "PNG":
        options["transparency"] = tuple(int(value) for value in layers[0, 0, :3])
    if mode == "animated" and form in ("PNG", "WEBP"):
        options |= {"save_all": True, "append_images": [Image.fromarray(255 - layers[:, :, :3])]}
    can = {"PNG": ("CMYK",), "WEBP": ("CMYK", "I;16", "1", "LA"), "JPEG": ("RGBA", "LA", "P", "I;16", "1"), "TIFF": ()}
    file = io.BytesIO()
    (image.convert("RGB") if image.mode in can[form] else image).save(file, form, **options)
    return file.getvalue()


def written_png(rgb: NDArray[np.uint8], depth: int, *, interlaced: bool) -> bytes:
    """Return a PNG of a kind that Pillow does not write."""
    height, width = rgb.shape[:2]
    values = (rgb.astype(np.uint16) * 257 + 3).astype(">u2") if depth == 16 else rgb
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b""
    for left, top, step_x, step_y in passes if interlaced else ((0, 0, 1, 1),):
        part = values[top::step_y, left::step_x]
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, interlaced)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return data


def test_each_pass_of_an_interlaced_image_is_placed() -> None:
    assert np.array_equal(decode_image(written_png(IMAGE, 8, interlaced=True), name="x"), IMAGE)
