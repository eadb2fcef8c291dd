from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import picture, write_png
from uirdata.errors import ImageError
from uirdata.images import CODECS, decode_image, encode_image, image_size, pixel_sha256, read_image, to_uint8


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 48)])
def test_encoding_loses_nothing(codec: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(encode_image(image, codec), name="x"), image)  # type: ignore[arg-type]


def test_pixel_sha256_is_of_size_and_rgb_bytes() -> None:
    # sha256 of 1, 2 as little-endian 32-bit integers and six zero bytes, computed apart from this code.
    expected = "49db2fc04c98923041716383ea56517962898e0f385856b470b9b1bb12a9cdd7"
    assert pixel_sha256(np.zeros((1, 2, 3), np.uint8)) == expected
    assert pixel_sha256(np.zeros((2, 1, 3), np.uint8)) != expected


def test_rounds_instead_of_truncating() -> None:
    assert to_uint8(np.array([0.4, 0.6, 254.6, -3.0, 300.0])).tolist() == [0, 1, 255, 0, 255]


def test_a_sixteen_bit_gray_image_becomes_its_nearest_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535, 128]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0] * 3, [1] * 3, [255] * 3, [0] * 3]]


def test_alpha_is_dropped_and_palettes_are_looked_up() -> None:
    rgba = np.dstack([picture(6, 7), np.zeros((6, 7), np.uint8)])
    for mode in ("RGBA", "P"):
        buffer = io.BytesIO()
        Image.fromarray(rgba).convert(mode).save(buffer, "PNG")
        assert decode_image(buffer.getvalue(), name=mode).shape == (6, 7, 3)
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    assert np.array_equal(decode_image(buffer.getvalue(), name="x"), rgba[:, :, :3])


def test_the_camera_orientation_is_applied_to_pixels_and_size_alike(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(8, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (20, 8, 3)
    assert image_size(tmp_path / "turned.jpg") == (20, 8)


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_png(tmp_path / "cut.png", picture(40, 40))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"cut\.png: is cut short"):
        read_image(path)


def test_an_empty_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match="is empty"):
            read(tmp_path / "empty.png")
        with pytest.raises(ImageError, match="no such file"):
            read(tmp_path / "nowhere.png")


def test_a_web_page_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<!doctype html><title>Quota exceeded</title>")
    with pytest.raises(ImageError, match="no image"):
        read_image(tmp_path / "page.png")
