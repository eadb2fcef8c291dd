from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from uir_cli.maskdcpt import program as maskdcpt

from maskdcpt.config.toml import to_toml
from tests.cli.commands import uir
from tests.hub import WRITER, Hub
from tests.maskdcpt.tiny import tiny_config
from tests.uirdata.pipeline.building.test_build import digests
from tests.uirdata.pipeline.publishing.published import REPO, manifests
from tests.uirdata.pipeline.trees import small_source
from uirdata.layout import Layout

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PLACE = f"hf://datasets/{REPO}"

CHECK = """
import json, subprocess, sys
from pathlib import Path
import numpy as np
from datasets import load_dataset
from uirdata import open_shards

ours = {item.key: item for item in open_shards(sys.argv[1])}
train = sorted(
    (item for item in ours.values() if item.record.split == "train"),
    key=lambda item: (item.record.shard, item.record.gt_offset),
)

def same(row, item):
    return np.array_equal(np.asarray(row["lq"]), item.lq) and np.array_equal(np.asarray(row["gt"]), item.gt)

def check(data):
    labels = data.features["label"].names
    for row, item in zip(data, train, strict=True):
        assert same(row, item), item.key
        assert (labels[row["label"]], row["level"]) == (item.record.degradation, item.record.level)
        assert row["source"] == "here"
    return labels

# As the card says.
exec(Path(sys.argv[1], "README.md").read_text().split("```python\\n")[1].split("```")[0])
"""

LOAD = """
labels = check(load_dataset("me/small", "small", split="train", streaming=True))
assert labels == data.features["label"].names
cached = load_dataset("me/small", "noise")
for rows in cached.values():
    for row in rows:
        assert same(row, ours[row["key"]])
        assert row["recipe"] == ours[row["key"]].record.recipe
mild = load_dataset("me/small", "mild")
command = [str(Path(sys.executable).with_name("hf")), "download", "me/small", "--repo-type", "dataset", "--local-dir"]
subprocess.run([*command, sys.argv[2]], check=True, capture_output=True)
print(json.dumps({
    "labels": labels,
    "cached": {name: len(rows) for name, rows in cached.items()},
    "names": cached["train"].features["label"].names,
    "columns": cached["train"].column_names,
    "mild": {name: sorted(set(rows["level"])) for name, rows in mild.items()},
}))
"""

MILD = """
[[subset]]
name = "mild"
title = "Noise of one level."
classes = [["noise"]]
[[subset.use]]
sources = ["here"]
degradations = ["noise"]
splits = ["train", "test"]
levels = ["gaussian-15"]
"""


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """Return a root with the pool in its usual place, and a manifest of its source."""
    layout = Layout(tmp_path / "root")
    shutil.copytree(built, layout.shards)
    manifests(layout.manifests)
    return layout.root


def pushed(root: Path, *args: object) -> Result:
    result = uir("push-hf", REPO, "--root", root, *args)
    assert result.exit_code == 0, result.output
    return result


def test_push_says_what_it_did_writes_the_pages_and_shows_no_token(server: Hub, root: Path) -> None:
    result = pushed(root, "--verify", "--private")
    assert f"all {len(server.tree(REPO)) - 1} files have the same bytes on the Hub" in result.output
    assert server.repos[REPO].private
    for name in ("README.md", "croissant.json", "eval.yaml"):
        assert (root / "shards" / name).read_bytes() == server.tree(REPO)[name].data
    again = json.loads(pushed(root, "--json").stdout)
    assert (again["sent"], again["wrong"]) == (0, None)
    refused = uir("push-hf", "elsewhere/small", "--root", root, "--token", WRITER)
    assert refused.exit_code == 1
    assert "the token has no write permission" in refused.output
    assert not any(WRITER in answer.output for answer in (result, refused))


