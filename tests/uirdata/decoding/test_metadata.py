from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskdcpt.restoring.image_files import decode_image_file, encode_image_file
from tests.conftest import synthetic_image
from uirdata.decoding import decode
from uirdata.decoding.pixels import upright
from uirdata.images import RgbImage, image_size, read_image

RGB = synthetic_image(30, 40)
Tag = tuple[int, int, int, bytes]


def block(*tags: Tag, following: int = 0) -> bytes:
    """Return an EXIF block of tags: number, type, count, bytes of the values."""
    table, values = struct.pack("<H", len(tags)), b""
    at = 8 + 2 + 12 * len(tags) + 4
    for number, kind, count, value in tags:
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", at + len(values))
        table += struct.pack("<HHI", number, kind, count) + field
        values += value if len(value) > 4 else b""
    return b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<I", following) + values


def short(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


SIX: Tag = (274, 3, 1, short(6))
ODD = {
    "two values": (block((274, 3, 2, short(6, 6))), 6),
    "a long": (block((274, 4, 1, struct.pack("<I", 6))), 6),
    "text": (block((274, 2, 2, b"6\0")), 1),
    "words": (block((274, 2, 9, b"top-left\0")), 1),
    "a byte": (block((274, 1, 1, b"\x06")), 1),
    "no value": (block((274, 3, 0, b"")), 1),
    "a fraction": (block((274, 5, 1, struct.pack("<II", 6, 1))), 1),
    "a fraction without meaning": (block((274, 5, 1, struct.pack("<II", 0, 0))), 1),
    "zero": (block((274, 3, 1, short(0))), 1),
    "nine": (block((274, 3, 1, short(9))), 1),
    "type unknown": (block((274, 99, 1, short(6))), 1),
    "a resolution of two values": (block(SIX, (282, 5, 2, struct.pack("<IIII", 72, 1, 72, 1))), 6),
    "a resolution in text": (block(SIX, (282, 2, 3, b"72\0")), 6),
    "a resolution over zero": (block(SIX, (282, 5, 1, struct.pack("<II", 72, 0))), 6),
    "negative": (block(SIX, (282, 10, 1, struct.pack("<ii", -72, 1))), 6),
    "Latin-1": (block(SIX, (33432, 2, 5, b"M\xfcll\0")), 6),
    "a pointer to nowhere": (block(SIX, (34853, 4, 1, struct.pack("<I", 99_999))), 6),
    "a pointer to itself": (block(SIX, (34665, 4, 1, struct.pack("<I", 8))), 6),
    "a pointer in text": (block(SIX, (34665, 2, 2, b"8\0")), 6),
    "a count without end": (block(SIX, (270, 2, 2**31, b"abcd")), 6),
    "not a number": (block(SIX, (282, 11, 1, struct.pack("<f", float("nan")))), 6),
    "a circle": (block(SIX, following=8), 6),
    "a prefix twice": (b"Exif\0\0" + block(SIX), 6),
    "cut": (block(SIX)[:20], 1),
    "cut after its tag": (block(SIX, (282, 5, 1, struct.pack("<II", 72, 1)))[:24], 6),
    "no EXIF": (b"garbage, no tiff", 1),
    "empty": (b"", 1),
}


def with_exif(form: str, exif: bytes) -> bytes:
    buffer = io.BytesIO()
    if form == "webp":
        Image.fromarray(RGB).save(buffer, "WEBP", lossless=True, exif=b"Exif\0\0" + exif)
        return buffer.getvalue()
    Image.fromarray(RGB).save(buffer, {"png": "PNG", "jpg": "JPEG"}[form], quality=95)
    data = buffer.getvalue()
    if form == "png":
        return with_chunk(data, b"eXIf", exif)
    segment = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    return png[:33] + struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) + png[33:]


