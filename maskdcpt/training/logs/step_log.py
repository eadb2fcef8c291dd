"""The losses and the time of the steps since the last row of metrics; and that row as a line of text."""

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
    """Sums of losses and of time over the steps since the last row of metrics."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.seconds_a_step = 0.0
        self._restart()

    def _restart(self) -> None:
        self._sums = torch.zeros(5, device=self._process.device)
        self._steps = self._images = self._taken = 0
        self._waited = self._excluded = 0.0
        self._start = time.perf_counter()

    def next_piece(self, arriving: Iterator[PackedBatch]) -> PackedBatch:
        """Return the next piece, and add the time it took to arrive to the waiting time."""
        start = time.perf_counter()
        packed = next(arriving)
        self._waited += time.perf_counter() - start
        return packed

    @contextmanager
    def exclude(self) -> Iterator[None]:
        """Return a context whose time is not counted as time of the steps."""
        start = time.perf_counter()
        yield
        self._excluded += time.perf_counter() - start

    def count(self) -> None:
        """Count a step, skipped or not."""
        self._taken += 1

    def add(self, parts: list[Losses], norm: Tensor, images: int) -> None:
        """Add the losses of a step, without waiting for the device."""
        rows = [torch.stack([p.total.detach(), p.pixel, p.classification, p.accuracy, norm]) for p in parts]
        self._sums += torch.stack(rows).float().mean(dim=0)
        self._steps += 1
        self._images += images

    def close(self, state: RunState, epoch_length: int) -> dict[str, Any]:
        """Return the means as a row of metrics, and start again from zero. All processes must call together."""
        means = (self._process.mean(self._sums) / max(1, self._steps)).tolist()
        # Where every step was skipped there is no loss, and 0 would look like a perfect one.
        names = ("loss", "pixel", "classification", "accuracy", "grad_norm") if self._steps else ()
        values: dict[str, Any] = {n: v for n, v in zip(names, means, strict=False) if math.isfinite(v)}
        spent = max(1e-9, time.perf_counter() - self._start - self._excluded)
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
    Return a row of metrics as one line of text; `left` is the remaining time in seconds.

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
