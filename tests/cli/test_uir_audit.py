from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import uir
from tests.conftest import synthetic_image, write_png
from uirdata.images import RgbImage
from uirdata.storage.tables import read_table


def photograph(seed: int) -> RgbImage:
    """Return an image with grain, so that it does not count as blurred."""
    grain = np.random.default_rng(seed).normal(0, 40, (150, 180, 1))
    return np.clip(synthetic_image(150, 180, seed) + grain, 0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with shards of three photographs, and a benchmark that contains one of them."""
    for number in range(3):
        write_png(tmp_path / f"photos/p{number}.png", photograph(number))
    (tmp_path / "bench").mkdir()
    Image.fromarray(photograph(1)[:, ::-1]).save(tmp_path / "bench/held.jpg", quality=70)
    write_png(tmp_path / "bench/new.png", photograph(9))
    root = tmp_path / "root"
    for name, folder in (("mine", "photos"), ("my-bench", "bench")):
        assert uir("fetch", name, "--from", str(tmp_path / folder), "--root", str(root), "-q").exit_code == 0
    (tmp_path / "root/manifests/subsets.toml").write_text(
        '[[subset]]\nname = "small"\ntitle = "noise of mine"\nclasses = [["noise"]]\n'
        '[[subset.use]]\nsources = ["mine"]\ndegradations = ["noise"]\nsplits = ["train"]\nlevels = ["gaussian-25"]\n'
    )
    built = uir("build-shards", "--subset", "small", "--root", str(root), "--workers", "1", "-q")
    assert built.exit_code == 0, built.output
    return root


def test_a_benchmark_that_holds_a_training_image_is_reported_shown_and_left_out(tmp_path: Path, root: Path) -> None:
    page = tmp_path / "audit.html"
    command = ["audit", "--against", "my-bench", "--html", str(page), "--write-overlaps", "--root", str(root)]
    result = uir(*command, "--jobs", "1", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["pictures"], answer["benchmark_pictures"]) == (3, 2)
    assert answer["twice in the data set"] == []
    (row,) = answer["in a benchmark"]
    assert (row["source"], row["is in"], row["near"]) == ("mine", "my-bench", 1)
    (hit,) = read_table(root / "audit.parquet").to_pylist()
    assert (hit["gt_path"], hit["other_gt_path"], hit["flip"]) == ("p1.png", "held.jpg", "horizontal")
    assert page.read_text().count("data:image/webp;base64,") == 2
    for variant, samples in (("paper", 3), ("clean", 2)):
        planned = uir("crop", "--subset", "small", "--variant", variant, "--root", str(root), "--json")
        assert json.loads(planned.stdout)["samples"] == samples


def test_another_shard_folder_is_a_benchmark_too(tmp_path: Path, root: Path) -> None:
    result = uir("audit", "--against", str(root / "shards"), "--root", str(root), "--jobs", "1", "--json")
    (row,) = json.loads(result.stdout)["in a benchmark"]
    assert (row["exact"], row["near"], row["crop"]) == (3, 0, 0)


def test_without_a_benchmark_only_the_shards_are_compared(root: Path) -> None:
    result = uir("audit", "--root", str(root), "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "3 training images, 0 images of benchmarks: 0 hits in benchmarks, 0 within" in result.output


def test_a_dry_run_of_an_audit_counts_and_writes_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))
    result = uir("audit", "--against", "my-bench", "--root", str(root), "--dry-run")
    assert "to compare: 3 training images" in result.output
    assert sorted(root.rglob("*")) == before


def test_benchmarks_that_are_not_fetched_are_named(root: Path) -> None:
    result = uir("audit", "--against", "cbsd68", "--root", str(root))
    assert result.exit_code == 2
    assert "Run `uir fetch cbsd68`" in result.output
    result = uir("audit", "--against", "cbsd68", "--against", "my-bench", "--root", str(root), "--jobs", "1")
    assert result.exit_code == 3
    assert "not fetched, so not compared: cbsd68" in result.output
    assert uir("audit", "--against", "cbsd86", "--root", str(root)).exit_code == 2


def test_an_image_that_cannot_be_read_is_skipped_with_exit_code_3(tmp_path: Path, root: Path) -> None:
    (tmp_path / "bench/new.png").write_bytes(b"")
    result = uir("audit", "--against", "my-bench", "--root", str(root), "--jobs", "1")
    assert result.exit_code == 3
    assert "new.png: is empty" in result.output
    assert "1 hits in benchmarks" in result.output


def test_screen_leaves_out_the_same_crops_of_the_plan_and_of_the_shards(tmp_path: Path, root: Path) -> None:
    write_png(tmp_path / "photos/sky.png", np.full((150, 180, 3), 200, np.uint8))
    assert uir("fetch", "mine", "--from", str(tmp_path / "photos"), "--root", str(root), "-q").exit_code == 0
    dry = uir("crop", "--subset", "small", "--screen", "--root", str(root), "--dry-run")
    assert "not screened yet, so all their crops are counted: mine" in dry.output
    result = uir("crop", "--subset", "small", "--screen", "--root", str(root), "--jobs", "1", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["samples"] == 3
    (screened,) = answer["screened"]
    assert (screened["source"], screened["crops"], screened["reasons"]) == ("mine", 4, {"flat": 1})
    dry = uir("crop", "--subset", "small", "--screen", "--root", str(root), "--dry-run", "--json")
    assert json.loads(dry.stdout)["samples"] == 3
    out = str(tmp_path / "screened")
    built = uir("build-shards", "--subset", "small", "--screen", "--out", out, "--root", str(root), "--workers", "1")
    assert built.exit_code == 0, built.output
    assert "4 crops, 1 left out, 1 flat" in built.output
    assert "sky.png" not in read_table(Path(out) / "manifest.parquet")["gt_path"].to_pylist()


def test_an_image_that_cannot_be_screened_is_reported_after_the_plan_was_written(tmp_path: Path, root: Path) -> None:
    (tmp_path / "photos/p1.png").write_bytes(b"")
    result = uir("crop", "--subset", "small", "--screen", "--root", str(root), "--jobs", "1")
    assert result.exit_code == 3
    assert "p1.png: is empty" in result.output
    assert (root / "plan.parquet").exists()