def plain(form: str) -> RgbImage:
    buffer = io.BytesIO()
    if form != "jpg":
        return RGB
    Image.fromarray(RGB).save(buffer, "JPEG", quality=95)
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_exif_never_stops_a_reader_and_turns_as_far_as_it_can_be_read(tmp_path: Path, kind: str, form: str) -> None:
    exif, orientation = ODD[kind]
    path = tmp_path / f"odd.{form}"
    path.write_bytes(with_exif(form, exif))
    expected = upright(plain(form), orientation)
    assert np.array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[:2]
    read = decode_image_file(path.read_bytes(), str(path))
    assert np.array_equal(read.pixels, expected)
    again = decode_image_file(encode_image_file(read.pixels, read), "again")
    assert np.array_equal(again.pixels, expected)
    if kind in ("text", "zero", "cut", "no EXIF"):
        assert "dropped" in read.remark or "ignored" in read.remark


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_any_exif_block_leaves_the_pixels(garbage: bytes, begins_well: bool) -> None:
    data = with_exif("png", b"II*\0\x08\0\0\0" + garbage if begins_well else garbage)
    pixels = decode_image_file(data, "x").pixels
    assert pixels.shape in ((30, 40, 3), (40, 30, 3))
    assert np.array_equal(np.sort(pixels, axis=None), np.sort(RGB, axis=None))


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "garbage", "huge"])
def test_texts_and_profiles_of_any_size_do_not_break_a_picture(kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB[:, :, 0]).save(buffer, "PNG")
    name, body = {
        "zTXt": (b"zTXt", b"workflow\0\0" + zlib.compress(b"{}" * 1_500_000)),
        "iTXt": (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"{}" * 1_500_000)),
        "iCCP": (b"iCCP", b"p\0\0" + zlib.compress(bytes(3_000_000))),
        "garbage": (b"iCCP", b"p\0\0no zlib"),
        "huge": (b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(20 << 20))),
    }[kind]
    read = decode_image_file(with_chunk(buffer.getvalue(), name, body), "x.png")
    assert np.array_equal(read.pixels[:, :, 0], RGB[:, :, 0])
    if name == b"iCCP":
        assert read.remark == "its colour profile is damaged and was dropped"
    if kind == "huge":
        assert "was dropped" in read.remark


@pytest.mark.parametrize("profile", [b"no profile", bytes(200), b"\0\0\0\xc8" + bytes(32) + b"acsp" + bytes(160)])
def test_cmyk_with_a_profile_that_does_not_fit_is_read_by_the_usual_formula(profile: bytes) -> None:
    image = Image.fromarray(np.dstack([RGB, RGB[:, :, 0]]), "CMYK")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, icc_profile=profile)
    read = decode_image_file(buffer.getvalue(), "x.jpg")
    with Image.open(io.BytesIO(buffer.getvalue())) as opened:
        assert np.array_equal(read.pixels, np.asarray(opened.convert("RGB")))
    assert read.remark.startswith("was CMYK, is RGB now; its colour profile")


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_the_orientation_of_an_xmp_packet_counts_where_exif_has_none(form: str) -> None:
    packet = b'<x:xmpmeta tiff:Orientation="8"/>'
    buffer = io.BytesIO()
    image = Image.fromarray(RGB)
    if form == "png":
        image.save(buffer, "PNG")
        data = with_chunk(buffer.getvalue(), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    elif form == "jpg":
        image.save(buffer, "JPEG", quality=95, xmp=packet)
        data = buffer.getvalue()
    else:
        image.save(buffer, "WEBP", lossless=True, xmp=packet)
        data = buffer.getvalue()
    assert np.array_equal(decode(data, "x").pixels, upright(plain(form), 8))


def test_a_jpeg_profile_with_a_missing_part_is_dropped() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", quality=95)
    data, part = buffer.getvalue(), b"ICC_PROFILE\0\1\3" + bytes(100)
    data = data[:2] + b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part + data[2:]
    assert decode(data, "x").remarks == ("its colour profile is damaged and was dropped",)


def test_exif_behind_the_pixels_of_a_png_counts_for_its_size_too(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    end = buffer.getvalue()[-12:]
    path = tmp_path / "late.png"
    path.write_bytes(buffer.getvalue()[:-12] + with_chunk(bytes(33), b"eXIf", block(SIX))[33:] + end)
    assert read_image(path).shape[:2] == image_size(path) == (40, 30)
