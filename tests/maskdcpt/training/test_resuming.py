"""A run is resumed from its newest sound checkpoint, on its own samples, from anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from maskdcpt.config.toml import read_config, with_settings
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.training.loop import train
from maskdcpt.weights.checkpoints import MODEL, STATE, CheckpointError, checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import MODEL_SHA256, load_state
from tests.maskdcpt.tiny import TYPES, tiny_config, write_shards
from tests.maskdcpt.training.test_ends import Notes
from uirdata.errors import UirError, UsageError

SETTINGS = ("optimizer.ema_decay=0.9", "optimizer.schedule=cosine", "loop.checkpoint_every=2", "loop.keep=3")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run with checkpoints of the steps 2, 4 and 6."""
    return train(tiny_config(shards, tmp_path_factory.mktemp("finished") / "run", *SETTINGS)).run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def continue_run(caplog: pytest.LogCaptureFixture) -> Callable[..., Notes]:
    def resume(run: Path, *settings: str) -> Notes:
        notes = Notes(caplog)
        train(with_settings(read_config(run / "config.toml"), [f"out={run}", *settings]), resume=True, progress=notes)
        return notes

    return resume


def edit_state(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        state = torch.load(folder / STATE, weights_only=True)
        change(state)
        torch.save(state, folder / STATE)

    return damage


def flip(name: str, place: int) -> Callable[[Path], object]:
    """Return a function that changes one byte of a file; `place` is counted from its end."""

    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-place] ^= 1
        (folder / name).write_bytes(content)

    return damage


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def narrow_moments(state: dict[str, Any]) -> None:
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(1, 2)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "model cut short": cut(MODEL),
    "model gone": lambda folder: (folder / MODEL).unlink(),
    "model of zeros": lambda folder: (folder / MODEL).write_bytes(bytes(5_000)),
    "one bit of a weight": flip(MODEL, 9),
    "model is a folder": lambda folder: ((folder / MODEL).unlink(), (folder / MODEL).mkdir()),
    "state cut short": cut(STATE),
    "state gone": lambda folder: (folder / STATE).unlink(),
    "state of zeros": lambda folder: (folder / STATE).write_bytes(bytes(5_000)),
    "state is empty": lambda folder: (folder / STATE).write_bytes(b""),
    "state is a list": lambda folder: torch.save([1], folder / STATE),
    "no optimiser": edit_state(lambda state: state.pop("optimizer")),
    "no step": edit_state(lambda state: state.pop("step")),
    "a step below zero": edit_state(lambda state: state.update(step=-1)),
    "samples are a text": edit_state(lambda state: state.update(samples="24")),
    "of another step": edit_state(lambda state: state.update(step=5)),
    "moments of another shape": edit_state(narrow_moments),
    "no such generator": edit_state(lambda state: state.update(numpy=("X", [1], 0, 0, 0.0))),
    "nothing in it": lambda folder: [path.unlink() for path in folder.iterdir()],
    "another file of weights": lambda folder: _save_plain(folder / MODEL),
}


def _save_plain(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"intro.weight": torch.zeros(4, 3, 3, 3)}, path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_put_aside_and_the_run_resumes_from_the_one_before(
    run: Path, finished: Path, damage: Callable[[Path], object], continue_run: Callable[..., Notes]
) -> None:
    damage(run / "checkpoints" / "step-000006")
    notes = continue_run(run)
    assert "The run is resumed from step-000004" in notes
    assert "step-000006" in notes
    folders = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert folders == ["step-000002", "step-000004", "step-000006", "step-000006.damaged"]
    one, other = load_checkpoint(finished), load_checkpoint(run)
    assert all(torch.equal(one.params[name], weight) for name, weight in other.params.items())
    assert all(torch.equal(one.params_ema[name], weight) for name, weight in other.params_ema.items())


def test_a_damaged_bit_of_the_state_is_found(run: Path, continue_run: Callable[..., Notes]) -> None:
    folder = run / "checkpoints" / "step-000006"
    content = (folder / STATE).read_bytes()
    # In the middle of the file are moments, which torch reads without a look at their checksums.
    place = content.index(b"data/0") + 200
    (folder / STATE).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert "does not have the checksum" in continue_run(run)


def test_the_newest_two_may_be_damaged_and_a_sound_one_is_never_pruned(
    run: Path, continue_run: Callable[..., Notes]
) -> None:
    for name in ("step-000004", "step-000006"):
        (run / "checkpoints" / name / STATE).write_bytes(b"")
    notes = continue_run(run, "loop.keep=1")
    assert "step-000006.damaged" in notes
    assert "step-000004.damaged" in notes
    assert [folder.name for folder in checkpoint_folders(run)] == ["step-000006"]
    load_state(checkpoint_folders(run)[0])


def test_without_a_sound_checkpoint_the_reasons_are_named_and_nothing_changes(
    run: Path, continue_run: Callable[..., Notes]
) -> None:
    for folder in checkpoint_folders(run):
        (folder / STATE).write_bytes(b"")
    before = sorted(path.relative_to(run) for path in run.rglob("*"))
    with pytest.raises(CheckpointError, match=r"no sound checkpoint to resume from: .*step-000006.*step-000002"):
        continue_run(run)
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before


