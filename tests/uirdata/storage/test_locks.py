"""Locks between processes, with flock and on file systems without it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from uirdata.errors import ShardError, StorageError
from uirdata.storage.locks import holder, locked

NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM]


def without_flock(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSYS) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture(params=["flock", "no flock"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "no flock":
        without_flock(monkeypatch)
    return str(request.param)


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path, either: str) -> None:
    path = tmp_path / "runs" / ".lock"
    with (
        locked(path, "another training writes here"),
        pytest.raises(StorageError, match=rf"runs: another training writes here \(process {os.getpid()} on .*since"),
        locked(path, "another training writes here"),
    ):
        pass
    with locked(path):
        pass
    assert holder(path) is None


def test_the_caller_chooses_the_error_and_the_advice(tmp_path: Path, either: str) -> None:
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(ShardError, match=r"use another --out$"),
        locked(tmp_path / ".lock", error=ShardError, then="use another --out"),
    ):
        pass


def test_shared_holders_keep_an_exclusive_one_out_and_not_each_other(tmp_path: Path, either: str) -> None:
    path = tmp_path / ".lock"
    with locked(path, shared=True), locked(path, shared=True), pytest.raises(StorageError), locked(path):
        pass
    with locked(path), pytest.raises(StorageError), locked(path, shared=True):
        pass
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_lock_file_replaces_missing_locks_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    without_flock(monkeypatch, number)
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(StorageError, match=r"delete .*\.lock\.held"),
        locked(tmp_path / ".lock"),
    ):
        pass
    assert "has no locks" in caplog.text
    assert not (tmp_path / ".lock.held").exists()


@pytest.mark.parametrize("name", [".lock.held", ".lock.held-here-1-1"])
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    held = tmp_path / name
    code = "import os, sys, filelock; one = filelock.SoftFileLock(sys.argv[1]); one.acquire(); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(held)], check=False)
    assert held.exists()
    without_flock(monkeypatch)
    with locked(tmp_path / ".lock"):
        assert (tmp_path / ".lock.held").read_text().startswith(f"{os.getpid()}\n")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_lock_of_another_machine_is_respected_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock.held").write_text("77\nnode-12\n5\n")
    without_flock(monkeypatch)
    with pytest.raises(StorageError, match=r"process 77 on node-12, since 20"), locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / ".lock.held").read_text() == "77\nnode-12\n5\n"


def test_waits_for_the_lock_and_not_for_ever(tmp_path: Path, either: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    with locked(tmp_path / ".lock"), pytest.raises(StorageError), locked(tmp_path / ".lock", wait_s=60.0):
        pass
    assert 60.0 <= now[0] < 62.0


def test_a_file_that_is_no_lock_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "notes.lock").write_text("dear diary")
    with locked(tmp_path / "notes.lock"):
        pass
    assert (tmp_path / "notes.lock").read_text() == "dear diary"


def test_a_link_is_not_followed(tmp_path: Path, either: str) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with locked(tmp_path / ".lock"):
        assert (tmp_path / "victim").read_text() == ""
    assert not (tmp_path / ".lock").is_symlink()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"), locked(tmp_path / "file" / ".lock"):
        pass
