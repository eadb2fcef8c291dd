from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from uir_cli.uir import program

from tests.conftest import synthetic_image, write_png

SUBSET = """
[[subset]]
name = "small"
title = "noise of mine"
classes = [["noise"]]
[[subset.use]]
sources = ["mine"]
degradations = ["noise"]
splits = ["train"]
per_image = 6
size = 96
stride = 32
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with photographs of the user's own, enough for some seconds of work."""
    for number in range(2):
        write_png(tmp_path / f"photos/p{number}.png", synthetic_image(256, 256, number))
    root = tmp_path / "root"
    fetched = CliRunner().invoke(program, ["fetch", "mine", "--from", str(tmp_path / "photos"), "--root", str(root)])
    assert fetched.exit_code == 0, fetched.output
    (root / "manifests/subsets.toml").write_text(SUBSET)
    return root


def test_ctrl_c_ends_a_build_with_130_and_one_line_and_finished_shards_are_kept(root: Path) -> None:
    # If a shell started the tests in the background, they ignore SIGINT, and so would the command.
    code = "import signal; signal.signal(2, signal.default_int_handler); from uir_cli.uir import main; main()"
    command = code, "build-shards", "--subset", "small", "--root", str(root)
    process = subprocess.Popen(
        [sys.executable, "-c", *command, "--workers", "2", "--shard-size", "300kB"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = root / "shards/manifest.parquet"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.parquet"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    # As a terminal does: the whole process group receives it.
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said
    assert not left_of_group(process.pid)
    finished = len(list(parts.glob("*.parquet")))
    assert finished >= 2
    again = CliRunner().invoke(
        program, [*command[1:], "--workers", "1", "--shard-size", "300kB", "--json", "-q"], catch_exceptions=False
    )
    assert again.exit_code == 0, again.output
    assert f'"shards_built": {len(list(parts.glob("*.parquet"))) - finished},' in again.stdout


def left_of_group(group: int) -> list[str]:
    """Return the command lines of the processes of a group that still run after a while; a dead process has none."""
    deadline = time.monotonic() + 20
    while True:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) == group:
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (ProcessLookupError, FileNotFoundError):
                continue
        if not any(found) or time.monotonic() > deadline:
            return [line for line in found if line]
        time.sleep(0.1)


def test_an_output_that_cannot_hold_shards_is_refused(root: Path) -> None:
    command = ["build-shards", "--subset", "small", "--root", str(root), "--out"]
    for place, said in (
        ("hf://datasets/me/mine", "uir push-hf"),
        ("nowhere://bucket", "nowhere://bucket"),
        (str(root.parent / "photos/p0.png"), "is a file"),
    ):
        result = CliRunner().invoke(program, [*command, place])
        assert result.exit_code in (1, 2), result.output
        assert said in result.output
        assert "Traceback" not in result.output


def test_a_dry_run_shows_how_much_smaller_lazy_shards_are(root: Path) -> None:
    command = ["build-shards", "--subset", "small", "--root", str(root), "--lazy", "--dry-run"]
    result = CliRunner().invoke(program, command)
    assert result.exit_code == 0, result.output
    assert "as webp: " in result.output
    # Six noisy LQ of each GT: 6 x (0.479 + 0.787) / 0.479.
    assert "15.9 times smaller" in result.output
