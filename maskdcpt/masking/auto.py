"""
The `auto` way: per machine and shape, the fastest backend that agrees with `dense`.

Each candidate runs a small block on the very mask, forward and backward; one that is wrong or cannot run is left out, the fastest
of the rest is kept for the life of the process. Two machines, or two runs on a busy one, may choose differently and then differ
in the last digits: a run that must repeat to the bit names its backend.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from maskdcpt.masking.layers import ChannelNorm, gate, pointwise
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import Sites
from uirdata.errors import UirError

logger = logging.getLogger(__name__)

CHANNELS = 32
"""Of the block that is timed: NAFNet's at the second smallest width in use."""

TOLERANCE = 1e-4
"""Largest difference from `dense`, relative to the largest value, that is rounding in float32 (measured: up to 1e-5)."""

ROUNDS = 3


class BackendError(UirError):
    """A backend cannot be used on this machine, or gives wrong numbers here."""


class CandidateBackend:
    """What `auto` asks of a backend; `backends.Backend` says more."""

    name: str

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """Give the sites of strides 1, 2, 4, ..."""
        raise BackendError(f"{self.name} is no backend")
