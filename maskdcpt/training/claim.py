"""The claim of a training on its folder: one training at a time, and nothing is left of one that is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from maskdcpt.compute.distributed import Process
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.logs.metrics_log import METRICS
from maskdcpt.training.logs.trackers import TENSORBOARD, TRACKER_KEY, WANDB
from maskdcpt.training.run_folder import CONFIG, find_run
from uirdata.errors import UirError
from uirdata.storage.locks import locked

LOCK = ".training.lock"

_WRITTEN_AT_THE_START = (LOCK, CONFIG, METRICS, TRACKER_KEY, TENSORBOARD, WANDB)


@dataclass
class Claim:
    """
    The folder of a run while it is trained.

    Attributes:
        run: the folder.
        started: whether all checks have passed; what is written after that stays.
    """

    run: Path
    started: bool = False


@contextmanager
def claimed(config: TrainConfig, process: Process, *, resume: bool) -> Iterator[Claim]:
    """
    Return a context in which no other training writes into the folder that a configuration names.

    Raises:
        UsageError: the folder holds a run and `resume` is False, or it holds none or another run and `resume` is True.
        UirError: another training writes into it.
    """
    run = find_run(config, resume=resume, writes=process.leads)
    new_folders = [folder for folder in (run, *run.parents) if not folder.exists()]
    present = {name for name in _WRITTEN_AT_THE_START if (run / name).exists()}
    claim = Claim(run)
    try:
        with ExitStack() as locks:
            problem: UirError | None = None
            try:
                if process.leads:
                    locks.enter_context(
                        locked(
                            run / LOCK, "another training writes here", then="wait for its end, or name another --out"
                        )
                    )
                    # Again: another training may have ended in between.
                    find_run(config, resume=resume, writes=True)
            except UirError as error:
                problem = error
            if process.any(problem is not None):
                raise problem or TrainingError("another process of this run was refused; see its message")
            try:
                yield claim
            finally:
                # Under the lock: another training may begin as soon as it is released.
                if process.leads and not claim.started:
                    written = (LOCK,) if resume else _WRITTEN_AT_THE_START
                    _remove(run, [name for name in written if name not in present])
    finally:
        if process.leads and not claim.started:
            for folder in new_folders:
                with suppress(OSError):
                    folder.rmdir()


def _remove(run: Path, names: list[str]) -> None:
    for name in names:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
