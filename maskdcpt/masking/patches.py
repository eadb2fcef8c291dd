"""
Patch masks: which cells of a regular grid are visible to a network.

A mask is drawn per sample on the grid of patches and resized for each stage of a network: for a finer map cells are
repeated, for a coarser one a cell is visible when any of the cells that it covers is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

BEIT_MIN_BLOCK = 16
"""Cells in the smallest block of a block-wise mask (BEiT, section 2.2; the MaskDCPT paper gives no limit)."""

BEIT_ASPECT = (0.3, 1 / 0.3)
"""Range of height over width of a block, drawn uniformly in the logarithm (BEiT, section 2.2)."""


@dataclass(frozen=True, eq=False)
class PatchMask:
    """
    Which patches are visible.

    >>> mask = PatchMask(torch.tensor([[[[True, False]]]]))
    >>> mask.hidden_share, mask.hide(torch.ones(1, 1, 1, 4)).tolist()
    (0.5, [[[[1.0, 1.0, 0.0, 0.0]]]])

    Attributes:
        visible: (B, 1, h, w) bool; True where the network sees the image.
    """

    visible: Tensor

    def __post_init__(self) -> None:
        """Check shape and dtype."""
        if self.visible.dtype != torch.bool or self.visible.dim() != 4 or self.visible.shape[1] != 1:
            shape, dtype = tuple(self.visible.shape), self.visible.dtype
            raise ValueError(f"a patch mask must be (B, 1, h, w) bool, not {shape} {dtype}")

    def at(self, height: int, width: int) -> Tensor:
        """
        Return the mask at the size of a feature map.

        A finer map repeats each cell; a cell of a coarser map is visible when any of the cells that it covers is.

        Returns:
            (B, 1, height, width) bool.

        Raises:
            ValueError: neither of the sizes of map and grid divides the other.

        >>> PatchMask(torch.tensor([[[[True, False]]]])).at(2, 4).int().tolist()
        [[[[1, 1, 0, 0], [1, 1, 0, 0]]]]
        """
        seen = _along(self.visible, 2, height)
        return _along(seen, 3, width)

    def hide(self, image: Tensor) -> Tensor:
        """
        Return a (B, C, H, W) map with hidden sites set to 0, whatever their value is (NaN and infinity too).

        Their gradient is exactly 0.

        Raises:
            ValueError: the mask is for another number of images, or does not fit their size.
        """
        self.check_batch(image)
        return torch.where(self.at(image.shape[-2], image.shape[-1]), image, image.new_zeros(()))

    def check_batch(self, image: Tensor) -> None:
        """
        Check that a batch has as many images as this mask.

        Raises:
            ValueError: the numbers differ.
        """
        if image.shape[0] != self.batch:
            raise ValueError(f"the mask is for {self.batch} images, the batch has {image.shape[0]}")

    def to(self, device: torch.device | str) -> PatchMask:
        """Return the same mask on another device."""
        return PatchMask(self.visible.to(device))

    @property
    def batch(self) -> int:
        """The number of samples."""
        return int(self.visible.shape[0])

    @property
    def hidden_share(self) -> float:
        """The share of hidden cells in the whole batch, 0 to 1."""
        return 1.0 - float(self.visible.double().mean())


def _along(cells: Tensor, dim: int, size: int) -> Tensor:
    count = cells.shape[dim]
    if size == count:
        return cells
    if size > 0 and size % count == 0:
        return cells.repeat_interleave(size // count, dim)
    if size > 0 and count % size == 0:
        return cells.reshape(*cells.shape[:dim], size, count // size, *cells.shape[dim + 1 :]).any(dim + 1)
    raise ValueError(f"a feature map of {size} does not fit a mask of {count} cells: one must divide the other")


def random_patch_mask(
    batch: int,
    height: int,
    width: int,
    patch: int = 16,
    ratio: float = 0.5,
    generator: torch.Generator | None = None,
) -> PatchMask:
    """
    Return a mask that hides patches at random, independently for each sample (MaskDCPT, section III: patch 16, half).

    >>> mask = random_patch_mask(2, 64, 96, generator=torch.Generator().manual_seed(0))
    >>> mask.visible.shape, mask.hidden_share
    (torch.Size([2, 1, 4, 6]), 0.5)

    Args:
        batch: number of samples.
        height: of the image in pixels, a multiple of `patch`.
        width: of the image in pixels, a multiple of `patch`.
        patch: side of a patch in pixels.
        ratio: mask ratio, 0 to 1; round(h * w * (1 - ratio)) patches of each sample stay visible.
        generator: a CPU generator, for reproducible masks; None draws a fresh seed and does not use torch's own
            generator.

    Raises:
        ValueError: the patch does not divide the image (pad it first, `tiling.pad_to_multiple`), or the ratio is not
            in 0 to 1.
    """
    rows, columns, keep = _grid(height, width, patch, ratio)
    ranks = torch.rand(batch, rows * columns, generator=_fresh(generator)).argsort(dim=1).argsort(dim=1)
    return PatchMask((ranks < keep).view(batch, 1, rows, columns))


def square_patch_mask(
    batch: int,
    height: int,
    width: int,
    patch: int = 16,
    ratio: float = 0.5,
    generator: torch.Generator | None = None,
) -> PatchMask:
    """
    Return a mask that hides one square of patches at a random position (SimMIM's "square" mask, Table IX).

    The side is the rounded square root of the number of hidden patches, so the mask ratio is met as nearly as whole
    squares allow (a side of 11 of 16 cells for a half). Where the square is higher or wider than the grid, it becomes a
    rectangle of the same area. Arguments as in `random_patch_mask`.
    """
    rows, columns, keep = _grid(height, width, patch, ratio)
    generator = _fresh(generator)
    hidden = rows * columns - keep
    side = round(math.sqrt(hidden))
    tall, wide = min(side, rows), min(side, columns)
    if hidden and tall < side:
        wide = min(columns, round(hidden / tall))
    elif hidden and wide < side:
        tall = min(rows, round(hidden / wide))
    visible = torch.ones(batch, 1, rows, columns, dtype=torch.bool)
    for sample in visible:
        top, left = _draw(rows - tall + 1, generator), _draw(columns - wide + 1, generator)
        sample[:, top : top + tall, left : left + wide] = False
    return PatchMask(visible)


def blockwise_patch_mask(
    batch: int,
    height: int,
    width: int,
    patch: int = 16,
    ratio: float = 0.5,
    generator: torch.Generator | None = None,
) -> PatchMask:
    """
    Return a mask that hides rectangles of random area and shape until the ratio is met (BEiT, algorithm 1; Table IX).

    Every sample hides the same number of patches: the last block is truncated in reading order. Arguments as in
    `random_patch_mask`.
    """
    rows, columns, keep = _grid(height, width, patch, ratio)
    generator = _fresh(generator)
    visible = torch.ones(batch, rows, columns, dtype=torch.bool)
    for sample in visible:
        left = rows * columns - keep
        while left > 0:
            left -= _hide_block(sample, left, generator)
    return PatchMask(visible.unsqueeze(1))


MASK_KINDS: Mapping[str, Callable[..., PatchMask]] = MappingProxyType(
    {"random": random_patch_mask, "square": square_patch_mask, "block-wise": blockwise_patch_mask}
)
"""The masks of Table IX, by name; all take the arguments of `random_patch_mask`."""


def _hide_block(visible: Tensor, left: int, generator: torch.Generator) -> int:
    """Hide one block of at most `left` cells in a (h, w) map, in place; return how many it hid, at least one."""
    rows, columns = visible.shape
    for _ in range(10):
        tall, wide = _block_size(rows, columns, left, generator)
        top, start = _draw(rows - tall + 1, generator), _draw(columns - wide + 1, generator)
        block = visible[top : top + tall, start : start + wide]
        new = int(block.sum())
        if 0 < new <= left:
            block.fill_(False)
            return new
    # No block fits any more: put one over a visible cell and hide at most `left` cells of it.
    tall, wide = _block_size(rows, columns, left, generator)
    free = visible.nonzero()
    anchor = free[_draw(len(free), generator)].tolist()
    top = min(max(anchor[0] - tall // 2, 0), rows - tall)
    start = min(max(anchor[1] - wide // 2, 0), columns - wide)
    cells = visible[top : top + tall, start : start + wide].nonzero()[:left]
    visible[cells[:, 0] + top, cells[:, 1] + start] = False
    return len(cells)


def _block_size(rows: int, columns: int, left: int, generator: torch.Generator) -> tuple[int, int]:
    shares = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    smallest = min(BEIT_MIN_BLOCK, left)
    area = smallest + shares[0] * (left - smallest)
    low, high = math.log(BEIT_ASPECT[0]), math.log(BEIT_ASPECT[1])
    aspect = math.exp(low + shares[1] * (high - low))
    tall = min(max(round(math.sqrt(area * aspect)), 1), rows)
    wide = min(max(round(math.sqrt(area / aspect)), 1), columns)
    return tall, wide


def _grid(height: int, width: int, patch: int, ratio: float) -> tuple[int, int, int]:
    if patch < 1 or height < patch or width < patch or height % patch or width % patch:
        raise ValueError(
            f"an image of {height}x{width} does not divide into patches of {patch}x{patch}: "
            "crop it, or pad it with maskdcpt.backbones.padding.pad_to_multiple"
        )
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"the mask ratio is the share of hidden patches, 0 to 1, not {ratio}")
    rows, columns = height // patch, width // patch
    return rows, columns, round(rows * columns * (1.0 - ratio))


def _fresh(generator: torch.Generator | None) -> torch.Generator:
    if generator is not None:
        return generator
    generator = torch.Generator()
    generator.seed()
    return generator


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
