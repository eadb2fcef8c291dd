from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from maskdcpt.restoring.image_files import decode_image_file
from tests.conftest import synthetic_image
from uirdata.decoding import formats
from uirdata.errors import ImageError
from uirdata.images import decode_image, image_size, read_image


def encoded(form: str, **options: object) -> bytes:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    buffer = io.BytesIO()
    Image.fromarray(synthetic_image(48, 64, 3)).save(buffer, form, quality=95, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_photographs_of_phones_are_read(tmp_path: Path, form: str) -> None:
    data = encoded(form)
    path = tmp_path / f"IMG_1.{form.lower()}"
    path.write_bytes(data)
    image = read_image(path)
    assert image.shape == (48, 64, 3)
    assert image_size(path) == (48, 64)
    assert np.abs(image.astype(int) - synthetic_image(48, 64, 3)).mean() < 8
    assert np.array_equal(decode_image_file(data, "x").pixels, image)


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_they_are_upright(tmp_path: Path, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x"
    path.write_bytes(encoded(form, exif=exif.tobytes()))
    assert image_size(path) == (64, 48)
    turned = np.rot90(synthetic_image(48, 64, 3), -1)
    assert np.abs(read_image(path).astype(int) - turned).mean() < 8


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
@pytest.mark.parametrize("part", [0.3, 0.7])
def test_a_part_of_one_is_an_image_error(form: str, part: float) -> None:
    data = encoded(form)
    with pytest.raises(ImageError, match="cut short"):
        decode_image(data[: int(len(data) * part)], name="x.heic")


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    monkeypatch.setattr(formats, "what_it_is", lambda _: "HEIF; install the extra")
    with pytest.raises(ImageError, match="install the extra"):
        decode_image(head, name="x.heic")


def test_sensor_data_in_the_form_of_a_tiff_is_refused() -> None:
    buffer = io.BytesIO()
    # The tag DNGVersion.
    Image.fromarray(synthetic_image(20, 30)).save(buffer, "TIFF", tiffinfo={0xC612: bytes([1, 4, 0, 0])})
    with pytest.raises(ImageError, match="darktable"):
        decode_image(buffer.getvalue(), name="renamed.tif")
