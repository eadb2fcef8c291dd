"""Where the time of steps goes and what they come to, since the last row of metrics; and that row as a sentence."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from maskdcpt.compute.devices import resident_bytes
from maskdcpt.compute.distributed import Process
from maskdcpt.data.batches import PackedBatch
from maskdcpt.objectives.losses import Losses
from maskdcpt.training.run_state import RunState


class StepTimer:
    """Sums over the steps since the last row of metrics, and where their time went."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.seconds_a_step = 0.0
        self._restart()

    def _restart(self) -> None:
        self._sums = torch.zeros(5, device=self._process.device)
        self._steps = self._images = self._taken = 0
        self._waited = self._aside = 0.0
        self._start = time.perf_counter()

    def waiting(self, arriving: Iterator[PackedBatch]) -> PackedBatch:
        """Take the next piece, and note how long it was waited for."""
        start = time.perf_counter()
        packed = next(arriving)
        self._waited += time.perf_counter() - start
        return packed

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep what the block takes out of the step's time."""
        start = time.perf_counter()
        yield
        self._aside += time.perf_counter() - start

    def count(self) -> None:
        """Count a step, sound or not."""
        self._taken += 1

    def add(self, parts: list[Losses], norm: Tensor, images: int) -> None:
        """Take in a step; nothing waits for the device."""
        rows = [torch.stack([p.total.detach(), p.pixel, p.classification, p.accuracy, norm]) for p in parts]
        self._sums += torch.stack(rows).float().mean(dim=0)
        self._steps += 1
        self._images += images

    def close(self, state: RunState, epoch_length: int) -> dict[str, Any]:
        """Give the means as a row, and start anew. All processes must ask together."""
        means = (self._process.mean(self._sums) / max(1, self._steps)).tolist()
        names = ("loss", "pixel", "classification", "accuracy", "grad_norm")
        values: dict[str, Any] = {n: v for n, v in zip(names, means, strict=True) if math.isfinite(v)}
        spent = max(1e-9, time.perf_counter() - self._start - self._aside)
        self.seconds_a_step = spent / max(1, self._taken)
        values["lr"] = state.optimizer.param_groups[0]["lr"]
        values["epoch"] = state.samples / epoch_length
        values["images_per_s"] = self._images / spent
        values["waiting"] = self._waited / spent
        if self._process.device.type == "cuda":
            values["memory_gb"] = torch.cuda.max_memory_allocated(self._process.device) / 1e9
        else:
            values["memory_gb"] = resident_bytes() / 1e9
        if state.skipped:
            values["skipped"] = state.skipped
        self._restart()
        return values


def sentence(step: int, steps: int, values: dict[str, Any], left: float) -> str:
    """
    Say a row of metrics on one line, with the seconds that are left.

    >>> sentence(50, 100, {"loss": 0.125, "lr": 3e-4, "images_per_s": 8.0, "waiting": 0.01}, 95)
    'step 50 of 100: loss 0.1250, lr 0.0003, 8.0 images/s, 1% waiting for data, 0:01:35 left'
    """
    parts = [f"{name} {values[name]:.4f}" for name in ("loss", "pixel", "classification") if name in values]
    if "accuracy" in values:
        parts.append(f"accuracy {values['accuracy']:.0%}")
    parts += [f"lr {values['lr']:.3g}", f"{values['images_per_s']:.1f} images/s"]
    parts.append(f"{values['waiting']:.0%} waiting for data")
    if "memory_gb" in values:
        parts.append(f"{values['memory_gb']:.1f} GB")
    if step < steps:
        parts.append(f"{timedelta(seconds=round(left))} left")
    return f"step {step:,} of {steps:,}: " + ", ".join(parts)
