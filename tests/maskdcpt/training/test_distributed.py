from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from maskdcpt.data import crops
from maskdcpt.training.logs.metrics_log import read_curves, read_metrics
from maskdcpt.training.loop import train
from maskdcpt.weights.checkpoints import checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import load_state
from tests.maskdcpt.tiny import tiny_config, write_shards
from tests.maskdcpt.training.ranks import Each, errors_on, train_on
from uirdata.errors import StorageError
from uirdata.images import read_image


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    loaded = load_checkpoint(run)
    return {**loaded.params, **{f"ema.{name}": value for name, value in loaded.params_ema.items()}}


def one_stops_at(step: int) -> Each:
    """Stop the second rank alone; the other must follow."""
    return lambda rank, done: rank == 1 and done >= step


def breaks_at(step: int) -> Each:
    """Let only the second rank fail to read samples."""

    def each(rank: int, done: int) -> bool:
        def broken(*_: object) -> None:
            raise StorageError("the disk of rank 1 is gone")

        if rank == 1 and done == step:
            pytest.MonkeyPatch().setattr(crops, "random_window", broken)
        return False

    return each


SETTINGS = ("optimizer.ema_decay=0.9", "loop.log_every=1", "optimizer.lr=1e-3")


@pytest.mark.parametrize("kind", ["maskdcpt", "finetune"])
def test_two_ranks_give_the_curve_of_one_with_the_same_batch(shards: Path, tmp_path: Path, kind: str) -> None:
    settings = (*SETTINGS, f"objective.kind={kind}")
    alone, two = tmp_path / "alone", tmp_path / "two"
    train(tiny_config(shards, alone, *settings))
    train_on(2, tiny_config(shards, two, *settings))
    one, other = read_curves(alone)["loss"], read_curves(two)["loss"]
    assert one.steps == other.steps
    # Sums have another order, which Adam's division makes visible after some steps.
    assert other.values == pytest.approx(one.values, rel=2e-3)
    assert other.values[0] == pytest.approx(one.values[0], rel=1e-5)
    starts = [row for row in read_metrics(two) if row["event"] == "start"]
    assert [row["ranks"] for row in starts] == [2]


def test_two_ranks_stopped_by_one_of_them_and_resumed_give_the_same_to_the_bit(shards: Path, tmp_path: Path) -> None:
    train_on(2, tiny_config(shards, tmp_path / "whole", *SETTINGS))
    broken = tiny_config(shards, tmp_path / "broken", *SETTINGS, "loop.checkpoint_every=100")
    train_on(2, broken, each=one_stops_at(2))
    assert load_state(checkpoint_folders(tmp_path / "broken")[-1])["step"] == 2
    train_on(2, broken, resume=True)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_of_two_ranks_resumes_with_one_in_the_same_order(shards: Path, tmp_path: Path) -> None:
    train_on(2, tiny_config(shards, tmp_path / "run", *SETTINGS), each=one_stops_at(3))
    train(tiny_config(shards, tmp_path / "run", *SETTINGS), resume=True)
    train(tiny_config(shards, tmp_path / "alone", *SETTINGS))
    one, other = read_curves(tmp_path / "alone")["loss"], read_curves(tmp_path / "run")["loss"]
    assert other.values == pytest.approx(one.values, rel=2e-3)


DIVIDED = (
    *SETTINGS,
    "loop.steps=4",
    "model.size.enc_blk_nums=[1]",
    "model.size.dec_blk_nums=[1]",
    "optimizer.clip_norm=1.0",
    "data.accumulate=2",
    "loop.precision=bfloat16",
    "loop.checkpointing=true",
    "loop.checkpoint_every=100",
    "loop.sample_every=4",
    'data.validation_split="test"',
)


@pytest.fixture(scope="module")
def shared(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which each rank holds all weights (DDP)."""
    run = tmp_path_factory.mktemp("shared") / "run"
    train_on(2, tiny_config(shards, run, *DIVIDED))
    return run


@pytest.fixture(scope="module")
def divided(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights sharded over two ranks (FSDP)."""
    run = tmp_path_factory.mktemp("divided") / "run"
    train_on(2, tiny_config(shards, run, *DIVIDED, "loop.parallel=fsdp"))
    return run


def test_sharded_weights_train_like_whole_ones(shared: Path, divided: Path) -> None:
    one, other = read_curves(shared), read_curves(divided)
    assert one.keys() == other.keys() >= {"loss", "grad_norm", "validation/pixel", "validation/accuracy"}
    for name in ("loss", "grad_norm", "validation/pixel", "validation/accuracy"):
        assert other[name].values == pytest.approx(one[name].values, rel=1e-5), name
    mine, theirs = weights(shared), weights(divided)
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(theirs[name], mine[name], rtol=0, atol=1e-6, msg=name)
    assert read_image(divided / "samples" / "step-000004.png").shape == (4 * 36 - 4, 4 * 36 - 4, 3)


def test_a_checkpoint_of_sharded_weights_is_whole_and_resumes_in_one_process(
    shards: Path, shared: Path, divided: Path, tmp_path: Path
) -> None:
    runs = []
    for run in (shared, divided):
        runs.append(Path(shutil.copytree(run, tmp_path / run.parent.name)))
        train(tiny_config(shards, runs[-1], *DIVIDED, "loop.steps=6"), resume=True)
    one, other = (read_curves(run)["loss"] for run in runs)
    assert other.steps == (1, 2, 3, 4, 5, 6)
    assert other.values == pytest.approx(one.values, rel=1e-5)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_rank_that_cannot_read_ends_all_and_no_step_is_lost(
    shards: Path, shared: Path, divided: Path, tmp_path: Path, parallel: str
) -> None:
    config = tiny_config(shards, tmp_path, *DIVIDED, f"loop.parallel={parallel}")
    errors = errors_on(2, config, each=breaks_at(2))
    assert len(errors) == 2
    one, other = sorted(error.splitlines()[-1] for error in errors)
    assert "another process of this run cannot continue" in one
    assert "the disk of rank 1 is gone" in other
    assert load_state(checkpoint_folders(tmp_path)[-1])["step"] == 2
    train_on(2, config, resume=True)
    whole, resumed = weights(divided if parallel == "fsdp" else shared), weights(tmp_path)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
