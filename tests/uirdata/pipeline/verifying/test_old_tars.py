"""Trees that an earlier release unpacked from tars, which it did not read to their end."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.uirdata.pipeline.fetching.archived import tarred, zipped
from tests.uirdata.pipeline.fetching.test_fetch import Notes, images, run, source_of
from uirdata.layout import Layout
from uirdata.pipeline.verifying import archive_checks
from uirdata.pipeline.verifying.verify import SourceVerification, verify
from uirdata.sources import Mirror, RemoteFile, Source
from uirdata.storage.downloads import hash_file
from uirdata.storage.journals import FORMAT, load_journal
from uirdata.storage.transfers.receipts import Receipts


def unpacked_by_an_earlier_release(tmp_path: Path, name: str, data: bytes) -> tuple[Source, Layout]:
    """Return a source and its folders, with journals as that release wrote them."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_bytes(data)
    mirror = Mirror("manual", "https://pan.example/s/1", "official", "by-hand")
    source = source_of(RemoteFile(name, (mirror,), archive="zip" if name.endswith("zip") else "tar"))
    assert run(source, tmp_path, from_dir=mine).state == "done"
    shutil.rmtree(mine)
    layout = Layout(tmp_path)
    for journal in (layout.source("s") / ".uir").glob("s.*.jsonl"):
        make_old(journal)
    return source, layout


def make_old(journal: Path) -> None:
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps({"archive": json.loads(lines[0])["archive"]}), *lines[1:]]) + "\n")


def damage(layout: Layout, name: str) -> None:
    """Put a wrong sum into a packed tar, as if the release had read it so."""
    path = layout.downloads("s") / name
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.unlink()
    path.write_bytes(data)
    receipts = Receipts(layout.receipts("s"))
    receipt = receipts.get(name)
    assert receipt is not None
    receipts.put(name, replace(receipt, mtime_ns=path.stat().st_mtime_ns, sha256=hash_file(path)[0]))
    receipts.flush()


def check(source: Source, layout: Layout, notes: Notes | None = None) -> SourceVerification:
    return verify([source], layout, deep=True, jobs=1, progress=notes or Notes()).sources[0]


def test_a_tree_of_a_damaged_tar_is_not_called_good(tmp_path: Path) -> None:
    source, layout = unpacked_by_an_earlier_release(tmp_path, "s.tar.gz", tarred(images()))
    damage(layout, "s.tar.gz")
    result = check(source, layout)
    assert result.state == "faulty"
    (fault,) = result.changed
    assert fault.path == str(layout.downloads("s") / "s.tar.gz")
    assert "CRC check failed" in fault.reason
    assert any(fault.path in todo and "uir fetch s" in todo for todo in result.todo)


def test_a_sound_tar_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, layout = unpacked_by_an_earlier_release(tmp_path, "s.tar.gz", tarred(images()))
    before = {path: path.stat().st_ino for path in layout.source("s").rglob("*.png")}
    assert check(source, layout).state == "good"
    assert load_journal(layout.source("s") / ".uir/s.tar.gz.jsonl").format == FORMAT
    monkeypatch.setattr(archive_checks, "member_hashes", None)
    assert check(source, layout).state == "good"
    assert run(source, tmp_path).state == "done"
    assert {path: path.stat().st_ino for path in layout.source("s").rglob("*.png")} == before


def test_a_tar_inside_a_zip_is_read_too(tmp_path: Path) -> None:
    whole = gzip.decompress(tarred(images()))
    source, layout = unpacked_by_an_earlier_release(tmp_path, "s.zip", zipped({"in.tar": whole}))
    journal = layout.source("s") / ".uir/nested__in.tar.jsonl"
    make_old(journal)
    assert check(source, layout).state == "good"
    assert load_journal(journal).format == FORMAT


def test_what_cannot_be_read_again_is_said(tmp_path: Path) -> None:
    source, layout = unpacked_by_an_earlier_release(tmp_path, "s.tar.gz", tarred(images()))
    (layout.downloads("s") / "s.tar.gz").unlink()
    notes = Notes()
    assert check(source, layout, notes).state == "good"
    assert any("was unpacked by a release that did not notice damage" in note for note in notes.notes)


def test_members_that_were_skipped_are_said_again(tmp_path: Path) -> None:
    source, layout = unpacked_by_an_earlier_release(tmp_path, "s.tar.gz", tarred(images() | {"con.png": b"1"}))
    notes = Notes()
    assert check(source, layout, notes).state == "good"
    assert any("s.tar.gz: 1 member skipped when it was unpacked: 'con.png: has" in note for note in notes.notes)
    assert load_journal(layout.source("s") / ".uir/s.tar.gz.jsonl").skipped == 1
