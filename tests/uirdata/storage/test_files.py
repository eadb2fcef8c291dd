"""A file under a second name, or copied."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from uirdata.errors import StorageError
from uirdata.storage.files import link_or_copy, writing
from uirdata.storage.temporary_names import beside


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "from" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    os.utime(path, ns=(10**18, 10**18))
    return path


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


def test_links_where_the_file_system_can(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "b.png"
    link_or_copy(source, target)
    assert target.samefile(source)
    assert [path.name for path in target.parent.iterdir()] == ["b.png"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_copies_where_the_file_system_cannot_link(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_links(monkeypatch, number)
    target = tmp_path / "new" / "b.png"
    link_or_copy(source, target)
    assert not target.samefile(source)
    assert target.read_bytes() == b"pixels"
    assert target.stat().st_mtime_ns == 10**18
    assert [path.name for path in target.parent.iterdir()] == ["b.png"]


def test_does_not_copy_after_an_error_that_copying_does_not_mend(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(StorageError, match="the disk is full"):
        link_or_copy(source, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("links", [True, False])
def test_replaces_what_was_there_and_what_an_earlier_run_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        refuse_links(monkeypatch, errno.EXDEV)
    target = tmp_path / "new" / "b.png"
    target.parent.mkdir()
    target.write_bytes(b"other pixels")
    (target.parent / ".b.png.part").write_bytes(b"half")
    link_or_copy(source, target)
    assert target.read_bytes() == b"pixels"
    assert [path.name for path in target.parent.iterdir()] == ["b.png"]


def test_leaves_nothing_behind_where_both_are_one_file_already(source: Path) -> None:
    target = source.with_name("b.png")
    link_or_copy(source, target)
    link_or_copy(source, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["a.png", "b.png"]


def test_takes_the_file_that_a_symbolic_link_points_to(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(source)
    link_or_copy(tmp_path / "link.png", tmp_path / "b.png")
    assert not (tmp_path / "b.png").is_symlink()
    assert (tmp_path / "b.png").samefile(source)


def test_half_a_copy_never_has_the_final_name(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_links(monkeypatch, errno.EXDEV)

    def copy_half(_: Path, to: Path) -> None:
        to.write_bytes(b"pix")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", copy_half)
    target = tmp_path / "new" / "b.png"
    target.parent.mkdir()
    target.write_bytes(b"before")
    with pytest.raises(StorageError, match="the disk is full"):
        link_or_copy(source, target)
    assert target.read_bytes() == b"before"
    assert [path.name for path in target.parent.iterdir()] == ["b.png"]


def test_names_the_target_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/b\.png: cannot be written"):
        link_or_copy(source, tmp_path / "file" / "b.png")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOTSUP])
def test_copies_the_bytes_where_mode_and_times_are_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_links(monkeypatch, errno.EPERM)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    link_or_copy(source, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == b"pixels"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_writes_where_the_file_system_cannot_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with writing(tmp_path / "a.json") as partial:
        partial.write_text("{}")
    assert (tmp_path / "a.json").read_text() == "{}"


def test_a_disk_that_fails_to_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="cannot be written"), writing(tmp_path / "a.json") as partial:
        partial.write_text("{}")
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EINVAL])
def test_copies_and_says_so_where_the_file_system_cannot_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def replace(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(Path, "replace", replace)
    (tmp_path / "a.json").write_text("before")
    with writing(tmp_path / "a.json") as partial:
        partial.write_text("after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "after")]
    assert "does not rename files" in caplog.text


def test_two_writers_of_one_file_do_not_share_a_partial_file_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with writing(tmp_path / "a.json") as one, writing(tmp_path / "a.json") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "one")]


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "雪" * 85, "a" * 250 + ".json"])
def test_writes_and_links_files_with_the_longest_names(source: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "to"
    with writing(folder / name) as partial:
        partial.write_text("whole")
    assert (folder / name).read_text() == "whole"
    link_or_copy(source, folder / name)
    assert [path.name for path in folder.iterdir()] == [name]


def test_long_names_that_differ_at_their_end_have_different_temporary_names() -> None:
    one, other = (beside(Path("x" * 253 + end), ".part") for end in ("a", "b"))
    assert one != other
    assert len(one.name) == 255
