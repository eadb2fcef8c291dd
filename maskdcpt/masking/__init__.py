"""Patch masks, the operations that respect them, and the backends that compute those."""

from maskdcpt.masking.backends import AUTO, BACKENDS, DENSE, GATHER, stages_for
from maskdcpt.masking.patches import (
    MASK_KINDS,
    PatchMask,
    blockwise_patch_mask,
    random_patch_mask,
    square_patch_mask,
)
from maskdcpt.masking.sites import EVERYTHING, Backend, BackendError, DenseSites, Sites
from maskdcpt.masking.wrapping import masked

__all__ = [
    "AUTO",
    "BACKENDS",
    "DENSE",
    "EVERYTHING",
    "GATHER",
    "MASK_KINDS",
    "Backend",
    "BackendError",
    "DenseSites",
    "PatchMask",
    "Sites",
    "blockwise_patch_mask",
    "masked",
    "random_patch_mask",
    "square_patch_mask",
    "stages_for",
]
