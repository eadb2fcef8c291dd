from __future__ import annotations

import contextlib
import io
import re
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from maskdcpt.restoring.image_files import decode_image_file
from tests.conftest import synthetic_image
from uirdata.decoding import MOST_PIXELS, decode
from uirdata.decoding.formats import sniffed
from uirdata.errors import ImageError
from uirdata.images import decode_image, image_size, read_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
ROOT = Path(__file__).parents[3]


def png_of(width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = bytes(100)) -> bytes:
    """Return a PNG of a few bytes whose header may say anything."""
    chunks = b""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff_of(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 100)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(104)


def webp_of(width: int, height: int) -> bytes:
    body = b"VP8L" + struct.pack("<IBI", 5, 0x2F, (width - 1) | (height - 1) << 14) + b"\0"
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


HUGE = {
    "png": png_of(60_000, 60_000),
    "deep.png": png_of(60_000, 60_000, 16),
    "endless.png": png_of(2**31 - 1, 2**31 - 1),
    "gray.png": png_of(60_000, 60_000, 8, 0),
    "tif": tiff_of(2**32 - 1, 2**32 - 1),
    "ppm": b"P6\n60000 60000\n255\n",
    "deep.ppm": b"P6\n60000 60000\n65535\n",
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, 60_000, -60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "jpg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\1\x11\0\2\x11\1\3\x11\1"
    b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0\xff\xd9",
    "webp": webp_of(16_384, 16_384),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_header_that_promises_too_much_is_an_error_with_the_name_in_every_reader(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(HUGE[kind])
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=rf"bomb\.{kind}: its header says \d+ x \d+ pixels"):
            read(path)
    with pytest.raises(ImageError, match=rf"bomb\.{kind}: its header says"):
        decode_image_file(HUGE[kind], f"bomb.{kind}")


def test_more_pixels_are_the_choice_of_the_caller() -> None:
    data = png_of(20_000, 10_000)
    assert MOST_PIXELS < 20_000 * 10_000
    with pytest.raises(ImageError, match="cut short"):
        decode(data, "x", most_pixels=10**9)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps"])
def test_no_program_is_started_whatever_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *command, **_: started.append(command))
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **_: started.append(command))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    path = tmp_path / name
    path.write_bytes(EPS)
    for read in (read_image, image_size, lambda path: decode_image_file(path.read_bytes(), str(path))):
        with pytest.raises(ImageError, match=rf"{name}: is no image that is read: it is PostScript"):
            read(path)
    assert not started


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GIF89a" + bytes(100), "GIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "JPEG 2000"),
        (b"8BPS\0\1" + bytes(100), "Photoshop"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing"),
        (b"Pf\n3 3\n-1.0\n" + bytes(36), "floating-point"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=f"x.png: is no image that is read: it is .*{what}"):
        decode_image(data, name="x.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
def test_the_content_decides_and_not_the_ending(tmp_path: Path, form: str) -> None:
    path = tmp_path / "it.gif"
    Image.fromarray(synthetic_image(20, 30)).save(path, form)
    assert sniffed(path.read_bytes()) == {"WEBP": "WebP"}.get(form, form)
    assert read_image(path).shape == (20, 30, 3)
    assert image_size(path) == (20, 30)


def test_pillow_opens_files_at_one_door_only() -> None:
    for package in ("uirdata", "maskdcpt", "cli"):
        for path in (ROOT / package).rglob("*.py"):
            if "decoding" not in path.parts:
                assert not re.search(r"Image\.open\(|\bimread\(", path.read_text()), path


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
def test_a_file_of_which_anything_was_changed_is_an_image_or_an_image_error(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(list(form.encode()))
    buffer = io.BytesIO()
    Image.fromarray(synthetic_image(20, 30)).save(buffer, form)
    whole = buffer.getvalue()
    path = tmp_path / "changed"
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), int(rng.choice([40, 200, len(data)]))), rng.integers(1, 4)):
            data[at] = rng.choice([0, 1, 127, 255, int(rng.integers(256))])
        path.write_bytes(data[: len(data) - int(rng.choice([0, 0, 7]))])
        for read in (read_image, image_size, lambda path: decode_image_file(path.read_bytes(), str(path))):
            with contextlib.suppress(ImageError):
                read(path)


@pytest.mark.parametrize(("colour", "channels", "depth"), [(0, 1, 8), (2, 3, 8), (4, 2, 8), (6, 4, 8), (2, 3, 16)])
def test_a_png_of_fewer_rows_than_its_header_says_is_not_filled_with_black(
    colour: int, channels: int, depth: int
) -> None:
    row = 50 * channels * depth // 8
    rows = np.random.default_rng(0).integers(1, 256, (20, 1 + row), np.uint8)
    rows[:, 0] = 0
    with pytest.raises(ImageError, match=r"rows are (missing|damaged)"):
        decode_image(png_of(50, 40, depth, colour, rows.tobytes()), name="x")


def test_an_image_is_limited_on_the_fast_way_too() -> None:
    with pytest.raises(ImageError, match="its header says"):
        decode_image(HUGE["webp"], name="x")
