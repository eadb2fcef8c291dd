from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from uir_cli.console import cell, size_text
from uir_cli.options import Size
from uir_cli.uir import program

from tests.cli.commands import uir
from tests.conftest import synthetic_image, write_png
from tests.uirdata.pipeline.test_all_sources import example_tree
from uirdata import open_shards
from uirdata.images import read_image
from uirdata.sources import load_sources


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(4):
        write_png(tmp_path / "photos" / f"p{number}.png", synthetic_image(70, 96, number))
    return tmp_path / "photos"


def built(tmp_path: Path, photos: Path) -> Path:
    root = tmp_path / "root"
    assert uir("fetch", "mine", "--from", str(photos), "--root", str(root), "-q").exit_code == 0
    command = ["build-shards", "mine", "--root", str(root), "--size", "64", "--stride", "64", "--workers", "1", "-q"]
    result = uir(*command)
    assert result.exit_code == 0, result.output
    return root


def test_help_answers_without_heavy_imports() -> None:
    code = (
        "import sys; from uir_cli.uir import program\n"
        "try: program.main(args=['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'cv2', 'datasets', 'huggingface_hub', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "build-shards" in done.stdout


def test_a_plan_needs_no_network_and_no_library_of_a_host(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('asked the net')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from uir_cli.uir import program\n"
        "program.main(args=['fetch', '--subset', '5d', '--dry-run', '--root', sys.argv[1]], standalone_mode=False)\n"
        "heavy = {'torch', 'cv2', 'scipy', 'datasets', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    words = ("GOPRO_Large.zip", "8.8 GB", "CC BY 4.0", "to download:", "after unpacking:", "with --prune", "free:")
    for word in words:
        assert word in done.stdout
    assert not (tmp_path / "root").exists()


def test_a_plan_names_what_needs_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    shown = uir("fetch", "lsdir", "rdnet", "gopro", "--dry-run", "--root", str(tmp_path), "--json").stdout
    gates = {row["id"]: row["gate"] for row in json.loads(shown)["sources"]}
    assert gates == {"lsdir": "token", "rdnet": "by hand", "gopro": ""}
    shown = uir("fetch", "lsdir", "rdnet", "gopro", "--dry-run", "--root", str(tmp_path)).output
    assert "need a token: lsdir\n" in shown
    assert "have files that you have to download manually: rdnet\n" in shown


def test_a_source_is_shown_with_all_its_mirrors_and_their_access(tmp_path: Path) -> None:
    shown = uir("sources", "lol-v1", "lsdir", "--root", str(tmp_path)).output
    words = (
        "157bjO1_cFuSd0HWDUuAmcHRJDVyWpOxB",
        "manually, in a browser",
        "needs a token",
        "--alternative retinexformer",
        "155.0 GB and 1 file of unknown size to download",
        "skipped: https://data.vision.ee.ethz.ch/yawli/index.html: the old site",
    )
    for word in words:
        assert word in shown


@pytest.mark.parametrize("command", sorted(program.list_commands(None)))  # type: ignore[arg-type]
def test_every_command_has_examples_in_its_help(command: str) -> None:
    result = uir(command, "--help")
    assert result.exit_code == 0
    assert f"uir {command}" in result.output.split("Examples:")[1]


def test_an_unknown_command_source_or_subset_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    assert uir("fetsh").exit_code == 2
    assert "did you mean 'fetch'" in uir("fetsh").output
    for args in (["fetch", "gorpo"], ["sources", "gorpo"]):
        result = uir(*args, "--root", str(tmp_path))
        assert (result.exit_code, "'gopro'" in result.output) == (2, True), result.output
    result = uir("build-shards", "--subset", "samlpe", "--root", str(tmp_path))
    assert result.exit_code == 2
    assert "did you mean 'sample'" in result.output
    assert "Traceback" not in result.output


def test_a_folder_of_photographs_becomes_shards_of_every_type_that_can_be_made(tmp_path: Path, photos: Path) -> None:
    root = built(tmp_path, photos)
    dataset = open_shards(root / "shards")
    assert {"noise", "gaussian-blur", "jpeg", "mosaic", "motion-blur", "low-light"} <= set(dataset.degradations)
    result = uir("stats", "--root", str(root), "--json")
    counts = json.loads(result.stdout)
    assert counts["samples"] == len(dataset)
    assert {row["degradation"]: row["samples"] for row in counts["by degradation"]}["noise"] == 4 * 4


def test_an_lq_and_a_gt_folder_become_shards_of_their_pairs(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"data/hazy/{number}.png", synthetic_image(40, 48, number))
        write_png(tmp_path / f"data/clear/{number}.png", synthetic_image(40, 48, number + 9))
    write_png(tmp_path / "data/hazy/7.png", synthetic_image(40, 48, 7))
    write_png(tmp_path / "data/clear/7.png", synthetic_image(41, 48, 7))
    root = str(tmp_path / "root")
    fetched = uir("fetch", "my-haze", "--from", str(tmp_path / "data"), "--root", root)
    assert fetched.exit_code == 0, fetched.output
    assert "1 left out" in fetched.output
    assert uir("build-shards", "my-haze", "--root", root, "-q").exit_code == 0
    dataset = open_shards(tmp_path / "root/shards")
    assert dataset.class_names == ("haze",)
    assert sorted(item.record.lq_path for item in dataset) == ["hazy/0.png", "hazy/1.png", "hazy/2.png"]
    assert np.array_equal(dataset[0].lq, read_image(tmp_path / "data" / dataset[0].record.lq_path))


def test_a_missing_folder_is_an_error_of_one_line(tmp_path: Path) -> None:
    for args in (
        ["fetch", "mine", "--from", str(tmp_path / "nowhere"), "--root", str(tmp_path)],
        ["stats", str(tmp_path / "nowhere")],
        ["build-shards", "--subset", "sample", "--root", str(tmp_path / "empty")],
        ["verify", "--root", str(tmp_path / "empty")],
    ):
        result = uir(*args)
        assert result.exit_code in (1, 2), (args, result.output)
        assert result.output.count("\n") <= 2, result.output
        assert "Traceback" not in result.output


def test_a_truncated_image_costs_its_samples_and_exit_code_3(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "root"
    assert uir("fetch", "mine", "--from", str(photos), "--root", str(root), "-q").exit_code == 0
    (photos / "p2.png").write_bytes((photos / "p2.png").read_bytes()[:-300])
    command = ["build-shards", "mine", "--root", str(root), "--size", "64", "--stride", "64", "--workers", "1"]
    result = uir(*command)
    assert result.exit_code == 3
    assert "p2.png: is cut short" in result.output
    assert "--retry-rejected" in result.output
    assert {r.gt_path for r in open_shards(root / "shards").records} == {"p0.png", "p1.png", "p3.png"}


def test_dry_runs_write_nothing(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "root"
    assert uir("fetch", "mine", "--from", str(photos), "--root", str(root), "-q").exit_code == 0
    before = sorted(str(p) for p in root.rglob("*"))
    for args in (
        ["build-shards", "mine", "--dry-run"],
        ["crop", "mine", "--dry-run", "--export", str(root / "crops")],
        ["fetch", "gopro", "--dry-run"],
    ):
        result = uir(*args, "--root", str(root))
        assert result.exit_code == 0, result.output
    assert sorted(str(p) for p in root.rglob("*")) == before


def test_crops_are_exported_as_images(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "root"
    assert uir("fetch", "mine", "--from", str(photos), "--root", str(root), "-q").exit_code == 0
    out = tmp_path / "crops"
    command = ["crop", "mine", "--size", "48", "--stride", "48", "--export", str(out), "--root", str(root), "-q"]
    assert uir(*command).exit_code == 0
    names = sorted(p.name for p in (out / "train/jpeg/gt").iterdir())
    assert len(names) == 4 * 4
    assert names == sorted(p.name for p in (out / "train/jpeg/lq").iterdir())
    assert read_image(out / "train/jpeg/gt" / names[0]).shape == (48, 48, 3)


def test_a_statistics_page_needs_nothing_from_elsewhere(tmp_path: Path, photos: Path) -> None:
    root = built(tmp_path, photos)
    page = tmp_path / "stats.html"
    assert uir("stats", "--root", str(root), "--html", str(page)).exit_code == 0
    text = page.read_text()
    assert "data:image/webp;base64," in text
    assert "http" not in text.split("</style>")[1]


def test_json_is_alone_on_stdout(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "root"
    result = uir("fetch", "mine", "--from", str(photos), "--root", str(root), "--json")
    assert json.loads(result.stdout)[0]["pairs"] == 4
    result = uir("degradations", "noise", "--json")
    assert json.loads(result.stdout)[0]["type"] == "noise"


def test_uir_root_is_the_default_of_root(tmp_path: Path, photos: Path) -> None:
    root = built(tmp_path, photos)
    environment = {**os.environ, "UIR_ROOT": str(root)}
    command = [sys.executable, "-c", "from uir_cli.uir import main; main()", "stats", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["folder"] == str(root / "shards")


@pytest.mark.parametrize(
    ("text", "size"), [("1GB", 10**9), ("500MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("1000000", 10**6), ("2k", 2000)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


def test_an_invalid_size_is_wrong_usage() -> None:
    assert uir("build-shards", "--shard-size", "big").exit_code == 2


def test_cells_and_sizes_are_written_as_people_read_them() -> None:
    assert [cell(v) for v in (2482988, 0.5, None, True, "x")] == ["2,482,988", "0.50", "", "yes", "x"]
    assert [size_text(v) for v in (999, 1000, 22_408_017_592, None)] == ["999 B", "1.0 kB", "22.4 GB", "unknown"]


def test_verify_shows_found_and_published_counts_and_known_defects(tmp_path: Path) -> None:
    files, _ = example_tree(load_sources()["lol-v1"])
    for name, data in files.items():
        path = tmp_path / "mine/lol-v1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    root = str(tmp_path / "root")
    # The example has 3 of 500 pairs: what is there is taken, and the rest is said to be missing.
    assert uir("fetch", "lol-v1", "--from", str(tmp_path / "mine"), "--root", root).exit_code == 3
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(program, ["verify", "lol-v1", "--root", root]).output
    for words in (
        "published",
        "485         -483",
        "low-light: 482",
        "known defect: Pairs 79, 111 and 735 of our485",
        "LQ and GT are reported to show different scenes",
    ):
        assert words in shown
