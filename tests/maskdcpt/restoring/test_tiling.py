"""Padding and tiling change nothing but what they must."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskdcpt.backbones.padding import pad_to_multiple
from maskdcpt.networks.networks import Networks
from maskdcpt.restoring.tiling import restore_in_tiles, restored_image, starts
from tests.maskdcpt.small_networks import random_image, small


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 32))
def test_padding_keeps_the_image_and_reaches_the_next_multiple(height: int, width: int, multiple: int) -> None:
    image = random_image(1, height, width)
    padded = pad_to_multiple(image, multiple)
    assert torch.equal(padded[..., :height, :width], image)
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert padded.shape[2] - height < multiple
    assert padded.shape[3] - width < multiple


def test_padding_is_by_reflection_without_repeating_the_edge() -> None:
    row = torch.tensor([1.0, 2, 3, 4, 5]).view(1, 1, 1, 5)
    assert pad_to_multiple(row, 8)[0, 0, 0].tolist() == [1, 2, 3, 4, 5, 4, 3, 2]
    assert pad_to_multiple(row[..., :2], 8)[0, 0, 0].tolist() == [1, 2, 1, 2, 1, 2, 1, 2]
    assert pad_to_multiple(row[..., :1], 4)[0, 0, 0].tolist() == [1, 1, 1, 1]


def test_small_and_large_images_are_padded_alike() -> None:
    image = random_image(1, 20, 24)
    expected = F.pad(image, (0, 8, 0, 12), mode="reflect")
    assert torch.equal(pad_to_multiple(image, 32), expected)
    short = pad_to_multiple(image[..., :5, :], 32)
    assert torch.equal(short[..., :9, :24], torch.cat([image[..., :5, :], image[..., :4, :].flip(2)], 2))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        pad_to_multiple(torch.zeros(1, 3, 0, 4), 8)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(2, 64), st.data())
def test_tiles_cover_everything_and_overlap_enough(size: int, tile: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tile - 1))
    begins = starts(size, tile, overlap)
    assert begins[0] == 0
    assert begins[-1] + tile >= size
    assert all(0 < b - a <= tile - overlap for a, b in pairwise(begins))
    assert all(begin + tile <= size for begin in begins) or begins == [0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 48), st.integers(0, 15))
def test_a_network_that_changes_nothing_gives_the_image_back(h: int, w: int, tile: int, overlap: int) -> None:
    image = random_image(1, h, w)
    restored = restore_in_tiles(lambda x: x, image, tile_px=tile, overlap_px=overlap)
    torch.testing.assert_close(restored, image, rtol=1e-12, atol=1e-12)


def test_a_network_that_looks_no_further_than_half_the_overlap_shows_no_tiles() -> None:
    weight = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0)).double()

    def network(x: Tensor) -> Tensor:
        # Reaches one pixel, and changes the values at a tile's border, as zero padding does.
        return F.conv2d(x, weight, padding=1)

    image = random_image(1, 70, 90)
    whole = network(image)
    tiled = restore_in_tiles(network, image, tile_px=32, overlap_px=8)
    # The border row of a tile has the smallest weight, but not zero: seams fade, but do not vanish.
    assert (tiled - whole).abs().mean() < 0.1 * (
        restore_in_tiles(network, image, tile_px=32, overlap_px=0) - whole
    ).abs().mean() + 0.05 * whole.abs().mean()


def test_tiles_with_rims_give_what_the_whole_gives_when_the_network_looks_no_further() -> None:
    weight = torch.randn(3, 3, 5, 5, generator=torch.Generator().manual_seed(0)).double()

    def network(x: Tensor) -> Tensor:
        # Reaches eight pixels, by two convolutions at half the size: tiles must start at even positions.
        small = F.conv2d(F.avg_pool2d(x, 2), weight, padding=2)
        return x + F.interpolate(F.conv2d(small, weight, padding=2), scale_factor=2)

    image = random_image(1, 150, 114)
    tiled = restore_in_tiles(network, image, tile_px=64, overlap_px=32, multiple=2, rim_px=12)
    torch.testing.assert_close(tiled, network(image), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(restore_in_tiles(network, image, tile_px=64, overlap_px=32, multiple=2), network(image))


def test_an_image_of_one_tile_is_restored_whole() -> None:
    network, image = small("nafnet"), random_image(1, 45, 33)
    with torch.no_grad():
        assert torch.equal(restore_in_tiles(network.restore, image, tile_px=64), network.restore(image))


def test_tiles_of_a_network_keep_size_and_dtype() -> None:
    network, image = small("nafnet", dtype=torch.float32), random_image(1, 45, 70, dtype=torch.float32)
    with torch.no_grad():
        restored = restore_in_tiles(network.restore, image, tile_px=32, overlap_px=8)
    assert restored.shape == image.shape
    assert restored.dtype == image.dtype


@pytest.mark.parametrize(("tile_px", "overlap_px", "rim_px"), [(32, 8, 2), (320, 64, 16)])
def test_tiles_overlap_by_a_quarter_and_by_64_at_most(tile_px: int, overlap_px: int, rim_px: int) -> None:
    backbone, image = small("nafnet"), random_image(1, 16, 3 * tile_px - 40)
    with torch.no_grad():
        restored = restored_image(Networks(backbone), image, tile_px)
        expected = restore_in_tiles(
            backbone.restore,
            image,
            tile_px=tile_px,
            overlap_px=overlap_px,
            multiple=backbone.multiple,
            rim_px=rim_px,
        )
    assert torch.equal(restored, expected)


def test_without_tiles_an_image_is_restored_whole() -> None:
    backbone, image = small("nafnet"), random_image(1, 45, 33)
    with torch.no_grad():
        assert torch.equal(restored_image(Networks(backbone), image, 0), backbone.restore(image))


def test_rims_that_leave_nothing_to_blend_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing"):
        restore_in_tiles(lambda x: x, random_image(1, 64, 64), tile_px=32, overlap_px=16, rim_px=8)


def test_an_overlap_as_large_as_the_tile_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot overlap"):
        restore_in_tiles(lambda x: x, random_image(1, 64, 64), tile_px=16, overlap_px=16)
