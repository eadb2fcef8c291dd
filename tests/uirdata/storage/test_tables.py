from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from uirdata.errors import StorageError
from uirdata.storage.files import writing

WRITE = """
import sys
from pathlib import Path
from uirdata.storage.tables import writing
with writing(Path(sys.argv[1])) as partial:
    partial.write_text("theirs")
    print("here", flush=True)
    sys.stdin.readline()
"""


def other_writer(target: Path) -> subprocess.Popen[str]:
    """Start a process that is in the middle of writing; a line on its input lets it continue."""
    command = [sys.executable, "-c", WRITE, str(target)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_two_processes_may_write_one_table_and_each_gives_it_whole(tmp_path: Path) -> None:
    target = tmp_path / "scores.parquet"
    other = other_writer(target)
    with writing(target) as partial:
        partial.write_text("ours")
        assert not target.exists()
        other.communicate("go on\n")
        assert (other.returncode, target.read_text()) == (0, "theirs")
    assert target.read_text() == "ours"
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_what_a_killed_process_left_is_overwritten_and_never_taken_for_the_file(tmp_path: Path) -> None:
    target = tmp_path / "scores.parquet"
    other = other_writer(target)
    other.kill()
    other.communicate()
    assert not target.exists()
    (left,) = tmp_path.iterdir()
    with writing(target) as partial:
        assert partial == left
        partial.write_text("ours")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["ours"]


def test_a_block_that_fails_gives_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "x") as partial:
        raise ZeroDivisionError(partial)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/x: cannot be written"), writing(tmp_path / "file/x"):
        pass
