"""Archives inside archives, and members that are skipped."""

from __future__ import annotations

import functools
import json
import zipfile
from pathlib import Path

import pytest

from tests.uirdata.pipeline.fetching.archived import zipped
from tests.uirdata.pipeline.fetching.test_fetch import Notes, images, run, source_of
from uirdata.layout import Layout
from uirdata.pipeline.fetching import unpack as unpack_module
from uirdata.pipeline.fetching.unpack import unpack_all
from uirdata.sources import Mirror, RemoteFile
from uirdata.storage.archives import Limits
from uirdata.storage.downloads import Pace
from uirdata.storage.journals import load_journal
from uirdata.storage.transfers.receipts import Receipts


def fetched(tmp_path: Path, files: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> tuple[str, list[str]]:
    """Fetch a source whose zip has these files beside three pairs; return its state, and what was said."""
    mine = tmp_path / "mine"
    mine.mkdir(parents=True)
    (mine / "s.zip").write_bytes(zipped(images() | files, method=method))
    mirror = Mirror("manual", "https://pan.example/s/1", "official", "by-hand")
    notes = Notes()
    outcome = run(source_of(RemoteFile("s.zip", (mirror,), archive="zip")), tmp_path / "root", notes, from_dir=mine)
    return outcome.state, [*outcome.problems, *notes.notes]


def test_two_archives_whose_paths_differ_in_a_stroke_are_both_unpacked(tmp_path: Path) -> None:
    """Of the same bytes, so that they differ in nothing but their place."""
    inner = zipped({"1.txt": b"1"})
    assert fetched(tmp_path, {"a/b.zip": inner, "a__b.zip": inner, "c_/d.zip": inner, "c/_d.zip": inner})[0] == "done"
    root = Layout(tmp_path / "root").source("s")
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("1.txt")) == [
        "1.txt",
        "a/1.txt",
        "c/1.txt",
        "c_/1.txt",
    ]


def test_nested_archives_with_long_paths_are_unpacked(tmp_path: Path) -> None:
    folder = "/".join(["f" * 100] * 4)
    assert fetched(tmp_path, {f"{folder}/b.zip": zipped({"1.txt": b"1"})})[0] == "done"
    assert (Layout(tmp_path / "root").source("s") / folder / "1.txt").read_bytes() == b"1"


def test_archives_inside_an_archive_may_unpack_to_no_more_than_it_may_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_module, "Limits", functools.partial(Limits, free_bytes=3 << 20))
    inner = zipped({"zeros": bytes(1 << 20)}, method=zipfile.ZIP_DEFLATED)
    state, said = fetched(tmp_path, {f"{k}/b.zip": inner for k in range(2)})
    assert state == "done", said
    state, said = fetched(tmp_path / "more", {f"{k}/b.zip": inner for k in range(4)}, method=zipfile.ZIP_DEFLATED)
    assert state != "done"
    assert any("unpacks to more" in line for line in said)


def test_entries_of_archives_inside_an_archive_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_module, "Limits", functools.partial(Limits, entries=20))
    inner = zipped({f"{k}": b"" for k in range(8)})
    state, said = fetched(tmp_path, {"a/b.zip": inner, "c/d.zip": inner})
    assert state != "done"
    assert any("entries" in line for line in said)


def test_archives_that_are_nested_too_deeply_are_named(tmp_path: Path) -> None:
    data = zipped({"1.txt": b"1"})
    for depth in range(4):
        data = zipped({f"{depth}.zip": data})
    state, said = fetched(tmp_path, {"x.zip": data})
    assert state == "done"
    assert any("1 archives inside of 3 others are not unpacked, such as '1.zip'" in line for line in said)


def test_skipped_members_are_named_counted_and_kept_in_the_journal(tmp_path: Path) -> None:
    odd = {f"aux/{k}.png": b"1" for k in range(7)}
    state, said = fetched(tmp_path, odd)
    assert state == "done"
    (note,) = [line for line in said if "members skipped" in line]
    assert "7 members skipped: such as 'aux/0.png', which has a name that some disks cannot hold" in note
    assert "'aux/4.png'" in note
    journal = load_journal(Layout(tmp_path / "root").source("s") / ".uir/s.zip.jsonl")
    assert (journal.skipped, len(journal.such_as)) == (7, 7)


@pytest.mark.parametrize("path", [".uir/t.jsonl", ".UIR/t.zip"])
def test_a_folder_of_a_host_puts_nothing_among_our_files(tmp_path: Path, path: str) -> None:
    """A folder of a host or of the user, one file of which would be a journal."""
    given = tmp_path / "mine/set"
    for name, data in images().items():
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_bytes(data)
    mirror = Mirror("manual", "https://pan.example/s/1", "official", "by-hand")
    source = source_of(RemoteFile("set", (mirror,), archive="folder"))
    notes = Notes()
    root = tmp_path / "root"
    assert run(source, root, from_dir=tmp_path / "mine").state == "done"
    layout = Layout(root)
    listing = layout.downloads("s") / "set.listing.json"
    rows = json.loads(listing.read_text())["files"]
    listing.write_text(json.dumps({"files": [*rows, {"path": path, "where": "x", "host": "http"}]}))
    (layout.downloads("s") / "set" / path).parent.mkdir()
    (layout.downloads("s") / "set" / path).write_bytes(zipped({"t.jsonl": b"{}"}))
    unpack_all(
        source,
        source.files,
        layout,
        receipts=Receipts(layout.receipts("s")),
        pace=Pace(),
        progress=notes,
        prune=False,
    )
    assert not any(file.name == "t.jsonl" for file in layout.source("s").rglob("*"))
    assert [note for note in notes.notes if "keeps files of its own there" in note]
