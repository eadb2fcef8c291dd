"""An error names what the user of this command can do, and an option that would change nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from uir_cli.maskdcpt import program

from maskdcpt.compute.devices import chosen_device
from maskdcpt.training.loop import train
from tests.maskdcpt.tiny import TYPES, tiny_config, write_shards
from uirdata.errors import UsageError


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), train=1, test=1, types=TYPES[:1])


@pytest.fixture(scope="module")
def fine(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "fine"
    return train(tiny_config(shards, out, "objective.kind=finetune", "loop.steps=1")).run


def error(*args: str, code: int = 2) -> str:
    result = CliRunner().invoke(program, [*args])
    assert result.exit_code == code, result.output
    return result.stderr


@pytest.mark.parametrize("device", ["mps", "xpu", "vulkan", "mtia", "hpu", "ipu", "fpga"])
def test_a_device_that_torch_was_not_built_for_is_named(device: str) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    with pytest.raises(UsageError, match=f"the device is {device}, .* expected auto, cpu, cuda"):
        chosen_device(device)


@pytest.mark.parametrize("device", ["tpu", "meta", "gpu", "cuda:x"])
def test_a_device_is_named_as_such(fine: Path, shards: Path, device: str) -> None:
    text = error("eval", "--checkpoint", str(fine), "--shards", str(shards), "--device", device)
    assert device in text
    assert "expected auto, cpu, cuda" in text
    assert "loop.device" not in text


def test_a_subset_that_shards_do_not_hold_has_the_remedy_of_the_command(fine: Path, shards: Path) -> None:
    text = error("eval", "--checkpoint", str(fine), "--shards", str(shards), "--subset", "kodak24")
    assert "--set" not in text
    assert "name no subset" in text
    trained = error("train", "--shards", str(shards), "--set", 'data.subset="kodak24"', "--dry-run")
    assert '--set data.subset=""' in trained


def test_weights_of_another_kind_need_no_copy(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    out = str(tmp_path / "run")
    text = error("train", "--shards", str(shards), "--init", str(tmp_path / "photo.png"), "--out", out, code=1)
    assert "a PNG image" in text
    assert "again" not in text


def test_a_truncated_checkpoint_of_a_run_cannot_be_copied_from_anywhere(fine: Path, tmp_path: Path) -> None:
    model = tmp_path / "run" / "checkpoints" / "step-000001" / "model.safetensors"
    model.parent.mkdir(parents=True)
    whole = next((fine / "checkpoints").glob("*/model.safetensors")).read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    text = error("export", "--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "x.pth"), code=1)
    assert "is truncated" in text
    assert "copy" not in text


def test_options_that_would_change_nothing_are_refused(fine: Path, shards: Path, tmp_path: Path) -> None:
    one = ["--checkpoint", str(fine)]
    for args, message in (
        (["table", "1", "--against", "NAFNet"], "--ours"),
        (["eval", *one, "--shards", str(shards), "--classifier", str(fine)], "has no classifier"),
        (["eval", *one, "--bench", "5d", "--subset", "5d"], "its own test sets"),
        (["eval", *one, "--bench", "5d", "--split", "test"], "its own test sets"),
        (["eval", *one, "--shards", str(shards), "--swapped-mosaic"], "--swapped-mosaic is for"),
        (["eval", *one, "--shards", str(shards), "--weights", str(tmp_path)], "--metric lpips"),
        (["export", *one, "--out", str(tmp_path / "x.pth"), "--licence", "mit"], "model card"),
        (["export", *one, "--out", str(tmp_path / "x.pth"), "--private"], "--hub"),
        (["export", *one, "--out", str(tmp_path / "x.pth"), "--raw"], "omit --raw"),
        (["restore", "a.png", *one, "--out", str(tmp_path / "o"), "--tile", "64", "--memory", "1GB"], "omit one"),
        (["export", *one, "--folder", str(tmp_path / "f"), "--layout", "original"], "--layout is for"),
        (["export", *one, "--out", str(tmp_path / "x.onnx"), "--layout", "original"], "no layout of keys"),
    ):
        assert message in error(*args)
    assert not list(tmp_path.iterdir())
