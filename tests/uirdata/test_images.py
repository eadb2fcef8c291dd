from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import synthetic_image, write_png
from uirdata.errors import ImageError
from uirdata.images import (
    CODECS,
    RgbImage,
    decode_image,
    encode_image,
    image_size,
    pixel_sha256,
    read_image,
    to_uint8,
)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 48)])
def test_encoding_loses_nothing(codec: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(encode_image(image, codec), name="x"), image)  # type: ignore[arg-type]


def test_pixel_sha256_is_of_size_and_rgb_bytes() -> None:
    # sha256 of 1, 2 as little-endian 32-bit integers and six zero bytes, computed independently of this code.
    expected = "49db2fc04c98923041716383ea56517962898e0f385856b470b9b1bb12a9cdd7"
    assert pixel_sha256(np.zeros((1, 2, 3), np.uint8)) == expected
    assert pixel_sha256(np.zeros((2, 1, 3), np.uint8)) != expected


def test_rounds_instead_of_truncating() -> None:
    assert to_uint8(np.array([0.4, 0.6, 254.6, -3.0, 300.0])).tolist() == [0, 1, 255, 0, 255]


def test_a_sixteen_bit_gray_image_becomes_its_nearest_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535, 128]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0] * 3, [1] * 3, [255] * 3, [0] * 3]]


def test_alpha_is_dropped_and_palettes_are_looked_up() -> None:
    rgba = np.dstack([synthetic_image(6, 7), np.zeros((6, 7), np.uint8)])
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
    Image.fromarray(synthetic_image(8, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (20, 8, 3)
    assert image_size(tmp_path / "turned.jpg") == (20, 8)


def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write_png(tmp_path / "cut.png", synthetic_image(40, 40))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"cut\.png: is cut short"):
        read_image(path)


@pytest.mark.parametrize("encode", ["ours", "pillow", "stored"])
def test_a_png_cut_anywhere_gives_an_error_and_never_other_pixels(encode: str) -> None:
    image = synthetic_image(23, 31)
    data = encode_image(image, "png") if encode == "ours" else pillow_png(image, 0 if encode == "stored" else 6)
    for length in range(len(data)):
        try:
            decoded = decode_image(data[:length], name="cut")
        except ImageError:
            continue
        assert np.array_equal(decoded, image)


def test_a_webp_cut_anywhere_gives_an_error() -> None:
    image = synthetic_image(23, 31)
    data = encode_image(image, "webp")
    for length in range(len(data) - 1):
        with pytest.raises(ImageError):
            decode_image(data[:length], name="cut")


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"lossless": True, "method": 6}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_each_kind_of_webp_is_what_pillow_makes_of_it(mode: str, options: dict[str, object]) -> None:
    rgba = np.dstack([synthetic_image(20, 33), np.arange(660, dtype=np.uint32).astype(np.uint8).reshape(20, 33)])
    buffer = io.BytesIO()
    Image.fromarray(rgba).convert(mode).save(buffer, "WEBP", exact=True, **options)
    expected = np.array(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert np.array_equal(decode_image(buffer.getvalue(), name=mode), expected)


def test_each_kind_of_png_is_what_pillow_makes_of_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = Image.fromarray(synthetic_image(20, 33))
    kinds = {
        "turned": ({"exif": exif}, whole),
        "transparent": ({"transparency": (1, 2, 3)}, whole),
        "gray": ({}, whole.convert("L")),
        "palette": ({}, whole.convert("P")),
        "alpha": ({}, whole.convert("RGBA")),
        "with words": ({"pnginfo": words("Comment", "IDAT and tRNS are words here")}, whole),
        "turned in words": ({"pnginfo": words("Raw profile type exif", turned_in_words(exif))}, whole),
        "plain": ({}, whole),
    }
    for kind, (options, source) in kinds.items():
        buffer = io.BytesIO()
        source.save(buffer, "PNG", **options)
        read = Image.open(io.BytesIO(buffer.getvalue()))
        expected = np.array(read.convert("RGBA").convert("RGB"))
        if kind.startswith("turned"):
            expected = expected[::-1, ::-1]
        assert np.array_equal(decode_image(buffer.getvalue(), name=kind), expected), kind


def test_a_png_has_the_same_bytes_everywhere() -> None:
    # A literal: shards are equal to the byte only while the encoder is.
    digest = hashlib.sha256(
        encode_image(np.arange(48 * 40 * 3, dtype=np.uint32).reshape(48, 40, 3).astype(np.uint8), "png")
    )
    assert digest.hexdigest() == "234d08a13bc8bb650ea3492a42a2fa4a812b8b1a99ded9a67263e62154f93847"


def pillow_png(image: RgbImage, level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def words(name: str, value: str) -> PngInfo:
    text = PngInfo()
    text.add_text(name, value)
    return text


def turned_in_words(exif: Image.Exif) -> str:
    """Return EXIF data as text, as ImageMagick stores them."""
    data = exif.tobytes()
    return f"\nexif\n{len(data):8d}\n{data.hex()}\n"


def test_an_empty_and_a_missing_file_are_distinguished(tmp_path: Path) -> None:
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


def test_a_codec_that_is_none_is_refused_and_not_taken_for_webp() -> None:
    with pytest.raises(ValueError, match="no codec 'jpeg'"):
        encode_image(synthetic_image(8, 8), "jpeg")  # type: ignore[arg-type]
