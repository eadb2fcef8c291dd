from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from uirdata.errors import SourceError
from uirdata.storage.checks import Checks, FileCheck, PairCheck, pair_key
from uirdata.storage.transfers import receipts as module
from uirdata.storage.transfers.receipts import Receipt, Receipts

ONE = Receipt("http://x/f", "ab" * 32, 5, "2026-01-01T00:00:00+00:00")


def test_receipts_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "receipts.json"
    book = Receipts(path)
    book.put("b.zip", ONE)
    book.put("a.zip", ONE)
    assert list(Receipts(path).all().items()) == [("a.zip", ONE), ("b.zip", ONE)]
    assert Receipts(path).get("c.zip") is None


def test_many_receipts_are_not_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", 10)
    book = Receipts(tmp_path / "r.json")
    for i in range(500):
        book.put(f"{i:03d}", ONE)
    assert len(Receipts(tmp_path / "r.json").all()) < 500
    book.flush()
    assert len(Receipts(tmp_path / "r.json").all()) == 500


def test_receipts_that_cannot_be_read_are_not_discarded(tmp_path: Path) -> None:
    path = tmp_path / "receipts.json"
    path.write_text("{")
    with pytest.raises(SourceError, match="hashes that later downloads are checked against"):
        Receipts(path)
    assert path.read_text() == "{"


GOOD = {"url": "http://x/f", "sha256": "ab" * 32, "bytes": 5, "when": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    "document",
    [
        {"format": 1, "files": {"../victim": GOOD}},
        {"format": 1, "files": {"/etc/passwd": GOOD}},
        {"format": 1, "files": {"a.zip": GOOD | {"sha256": "../../x"}}},
        {"format": 1, "files": {"a.zip": GOOD | {"sha256": 5}}},
        {"format": 1, "files": {"a.zip": GOOD | {"bytes": -1}}},
        {"format": 1, "files": {"a.zip": GOOD | {"bytes": 10**400}}},
        {"format": 1, "files": {"a.zip": GOOD | {"bytes": True}}},
        {"format": 1, "files": {"a.zip": GOOD | {"mtime_ns": "now"}}},
        {"format": 1, "files": {"a.zip": GOOD | {"md5": ["x"]}}},
        {"format": 1, "files": {"a.zip": GOOD | {"pinned_by": "a stranger"}}},
        {"format": 1, "files": {"a.zip": {"url": "x"}}},
        {"format": 1, "files": {"a.zip": [1]}},
        {"format": 1, "files": [1]},
        {"format": 2, "files": {}},
        {"files": {}},
        [],
        None,
    ],
)
def test_receipts_of_another_form_are_an_error_that_names_the_file(tmp_path: Path, document: object) -> None:
    path = tmp_path / "receipts.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SourceError, match=r"receipts\.json: .*hashes that later downloads are checked against"):
        Receipts(path)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff\xfe\xfd", b'{"format": 1, "files": {"a": NaN}}', b""])
def test_receipts_that_are_no_json_are_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "receipts.json").write_bytes(data)
    with pytest.raises(SourceError, match=r"receipts\.json"):
        Receipts(tmp_path / "receipts.json")


def test_fields_of_a_later_release_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"format": 1, "files": {"a.zip": GOOD | {"colour": "red"}}}))
    assert Receipts(tmp_path / "r.json").get("a.zip") == ONE


def test_only_what_is_not_pinned_yet_is_pinned(tmp_path: Path) -> None:
    book = Receipts(tmp_path / "r.json")
    book.put("new.zip", replace(ONE, pinned_by=""))
    book.put("old.zip", ONE)
    assert list(book.pin(["new.zip", "old.zip", "none.zip"])) == ["new.zip"]
    assert {name: row.pinned_by for name, row in Receipts(tmp_path / "r.json").all().items()} == {
        "new.zip": "first use",
        "old.zip": "first use",
    }


def test_checks_survive_a_truncated_line_and_another_run(tmp_path: Path) -> None:
    with Checks(tmp_path) as checks:
        checks.put_file(FileCheck("a", 1, 2, 3, 4))
        checks.put_pair(PairCheck("k", identical=False, shift=1.5, likeness=0.5))
    path = tmp_path / ".uir/checks.jsonl"
    path.write_text(path.read_text() + '{"path":"b","si')
    with Checks(tmp_path) as checks:
        assert checks.file("a") == FileCheck("a", 1, 2, 3, 4)
        assert checks.file("b") is None
        checks.put_file(FileCheck("c", 5, 6))
    with Checks(tmp_path) as checks:
        assert checks.file("c") == FileCheck("c", 5, 6)
        assert checks.pair("k") == PairCheck("k", identical=False, shift=1.5, likeness=0.5)


def test_the_file_of_checks_does_not_grow_without_end(tmp_path: Path) -> None:
    begin = time.process_time()
    for run in range(6):
        with Checks(tmp_path) as checks:
            for i in range(500):
                checks.put_file(FileCheck(str(i), run, 0))
    assert len((tmp_path / ".uir/checks.jsonl").read_text().splitlines()) < 4 * 500
    with Checks(tmp_path) as checks:
        assert checks.file("499") == FileCheck("499", 5, 0)
    assert time.process_time() - begin < 10


def test_a_pair_is_known_by_both_contents_and_the_border() -> None:
    gt, lq = (FileCheck(name, 1, 1, sha256=digit * 64) for name, digit in (("gt", "a"), ("lq", "b")))
    assert pair_key(gt, lq, 0) == f"{'a' * 32}-{'b' * 32}-0"
    assert len({pair_key(gt, lq, 0), pair_key(gt, lq, 4), pair_key(lq, gt, 0), pair_key(gt, gt, 0)}) == 4


@pytest.mark.parametrize("head", ['{"format": 3}', '{"format": 0}', "no JSON", "[]"])
def test_what_is_known_in_another_format_is_not_known(tmp_path: Path, head: str) -> None:
    with Checks(tmp_path) as checks:
        checks.put_file(FileCheck("c", 5, 6))
    file = tmp_path / ".uir/checks.jsonl"
    known, *lines = file.read_text().splitlines()
    assert known == '{"format": 2}'
    file.write_text("\n".join([head, *lines]) + "\n")
    with Checks(tmp_path) as checks:
        assert checks.file("c") is None


def test_results_of_the_first_format_are_kept_but_for_images_that_are_read_differently_now(tmp_path: Path) -> None:
    old = [
        FileCheck("gt/a.png", 1, 2, 3, 4, sha256="a" * 64, mode="RGB"),
        FileCheck("gt/deep.png", 1, 2, 3, 4, sha256="b" * 64, mode="I;16"),
        FileCheck("gt/long-text.png", 1, 2, problem="is cut short or no image (text too long)"),
        FileCheck("gt/turned.TIF", 1, 2, 3, 4),
    ]
    with Checks(tmp_path) as checks:
        for check in old:
            checks.put_file(check)
    file = tmp_path / ".uir/checks.jsonl"
    file.write_text(file.read_text().replace('{"format": 2}', '{"format": 1}'))
    for new in ("x", "y"):
        with Checks(tmp_path) as checks:
            assert [checks.file(check.path) for check in old] == [old[0], None, None, None]
            checks.put_file(FileCheck(new, 5, 6, problem="is empty"))
    with Checks(tmp_path) as checks:
        assert checks.file("x") == FileCheck("x", 5, 6, problem="is empty")
    assert file.read_text().splitlines()[0] == '{"format": 2}'
