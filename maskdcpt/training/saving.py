"""When the checkpoints of a run are written, and what is kept when the run ends with an error."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from maskdcpt.compute.distributed import Process
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.run_state import RunState
from maskdcpt.weights.save import metadata_for, prune_checkpoints, save_checkpoint
from uirdata.errors import UirError
from uirdata.progress import Progress
from uirdata.storage.files import storage_error

logger = logging.getLogger(__name__)


class Saver:
    """
    Writes the checkpoints of a run.

    Args:
        config: of the run.
        run: its folder.
        state: of the run.
        process: this process.
        saved: the step of the newest checkpoint; 0 if there is none.

    Attributes:
        score: the mean PSNR of the last validation, for the next checkpoint.
        updating: whether the weights are being updated, so that they belong to no step.
    """

    def __init__(self, config: TrainConfig, run: Path, state: RunState, process: Process, *, saved: int) -> None:
        self._config, self._run, self._state, self._process = config, run, state, process
        self._saved = saved
        self.score: float | None = None
        self.updating = False

    def save(self) -> None:
        """Write a checkpoint. All processes must call together."""
        self._write()
        self._process.wait()

    def save_completed(self) -> None:
        """Write a checkpoint of the completed steps when the next one fails, unless they are saved already."""
        self._state.optimizer.zero_grad(set_to_none=True)
        if self._state.step != self._saved:
            self._write()

    @contextmanager
    def kept(self, progress: Progress) -> Iterator[None]:
        """
        Return a context that saves the completed steps when an error ends it, whatever the error is.

        Raises:
            TrainingError: memory ran out, or the system refused something else.
            StorageError: the disk is full.
        """
        try:
            yield
        except Exception as error:
            self._keep(progress)
            if _is_out_of_memory(error):
                raise TrainingError(
                    f"memory ran out after step {self._state.step:,} ({_first_line(error)}). Set data.accumulate to 2 "
                    "or more, loop.checkpointing to true, or a smaller data.workers, and resume the run"
                ) from error
            if isinstance(error, OSError):
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise storage_error(Path(error.filename or self._run), error) from error
                raise TrainingError(f"the run cannot continue after step {self._state.step:,}: {error}") from error
            raise

    def _keep(self, progress: Progress) -> None:
        step = self._state.step
        if not self._process.leads or step == self._saved:
            return
        if self.updating:
            logger.warning("the steps after %d are lost: the error came while the weights were changed", self._saved)
            return
        # Without a barrier: the other processes may be blocked elsewhere.
        if self._state.divided:
            logger.warning("the steps after %d are lost: sharded weights need all processes", self._saved)
            return
        try:
            self.save_completed()
        except (UirError, OSError, MemoryError, RuntimeError) as error:
            # The error that ends the run is the one to report.
            logger.warning("the steps after %d are lost: no checkpoint can be written (%s)", self._saved, error)
        else:
            progress.note(f"step {step:,} is saved; once the cause is mended, --resume continues from there")

    def _write(self) -> None:
        """Write a checkpoint on the leading process; the others send it their parts of sharded weights."""
        leads, state = self._process.leads, self._state
        tensors, captured = state.tensors(keep=leads), state.capture(keep=leads)
        if leads:
            metadata = metadata_for(self._config, state.class_names, state.step, self.score)
            save_checkpoint(self._run, state.step, tensors, metadata, captured)
            prune_checkpoints(self._run, self._config.loop.keep)
        self._saved = state.step


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a RuntimeError.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
