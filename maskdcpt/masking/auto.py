"""
The `auto` way: per machine and shape, the fastest backend that agrees with `dense`.

Each candidate runs a small block on the very mask, forward and backward; one that is wrong or cannot run is left out,
the fastest of the rest is kept for the life of the process. Two machines, or two runs on a busy one, may choose
differently and then differ in the last digits: a run that must repeat to the bit names its backend.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maskdcpt.masking.layers import ChannelNorm, gate, pointwise
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import Backend, BackendError, Sites

logger = logging.getLogger(__name__)

CHANNELS = 32
"""Of the block that is tried: NAFNet's smallest width in use."""

SAMPLES = 2
"""Of the batch that are tried; the choice is made for masks of the same kind of shape."""

TOLERANCE = 1e-4
"""Largest difference from the reference, relative to its largest value, that is rounding in float32."""

ROUNDS = 3


class Auto:
    """
    Choose among backends.

    Args:
        reference: what the others must agree with; chosen when no other passes, and where nothing is hidden.
        candidates: the others.
    """

    name = "auto"

    def __init__(self, reference: Backend, candidates: Sequence[Backend]) -> None:
        self.reference = reference
        self.candidates = tuple(candidates)
        self._chosen: dict[tuple[object, ...], Backend] = {}

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """Choose once per device, size, grid and hidden share, then do as the chosen one does."""
        return self.choose(mask, height, width).stages(mask, height, width, count)

    def choose(self, mask: PatchMask, height: int, width: int) -> Backend:
        """Give the backend for masks like this one."""
        share = mask.hidden_share
        if share == 0.0:
            return self.reference
        device = mask.visible.device
        key = (device.type, device.index, height, width, *mask.visible.shape[2:], round(share, 1))
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._chosen[key] = self._fastest(mask, height, width)
            logger.info("masked stages of %sx%s on %s: %s", height, width, device, chosen.name)
        return chosen

    def _fastest(self, mask: PatchMask, height: int, width: int) -> Backend:
        few = PatchMask(mask.visible[:SAMPLES])
        expected, best = try_backend(self.reference, few, height, width)
        chosen = self.reference
        for candidate in self.candidates:
            try:
                found, seconds = try_backend(candidate, few, height, width)
            except BackendError as error:
                logger.info("%s is left out: %s", candidate.name, error)
                continue
            error_size = difference(found, expected)
            if not error_size <= TOLERANCE:
                logger.warning("%s is left out: it differs from %s by %.1e", candidate.name, chosen.name, error_size)
            elif seconds < best:
                chosen, best = candidate, seconds
        return chosen


class Trial(nn.Module):
    """A block with all that pixels do to each other: both kinds of convolution, channel attention, a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = ChannelNorm(channels)
        self.wide = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.narrow = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """(B, 3, H, W) to (B, channels, H, W)."""
        y = at.hide(at.conv(at.enter(x), self.first))
        z = gate(at.conv(pointwise(at.norm(y, self.norm), self.wide), self.depthwise))
        z = at.scale(z, at.mean(z))
        return at.leave(at.hide(y + pointwise(z, self.narrow)))


def try_backend(backend: Backend, mask: PatchMask, height: int, width: int) -> tuple[list[Tensor], float]:
    """
    Run the trial block forward and backward, some times.

    Returns:
        its result and its gradients, and the seconds of the fastest round.

    Raises:
        BackendError: the backend cannot run here.
    """
    device = mask.visible.device
    image = torch.linspace(0, 1, 3 * height * width, device=device).view(1, 3, height, width)
    image = (image * 37.0).frac().repeat(mask.batch, 1, 1, 1)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        torch.manual_seed(0)
        block = Trial(CHANNELS).to(device)
        best = float("inf")
        for _ in range(ROUNDS):
            x = image.clone().requires_grad_()
            _wait(device)
            start = time.perf_counter()
            (at,) = backend.stages(mask, height, width, 1)
            y = block(x, at)
            gradients = torch.autograd.grad(y.square().mean(), [x, *block.parameters()])
            _wait(device)
            best = min(best, time.perf_counter() - start)
    return [y.detach(), *gradients], best


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Give the largest difference of any pair, relative to the pair's largest value; NaN when there is one."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        error = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        if not error <= worst:
            worst = error
    return worst


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
