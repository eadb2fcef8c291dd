from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from uir_cli.maskdcpt import program as maskdcpt_program
from uir_cli.uir import program as uir_program

from maskdcpt.config.toml import read_config, to_toml
from maskdcpt.evaluation.evaluate import evaluate
from maskdcpt.training.loop import train
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.training_data import training_data
from tests.conftest import synthetic_image, write_png
from tests.maskdcpt.tiny import tiny_config
from uirdata.errors import UsageError
from uirdata.pipeline.choosing import subset_of_shards

SUBSET = """
[[subset]]
name = "mine"
title = "noise of mine, and what it compresses to"
classes = [["jpeg"], ["noise"]]
repeat = { jpeg = 2 }
[[subset.use]]
sources = ["myphotos"]
degradations = ["noise", "jpeg"]
splits = ["train", "test"]
size = 64
stride = 64
"""


def uir(*words: str) -> Result:
    return CliRunner().invoke(uir_program, list(words))


def maskdcpt(*words: str) -> Result:
    return CliRunner().invoke(maskdcpt_program, list(words))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root whose photographs and their subset are described only in mine/, with shards of the subset."""
    place = tmp_path_factory.mktemp("own")
    root, mine = str(place / "root"), place / "mine"
    for number in range(6):
        write_png(place / f"photos/p{number}.png", synthetic_image(64, 64, number))
    fetched = uir("fetch", "myphotos", "--from", str(place / "photos"), "--test-share", "0.5", "--root", root)
    assert fetched.exit_code == 0, fetched.output
    mine.mkdir()
    (place / "root/manifests/myphotos.toml").rename(mine / "myphotos.toml")
    (mine / "subsets.toml").write_text(SUBSET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UIR_MANIFESTS", str(mine))
        built = uir("build-shards", "--subset", "mine", "--root", root, "--workers", "1", "-q")
    assert built.exit_code == 0, built.output
    config = tiny_config(place / "root/shards", place / "unused", "loop.steps=1")
    (place / "tiny.toml").write_text(to_toml(config))
    return place


def test_a_subset_of_the_user_works_from_shards_to_an_evaluation(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UIR_MANIFESTS", str(place / "mine"))
    shards, run = str(place / "root/shards"), str(tmp_path / "run")
    words = ["train", "--config", str(place / "tiny.toml"), "--set", "data.subset=mine", "--out", run]
    planned = maskdcpt(*words, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    plan = json.loads(planned.stdout)
    # Not the order of the 19 types, and every jpeg sample twice: both are defined by the subset.
    assert plan["labels"] == "jpeg, noise"
    held = maskdcpt("eval", "--shards", shards, "--split", "train", "--dry-run", "--json")
    counts = {row["name"]: row["images"] for row in json.loads(held.stdout)}
    assert plan["samples in an epoch"] == f"{2 * counts['jpeg'] + counts['noise']:,}"
    trained = maskdcpt(*words, "-q")
    assert trained.exit_code == 0, trained.output
    assert read_config(tmp_path / "run/config.toml").data.subset == "mine"

    counted = maskdcpt("eval", "--shards", shards, "--subset", "mine", "--dry-run", "--json")
    assert [row["name"] for row in json.loads(counted.stdout)] == ["jpeg", "noise"], counted.output
    evaluated = maskdcpt("eval", "--checkpoint", run, "--shards", shards, "--subset", "mine", "--json", "-q")
    assert evaluated.exit_code == 0, evaluated.output
    report = json.loads(evaluated.stdout)
    assert report["class_names"] == ["jpeg", "noise"]
    assert report["training"] == [f"maskdcpt, 1 steps of 4 on mine of {shards}: myphotos."]
    # The id of a source is a subset, too.
    probed = maskdcpt("probe", "--checkpoint", run, "--shards", shards, "--subset", "myphotos", "--crop", "32", "-q")
    assert probed.exit_code == 0, probed.output
    resumed = maskdcpt("train", "--out", run, "--resume", "--set", "loop.steps=2", "-q")
    assert resumed.exit_code == 0, resumed.output


def test_without_its_folder_a_subset_of_the_user_is_refused_by_name(place: Path, tmp_path: Path) -> None:
    shards = str(place / "root/shards")
    words = ["train", "--config", str(place / "tiny.toml"), "--set", "data.subset=mine", "--out", str(tmp_path / "run")]
    for result in (
        uir("build-shards", "--subset", "mine", "--root", str(place / "root")),
        maskdcpt(*words, "--dry-run"),
        maskdcpt(*words),
        maskdcpt("eval", "--shards", shards, "--subset", "mine", "--dry-run"),
        maskdcpt("eval", "--shards", shards, "--subset", "mine", "--checkpoint", str(tmp_path / "none")),
        maskdcpt("probe", "--shards", shards, "--subset", "mine"),
    ):
        assert result.exit_code == 2, result.output
        assert "there is no subset or source 'mine'" in result.stderr
    assert not (tmp_path / "run").exists()
    config = tiny_config(place / "root/shards", tmp_path / "run", "data.subset=mine")
    with pytest.raises(UsageError, match="'mine'"):
        train(config)


def test_a_run_from_python_takes_the_subset_that_its_configuration_names(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = shutil.copytree(place / "root/shards", tmp_path / "pool/shards")
    config = tiny_config(shards, tmp_path / "run", "data.subset=mine", "loop.steps=1")
    monkeypatch.setenv("UIR_MANIFESTS", str(place / "mine"))
    subset = subset_of_shards(shards, "mine")
    assert subset is not None
    run = train(config).run
    assert evaluate(run, shards, split="train", subset="mine").class_names == subset.class_names
    # Without the shards, the training data follows from the subset alone.
    shutil.rmtree(shards)
    assert training_data(load_checkpoint(run)).sources == {"myphotos"}
    monkeypatch.delenv("UIR_MANIFESTS")
    assert training_data(load_checkpoint(run)).sources == set()
    with pytest.raises(UsageError, match="'mine'"):
        train(tiny_config(place / "root/shards", tmp_path / "other", "data.subset=5d"), subset=subset)
    assert subset_of_shards(shards, "") is None


def test_an_unknown_source_of_a_subset_of_ones_own_is_refused_by_both_programs(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subsets.toml").write_text(SUBSET.replace("myphotos", "gopr"))
    monkeypatch.setenv("UIR_MANIFESTS", str(tmp_path))
    root, shards = str(place / "root"), str(place / "root/shards")
    words = ["--config", str(place / "tiny.toml"), "--set", "data.subset=mine", "--out", str(tmp_path / "run")]
    for result in (
        uir("build-shards", "--subset", "mine", "--root", root, "--dry-run"),
        uir("build-shards", "--subset", "mine", "--root", root),
        uir("fetch", "--subset", "mine", "--root", root, "--dry-run"),
        maskdcpt("train", *words, "--dry-run"),
        maskdcpt("eval", "--shards", shards, "--subset", "mine", "--dry-run"),
    ):
        assert result.exit_code == 1, result.output
        assert "the subset mine names the source 'gopr', which has no manifest: did you mean 'gopro'?" in result.stderr
        assert str(tmp_path / "subsets.toml") in result.stderr


def test_a_folder_that_is_named_and_lies_beside_the_shards_is_read_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shards").symlink_to(place / "root/shards", target_is_directory=True)
    (tmp_path / "manifests").symlink_to(place / "mine", target_is_directory=True)
    monkeypatch.setenv("UIR_MANIFESTS", f"{tmp_path}/manifests:{place}/mine")
    listed = uir("sources", "--subset", "mine", "--root", str(tmp_path))
    assert listed.exit_code == 0, listed.output
