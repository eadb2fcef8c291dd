"""
The `auto` backend: for each machine and shape, the fastest backend that agrees with `dense`.

Each candidate runs a small block on the mask itself, forward and backward. A candidate that gives wrong results or
cannot run is skipped; the fastest of the rest is used until the process ends. Two machines, or two runs on a busy
machine, may choose different backends, whose results differ in the last digits: a run that must be reproducible to the
bit has to name its backend.
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
"""Channels of the trial block: the smallest width of NAFNet in use."""

SAMPLES = 2
"""Samples of the batch that the trial runs on; the choice then holds for all masks of the same shape."""

TOLERANCE = 1e-4
"""Largest difference from the reference, relative to its largest value, that counts as float32 rounding."""

ROUNDS = 3


class Auto:
    """
    The backend that chooses among others.

    Args:
        reference: the backend that the others must agree with; it is chosen when no other passes, and where nothing is
            hidden.
        candidates: the other backends.
    """

    name = "auto"

    def __init__(self, reference: Backend, candidates: Sequence[Backend]) -> None:
        self.reference = reference
        self.candidates = tuple(candidates)
        self._chosen: dict[tuple[object, ...], Backend] = {}

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """Return the sites of the chosen backend; it is chosen once per device, size, grid and mask ratio."""
        return self.choose(mask, height, width).stages(mask, height, width, count)

    def choose(self, mask: PatchMask, height: int, width: int) -> Backend:
        """Return the backend for masks like this one."""
        share = mask.hidden_share
        if share == 0.0:
            return self.reference
        device = mask.visible.device
        key = (device.type, device.index, height, width, *mask.visible.shape[2:], round(share, 1))
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._chosen[key] = self._fastest(mask, height, width)
            logger.info("backend of masked stages of %sx%s on %s: %s", height, width, device, chosen.name)
        return chosen

    def _fastest(self, mask: PatchMask, height: int, width: int) -> Backend:
        few = PatchMask(mask.visible[:SAMPLES])
        expected, best = try_backend(self.reference, few, height, width)
        chosen = self.reference
        for candidate in self.candidates:
            try:
                found, seconds = try_backend(candidate, few, height, width)
            except BackendError as error:
                logger.info("backend %s skipped: %s", candidate.name, error)
                continue
            error_size = difference(found, expected)
            if not error_size <= TOLERANCE:
                logger.warning("backend %s skipped: differs from %s by %.1e", candidate.name, chosen.name, error_size)
            elif seconds < best:
                chosen, best = candidate, seconds
        return chosen


class Trial(nn.Module):
    """A block with every operation that mixes pixels: full and depthwise convolution, channel attention, a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = ChannelNorm(channels)
        self.wide = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.narrow = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map (B, 3, H, W) to (B, channels, H, W)."""
        y = at.hide(at.conv(at.enter(x), self.first))
        z = gate(at.conv(pointwise(at.norm(y, self.norm), self.wide), self.depthwise))
        z = at.scale(z, at.mean(z))
        return at.leave(at.hide(y + pointwise(z, self.narrow)))


def try_backend(backend: Backend, mask: PatchMask, height: int, width: int) -> tuple[list[Tensor], float]:
    """
    Run the trial block forward and backward, `ROUNDS` times.

    Returns:
        Its result and its gradients, and the seconds of the fastest round.

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
    """Return the largest difference of any pair, relative to the pair's largest value; NaN when a difference is NaN."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        error = float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        if not error <= worst:
            worst = error
    return worst


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
