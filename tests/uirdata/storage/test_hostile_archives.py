"""Archives, journals and tables of strangers and of broken disks: an error that says what is wrong, and no harm."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import synthetic_image
from tests.uirdata.storage.test_archives import FILES, stand_in, taken, tar_of, zip_of
from uirdata.errors import ArchiveError, ShardError, StorageError
from uirdata.images import decode_image
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import journal_path
from uirdata.storage import files as files_module
from uirdata.storage.archives import Limits, unpack
from uirdata.storage.formats.members import Names, Skipped
from uirdata.storage.formats.packed import reading
from uirdata.storage.journals import load_journal, read_journal
from uirdata.storage.pair_tables import PAIRS_SCHEMA, read_found, read_pairs
from uirdata.storage.trees import adopt_tree, release_tree


def skips(kind: str, archive: Path, root: Path) -> tuple[dict[str, bytes], list[tuple[str, str]]]:
    """Return what an archive gives, and what of it was skipped."""
    skipped: list[tuple[str, str]] = []
    return taken(kind, archive, root, on_skip=lambda name, why: skipped.append((name, why))), skipped


# Names.


def test_every_archive_has_a_journal_of_its_own() -> None:
    names = ["a.zip", "n/a.zip", "nested/a/b.zip", "nested/a__b.zip", "nested/a_/b.zip", "nested/a/_b.zip"]
    names += ["nested/" + "x" * 240 + f"/{k}.zip" for k in range(2)]
    paths = [journal_path("s", Layout(Path("root")), name) for name in names]
    assert len({path.name for path in paths}) == len(names)
    assert all(len(path.name.encode()) <= 255 for path in paths)


@pytest.mark.parametrize(
    ("name", "journal"), [("a__b.zip", "a__b.zip.jsonl"), ("nested/a/b.zip", "nested__a__b.zip.jsonl")]
)
def test_journals_have_the_names_that_earlier_releases_gave_them(name: str, journal: str) -> None:
    assert journal_path("s", Layout(Path("root")), name) == Path("root/sources/s/.uir") / journal


def test_a_hidden_picture_is_named_and_what_systems_leave_is_not(tmp_path: Path) -> None:
    files = {".set/1.png": b"1", "._1.png": b"2", "__MACOSX/._1.png": b"3", ".DS_Store": b"4", "1.png": b"5"}
    found, skipped = skips("zip", zip_of(tmp_path / "x.zip", files), tmp_path / "out")
    assert found == {"1.png": b"5"}
    assert skipped == [(".set/1.png", "is hidden")]


@pytest.mark.parametrize("name", [".u\u200cir/b.zip.jsonl", "a/.\uff35IR/x", "pairs.par\u00adquet"])
def test_names_of_ours_are_recognised_as_disks_compare_them(name: str) -> None:
    assert isinstance(Names("x.zip", Limits(), folds_case=False).safe(name), Skipped)


def test_a_member_that_is_there_twice_is_named_if_the_two_differ(tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in (("a.png", b"1"), ("b.png", b"same"), ("a.png", b"22"), ("b.png", b"same")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    found, skipped = skips("tar", archive, tmp_path / "out")
    assert found == {"a.png": b"22", "b.png": b"same"}
    assert skipped == [("a.png", "is in the archive more than once; the last of them is kept")]


def test_two_names_that_are_one_after_normalisation_are_not_lost_in_silence(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "x.tar", {"e\u0301.png": b"1", "\u00e9.png": b"2"})
    found, skipped = skips("tar", archive, tmp_path / "out")
    assert found == {"\u00e9.png": b"1"}
    assert [name for name, _ in skipped] == ["\u00e9.png"]


def test_unrar_is_given_no_name_that_it_takes_for_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x00")
    stand_in(tmp_path, "unrar", "print('@/etc/hosts')", monkeypatch)
    with pytest.raises(ArchiveError, match="cannot be passed to unrar"):
        taken("rar", tmp_path / "x.rar", tmp_path / "out")


def test_links_in_a_7z_are_copies_and_what_leads_outside_is_refused(tmp_path: Path) -> None:
    py7zr = pytest.importorskip("py7zr")
    (tmp_path / "a.png").write_bytes(b"abc")
    (tmp_path / "l.png").symlink_to("a.png")
    with py7zr.SevenZipFile(tmp_path / "x.7z", "w") as archive:
        for name in ("a.png", "l.png"):
            archive.write(tmp_path / name, name)
    assert taken("7z", tmp_path / "x.7z", tmp_path / "out") == {"a.png": b"abc", "l.png": b"abc"}
    with py7zr.SevenZipFile(tmp_path / "y.7z", "w") as archive:
        archive.write(tmp_path / "l.png", "l.png")
        archive.write(tmp_path / "a.png", "b.png")
    assert taken("7z", tmp_path / "y.7z", tmp_path / "two", on_skip=lambda *_: None) == {"b.png": b"abc"}
    (tmp_path / "d").mkdir()
    (tmp_path / "d/e.png").symlink_to("../a.png")
    with py7zr.SevenZipFile(tmp_path / "z.7z", "w") as archive:
        archive.write(tmp_path / "d/e.png", "e.png")
    with pytest.raises(ArchiveError, match="outside of the archive"):
        taken("7z", tmp_path / "z.7z", tmp_path / "three")


# Journals.


def test_a_journal_keeps_what_was_skipped(tmp_path: Path) -> None:
    skips("tar", tar_of(tmp_path / "x.tar", {"con.png": b"1", "a.png": b"2"}), tmp_path / "out")
    journal = load_journal(tmp_path / "out/.uir/j.jsonl")
    assert journal.complete
    assert (journal.skipped, journal.such_as) == (1, ("con.png: has a name that some disks cannot hold",))


def test_a_tree_that_an_earlier_release_unpacked_stays_as_it_is(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    out = tmp_path / "out"
    rows = []
    for name, data in FILES.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
        rows.append({"path": name, "size": len(data), "mtime_ns": (out / name).stat().st_mtime_ns})
        rows[-1]["sha256"] = hashlib.sha256(data).hexdigest()
    lines = [{"archive": "s"}, *rows, {"files": 3}]
    (out / ".uir").mkdir()
    (out / ".uir/j.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    inodes = [(out / name).stat().st_ino for name in FILES]
    assert taken("zip", archive, out) == FILES
    assert [(out / name).stat().st_ino for name in FILES] == inodes


ODD_NAMES = ["a\tb.png", "a\\b.png", "C:x.png", "\udce9.png", "a\nb.png", "n" * 255]


def test_files_of_any_name_are_taken_from_a_folder_of_the_user_and_released(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_bytes(b"1")
    root, journal = tmp_path / "root", tmp_path / "root/.uir/tree.jsonl"
    adopt_tree(tmp_path / "mine", ODD_NAMES, root, journal)
    assert [entry.path for entry in read_journal(journal)[0]] == sorted(ODD_NAMES)
    release_tree(root, journal)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert len(list((tmp_path / "mine").iterdir())) == len(ODD_NAMES)


def test_a_tree_is_not_released_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "outside/victim.txt"
    victim.parent.mkdir()
    victim.write_text("mine")
    root = tmp_path / "root"
    (root / ".uir").mkdir(parents=True)
    (root / "door").symlink_to(victim.parent)
    row = {"path": "door/victim.txt", "size": 4, "mtime_ns": victim.stat().st_mtime_ns, "sha256": "0" * 64}
    (root / ".uir/tree.jsonl").write_text(f'{{"archive": "file:///x"}}\n{json.dumps(row)}\n{{"files": 1}}\n')
    release_tree(root, root / ".uir/tree.jsonl")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("boots", [("one", "two"), ("", "")])
def test_files_of_an_unfinished_run_are_hashed_unless_the_machine_ran_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boots: tuple[str, str]
) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    monkeypatch.setattr("uirdata.storage.journals.boot_id", lambda: boots[0])
    taken("zip", archive, tmp_path / "out")
    journal, lost = tmp_path / "out/.uir/j.jsonl", tmp_path / "out/a/b/2.png"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    stat = lost.stat()
    lost.write_bytes(bytes(stat.st_size))
    os.utime(lost, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.setattr("uirdata.storage.archives.boot_id", lambda: boots[1])
    assert taken("zip", archive, tmp_path / "out") == FILES


def test_a_copy_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    (tmp_path / "a").write_bytes(b"1")
    synced: list[bool] = []
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(files_module, "sync", lambda _: synced.append((tmp_path / "b").exists()))
    files_module.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert synced == [False]
    assert (tmp_path / "b").read_bytes() == b"1"


# Bytes.


def tar_with_text(kind: bytes, size: int) -> bytes:
    """Return a packed tar with a member that holds the name of another one, as long as `size`."""
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, size
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(size + 1024), 1)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_tar_whose_names_would_fill_the_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(tar_with_text(kind, 4 << 20))
    with pytest.raises(ArchiveError, match="a text or a file of 4,194,304 bytes"):
        taken("tar", tmp_path / "x.tar", tmp_path / "out")


def test_a_sparse_file_in_a_tar_is_no_damage(tmp_path: Path) -> None:
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ArchiveError, match=r"is a sparse file, which is not read here\. The archive may be whole"):
        taken("tar", tmp_path / "x.tar", tmp_path / "out")


def test_a_tar_whose_rest_a_crash_zeroed_is_refused(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "x.tar", {"a.png": b"1"})
    archive.write_bytes(archive.read_bytes() + bytes(6 << 20))
    with pytest.raises(ArchiveError, match="MiB of zeros follow its end mark"):
        taken("tar", archive, tmp_path / "out")


def test_a_zip_whose_places_do_not_fit_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    data = bytearray(archive.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    # The place of the directory, beyond the file: zipfile moves every member before its start.
    data[at + 16 : at + 20] = (len(data) * 2).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        taken("zip", archive, tmp_path / "out")


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), MemoryError(), RecursionError(), OverflowError("x")])
def test_whatever_a_library_raises_about_the_bytes_names_the_archive(error: Exception) -> None:
    with pytest.raises(ArchiveError, match=r"x\.zip cannot be unpacked"), reading("x.zip"):
        raise error


def test_a_disk_that_does_not_return_the_bytes_is_named_and_the_archive_is_not_called_damaged() -> None:
    with pytest.raises(StorageError, match=r"x\.zip: cannot be read: Input/output error"), reading("x.zip"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes of an archive with a few of them changed, cut off or repeated."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(found))
        match rng.randrange(4):
            case 0:
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                found[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), rng.randbytes(4)))
            case 2:
                found = found[: max(1, at)]
            case _:
                found[at:at] = found[at // 2 : at // 2 + rng.randrange(300)]
    return bytes(found)


def packed_files(folder: Path) -> dict[str, Path]:
    """Return an archive of each kind that the standard library and pyarrow write."""
    tar = tar_of(folder / "x.tar", FILES)
    table = pa.table({"path": ["a/1.png", "b"], "image": [{"bytes": b"\x89PNGxxxx", "path": None}] * 2})
    pq.write_table(table, folder / "x.parquet")
    (folder / "x.tar.gz").write_bytes(gzip.compress(tar.read_bytes()))
    (folder / "x.mat").write_bytes(mat_of({"A": np.zeros((2, 4, 5, 3), np.uint8)}, packed=True))
    return {
        "tar": tar,
        "tar.gz": folder / "x.tar.gz",
        "zip": zip_of(folder / "x.zip", FILES),
        "parquet": folder / "x.parquet",
        "mat": folder / "x.mat",
    }


@pytest.mark.parametrize("name", ["tar", "tar.gz", "zip", "parquet", "mat"])
def test_mutated_archives_end_in_words_and_write_nothing_outside(tmp_path: Path, name: str) -> None:
    data = packed_files(tmp_path)[name].read_bytes()
    for path in list(tmp_path.iterdir()):
        path.unlink()
    rng = random.Random(name)
    archive, out = tmp_path / f"x.{name}", tmp_path / "out"
    refused = 0
    for k in range(60):
        archive.write_bytes(mutated(data, rng))
        # Anything but this error fails the test.
        with contextlib.suppress(ArchiveError):
            unpack(name.removesuffix(".gz"), [archive], out, "", out / ".uir/j.jsonl", archive_sha256=str(k))
            continue
        refused += 1
    assert refused > 10
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "out"}


# Tables and arrays.


def mat_of(arrays: dict[str, np.ndarray], *, packed: bool, order: str = "<") -> bytes:
    """Return a MATLAB file of version 5, according to the description of the format."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)

    found = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", 0x100, 0x4D49)
    for name, array in arrays.items():
        kind = {"uint8": (9, 2), "float64": (6, 9)}[array.dtype.name]
        body = element(6, struct.pack(f"{order}II", kind[0], 0))
        body += element(5, struct.pack(f"{order}{array.ndim}i", *array.shape)) + element(1, name.encode())
        body += element(kind[1], array.tobytes("F"))
        matrix = struct.pack(f"{order}II", 14, len(body)) + body
        squeezed = zlib.compress(matrix)
        found += struct.pack(f"{order}II", 15, len(squeezed)) + squeezed if packed else matrix
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_a_matlab_file_are_read_in_both_orders_of_bytes(tmp_path: Path, order: str, packed: bool) -> None:
    array = np.stack([synthetic_image(6, 5, k) for k in range(3)])
    data = mat_of({"count": np.ones((1, 1)), "Noisy": array}, packed=packed, order=order)
    (tmp_path / "v.mat").write_bytes(data)
    found = taken("mat", tmp_path / "v.mat", tmp_path / "out")
    assert sorted(found) == [f"Noisy/{k}.png" for k in range(3)]
    assert (decode_image(found["Noisy/2.png"], name="x") == array[2]).all()


