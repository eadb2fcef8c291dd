"""uir status, doctor and forget: what is here, what lies in a folder, and letting go of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from uir_cli.uir import program

from tests.conftest import synthetic_image, write_png
from uirdata.sources import load_sources
from uirdata.subsets import load_subset


def uir(*arguments: object) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(program, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return a folder with two of the photographs of CBSD68, all of Kodak24, and a holiday picture."""
    for number in (1000, 1001):
        write_png(tmp_path / f"mine/test/CBSD68/{number}.png", synthetic_image(24, 32, number))
    for number in range(1, 25):
        write_png(tmp_path / f"mine/Kodak/kodim{number:02}.png", synthetic_image(24, 32, number))
    write_png(tmp_path / "mine/holiday/a.png", synthetic_image(24, 32, 7))
    return tmp_path / "mine"


def test_status_is_a_checklist_with_the_next_command_for_each(mine: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert uir("fetch", "cbsd68", "kodak24", "--from", mine, "--root", root).exit_code == 3
    found = {row["id"]: row for row in json.loads(uir("status", "--subset", "bench", "--root", root, "--json").output)}
    assert list(found) == list(load_subset("bench").sources)
    assert (found["cbsd68"]["state"], found["cbsd68"]["detail"]) == ("partly", "2 of 68 pairs")
    assert found["cbsd68"]["todo"] == "uir fetch cbsd68"
    assert (found["kodak24"]["state"], found["kodak24"]["pairs"], found["kodak24"]["todo"]) == ("complete", 24, "")
    assert found["gopro"]["state"] == "absent"
    assert found["gopro"]["bytes_to_fetch"] == load_sources()["gopro"].files[0].expected_size
    assert {row["state"] for row in found.values()} <= {"complete", "partly", "by hand", "absent"}
    for row in found.values():
        assert (row["todo"] == "") == (row["state"] == "complete")
        if row["state"] == "by hand":
            assert "save it" in row["todo"] or "save the files" in row["todo"]
    shown = uir("status", "kodak24", "--root", root).output
    assert "1 of 1 complete; next: `uir build-shards kodak24 --root" in shown


def test_a_picture_that_is_broken_later_is_faulty_in_the_status(mine: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    uir("fetch", "kodak24", "--from", mine, "--root", root)
    (root / "sources/kodak24/Kodak/kodim01.png").unlink()
    (root / "sources/kodak24/Kodak/kodim01.png").write_bytes(b"not a picture")
    assert uir("verify", "kodak24", "--root", root).exit_code == 1
    (row,) = json.loads(uir("status", "kodak24", "--root", root, "--json").output)
    assert (row["state"], row["detail"]) == ("faulty", "1 of 24 pairs cannot be used")
    assert row["todo"].startswith("uir verify kodak24")


def test_the_table_of_a_broken_source_does_not_hide_the_others(mine: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    uir("fetch", "cbsd68", "kodak24", "--from", mine, "--root", root)
    (root / "sources/cbsd68/pairs.parquet").write_bytes(b"PAR1")
    states = [row["state"] for row in json.loads(uir("status", "--root", root, "--json").output)]
    assert states == ["faulty", "complete"]


def test_doctor_names_what_lies_in_a_folder_and_the_command_that_takes_it(mine: Path, tmp_path: Path) -> None:
    before = sorted(mine.rglob("*"))
    found = json.loads(uir("doctor", mine, "--root", tmp_path / "root", "--json").output)
    assert [(row["id"], row["found"], row["of"]) for row in found["found"]] == [
        ("cbsd68", "2 images", "68"),
        ("kodak24", "24 images", "24"),
    ]
    assert found["not_taken"] == [{"folder": "holiday", "suffix": ".png", "files": 1, "belongs": ""}]
    assert found["command"] == f"uir fetch cbsd68 kodak24 --from {mine}"
    assert found["disk"]["writable"] is True
    assert isinstance(found["disk"]["hard links from your folder"], bool)
    assert sorted(mine.rglob("*")) == before
    assert not (tmp_path / "root").exists()


def test_doctor_says_what_to_type_for_pictures_that_it_does_not_know(tmp_path: Path) -> None:
    write_png(tmp_path / "holiday/a.png", synthetic_image(24, 32, 7))
    shown = uir("doctor", tmp_path / "holiday", "--root", tmp_path / "root").output
    assert "no published source was recognised" in shown
    assert f"`uir fetch my-images --from {tmp_path / 'holiday'}`" in shown.replace("\n", "")


def test_forget_lets_go_of_a_taken_tree_and_leaves_the_users_files(mine: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    contents = {path: path.read_bytes() for path in mine.rglob("*.png")}
    uir("fetch", "kodak24", "--from", mine, "--root", root)
    assert "would be removed" in uir("forget", "kodak24", "--root", root, "--dry-run").output
    assert (root / "sources/kodak24").exists()
    assert uir("forget", "kodak24", "--root", root).exit_code == 0
    assert not (root / "sources/kodak24").exists()
    assert {path: path.read_bytes() for path in mine.rglob("*.png")} == contents
    (row,) = json.loads(uir("status", "kodak24", "--root", root, "--json").output)
    assert row["state"] == "absent"


def test_forget_of_the_users_own_folder_removes_its_manifest_alone(mine: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    uir("fetch", "mine", "--from", mine / "holiday", "--root", root)
    assert (root / "manifests/mine.toml").exists()
    assert uir("forget", "mine", "--root", root).exit_code == 0
    assert not (root / "manifests/mine.toml").exists()
    assert (mine / "holiday/a.png").exists()


def test_what_was_downloaded_stays_unless_that_is_asked_for(tmp_path: Path) -> None:
    assert uir("fetch", "sample", "--root", tmp_path).exit_code == 0
    assert "--downloads removes that" in uir("forget", "sample", "--root", tmp_path).output
    assert (tmp_path / "sources/sample").exists()
    uir("forget", "sample", "--root", tmp_path, "--downloads")
    assert not (tmp_path / "sources/sample").exists()
    assert not (tmp_path / "downloads/sample").exists()
