"""Patch masks, the operations that respect them, and the ways to compute those."""

from maskdcpt.masking.backends import BACKENDS, DENSE, GATHER, Backend, stages_for
from maskdcpt.masking.patches import (
    MASK_KINDS,
    PatchMask,
    blockwise_patch_mask,
    random_patch_mask,
    square_patch_mask,
)
from maskdcpt.masking.sites import EVERYTHING, DenseSites, Sites

__all__ = [
    "BACKENDS",
    "DENSE",
    "EVERYTHING",
    "GATHER",
    "MASK_KINDS",
    "Backend",
    "DenseSites",
    "PatchMask",
    "Sites",
    "blockwise_patch_mask",
    "random_patch_mask",
    "square_patch_mask",
    "stages_for",
]
