from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskdcpt.evaluation.compare import compare_runs
from uirdata.errors import UirError


def written(folder: Path, psnr: dict[str, float | None], degradations: list[str], scenes: list[str]) -> Path:
    rows = [
        {"key": key, "degradation": degradation, "test_set": "", "scene": scene, "psnr": value}
        for (key, value), degradation, scene in zip(psnr.items(), degradations, scenes, strict=True)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "images.parquet")
    return folder


def test_images_of_one_scene_count_as_one_and_those_without_a_scene_as_themselves(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(6)]
    first = written(tmp_path / "a", dict.fromkeys(keys, 20.0), ["haze"] * 6, ["v"] * 4 + ["", ""])
    second = written(tmp_path / "b", dict.fromkeys(keys, 21.0), ["haze"] * 6, ["v"] * 4 + ["", ""])
    (found,) = compare_runs([first, second])
    assert (found.group, found.test.scenes) == ("haze", 3)


@pytest.mark.parametrize(
    ("degradations", "groups"), [(["haze", "haze"], ["haze"]), (["haze", "snow"], ["haze", "snow", "all"])]
)
def test_all_images_are_a_group_where_there_are_two_others(
    degradations: list[str], groups: list[str], tmp_path: Path
) -> None:
    first = written(tmp_path / "a", {"x": 20.0, "y": 21.0}, degradations, ["", ""])
    second = written(tmp_path / "b", {"x": 22.0, "y": 23.0}, degradations, ["", ""])
    assert [found.group for found in compare_runs([first, second])] == groups


def test_an_image_without_a_score_of_both_is_left_out(tmp_path: Path) -> None:
    first = written(tmp_path / "a", {"x": 20.0, "y": None, "z": 25.0}, ["haze"] * 3, [""] * 3)
    second = written(tmp_path / "b", {"x": 22.0, "y": 23.0, "w": 1.0}, ["haze"] * 3, [""] * 3)
    (found,) = compare_runs([first, second])
    assert (found.test.scenes, found.test.difference) == (1, pytest.approx(2.0))


def row(**changes: Any) -> dict[str, Any]:
    return {"key": "x", "degradation": "haze", "test_set": "", "scene": "", "broken": "", "psnr": 20.0} | changes


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({}, "key"),
        ({}, "broken"),
        ({"key": ""}, "psnr"),
        ({"key": [1]}, "psnr"),
        ({"degradation": 5}, "psnr"),
        ({"scene": [1]}, "psnr"),
        ({"psnr": "20"}, "psnr"),
        ({"psnr": True}, "psnr"),
        ({"psnr": 1e308}, "psnr"),
        ({"note": "x"}, "note"),
    ],
)
def test_a_table_of_somebody_else_is_refused_with_its_name(
    changes: dict[str, Any], metric: str, tmp_path: Path
) -> None:
    pq.write_table(pa.Table.from_pylist([row(**changes)]), tmp_path / "images.parquet")
    with pytest.raises(UirError, match=re.escape(str(tmp_path))):
        compare_runs([tmp_path, tmp_path], metric)


@pytest.mark.parametrize("column", ["key", "degradation", "test_set", "scene"])
def test_a_table_without_a_column_is_refused_by_its_name(column: str, tmp_path: Path) -> None:
    part = row()
    del part[column]
    pq.write_table(pa.Table.from_pylist([part]), tmp_path / "images.parquet")
    with pytest.raises(UirError, match=f"no column '{column}'"):
        compare_runs([tmp_path, tmp_path])


def test_an_image_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([row(), row(psnr=30.0)]), tmp_path / "images.parquet")
    with pytest.raises(UirError, match="the image 'x' twice"):
        compare_runs([tmp_path, tmp_path])


def test_images_of_one_run_alone_and_other_protocols_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = written(tmp_path / "a", {"x": 20.0, "y": 21.0, "z": None}, ["haze"] * 3, [""] * 3)
    second = written(tmp_path / "b", {"x": 22.0, "z": 23.0}, ["haze"] * 2, [""] * 2)
    for folder, luma in ((first, True), (second, False)):
        protocol = {"y_channel": luma, "weights": "params" if luma else "params_ema"}
        (folder / "report.json").write_text(json.dumps({"protocol": protocol}))
    with caplog.at_level(logging.WARNING):
        compare_runs([first, second])
    assert "a and b: 2 images are left out, because one of the two has no psnr of them; the first is y" in caplog.text
    assert "their protocols differ (y_channel)" in caplog.text
