"""What is pinned on first use: only what proved whole."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.uirdata.pipeline.fetching.archived import tarred, zipped
from tests.uirdata.pipeline.fetching.test_fetch import Notes, http_file, images, run, source_of
from tests.uirdata.servers import serving
from uirdata.layout import Layout
from uirdata.sources import Mirror, RemoteFile, Source
from uirdata.storage.transfers.receipts import Receipt, Receipts


def damaged_zip() -> bytes:
    """A zip with a directory at its end, one of whose members has other bytes than it had."""
    data = bytearray(zipped(images()))
    at = data.index(b"IDAT") + 40
    data[at] ^= 0xFF
    return bytes(data)


def whole_zip() -> bytes:
    return zipped(images())


def whole_tar() -> bytes:
    return tarred(images())


def cut_tar() -> bytes:
    whole = gzip.decompress(whole_tar())
    return gzip.compress(whole[: len(whole) // 3])


BROKEN = {"s.zip": (damaged_zip, whole_zip), "s.tar.gz": (cut_tar, whole_tar)}


def receipt(root: Path, name: str) -> Receipt | None:
    return Receipts(Layout(root).receipts("s")).get(name)


def by_hand(name: str) -> Source:
    mirror = Mirror("manual", "https://pan.example/s/1", "official", "by-hand")
    return source_of(RemoteFile(name, (mirror,), archive="tar" if "tar" in name else "zip"))


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_first_download_does_not_keep_out_the_right_one(tmp_path: Path, name: str) -> None:
    broken, whole = BROKEN[name]
    with serving({f"/{name}": broken()}) as server:
        source = source_of(http_file(server.url, name, "tar" if "tar" in name else "zip"))
        first = run(source, tmp_path)
        downloaded = Layout(tmp_path).downloads("s") / name
        assert first.state == "failed"
        assert str(downloaded) in " ".join(first.problems)
        before = receipt(tmp_path, name)
        assert before is not None
        assert before.pinned_by == ""
        server.files[f"/{name}"] = whole()
        downloaded.unlink()
        notes = Notes()
        second = run(source, tmp_path, notes)
    assert second.state == "done", second
    after = receipt(tmp_path, name)
    assert after is not None
    assert after.pinned_by == "first use"
    assert any("no hash of it is published" in note for note in notes.notes)


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_file_of_the_users_leaves_no_link_and_no_receipt(tmp_path: Path, name: str) -> None:
    broken, whole = BROKEN[name]
    theirs = tmp_path / "theirs" / name
    theirs.parent.mkdir()
    data = broken()
    theirs.write_bytes(data)
    first = run(by_hand(name), tmp_path / "root", from_dir=theirs.parent)
    assert str(theirs) in " ".join(first.problems)
    assert theirs.read_bytes() == data
    assert not (Layout(tmp_path / "root").downloads("s") / name).exists()
    assert receipt(tmp_path / "root", name) is None
    theirs.unlink()
    theirs.write_bytes(whole())
    assert run(by_hand(name), tmp_path / "root", from_dir=theirs.parent).state == "done"


def test_a_broken_file_that_the_user_saved_among_the_downloads_stays(tmp_path: Path) -> None:
    here = Layout(tmp_path).downloads("s") / "s.zip"
    here.parent.mkdir(parents=True)
    here.write_bytes(damaged_zip())
    assert str(here) in " ".join(run(by_hand("s.zip"), tmp_path).problems)
    assert here.read_bytes() == damaged_zip()
    # Replaced by the right one, of equal size, as the message says.
    here.write_bytes(zipped(images()))
    assert run(by_hand("s.zip"), tmp_path).state == "done"
    found = receipt(tmp_path, "s.zip")
    assert found is not None
    assert found.pinned_by == "first use"


def test_pieces_are_pinned_when_their_archive_is_unpacked(tmp_path: Path) -> None:
    data = tarred(images())
    half = len(data) // 2
    pieces = {"s.tar.gz.aa": data[:half], "s.tar.gz.ab": bytes(reversed(data[half:]))}
    with serving({f"/{name}": piece for name, piece in pieces.items()}) as server:
        source = source_of(*(http_file(server.url, name, "tar", part_of="s.tar.gz") for name in pieces))
        assert run(source, tmp_path).state == "failed"
        server.files["/s.tar.gz.ab"] = data[half:]
        (Layout(tmp_path).downloads("s") / "s.tar.gz.ab").unlink()
        assert run(source, tmp_path).state == "done"
    pins = {name: found.pinned_by for name, found in Receipts(Layout(tmp_path).receipts("s")).all().items()}
    assert pins == dict.fromkeys(pieces, "first use")


def test_a_published_hash_is_a_pin_at_once(tmp_path: Path) -> None:
    import hashlib

    data = damaged_zip()
    with serving({"/s.zip": data}) as server:
        source = source_of(http_file(server.url, "s.zip", sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
        assert run(source, tmp_path).state == "failed"
    found = receipt(tmp_path, "s.zip")
    assert found is not None
    assert found.pinned_by == "manifest"


@pytest.mark.parametrize("name", ["tab\there", "back\\slash", "line\nbreak", os.fsdecode(b"not-utf8-\xff")])
def test_a_folder_of_the_users_may_hold_files_of_any_name(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / "theirs" / "set"
    for path, data in {**images(), f"set/gt/{name}.png": b"x"}.items():
        target = tmp_path / "theirs" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    mirror = Mirror("manual", "https://pan.example/s/1", "official", "by-hand")
    source = source_of(RemoteFile("set", (mirror,), archive="folder", unpack_to="set"))
    for _ in range(2):
        outcome = run(source, tmp_path / "root", from_dir=theirs.parent)
        assert outcome.state == "done", outcome
    assert outcome.inventory is not None
    assert outcome.inventory.total == 3