def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch, continue_run: Callable[..., Notes]
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("maskdcpt.weights.save.torch.load", no_memory)
    with pytest.raises(CheckpointError, match="MemoryError"):
        continue_run(run)
    assert [folder.name for folder in checkpoint_folders(run)] == ["step-000002", "step-000004", "step-000006"]


def test_other_samples_are_refused_and_the_same_ones_elsewhere_are_not(
    shards: Path, run: Path, tmp_path: Path, continue_run: Callable[..., Notes]
) -> None:
    moved = Path(shutil.copytree(shards, tmp_path / "moved"))
    continue_run(run, f"data.shards={moved}", "loop.steps=8")
    # The same classes and as many samples, with other pixels.
    other = write_shards(tmp_path / "other", types=TYPES[::-1])
    with pytest.raises(UsageError, match="was trained on other samples than these shards hold"):
        continue_run(run, f"data.shards={other}", "loop.steps=10")
    assert load_checkpoint(run).step == 8


def test_a_run_of_the_previous_release_is_resumed_without_digests(
    run: Path, finished: Path, continue_run: Callable[..., Notes]
) -> None:
    for folder in checkpoint_folders(run):
        state = torch.load(folder / STATE, weights_only=True)
        del state["data"], state[MODEL_SHA256]
        torch.save(state, folder / STATE)
    shutil.rmtree(run / "checkpoints" / "step-000006")
    notes = continue_run(run)
    assert not notes.log.messages
    one, other = load_checkpoint(finished), load_checkpoint(run)
    assert all(torch.equal(one.params[name], weight) for name, weight in other.params.items())
    assert load_state(checkpoint_folders(run)[-1])["data"] == load_state(checkpoint_folders(finished)[-1])["data"]


def test_what_a_changed_number_of_steps_does_to_the_rate_is_said(run: Path, continue_run: Callable[..., Notes]) -> None:
    notes = continue_run(run, "loop.steps=12")
    assert "loop.steps was 6 and is 12: the cosine now ends at step 12" in notes
    assert "The learning rate continues at 0.00015 instead of 1e-06" in notes
    assert "step 12 of 5 is done already" in continue_run(run, "loop.steps=5")


def test_a_constant_rate_is_said_to_stay(shards: Path, tmp_path: Path, continue_run: Callable[..., Notes]) -> None:
    run = train(tiny_config(shards, tmp_path / "run", "loop.steps=2")).run
    assert "loop.steps was 2 and is 3; the learning rate stays constant" in continue_run(run, "loop.steps=3")


def test_a_warm_up_of_an_earlier_release_is_said_to_go_on_otherwise(
    shards: Path, tmp_path: Path, continue_run: Callable[..., Notes]
) -> None:
    settings = ("optimizer.schedule=cosine", "optimizer.warmup_steps=4")
    run = train(tiny_config(shards, tmp_path / "run", *settings)).run
    assert "earlier release" not in continue_run(run)
    folder = checkpoint_folders(run)[-1]
    state = torch.load(folder / STATE, weights_only=True)
    del state["data"]
    torch.save(state, folder / STATE)
    assert "started by an earlier release, whose cosine began during the warm-up" in continue_run(run)


def test_relative_paths_are_stored_absolute_and_a_run_is_resumed_from_another_folder(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    shutil.copytree(shards, tmp_path / "here" / "shards")
    monkeypatch.chdir(tmp_path / "here")
    pre = train(tiny_config(Path("shards"), Path("pre"), "loop.steps=1"))
    assert pre.run == tmp_path / "here" / "pre"
    config = tiny_config(Path("shards"), Path("fine"), "objective.kind=finetune", "init.checkpoint=pre", "loop.steps=1")
    train(config)
    monkeypatch.chdir(tmp_path / "there")
    stored = read_config(tmp_path / "here" / "fine" / "config.toml")
    where = [Path(place) for place in (stored.out, stored.data.shards, stored.init.checkpoint)]
    assert where == [tmp_path / "here" / name for name in ("fine", "shards", "pre")]
    assert load_checkpoint(stored.out).config == stored
    assert train(with_settings(stored, ["loop.steps=2"]), resume=True).step == 2
    # The folder and the shards may move.
    shutil.move(tmp_path / "here", tmp_path / "moved")
    now = [f"out={tmp_path / 'moved' / 'fine'}", f"data.shards={tmp_path / 'moved' / 'shards'}", "loop.steps=3"]
    assert train(with_settings(stored, now), resume=True).step == 3


@pytest.mark.parametrize("place", ["hf://datasets/me/mine", "https://example.org/shards", "original:weights.pth", ""])
def test_addresses_and_releases_are_kept(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskdcpt.training.run_folder import with_absolute_paths

    monkeypatch.chdir(tmp_path)
    config = TrainConfig()
    if place.startswith("original"):
        stored = with_absolute_paths(replace(config, init=replace(config.init, checkpoint=place)))
        assert stored.init.checkpoint == f"original:{tmp_path / 'weights.pth'}"
    else:
        stored = with_absolute_paths(replace(config, data=replace(config.data, shards=place)))
        assert stored.data.shards == place


def test_a_run_that_ended_before_its_first_checkpoint_says_how_to_start_it(
    shards: Path, tmp_path: Path, continue_run: Callable[..., Notes]
) -> None:
    run = train(tiny_config(shards, tmp_path / "run", "loop.steps=1")).run
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UirError, match=r"start the run with --config .*config\.toml"):
        continue_run(run)
    assert train(read_config(run / "config.toml")).finished
