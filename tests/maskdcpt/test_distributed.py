from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from pathlib import Path

import pytest
import torch

from maskdcpt.checkpoints import checkpoint_folders, load_checkpoint, load_state
from maskdcpt.config import TrainConfig
from maskdcpt.tracking import read_curves, read_metrics
from maskdcpt.training import train
from tests.maskdcpt.tiny import tiny_config, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


def one_rank(rank: int, ranks: int, port: int, config: TrainConfig, stop_at: int, resume: bool, errors: object) -> None:
    # What torchrun tells its processes.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCH_GLOO_LAZY_INIT="0")
    asked = iter(range(1, 1000))
    try:
        # Only one rank is told to stop; the others must follow.
        train(config, resume=resume, stop=lambda: rank == ranks - 1 and next(asked) >= stop_at)
    except BaseException:
        errors.put(traceback.format_exc())  # type: ignore[attr-defined]
        raise


def train_on(ranks: int, config: TrainConfig, *, stop_at: int = 1000, resume: bool = False) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    errors = context.SimpleQueue()
    processes = [
        context.Process(target=one_rank, args=(rank, ranks, port, config, stop_at, resume, errors))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive, "the ranks wait for each other"
    assert [process.exitcode for process in processes] == [0] * ranks, errors.get()


def weights(run: Path) -> dict[str, torch.Tensor]:
    loaded = load_checkpoint(run)
    return {**loaded.params, **{f"ema.{name}": value for name, value in loaded.params_ema.items()}}


SETTINGS = ("optimizer.ema_decay=0.9", "loop.log_every=1", "optimizer.lr=1e-3")


@pytest.mark.parametrize("kind", ["maskdcpt", "finetune"])
def test_two_ranks_give_the_curve_of_one_with_the_same_batch(shards: Path, tmp_path: Path, kind: str) -> None:
    settings = (*SETTINGS, f"objective.kind={kind}")
    alone, two = tmp_path / "alone", tmp_path / "two"
    train(tiny_config(shards, alone, *settings))
    train_on(2, tiny_config(shards, two, *settings))
    one, other = read_curves(alone)["loss"], read_curves(two)["loss"]
    assert one.steps == other.steps
    # Sums are taken in another order, which Adam's division makes visible after some steps.
    assert other.values == pytest.approx(one.values, rel=2e-3)
    assert other.values[0] == pytest.approx(one.values[0], rel=1e-5)
    starts = [row for row in read_metrics(two) if row["event"] == "start"]
    assert [row["ranks"] for row in starts] == [2]


def test_two_ranks_stopped_by_one_of_them_and_resumed_give_the_same_to_the_bit(shards: Path, tmp_path: Path) -> None:
    train_on(2, tiny_config(shards, tmp_path / "whole", *SETTINGS))
    broken = tiny_config(shards, tmp_path / "broken", *SETTINGS, "loop.checkpoint_every=100")
    train_on(2, broken, stop_at=2)
    assert load_state(checkpoint_folders(tmp_path / "broken")[-1])["step"] == 2
    train_on(2, broken, resume=True)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_of_two_ranks_goes_on_with_one_in_the_same_order(shards: Path, tmp_path: Path) -> None:
    train_on(2, tiny_config(shards, tmp_path / "run", *SETTINGS), stop_at=3)
    train(tiny_config(shards, tmp_path / "run", *SETTINGS), resume=True)
    train(tiny_config(shards, tmp_path / "alone", *SETTINGS))
    one, other = read_curves(tmp_path / "alone")["loss"], read_curves(tmp_path / "run")["loss"]
    assert other.values == pytest.approx(one.values, rel=2e-3)
