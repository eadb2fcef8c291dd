"""Every end of a run keeps its completed steps, and says what happened."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import maskdcpt.training.loop as loop_module
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.logs.metrics_log import MetricsLog, read_metrics
from maskdcpt.training.loop import train
from maskdcpt.weights.checkpoints import checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from tests.maskdcpt.tiny import tiny_config, write_shards
from uirdata.errors import StorageError, UirError, UsageError
from uirdata.progress import Silent


class Notes(Silent):
    """Collects the messages of a run, and its warnings."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.all: list[str] = []
        self.log = log

    def note(self, message: str) -> None:
        self.all.append(message)

    def __contains__(self, words: str) -> bool:
        return any(words in message for message in (*self.all, *self.log.messages))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Return the weights of the run that nothing interrupts."""
    run = train(tiny_config(shards, tmp_path_factory.mktemp("whole") / "run")).run
    return dict(load_checkpoint(run).params)


def steps(run: Path) -> list[str]:
    return [folder.name for folder in checkpoint_folders(run)]


def failing(error: BaseException, *, at: int) -> Callable[..., Any]:
    """Return a function that raises an error at a call, counted from 1, and does nothing at others."""
    calls = iter(range(1, 1_000))

    def fail(*_: Any, **__: Any) -> None:
        if next(calls) == at:
            raise error

    return fail


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


PLACES: list[tuple[str, Exception, type[Exception], str]] = [
    ("picture", StorageError("samples/step-000005.png: the disk is full"), StorageError, "the disk is full"),
    ("picture", MemoryError(), TrainingError, "memory ran out after step 5"),
    ("validation", ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
    ("validation", torch.OutOfMemoryError("CUDA out of memory"), TrainingError, "memory ran out after step 5"),
    ("validation", RuntimeError("DefaultCPUAllocator: can't allocate memory"), TrainingError, "memory ran out"),
    ("validation", OSError(errno.ENOSPC, "No space left on device"), StorageError, "the disk is full"),
    ("stop", KeyError("of a caller"), KeyError, "of a caller"),
    ("validation", OSError(errno.EMFILE, "Too many open files"), TrainingError, "Too many open files"),
]


@pytest.mark.parametrize(("place", "error", "kind", "words"), PLACES)
def test_whatever_ends_a_run_its_steps_are_saved_and_it_resumes_to_the_same_weights(
    shards: Path,
    tmp_path: Path,
    whole: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
    kind: type[Exception],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = ("loop.sample_every=1", "loop.validate_every=1", "loop.checkpoint_every=100")
    config, notes = tiny_config(shards, tmp_path / "run", *settings), Notes(caplog)
    stop: Callable[..., Any] = lambda: False  # noqa: E731
    with monkeypatch.context() as patched:
        if place == "picture":
            patched.setattr(loop_module, "write_image", failing(error, at=5))
        elif place == "validation":
            patched.setattr(loop_module._Loop, "_validate", failing(error, at=5))
        else:
            stop = failing(error, at=5)
        with pytest.raises(kind, match=words):
            train(config, progress=notes, stop=stop)
    assert steps(config_run(config)) == ["step-000005"]
    assert "step 5 is saved" in notes
    train(config, resume=True)
    assert all(torch.equal(whole[name], weight) for name, weight in load_checkpoint(config_run(config)).params.items())


def config_run(config: TrainConfig) -> Path:
    return Path(config.out)


def test_a_line_of_metrics_that_cannot_be_written_ends_a_run_with_its_steps_saved(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MetricsLog.write

    def write(log: MetricsLog, event: str, step: int, **values: Any) -> None:
        if step == 4:
            raise StorageError(f"{log.path}: the disk is full")
        real(log, event, step, **values)

    monkeypatch.setattr(MetricsLog, "write", write)
    with pytest.raises(StorageError, match=r"metrics\.jsonl: the disk is full"):
        train(tiny_config(shards, tmp_path / "run", "loop.checkpoint_every=100"))
    assert steps(tmp_path / "run") == ["step-000004"]


def test_half_updated_weights_are_never_saved(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, calls = torch.optim.AdamW.step, iter(range(1, 100))

    def step(optimizer: torch.optim.AdamW, *rest: Any) -> Any:
        real(optimizer, *rest)
        if next(calls) == 5:
            raise MemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    notes = Notes(caplog)
    with pytest.raises(TrainingError, match="memory ran out after step 4"):
        train(tiny_config(shards, tmp_path / "run"), progress=notes)
    assert steps(tmp_path / "run") == ["step-000003"]
    assert "the steps after 3 are lost" in notes


def test_the_error_that_ends_a_run_is_reported_even_if_no_checkpoint_can_be_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("maskdcpt.training.saving.save_checkpoint", no_space)
    notes = Notes(caplog)
    config = tiny_config(shards, tmp_path / "run", "loop.checkpoint_every=100")
    with pytest.raises(KeyError, match="the cause"):
        train(config, progress=notes, stop=failing(KeyError("the cause"), at=2))
    assert "no checkpoint can be written ([Errno 28]" in notes


def test_a_checkpoint_that_does_not_fit_leaves_no_half_of_one(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskdcpt.weights.save.torch.save", no_space)
    with pytest.raises(StorageError, match="the disk is full"):
        train(tiny_config(shards, tmp_path / "run", "loop.steps=1"))
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_killed_loader_process_does_not_end_a_run_and_two_save_its_steps(
    shards: Path,
    tmp_path: Path,
    whole: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))
    # Batches are read ahead; a run that is long enough still waits for the killed process.
    settings = ("data.workers=1", "loop.checkpoint_every=100")

    def kill_at(*at: int) -> Callable[[], bool]:
        calls = iter(range(1, 1_000))

        def stop() -> bool:
            if next(calls) in at:
                for worker in multiprocessing.active_children():
                    os.kill(worker.pid or 0, signal.SIGKILL)
                    worker.join()
            return False

        return stop

    notes = Notes(caplog)
    run = train(tiny_config(shards, tmp_path / "once", *settings), progress=notes, stop=kill_at(1)).run
    assert "killed by SIGKILL" in notes
    assert all(torch.equal(whole[name], weight) for name, weight in load_checkpoint(run).params.items())
    with pytest.raises(UirError, match="killed by SIGKILL"):
        train(tiny_config(shards, tmp_path / "twice", *settings, "loop.steps=40"), stop=kill_at(1, 20))
    assert checkpoint_folders(tmp_path / "twice")


def test_a_run_whose_every_step_is_skipped_ends_with_an_error_and_has_no_loss_of_zero(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maskdcpt.training.learner as module

    real = module.losses_of

    def nan(*rest: Any) -> Any:
        losses = real(*rest)
        object.__setattr__(losses, "total", losses.total * float("nan"))
        return losses

    monkeypatch.setattr(module, "losses_of", nan)
    config = tiny_config(shards, tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(TrainingError, match="all 6 steps were skipped"):
            train(config, resume=resume)
    assert all("loss" not in row for row in read_metrics(tmp_path / "run"))


def test_a_batch_of_nan_that_cannot_be_written_does_not_hide_the_reason(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maskdcpt.training.learner as module

    real = module.losses_of

    def nan(*rest: Any) -> Any:
        losses = real(*rest)
        object.__setattr__(losses, "total", losses.total * float("nan"))
        return losses

    monkeypatch.setattr(module, "losses_of", nan)
    # A folder of that name.
    (tmp_path / "run" / "bad-batch-step-2-rank-0.pt").mkdir(parents=True)
    with pytest.raises(TrainingError, match=r"NaN or infinite in 2 steps in a row.*could not be written"):
        train(tiny_config(shards, tmp_path / "run", "loop.nan_limit=2"))


def test_two_trainings_do_not_write_into_one_folder(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run")
    refused: list[str] = []

    def start_another() -> bool:
        for resume in (False, True) if not refused or checkpoint_folders(tmp_path / "run") else ():
            with pytest.raises(UirError) as error:
                train(config, resume=resume)
            refused.append(str(error.value))
        return False

    assert train(config, stop=start_another).finished
    assert any("another training writes here" in words for words in refused[:2])
    # As soon as there is a checkpoint a new training has another reason not to start.
    assert "already holds a run" in refused[-2]
    assert "another training writes here" in refused[-1]
    # Once it has ended the folder is free.
    with pytest.raises(UsageError, match="already holds a run"):
        train(config)
    train(config, resume=True)


REFUSED: list[tuple[str, ...]] = [
    ("data.validation_split=vla",),
    ("loop.tracker=trackio",),
    ("loop.tracker=wandb", "loop.tensorboard=true"),
    ("data.batch=3", "data.accumulate=2"),
    ("data.crop=33",),
    ("data.repeat.nosuch=2",),
    ("init.checkpoint=/no/such",),
    ("data.split=trian",),
]


@pytest.mark.parametrize("settings", REFUSED, ids=["/".join(settings) for settings in REFUSED])
def test_a_refused_start_leaves_nothing_and_changes_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    for package in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "a" / "run"
    with pytest.raises(UirError):
        train(tiny_config(shards, out, *settings))
    assert not list(tmp_path.iterdir())
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("the user's own")
    with pytest.raises(UirError):
        train(tiny_config(shards, out, *settings))
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_misspelt_validation_split_is_refused_and_a_missing_one_is_said(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match=r"data\.validation_split is 'tset': did you mean 'test'"):
        train(tiny_config(shards, tmp_path / "run", "data.validation_split=tset"))
    for split, said in (("val", True), ("test", False), ('""', False)):
        notes = Notes(caplog)
        train(
            tiny_config(shards, tmp_path / f"run-{said}-{len(split)}", f"data.validation_split={split}"), progress=notes
        )
        assert ("no validation, and no best checkpoint is kept" in notes) == said
