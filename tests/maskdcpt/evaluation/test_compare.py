from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskdcpt.evaluation.compare import compare_runs


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
