"""Which files of a folder are restored, and which are named instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskdcpt.restoring.files import Restored, plan_files
from tests.conftest import synthetic_image, write_png


def planned(folder: Path, out: Path) -> dict[str, Restored]:
    return {plan.source.relative_to(folder).as_posix(): plan for plan in plan_files([folder], out)}


@pytest.mark.parametrize(
    "junk", ["@eaDir/a.png/SYNO_THUMB.png", "__MACOSX/a.png", "b/._a.png", ".Trashes/a.png", "lost+found/a.png"]
)
def test_what_systems_leave_in_a_folder_is_not_restored(tmp_path: Path, junk: str) -> None:
    write_png(tmp_path / "in/b/a.png", synthetic_image(20, 24, 1))
    write_png(tmp_path / "in" / junk, synthetic_image(20, 24, 1))
    assert list(planned(tmp_path / "in", tmp_path / "out")) == ["b/a.png"]


def test_files_of_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    write_png(tmp_path / "in/IMG_1.png", synthetic_image(20, 24, 1))
    for name in ("IMG_1.DNG", "IMG_2.cr2", "party.gif", "notes.txt"):
        (tmp_path / "in" / name).write_bytes(b"II*\0")
    found = planned(tmp_path / "in", tmp_path / "out")
    assert sorted(found) == ["IMG_1.DNG", "IMG_1.png", "IMG_2.cr2", "party.gif"]
    assert found["IMG_1.png"].problem == ""
    assert "IMG_1.DNG: is not read: it is the sensor data of a camera (RAW); develop it" in found["IMG_1.DNG"].problem
    assert "256 colours" in found["party.gif"].problem
    (alone,) = plan_files([tmp_path / "in/IMG_2.cr2"], tmp_path / "out")
    assert "darktable" in alone.problem
    by_pattern = plan_files([tmp_path / "in/*.DNG"], tmp_path / "out")
    assert ["darktable" in plan.problem for plan in by_pattern] == [True]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write_png(tmp_path / "elsewhere/a.png", synthetic_image(20, 24, 1))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "in")
    assert list(planned(tmp_path / "in", tmp_path / "out")) == ["x/a.png"]
