"""Steps whose loss or gradient is NaN or infinite: they are skipped and counted; too many in a row end the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from maskdcpt.compute.distributed import Process
from maskdcpt.data.batches import PackedBatch, join
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.run_state import RunState


class NanSteps:
    """
    Decides whether a step may update the weights, and counts the skipped steps.

    Args:
        run: folder of the run; the last batch is saved there when the limit is reached.
        limit: the number of skipped steps in a row that ends the run.
        process: this process; all processes of the run reach the same decision, and each saves its part of the batch.
    """

    def __init__(self, run: Path, limit: int, process: Process) -> None:
        self._run = run
        self._limit = limit
        self._process = process
        self._in_a_row = 0

    def is_finite(self, norm: Tensor, losses: Sequence[Tensor]) -> bool:
        """
        Return whether the gradients and losses of all processes are finite. The host waits for the device here.

        Args:
            norm: of the gradients, a scalar.
            losses: of the pieces, scalars. They are checked too: a loss that overflows has no gradient.
        """
        total = torch.stack([loss.detach() for loss in losses]).sum()
        finite = math.isfinite(float(self._process.mean(norm + 0.0 * total)))
        if finite:
            self._in_a_row = 0
        return finite

    def skip(self, batch: Sequence[PackedBatch], step: int) -> TrainingError | None:
        """
        Count a skipped step; after too many in a row save its batch and return the error that ends the run, else None.

        Args:
            batch: the pieces of the step's batch on this process.
            step: the step's number, counted from 1.
        """
        self._in_a_row += 1
        if self._in_a_row < self._limit:
            return None
        path: Path | str = self._run / f"bad-batch-step-{step}-rank-{self._process.rank}.pt"
        whole = join([piece.unpack("cpu") for piece in batch])
        content = {"lq": whole.lq, "gt": whole.gt, "label": whole.label, "samples": sample_numbers(batch)}
        try:
            torch.save(content, path)
        except (OSError, RuntimeError) as error:
            path = f"no file, as it could not be written ({error})"
        return TrainingError(
            f"losses or gradients were NaN or infinite in {self._in_a_row} steps in a row, up to step {step}. "
            f"The weights are those before these steps; the last batch is in {path}. Lower optimizer.lr, set "
            "optimizer.clip_norm, or set loop.precision to float32"
        )

    def check_end(self, state: RunState) -> None:
        """
        Refuse to call a run finished that has learned nothing.

        Raises:
            TrainingError: every step of the run was skipped.
        """
        if state.step and state.skipped >= state.step:
            raise TrainingError(
                f"all {state.step:,} steps were skipped, as their losses or gradients were NaN or infinite: the "
                "weights are those that the run started with. Lower optimizer.lr, set optimizer.clip_norm, or set "
                "loop.precision to float32, and start another run"
            )


def sample_numbers(batch: Sequence[PackedBatch]) -> list[int]:
    """Return the indices of a batch's samples in their shard dataset."""
    return [int(number) for piece in batch for number in piece.sample]