def test_cells_and_structures_of_a_matlab_file_are_passed_over(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    cell = np.array([1, "a", np.zeros((4, 4, 3), np.uint8)], dtype=object)
    savemat(tmp_path / "v.mat", {"s": {"x": "y"}, "cell": cell, "A": np.stack([synthetic_image(6, 5)])})
    assert list(taken("mat", tmp_path / "v.mat", tmp_path / "out")) == ["A/0.png"]


def a_large_matlab_file() -> bytes:
    data = mat_of({"A": np.zeros((2, 4, 5, 3), np.uint8)}, packed=False)
    return data.replace(struct.pack("<4i", 2, 4, 5, 3), struct.pack("<4i", 1 << 30, 1 << 20, 5, 3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_large_matlab_file, "which no published file has"),
        (lambda: mat_of({"A": np.zeros((2, 4, 5, 3), np.uint8)}, packed=True)[:-9], "ends in the middle"),
        (lambda: mat_of({"A": np.ones((2, 2))}, packed=True), "has no images; its variables are A"),
        (lambda: b"MATLAB 7.3 MAT-file".ljust(512), "is a MATLAB 7.3 file; save it as version 7"),
        (lambda: b"MATLAB 5.0 MAT-file".ljust(128), "does not begin like a MATLAB file"),
    ],
)
def test_a_matlab_file_that_cannot_be_read_says_why(tmp_path: Path, make: Callable[[], bytes], words: str) -> None:
    (tmp_path / "v.mat").write_bytes(make())
    with pytest.raises(ArchiveError, match=words):
        taken("mat", tmp_path / "v.mat", tmp_path / "out")


