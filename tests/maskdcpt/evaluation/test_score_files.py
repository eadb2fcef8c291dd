from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from maskdcpt.evaluation.score_files import ScoreRows
from maskdcpt.evaluation.scores import ImageScore
from uirdata.errors import UsageError

ROW = ImageScore("a", "noise", "low", "wed", 40, 48, 30.5, 0.9, 20.0, None, "noise", learned={"lpips": 0.25})


def test_rows_are_read_back_as_they_were(tmp_path: Path) -> None:
    ScoreRows(tmp_path, {"weights": "1"}).add(ROW)
    assert ScoreRows(tmp_path, {"weights": "1"}).known == {"a": ROW}


def test_half_of_the_last_row_is_scored_again_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ScoreRows(tmp_path, {"weights": "1"}).add(ROW)
    with (tmp_path / "images-0.jsonl").open("a") as file:
        file.write('{"key": "b", "degr')
    assert list(ScoreRows(tmp_path, {"weights": "1"}).known) == ["a"]
    assert not caplog.messages


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (json.dumps({**asdict(ROW), "key": "b", "psnr": "30"}), "psnr"),
        (json.dumps({**asdict(ROW), "key": 5}), "key: input should be a valid string"),
        (json.dumps({"key": "b"}), "degradation"),
        (json.dumps({**asdict(ROW), "key": "b"}).replace("30.5", "NaN"), "holds NaN"),
        (json.dumps({**asdict(ROW), "key": "b", "learned": [1]}), "learned"),
        ("[1]", "expected an object"),
        ("\0\0", "is not valid JSON"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_row_that_is_none_is_scored_again_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, words: str
) -> None:
    ScoreRows(tmp_path, {"weights": "1"})
    with (tmp_path / "images-0.jsonl").open("a") as file:
        file.write(line + "\n")
    rows = ScoreRows(tmp_path, {"weights": "1"})
    assert not rows.known
    (message,) = caplog.messages
    assert "1 rows cannot be read, and their images are scored again; the first is line 2" in message
    assert words in message


@pytest.mark.parametrize("first", [b"\xff\n", b"5\n", b"[" * 100_000 + b"\n", b'{"weights": "2"}\n'])
def test_a_folder_of_anything_else_is_another_evaluation(tmp_path: Path, first: bytes) -> None:
    (tmp_path / "images-0.jsonl").write_bytes(first)
    with pytest.raises(UsageError, match="holds another evaluation"):
        ScoreRows(tmp_path, {"weights": "1"})
