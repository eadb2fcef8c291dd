from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import synthetic_image, write_png
from uirdata.errors import SourceError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.fetch import add_local_source
from uirdata.pipeline.verifying import limited_workers
from uirdata.pipeline.verifying.limited_workers import Limits, inspect_limited
from uirdata.pipeline.verifying.pixel_checks import Group, inspect_group
from uirdata.pipeline.verifying.verify import verify
from uirdata.progress import Silent
from uirdata.storage.tables import read_table

# The code of a worker whose decoder ends the process at files named "bad".
DYING = (
    "import os, sys; sys.path[:] = sys.argv[3:]; from uirdata.pipeline.verifying import limited_workers, pixel_checks; "
    "real = pixel_checks.inspect_file; "
    "pixel_checks.inspect_file = lambda root, path: os.kill(os.getpid(), 9) if 'bad' in path else real(root, path); "
    "limited_workers.work(int(sys.argv[1]), int(sys.argv[2]))"
)


def problems(groups: list[Group], limits: Limits, jobs: int = 1) -> dict[str, str]:
    return {check.path: check.problem for seen in inspect_limited(groups, jobs, limits) for check in seen.files}


def pairs(root: Path, *names: str) -> list[Group]:
    for name in names:
        write_png(root / f"gt/{name}.png", synthetic_image(40, 50, 1))
        write_png(root / f"lq/{name}.png", synthetic_image(40, 50, 2))
    return [Group(root, f"gt/{name}.png", (f"lq/{name}.png",), 0) for name in names]


def test_results_are_those_of_this_process(tmp_path: Path) -> None:
    groups = pairs(tmp_path, "a", "b", "c")
    found = sorted(inspect_limited(groups, 2), key=lambda seen: seen.files[0].path)
    assert found == [inspect_group(group) for group in groups]


def test_a_file_that_takes_too_long_is_one_row_and_the_others_are_checked(tmp_path: Path) -> None:
    groups = pairs(tmp_path, "a", "b", "c")
    (tmp_path / "lq/b.png").unlink()
    os.mkfifo(tmp_path / "lq/b.png")
    found = problems(groups, Limits(file_s=0.5))
    assert found.pop("lq/b.png") == "its check took longer than 0.5 s"
    assert found == dict.fromkeys(["gt/a.png", "lq/a.png", "gt/c.png", "lq/c.png"], "")


def test_a_file_that_needs_too_much_memory_is_one_row(tmp_path: Path) -> None:
    groups = pairs(tmp_path, "a", "b")
    write_png(tmp_path / "gt/a.png", np.zeros((8000, 8000, 3), np.uint8))
    found = problems(groups, Limits(memory_bytes=100 << 20))
    assert "memory" in found.pop("gt/a.png")
    assert found == dict.fromkeys(["lq/a.png", "gt/b.png", "lq/b.png"], "")


@pytest.mark.parametrize("side", ["gt", "lq"])
def test_a_worker_that_dies_is_one_row_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr(limited_workers, "_START", DYING)
    mine = tmp_path / "mine"
    pairs(mine, "a", "b", "c")
    (mine / f"{side}/b.png").rename(mine / f"{side}/bad.png")
    other = "lq" if side == "gt" else "gt"
    (mine / f"{other}/b.png").rename(mine / f"{other}/bad.png")
    layout = Layout(tmp_path / "root")
    source = add_local_source("mine", mine, layout, lq="lq", gt="gt", degradation="haze")
    report = verify([replace(source)], layout, deep=True, jobs=1, progress=Silent())
    rows = {row["lq"]: row["reason"] for row in read_table(layout.pairs("mine")).to_pylist()}
    assert "ended its process: the file is damaged, or too large" in rows.pop("lq/bad.png")
    assert set(rows) == {"lq/a.png", "lq/c.png"}
    assert report.sources[0].inventory is not None
    assert report.sources[0].inventory.unreadable == 1


def test_a_worker_that_cannot_start_is_an_error_and_no_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_workers, "_START", "raise SystemExit(1)")
    with pytest.raises(SourceError, match="could not start"):
        list(inspect_limited(pairs(tmp_path, "a"), 1))