def test_a_table_that_would_unpack_to_far_more_than_its_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    image = {"bytes": b"\x89PNG" + bytes(1 << 20), "path": "a.png"}
    pq.write_table(
        pa.table({"image": [image, image]}), tmp_path / "t.parquet", use_dictionary=False, compression="zstd"
    )
    with pytest.raises(ArchiveError, match="would unpack to 2,"):
        taken("parquet", tmp_path / "t.parquet", tmp_path / "out", limits=Limits(free_bytes=1 << 20))


def test_pairs_of_an_earlier_release_are_read_and_those_of_other_types_are_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    row = {"source": "s", "split": "train", "degradation": "haze", "real": False, "gt": "a", "lq": "b", "level": ""}
    row |= {"scene": "", "gt_border": 0, "cut": False, "height": 4, "width": 4, "ok": True, "reason": ""}
    layout.source("s").mkdir(parents=True)
    table = pa.Table.from_pylist([row], schema=PAIRS_SCHEMA)
    pq.write_table(table.drop_columns(["cut"]), layout.pairs("s"))
    found = read_found(layout, "s")
    assert found is not None
    assert [pair.pair.cut for pair in found] == [False]
    pq.write_table(table.set_column(1, "split", pa.array([["train"]])), layout.pairs("s"))
    with pytest.raises(ShardError, match="split is list"):
        read_pairs(layout.pairs("s"), ["split"])


def test_a_zip_inside_a_folder_of_ours_is_not_believed(tmp_path: Path) -> None:
    """The fault that this all began with: a member that is the journal of another archive."""
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    out = tmp_path / "out"
    row = {"path": str(victim), "size": 4, "mtime_ns": victim.stat().st_mtime_ns, "sha256": "0" * 64}
    evil = tmp_path / "a.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr(".uir/b.zip.jsonl", f'{{"archive": "b"}}\n{json.dumps(row)}\n')
        archive.writestr("1.png", b"1")
    unpack("zip", [evil], out, "", out / ".uir/a.zip.jsonl", archive_sha256="a")
    assert not (out / ".uir/b.zip.jsonl").exists()
    bad = zip_of(tmp_path / "b.zip", {"2.png": b"2", "../x": b"3"})
    with pytest.raises(ArchiveError):
        unpack("zip", [bad], out, "", out / ".uir/b.zip.jsonl", archive_sha256="b")
    assert victim.read_text() == "mine"
    assert (out / "1.png").read_bytes() == b"1"
