"""Restoration of images in overlapping tiles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from maskdcpt.backbones import Backbone
from maskdcpt.networks.networks import Networks
from uirdata.errors import UsageError

OVERLAP_PX = 64
"""By how much tiles overlap at most; small ones overlap by a quarter of their side."""


def restored_image(networks: Networks, lq: Tensor, tile_px: int) -> Tensor:
    """Restore (B, 3, H, W), whole where `tile_px` is 0 or no smaller than the image."""
    backbone = networks.backbone
    if not tile_px:
        return backbone.restore(lq)
    overlap_px = min(OVERLAP_PX, tile_px // 4)
    return restore_in_tiles(
        backbone.restore,
        lq,
        tile_px=tile_px,
        overlap_px=overlap_px,
        multiple=backbone.multiple,
        rim_px=overlap_px // 4,
    )


def check_tile(tile_px: int, backbone: Backbone) -> None:
    """
    Refuse tiles that are too small for a network; 0, which restores whole images, is none of them.

    Raises:
        UsageError: the message states the smallest side.
    """
    least = 4 * backbone.multiple
    if tile_px and tile_px < least:
        raise UsageError(f"tiles of {tile_px} are too small for {backbone.name}: {least} at least")


def starts(size: int, tile: int, overlap: int, multiple: int = 1) -> list[int]:
    """
    Return the starts of tiles along one side: tiles overlap by `overlap` at least, and the last one reaches the end.

    Each starts at a multiple of `multiple`, so that strides and windows are aligned as in the whole image; the last
    tile may then be longer by less than `multiple`.

    >>> starts(300, 128, 32)
    [0, 96, 172]
    >>> starts(300, 128, 32, multiple=16)
    [0, 96, 160]
    >>> starts(100, 128, 32)
    [0]
    """
    if tile <= overlap or overlap < 0:
        raise ValueError(f"tiles of {tile} cannot overlap by {overlap}")
    if size <= tile:
        return [0]
    step = (tile - overlap) // multiple * multiple
    if not step:
        raise ValueError(f"tiles of {tile} that overlap by {overlap} cannot begin at multiples of {multiple}")
    last = (size - tile) // multiple * multiple
    return [*range(0, last, step), last]


def restore_in_tiles(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    tile_px: int = 512,
    overlap_px: int = 64,
    multiple: int = 1,
    rim_px: int = 0,
) -> Tensor:
    """
    Restore a (B, C, H, W) image of any size in tiles; the memory of the network does not depend on the image's size.

    Overlapping tiles are blended with weights that rise linearly from a tile's edge, so that no seam is visible. What
    a network computes from the whole image (channel attention, prompts) it computes from each tile instead, so the
    result differs from that of the whole image. For a network whose receptive field reaches no further than `rim_px`,
    the results are equal but for rounding, if tiles start at multiples of its strides.

    Args:
        network: (B, C, h, w) to (B, C, h, w) for any h, w up to `tile_px + multiple`, such as a backbone's `restore`.
        image: in 0..1.
        tile_px: side of a tile.
        overlap_px: by how much neighbours overlap, at least.
        multiple: tiles start at multiples of it.
        rim_px: pixels along a tile's inner edges that are discarded.

    Returns:
        (B, C, H, W), in the image's dtype.

    Raises:
        ValueError: more than one tile is needed, and the overlap is not smaller than a tile, or two rims fill the
            overlap.
    """
    height, width = image.shape[-2:]
    if height <= tile_px and width <= tile_px:
        return network(image)
    if rim_px and 2 * rim_px >= overlap_px:
        raise ValueError(f"rims of {rim_px} leave nothing of an overlap of {overlap_px} to blend")
    rows, columns = (starts(size, tile_px, overlap_px, multiple) for size in (height, width))
    # Sums in float32 at least: bfloat16 weights do not add up to one.
    wide = torch.promote_types(image.dtype, torch.float32)
    total = torch.zeros(image.shape, dtype=wide, device=image.device)
    weights = torch.zeros((height, width), dtype=wide, device=image.device)
    for top in rows:
        bottom = height if top == rows[-1] else top + tile_px
        for left in columns:
            right = width if left == columns[-1] else left + tile_px
            part = image[..., top:bottom, left:right]
            weight = _ramp(top, bottom, height, overlap_px, rim_px, total)[:, None]
            weight = weight * _ramp(left, right, width, overlap_px, rim_px, total)
            total[..., top:bottom, left:right] += network(part).to(wide) * weight
            weights[top:bottom, left:right] += weight
    return (total / weights).to(image.dtype)


def _ramp(start: int, end: int, whole: int, overlap: int, rim: int, like: Tensor) -> Tensor:
    """Return weights along a tile's side: 1 inside and at the image's border, falling to 0 over each overlap."""
    place = torch.arange(end - start, dtype=like.dtype, device=like.device) + 0.5
    weight = torch.ones_like(place)
    slope = overlap - 2 * rim
    if overlap and start > 0:
        weight = torch.minimum(weight, (place - rim) / slope)
    if overlap and end < whole:
        weight = torch.minimum(weight, (end - start - place - rim) / slope)
    return weight.clamp(min=0.0)
