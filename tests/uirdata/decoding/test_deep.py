from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from uirdata.decoding import decode, revision, to_eight_bits
from uirdata.decoding.pixels import upright
from uirdata.errors import ImageError
from uirdata.images import decode_image

DEEP = np.random.default_rng(0).integers(0, 65536, (40, 56, 4), dtype=np.uint16)


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    """Return a TIFF that an independent library wrote."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def three(grey: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(grey[:, :, None], 3, axis=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_is_turned_once(orientation: int, channels: int, depth: int) -> None:
    values = DEEP[:, :, :3] if channels == 3 else DEEP[:, :, 0]
    values = values if depth == 16 else (values >> 8).astype(np.uint8)
    turn = [(274, "H", 1, orientation, True)]
    data = tiff(values, photometric="rgb" if channels == 3 else "minisblack", extratags=turn)
    expected = upright(values if channels == 3 else three(values), orientation)
    assert np.array_equal(decode(data, "x").pixels, expected)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(["contig", "separate"]),
    st.sampled_from([None, "zlib"]),
    st.sampled_from([{}, {"tile": (32, 32)}, {"rowsperstrip": 7}]),
    st.sampled_from("<>"),
    st.booleans(),
    st.sampled_from([8, 16]),
)
def test_each_layout_of_a_tiff_is_what_was_written(
    channels: int,
    planes: str,
    packed: str | None,
    parts: Mapping[str, Any],
    order: str,
    big: bool,
    depth: int,
) -> None:
    values = DEEP[:, :, :channels] if depth == 16 else (DEEP[:, :, :channels] >> 8).astype(np.uint8)
    written = values[:, :, 0] if channels == 1 else values
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    if channels > 1:
        options["planarconfig"] = planes
        written = np.moveaxis(values, 2, 0) if planes == "separate" else written
    photometric = "rgb" if channels > 2 else "minisblack"
    data = tiff(written, photometric=photometric, compression=packed, byteorder=order, bigtiff=big, **options, **parts)
    read = decode(data, "x", full=True)
    assert np.array_equal(read.pixels, values[:, :, :3] if channels > 2 else three(values[:, :, 0]))
    assert read.pixels.dtype == values.dtype
    assert (read.alpha is None) == (channels in (1, 3))
    assert read.alpha is None or np.array_equal(read.alpha, values[:, :, -1])


@pytest.mark.parametrize("compression", [1, 5, 32773, 8])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_compressed_deep_tiffs_are_what_was_written(compression: int, channels: int) -> None:
    values = DEEP[:, :, [2, 1, 0, 3][:channels]] if channels > 1 else DEEP[:, :, 0]
    _, data = cv2.imencode(".tif", values, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    expected = DEEP[:, :, :3] if channels > 1 else three(values)
    assert np.array_equal(decode(data.tobytes(), "x").pixels, expected)


@pytest.mark.parametrize("values", [DEEP[:, :, 0], (DEEP[:, :, 0] >> 8).astype(np.uint8)])
def test_min_is_white_is_inverted(values: NDArray[Any]) -> None:
    expected = three(np.iinfo(values.dtype).max - values)
    assert np.array_equal(decode(tiff(values, photometric="miniswhite"), "x").pixels, expected)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros((9, 9), np.float32), "floating point numbers of 32 bits without the tags"),
        (np.zeros((9, 9, 3), np.float32), "floating point numbers of 32 bits without the tags"),
        (np.zeros((9, 9), np.float64), "floating point numbers of 64 bits without the tags"),
        (np.zeros((9, 9), np.float16), "not unsigned"),
        (np.zeros((9, 9), np.uint32), "whole numbers of 32 bits without the tags"),
        (np.zeros((9, 9), np.int16), "not unsigned"),
        (np.zeros((9, 9, 5), np.uint16), "5 channels of 16 bits"),
    ],
)
def test_values_without_an_agreed_meaning_are_refused_in_words(values: NDArray[Any], what: str) -> None:
    data = tiff(values, photometric="rgb" if values.ndim == 3 else "minisblack")
    with pytest.raises(ImageError, match=f"deep.tif: is no image that is read: .*{what}"):
        decode_image(data, name="deep.tif")


@pytest.mark.parametrize(("least", "most"), [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point_is_scaled_by_the_range_that_the_file_states_and_says_so(
    least: float, most: float, channels: int
) -> None:
    share = np.random.default_rng(1).random((20, 30, 3)).astype(np.float32)[:, :, :channels].squeeze()
    values = (least + share * (most - least)).astype(np.float32)
    tags = [(340, "f", 1, least, True), (341, "f", 1, most, True)]
    read = decode(tiff(values, photometric="rgb" if channels == 3 else "minisblack", extratags=tags), "x")
    expected = share if channels == 3 else three(share)
    assert np.abs(read.pixels / 65535 - expected).max() < 2e-5
    assert read.remarks == (f"its values of 32 bits from {least:g} to {most:g} were scaled to 16 bits",)


def test_floating_point_that_is_not_finite_is_refused() -> None:
    values = np.full((9, 9), np.nan, np.float32)
    tags = [(340, "f", 1, 0.0, True), (341, "f", 1, 1.0, True)]
    with pytest.raises(ImageError, match="not finite"):
        decode(tiff(values, photometric="minisblack", extratags=tags), "x")


def test_sixteen_bits_become_the_nearest_of_eight() -> None:
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_eight_bits(values), np.rint(values / 257))


@pytest.mark.parametrize("form", [".png", ".tif"])
def test_deep_files_are_rounded_on_the_data_side(form: str) -> None:
    _, data = cv2.imencode(form, DEEP[:, :, 2::-1])
    assert np.array_equal(decode_image(data.tobytes(), name="x"), np.rint(DEEP[:, :, :3] / 257))


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_netpbm_files_keep_their_bits(channels: int) -> None:
    values = DEEP[:, :, :channels]
    head = f"P{5 if channels == 1 else 6}\n# a comment\n56 40\n65535\n".encode()
    read = decode(head + values.astype(">u2").tobytes(), "x").pixels
    assert np.array_equal(read, values if channels == 3 else three(values[:, :, 0]))


def test_a_transparent_colour_of_a_deep_png_is_its_alpha() -> None:
    _, png = cv2.imencode(".png", DEEP[:, :, 2::-1])
    data, body = png.tobytes(), DEEP[3, 4, :3].astype(">u2").tobytes()
    from tests.uirdata.decoding.test_metadata import with_chunk

    read = decode(with_chunk(data, b"tRNS", body), "x", full=True)
    assert np.array_equal(read.pixels, DEEP[:, :, :3])
    assert read.alpha is not None
    assert read.alpha[3, 4] == 0
    assert (read.alpha == 65535).sum() == read.alpha.size - 1


def test_stored_results_of_files_that_are_decoded_differently_are_not_taken_again() -> None:
    shallow = io.BytesIO()
    Image.fromarray((DEEP[:, :, :3] >> 8).astype(np.uint8)).save(shallow, "PNG")
    assert revision(shallow.getvalue()) == ""
    assert revision(cv2.imencode(".png", DEEP)[1].tobytes()) == revision(tiff(DEEP[:, :, 0])) == "-2"


@pytest.mark.parametrize("compression", [1, 5, 8])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_cut_anywhere_is_an_error_and_never_other_pixels(compression: int, depth: int) -> None:
    rgb = DEEP[:, :, :3] if depth == 16 else (DEEP[:, :, :3] >> 8).astype(np.uint8)
    planes = tiff(np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate", rowsperstrip=7)
    together = cv2.imencode(".tif", rgb, [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()
    behind = tiff(rgb, photometric="rgb", rowsperstrip=7)
    grey = cv2.imencode(".tif", rgb[:, :, 0], [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()
    for data in (planes, together, behind, grey):
        whole = decode(data, "x").pixels
        for length in [*range(0, len(data), 97), *range(len(data) - 20, len(data))]:
            try:
                read = decode(data[:length], "x").pixels
            except ImageError:
                continue
            assert np.array_equal(read, whole)