def test_a_dry_run_lists_files_and_problems_and_changes_nothing(server: Hub, root: Path) -> None:
    manifests(root / "manifests", free=False)
    before = digests(root)
    result = uir("push-hf", REPO, "--root", root, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "29 of 29 files" in result.output
    assert "images that may not be redistributed" in result.output
    assert digests(root) == before
    assert REPO not in server.repos
    refused = uir("push-hf", REPO, "--root", root)
    assert refused.exit_code == 1
    assert "here (CC BY 4.0)" in refused.output
    assert REPO not in server.repos


def test_a_branch_of_its_own_leaves_main_alone(server: Hub, root: Path) -> None:
    pushed(root, "--revision", "next", "--verify")
    assert list(server.tree(REPO)) == [".gitattributes"]
    result = uir("stats", f"{PLACE}@next", "--json")
    assert json.loads(result.stdout)["samples"] == 81


@pytest.mark.parametrize("words", [["small"], ["a", "b", "c/d"], ["a/b/c"], ["me/sm all"]])
def test_an_invalid_name_is_wrong_usage(words: list[str], tmp_path: Path) -> None:
    result = uir("push-hf", *words, "--root", tmp_path)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def run_code(code: str, home: Path, *args: Path) -> str:
    """Run code in a new process that uses the Hub of the test; return its output."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_datasets_loads_what_was_pushed_streamed_and_cached_with_equal_pixels(
    server: Hub, root: Path, tmp_path: Path
) -> None:
    info = json.loads((root / "shards/info.json").read_text())
    info["subsets"]["mild"] = [["noise"]]
    (root / "shards/info.json").write_text(json.dumps(info))
    (root / "manifests/subsets.toml").write_text(MILD)
    pushed(root)
    found = json.loads(run_code(CHECK + LOAD, tmp_path / "hf", root / "shards", tmp_path / "brought"))
    assert found["labels"] == ["noise", "jpeg", "haze"]
    assert found["cached"] == {"train": 48, "test": 1}
    assert found["names"] == ["noise"]
    assert found["columns"][:5] == ["lq", "gt", "label", "level", "source"]
    assert found["mild"] == {"train": ["gaussian-15"]}
    brought = {str(p.relative_to(tmp_path / "brought")): p for p in (tmp_path / "brought").rglob("*") if p.is_file()}
    there = {name: blob.data for name, blob in server.tree(REPO).items()}
    assert {name: p.read_bytes() for name, p in brought.items() if not name.startswith(".cache/")} == there


def test_datasets_loads_tars_alone_with_the_words_of_the_card(server: Hub, root: Path, tmp_path: Path) -> None:
    pushed(root, "--no-tables")
    assert not [path for path in server.tree(REPO) if path.startswith("parquet/")]
    run_code(CHECK + "check(data)", tmp_path / "hf", root / "shards")


@pytest.mark.skipif(importlib.util.find_spec("mlcroissant") is None, reason="needs mlcroissant")
def test_mlcroissant_accepts_croissant_json(server: Hub, root: Path) -> None:
    pushed(root)
    code = (
        "import sys, mlcroissant\n"
        "data = mlcroissant.Dataset(jsonld=sys.argv[1])\n"
        "assert not data.metadata.issues.errors, data.metadata.issues.report()\n"
        "print(len(data.metadata.distribution), [r.name for r in data.metadata.record_sets])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root / "shards/croissant.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["11", "['samples']"]
    assert "Error" not in done.stderr


def test_training_reads_from_the_hub_what_it_reads_from_the_folder(server: Hub, root: Path, tmp_path: Path) -> None:
    pushed(root)
    losses = []
    for name, shards in (("there", PLACE), ("here", str(root / "shards"))):
        config = tiny_config(root / "shards", tmp_path / name, "loop.steps=10", "data.subset=")
        (tmp_path / f"{name}.toml").write_text(to_toml(config))
        args = ["train", "--config", str(tmp_path / f"{name}.toml"), "--shards", shards, "-q"]
        result = CliRunner().invoke(maskdcpt, args)
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert losses[0] == losses[1] != []


def test_pixels_come_back_from_recipes_alone(server: Hub, root: Path, tmp_path: Path) -> None:
    pushed(root, "--recipes-only")
    small_source(tmp_path / "theirs")
    manifests(tmp_path / "theirs/manifests")
    source = Layout(tmp_path / "theirs").source("here")
    for folder in (tmp_path / "theirs/photos").iterdir():
        shutil.copytree(folder, source / folder.name)
    out = tmp_path / "out"
    result = uir("build-shards", "--from-hub", REPO, "--root", tmp_path / "theirs", "--out", out, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "81 samples in 8 shards, all with the published bytes" in result.output
    pages = ("README.md", "croissant.json", "eval.yaml")
    assert digests(out) == {name: digest for name, digest in digests(root / "shards").items() if name not in pages}
    empty = uir("build-shards", "--from-hub", REPO, "--root", tmp_path / "nobody", "--out", tmp_path / "none")
    assert empty.exit_code == 3
    assert "not fetched; run `uir fetch here`" in empty.output
