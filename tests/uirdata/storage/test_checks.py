"""Stored checks lie beside files that others may write: each line is read strictly, and no fault ends a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from uirdata.storage.checks import Checks, FileCheck, PairCheck

FILE = FileCheck("a/1.png", 10, 5, 3, 4)
PAIR = PairCheck("k", identical=False, shift=0.0, likeness=0.5, problem="", warning="")


def test_checks_are_kept_from_one_run_to_the_next(tmp_path: Path) -> None:
    with Checks(tmp_path) as checks:
        checks.put_file(FILE)
        checks.put_pair(PAIR)
    with Checks(tmp_path) as checks:
        assert (checks.file("a/1.png"), checks.pair("k")) == (FILE, PAIR)


@pytest.mark.parametrize(
    "line",
    [
        "null",
        "[]",
        "{",
        "[" * 100_000,
        "{}",
        '{"key": 5}',
        json.dumps({**asdict(FILE), "path": "b.png", "height": "tall"}),
        json.dumps({**asdict(FILE), "path": "b.png", "size": 1e300}),
        json.dumps({**asdict(FILE), "path": "../b.png"}),
        json.dumps({**asdict(FILE), "path": "/etc/passwd"}),
        "\x00\x00",
    ],
)
def test_a_line_that_does_not_fit_is_left_out_and_the_others_are_read(tmp_path: Path, line: str) -> None:
    with Checks(tmp_path) as checks:
        checks.put_file(FILE)
    path = tmp_path / ".uir/checks.jsonl"
    path.write_text(path.read_text() + line + "\n" + json.dumps(asdict(PAIR)) + "\n")
    with Checks(tmp_path) as checks:
        assert (checks.file("a/1.png"), checks.pair("k")) == (FILE, PAIR)
        assert [checks.file(name) for name in ("b.png", "../b.png", "/etc/passwd")] == [None, None, None]
