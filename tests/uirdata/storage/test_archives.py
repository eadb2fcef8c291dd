from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import synthetic_image
from uirdata.errors import ArchiveError, StorageError
from uirdata.images import decode_image, encode_image
from uirdata.storage.archives import Limits, fault_of, kind_of_name, member_hashes, read_journal, unpack
from uirdata.storage.formats import packed
from uirdata.storage.formats.members import Names, Skipped

FILES = {"a/1.png": b"one", "a/b/2.png": b"two" * 1000, "3.txt": b""}


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_of(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def seven_zip_of(path: Path, files: dict[str, bytes]) -> Path:
    py7zr = pytest.importorskip("py7zr")
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return path


def zst_of(path: Path, files: dict[str, bytes]) -> Path:
    plain = tar_of(path.with_suffix(""), files)
    with pa.CompressedOutputStream(str(path), "zstd") as out:
        out.write(plain.read_bytes())
    return path


def taken(kind: str, archive: Path | list[Path], root: Path, below: str = "", **more: object) -> dict[str, bytes]:
    parts = archive if isinstance(archive, list) else [archive]
    done = unpack(kind, parts, root, below, root / ".uir" / "j.jsonl", archive_sha256="s", **more)  # type: ignore[arg-type]
    found = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    del found[".uir/j.jsonl"]
    assert sorted(found) == [entry.path for entry in done]
    assert all(hashlib.sha256(found[e.path]).hexdigest() == e.sha256 for e in done)
    return found


@pytest.mark.parametrize(
    ("kind", "name", "make"),
    [
        ("zip", "x.zip", zip_of),
        ("tar", "x.tar", tar_of),
        ("tar", "x.tar.gz", lambda p, f: tar_of(p, f, "w:gz")),
        ("tar", "x.tar.xz", lambda p, f: tar_of(p, f, "w:xz")),
        ("tar", "x.tar.bz2", lambda p, f: tar_of(p, f, "w:bz2")),
        ("tar", "x.tar.zst", zst_of),
        ("7z", "x.7z", seven_zip_of),
    ],
)
def test_each_kind_of_archive_gives_its_files(
    tmp_path: Path, kind: str, name: str, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    archive = make(tmp_path / name, FILES)
    assert kind_of_name(name) == kind
    assert fault_of(kind, [archive]) == ""
    assert taken(kind, archive, tmp_path / "out", "in/here") == {f"in/here/{n}": d for n, d in FILES.items()}
    assert sorted(member_hashes(kind, [archive])) == sorted(hashlib.sha256(data).hexdigest() for data in FILES.values())


def test_a_7z_larger_than_the_queue_streams_through_it(tmp_path: Path) -> None:
    big = random.Random(0).randbytes(5 << 20)
    py7zr = pytest.importorskip("py7zr")
    archive = tmp_path / "x.7z"
    with py7zr.SevenZipFile(archive, "w", filters=[{"id": py7zr.FILTER_COPY}]) as z:
        z.writestr(big, "a")
        z.writestr(b"small", "b")
    assert taken("7z", archive, tmp_path / "out") == {"a": big, "b": b"small"}


def test_a_rar_is_unpacked_by_a_program_or_the_error_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "x.rar"
    archive.write_bytes(b"Rar!\x1a\x07\x00")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArchiveError, match=r"install libarchive-tools \(bsdtar\) or unrar"):
        taken("rar", archive, tmp_path / "out")


def stand_in(folder: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install only a program of this name."""
    tool = folder / name
    tool.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_unrar_prints_one_member_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x00")
    code = "print('d\\nd/1.png') if sys.argv[1] == 'lb' else sys.stdout.write('bytes of ' + sys.argv[-1])"
    stand_in(tmp_path, "unrar", code, monkeypatch)
    assert taken("rar", tmp_path / "x.rar", tmp_path / "out") == {"d/1.png": b"bytes of d/1.png"}


def test_bsdtar_gives_the_whole_archive_as_a_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x00")
    tar_of(tmp_path / "t.tar", FILES)
    code = f"sys.stdout.buffer.write(open({str(tmp_path / 't.tar')!r}, 'rb').read() + bytes(100_000))"
    stand_in(tmp_path, "bsdtar", code, monkeypatch)
    assert taken("rar", tmp_path / "x.rar", tmp_path / "out") == FILES
    stand_in(tmp_path, "bsdtar", "'-tf' in sys.argv or sys.exit('bsdtar: Truncated RAR file data')", monkeypatch)
    with pytest.raises(ArchiveError, match="bsdtar says 'bsdtar: Truncated RAR file data'"):
        taken("rar", tmp_path / "x.rar", tmp_path / "out2")


def test_what_bsdtar_cannot_read_is_left_to_unrar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x00")
    stand_in(tmp_path, "bsdtar", "sys.exit('bsdtar: RAR solid archive support unavailable.')", monkeypatch)
    with pytest.raises(ArchiveError, match=r"solid archive support unavailable.*unrar reads more .* install it"):
        taken("rar", tmp_path / "x.rar", tmp_path / "out")
    code = "print('1.png') if sys.argv[1] == 'lb' else sys.stdout.write('bytes')"
    stand_in(tmp_path, "unrar", code, monkeypatch)
    assert taken("rar", tmp_path / "x.rar", tmp_path / "out") == {"1.png": b"bytes"}


def test_an_image_of_which_bsdtar_reads_no_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x00")
    tar_of(tmp_path / "t.tar", {"a.txt": b"", "b.png": b""})
    code = f"sys.stdout.buffer.write(open({str(tmp_path / 't.tar')!r}, 'rb').read())"
    stand_in(tmp_path, "bsdtar", code, monkeypatch)
    with pytest.raises(ArchiveError, match=r"no bytes of b.png; unpack it yourself with unrar"):
        taken("rar", tmp_path / "x.rar", tmp_path / "out")


def rar_of(path: Path, files: dict[str, bytes]) -> Path:
    """Write a RAR 5 archive with stored files, according to the description of the format."""

    def number(value: int) -> bytes:
        found = b""
        while value > 127:
            found, value = found + bytes([value & 127 | 128]), value >> 7
        return found + bytes([value])

    def block(body: bytes) -> bytes:
        sized = number(len(body)) + body
        return zlib.crc32(sized).to_bytes(4, "little") + sized

    data = b"Rar!\x1a\x07\x01\x00" + block(number(1) + number(0) + number(0))
    for name, content in files.items():
        # Type 2, followed by data of this size; a checksum, mode 0644, stored, made on Unix.
        body = number(2) + number(2) + number(len(content)) + number(4) + number(len(content)) + number(0o100644)
        body += zlib.crc32(content).to_bytes(4, "little") + number(0) + number(1)
        data += block(body + number(len(name.encode())) + name.encode()) + content
    path.write_bytes(data + block(number(5) + number(0) + number(0)))
    return path


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="needs bsdtar (libarchive-tools)")
def test_a_rar_is_unpacked_by_the_real_bsdtar(tmp_path: Path) -> None:
    assert taken("rar", rar_of(tmp_path / "x.rar", FILES), tmp_path / "out") == FILES
    evil = rar_of(tmp_path / "evil.rar", {"../out.png": b"x"})
    with pytest.raises(ArchiveError, match="not safe to unpack"):
        taken("rar", evil, tmp_path / "out2")
    cut = tmp_path / "cut.rar"
    cut.write_bytes((tmp_path / "x.rar").read_bytes()[:-1000])
    with pytest.raises(ArchiveError):
        taken("rar", cut, tmp_path / "out3")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_pieces_of_an_archive_are_read_as_one(tmp_path: Path, kind: str) -> None:
    whole = (zip_of if kind == "zip" else tar_of)(tmp_path / "x", FILES).read_bytes()
    parts = []
    for index in range(0, len(whole), 150):
        part = tmp_path / f"x.part-{index:06d}"
        part.write_bytes(whole[index : index + 150])
        parts.append(part)
    assert len(parts) > 1
    assert taken(kind, parts, tmp_path / "out") == FILES


def test_images_in_a_table_become_files_with_their_names(tmp_path: Path) -> None:
    png = encode_image(synthetic_image(8, 8), "png")
    table = pa.table({"path": ["HR/train/0001000/0000001.png"], "image": [{"bytes": png, "path": None}], "w": [8]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert taken("parquet", tmp_path / "t.parquet", tmp_path / "one") == {"HR/train/0001000/0000001.png": png}
    table = pa.table({"image_focus": [{"bytes": png, "path": "x/a.png"}], "image_blur": [{"bytes": png, "path": None}]})
    pq.write_table(table, tmp_path / "u.parquet")
    found = taken("parquet", tmp_path / "u.parquet", tmp_path / "two")
    assert found == {"image_focus/a.png": png, "image_blur/u-000000.png": png}


def test_arrays_in_a_matlab_file_become_images(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    array = np.stack([[synthetic_image(6, 5, 10 * i + k) for k in range(3)] for i in range(2)])
    savemat(tmp_path / "v.mat", {"Noisy": array, "count": 3})
    found = taken("mat", tmp_path / "v.mat", tmp_path / "out")
    assert sorted(found) == [f"Noisy/{i}-{k}.png" for i in range(2) for k in range(3)]
    assert (decode_image(found["Noisy/1-2.png"], name="x") == array[1, 2]).all()


def test_existing_files_are_not_written_again(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    out = tmp_path / "out"
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls > 2

    with pytest.raises(StorageError, match="run the command again to resume"):
        taken("zip", archive, out, stop=stop)
    first = (out / "a/1.png").stat().st_ino
    assert read_journal(out / ".uir/j.jsonl") == ((), "")
    assert taken("zip", archive, out) == FILES
    assert (out / "a/1.png").stat().st_ino == first
    assert read_journal(out / ".uir/j.jsonl")[1] == "s"


def test_a_file_that_was_lost_is_unpacked_again(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    taken("zip", archive, tmp_path / "out")
    (tmp_path / "out/a/1.png").unlink()
    assert taken("zip", archive, tmp_path / "out") == FILES


def test_a_kill_while_unpacking_leaves_no_half_file(tmp_path: Path) -> None:
    files = {f"{i:04d}.bin": random.Random(i).randbytes(2000) for i in range(1500)}
    archive = tar_of(tmp_path / "x.tar", files)
    code = (
        "import sys; from pathlib import Path; from uirdata.storage.archives import unpack\n"
        "a, o = map(Path, sys.argv[1:]); unpack('tar', [a], o, '', o / '.uir/j.jsonl', archive_sha256='s')"
    )
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", code, str(archive), str(out)])
    while not (out / "0003.bin").exists() and child.poll() is None:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {p.name: p.stat().st_ino for p in out.glob("*.bin")}
    assert 3 <= len(kept) < 1500
    assert all((out / name).read_bytes() == files[name] for name in kept)
    found = taken("tar", archive, out)
    assert {name: data for name, data in found.items() if not name.startswith(".")} == files
    journaled = [name for name, inode in kept.items() if (out / name).stat().st_ino == inode]
    assert len(journaled) >= len(kept) - 1


OUTSIDE = ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "C:\\evil", "..\\evil"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_leads_outside_is_refused_and_nothing_is_kept(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "zip":
        archive = tmp_path / "x.zip"
        with zipfile.ZipFile(archive, "w") as z:
            z.writestr("good.png", b"1")
            info = zipfile.ZipInfo("n")
            info.filename = name
            z.writestr(info, b"2")
    else:
        archive = tar_of(tmp_path / "x.tar", {"good.png": b"1", name: b"2"})
    out = tmp_path / "deep" / "out"
    with pytest.raises(ArchiveError, match="is not safe to unpack"):
        taken(kind, archive, out)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p != archive] == []


@pytest.mark.parametrize("name", OUTSIDE)
def test_such_a_name_is_refused_before_any_folder_is_looked_at(name: str) -> None:
    with pytest.raises(ArchiveError, match="is not safe to unpack"):
        Names("x.zip", Limits(), folds_case=False).safe(name)


def test_a_program_that_prints_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.rar").write_bytes(b"Rar!\x1a\x07\x00")
    code = "if sys.argv[1] == 'lb': print('a')\nelse:\n while True: sys.stdout.buffer.write(bytes(1 << 16))"
    stand_in(tmp_path, "unrar", code, monkeypatch)
    with pytest.raises(ArchiveError, match="unpacks to more"):
        taken("rar", tmp_path / "x.rar", tmp_path / "out", limits=Limits(free_bytes=1 << 20))
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []


def test_a_link_out_of_the_archive_is_refused_before_anything_goes_through_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    for target in (str(victim), "../victim"):
        archive = tmp_path / "x.tar"
        with tarfile.open(archive, "w") as t:
            link = tarfile.TarInfo("door")
            link.type, link.linkname = tarfile.SYMTYPE, target
            t.addfile(link)
            info = tarfile.TarInfo("door/evil")
            info.size = 1
            t.addfile(info, io.BytesIO(b"!"))
        with pytest.raises(ArchiveError, match=r"outside of the archive|link"):
            taken("tar", archive, tmp_path / "out")
        assert list(victim.iterdir()) == []


def test_a_link_that_exists_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/door").symlink_to(victim)
    with pytest.raises(ArchiveError, match="leads out of the source's folder"):
        taken("zip", zip_of(tmp_path / "x.zip", {"door/evil": b"!"}), tmp_path / "out")
    assert list(victim.iterdir()) == []


def test_links_inside_become_copies(tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as t:
        for name, kind, target in (
            ("d/soft", tarfile.SYMTYPE, "../f"),
            ("d/softer", tarfile.SYMTYPE, "soft"),
            ("d/hard", tarfile.LNKTYPE, "f"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            t.addfile(link)
        info = tarfile.TarInfo("f")
        info.size = 3
        t.addfile(info, io.BytesIO(b"abc"))
    found = taken("tar", archive, tmp_path / "out")
    assert found == {"f": b"abc", "d/soft": b"abc", "d/softer": b"abc", "d/hard": b"abc"}
    assert not any(p.is_symlink() for p in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as t:
        info = tarfile.TarInfo("dev")
        info.type = kind
        t.addfile(info)
    with pytest.raises(ArchiveError, match="neither a file nor a folder"):
        taken("tar", tmp_path / "x.tar", tmp_path / "out")


def test_a_link_in_a_zip_is_refused_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
        info = zipfile.ZipInfo("door")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(info, "../../etc/passwd")
    with pytest.raises(ArchiveError, match="outside of the archive"):
        taken("zip", tmp_path / "x.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_zip_bomb_is_stopped_and_removed(tmp_path: Path, kind: str) -> None:
    files = {f"{i}": bytes(1 << 20) for i in range(8)}
    archive = zip_of(tmp_path / "x", files) if kind == "zip" else tar_of(tmp_path / "x", files, "w:gz")
    assert archive.stat().st_size < 50_000
    with pytest.raises(ArchiveError, match="unpacks to more"):
        taken(kind, archive, tmp_path / "out", limits=Limits(free_bytes=3 << 20, ratio=50))
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []
    with pytest.raises(ArchiveError, match="unpacks to more"):
        member_hashes(kind, [archive], Limits(free_bytes=3 << 20, ratio=50))


def test_a_zip_that_declares_too_small_a_size_is_harmless(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", {"a": bytes(1 << 20)})
    data = bytearray(archive.read_bytes())
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    archive.write_bytes(data)
    with pytest.raises(ArchiveError):
        taken("zip", archive, tmp_path / "out")
    assert not (tmp_path / "out/a").exists()


def test_a_million_entries_are_refused_without_reading_them(tmp_path: Path) -> None:
    # The end of a zip (with its 64-bit part) that declares a million entries.
    count = (1_000_000).to_bytes(8, "little")
    size = (46_000_000).to_bytes(8, "little")
    end64 = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12) + bytes(8) + count + size + bytes(8)
    locator = b"PK\x06\x07" + bytes(4) + (46_000_000).to_bytes(8, "little") + (1).to_bytes(4, "little")
    end = b"PK\x05\x06" + bytes(4) + b"\xff\xff\xff\xff" + b"\xff" * 8 + bytes(2)
    with (tmp_path / "x.zip").open("wb") as file:
        file.truncate(46_000_000)
        file.seek(0, io.SEEK_END)
        file.write(end64 + locator + end)
    begin = time.process_time()
    with pytest.raises(ArchiveError, match="1,000,000 entries"):
        taken("zip", tmp_path / "x.zip", tmp_path / "out")
    assert time.process_time() - begin < 5
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", compresslevel=1) as t:
        for i in range(3000):
            t.addfile(tarfile.TarInfo(str(i)))
    with pytest.raises(ArchiveError, match="more than 2,000 entries"):
        taken("tar", tmp_path / "x.tar.gz", tmp_path / "out", limits=Limits(entries=2000))
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out/.uir"]


def test_of_two_names_that_are_one_file_on_the_disk_the_first_is_kept_and_the_other_named() -> None:
    folding = Names("x.zip", Limits(), folds_case=True)
    assert folding.safe("A/1.png") == "A/1.png"
    assert folding.safe("a/1.PNG") == Skipped("and 'A/1.png' are one file on this disk; the first of them is kept")
    keeping = Names("x.zip", Limits(), folds_case=False)
    assert [keeping.safe(name) for name in ("A/1.png", "a/1.PNG")] == ["A/1.png", "a/1.PNG"]
    # One letter with its accent, or letter and accent: NFC makes them one name.
    assert keeping.safe("e\u0301.png") == "\u00e9.png"
    assert isinstance(keeping.safe("\u00e9.png"), Skipped)


def test_a_name_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ArchiveError, match="no file can have"):
        Names("x.zip", Limits(), folds_case=False).safe("a\x00b")


ODD = ["con.png", "aux/1.png", "a\tb.png", "a\nb", "\x1b[2J", "x" * 300, "\udce9.png"]
OURS = [
    ".uir/b.zip.jsonl",
    ".UIR/x",
    "a/.uir/x",
    "\uff0euir/x",
    "pairs.parquet",
    "PAIRS.parquet",
    "screening-5-2.parquet",
]


@pytest.mark.parametrize("name", [*ODD, *OURS])
def test_a_harmless_member_that_cannot_be_kept_is_skipped_and_named(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w", errors="surrogateescape") as tar:
        for member in ("1.png", name, "2.png"):
            info = tarfile.TarInfo(member)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
    skipped: list[tuple[str, str]] = []
    found = taken("tar", archive, tmp_path / "out", on_skip=lambda name, why: skipped.append((name, why)))
    assert found == {"1.png": b"1", "2.png": b"1"}
    assert [member for member, _ in skipped] == [name]


def test_a_link_to_what_is_not_there_is_skipped_and_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "missing.png"
        tar.addfile(link)
        info = tarfile.TarInfo("1.png")
        tar.addfile(info, io.BytesIO(b""))
    skipped: list[tuple[str, str]] = []
    found = taken("tar", tmp_path / "x.tar", tmp_path / "out", on_skip=lambda name, why: skipped.append((name, why)))
    assert list(found) == ["1.png"]
    assert skipped == [("link.png", "is a link to 'missing.png', which is not in the archive")]


@pytest.mark.parametrize("path", ["{outside}/victim.txt", "../victim.txt", "link/victim.txt", "a\\..\\victim.txt"])
def test_no_journal_makes_undo_touch_a_file_outside(tmp_path: Path, path: str) -> None:
    """A journal that somebody else wrote, and an archive that is unsafe: what the journal lists would be removed."""
    victim = tmp_path / "outside/victim.txt"
    victim.parent.mkdir()
    victim.write_text("mine")
    out = tmp_path / "outside/out"
    (out / ".uir").mkdir(parents=True)
    (out / "link").symlink_to(victim.parent)
    stat = victim.stat()
    row = {"path": path.replace("{outside}", str(victim.parent)), "size": 4, "mtime_ns": stat.st_mtime_ns}
    row["sha256"] = hashlib.sha256(b"mine").hexdigest()
    (out / ".uir/j.jsonl").write_text(json.dumps({"archive": "s"}) + "\n" + json.dumps(row) + "\n")
    archive = tar_of(tmp_path / "x.tar", {"good.png": b"1", "../evil": b"2"})
    with pytest.raises(ArchiveError):
        taken("tar", archive, out)
    assert victim.read_text() == "mine"


def test_undo_leaves_a_file_that_has_changed_since(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "x.zip", {"a.png": b"1", "b.png": b"2"})
    taken("zip", whole, tmp_path / "out")
    (tmp_path / "out/a.png").write_bytes(b"3")
    journal = tmp_path / "out/.uir/j.jsonl"
    journal.write_text("\n".join(journal.read_text().splitlines()[:-1]) + "\n")
    unsafe = zip_of(tmp_path / "y.zip", {"c.png": b"1", "../evil": b"2"})
    with pytest.raises(ArchiveError):
        taken("zip", unsafe, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == ["a.png"]


ROWS: list[object] = [
    {"path": "../x", "size": 1, "mtime_ns": 1, "sha256": "0" * 64},
    {"path": "/etc/x", "size": 1, "mtime_ns": 1, "sha256": "0" * 64},
    {"path": ".uir/x", "size": 1, "mtime_ns": 1, "sha256": "0" * 64},
    {"path": "a", "size": -1, "mtime_ns": 1, "sha256": "0" * 64},
    {"path": "a", "size": 1e300, "mtime_ns": 1, "sha256": "0" * 64},
    {"path": "a", "size": 10**400, "mtime_ns": 1, "sha256": "0" * 64},
    {"path": "a", "size": 1, "mtime_ns": 1, "sha256": "x"},
    {"path": "a"},
    [],
    None,
]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_journal_with_a_line_that_does_not_fit_is_not_complete(tmp_path: Path, row: object) -> None:
    lines = [json.dumps({"archive": "s"}), json.dumps(row), json.dumps({"files": 1})]
    (tmp_path / "j").write_text("\n".join(lines) + "\n")
    assert read_journal(tmp_path / "j") == ((), "")


NO_JOURNALS = [b"", b"[" * 100_000, b"{" + b"x" * 100_000, b"\xff\xfe", b"null\n", b'{"archive": 5}\n']


@pytest.mark.parametrize("data", NO_JOURNALS, ids=range(len(NO_JOURNALS)))
def test_a_journal_that_is_none_is_read_as_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "j").write_bytes(data)
    assert read_journal(tmp_path / "j") == ((), "")
    (tmp_path / "j").unlink()
    (tmp_path / "j").mkdir()
    assert read_journal(tmp_path / "j") == ((), "")


def damaged_tars() -> dict[str, bytes]:
    """Return tars and packed tars that lost a part, by what happened to them; `whole` lost none."""
    files = {
        f"s/{role}/{k}.png": random.Random(f"{role}{k}").randbytes(3000) for k in range(10) for role in ("lq", "gt")
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    whole = buffer.getvalue()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        tenth = tar.getmembers()[9].offset
    bad, hole, soft, size = (bytearray(whole) for _ in range(4))
    bad[tenth + 10] ^= 255
    hole[tenth : tenth + 1024] = bytes(1024)
    size[tenth + 124 : tenth + 136] = b"zzzzzzzzzzz "
    stored = bytearray(gzip.compress(whole, 0))
    at = stored.find(whole[tenth + 2000 : tenth + 2040])
    stored[at] ^= 0x15
    del soft[-1024 * 8 :]
    return {
        "whole": whole,
        "a damaged header": bytes(bad),
        "a size that is no number": bytes(size),
        "cut in a header": whole[: tenth + 100],
        "cut at a header": whole[:tenth],
        "cut in a member": whole[: tenth + 700],
        "cut before the end mark": bytes(soft)[: tenth + 512 * 7],
        "a hole": bytes(hole),
        "wrong gzip sum": bytes(stored),
        "gzip sum cut off": gzip.compress(whole)[:-6],
        "gzip cut in two": gzip.compress(whole)[:20_000],
        "bzip2 cut in two": bz2.compress(whole)[:20_000],
        "xz cut in two": lzma.compress(whole)[:20_000],
        "zstd cut in two": pa.Codec("zstd").compress(whole, asbytes=True)[:20_000],
    }


@pytest.mark.parametrize("damage", list(damaged_tars()))
def test_a_damaged_tar_is_never_taken_for_a_whole_one(tmp_path: Path, damage: str) -> None:
    (tmp_path / "x.tar").write_bytes(damaged_tars()[damage])
    if damage == "whole":
        assert len(taken("tar", tmp_path / "x.tar", tmp_path / "out")) == 20
        return
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        taken("tar", tmp_path / "x.tar", tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_tar_padded_as_for_a_tape_is_whole(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "x.tar", FILES)
    archive.write_bytes(archive.read_bytes() + bytes(3 << 20))
    assert taken("tar", archive, tmp_path / "out") == FILES


@pytest.mark.parametrize(("method", "name"), [(9, "deflate64"), (93, "zstd"), (95, "xz"), (77, "77")])
def test_a_zip_in_another_compression_says_so_and_not_that_it_is_broken(tmp_path: Path, method: int, name: str) -> None:
    archive = zip_of(tmp_path / "x.zip", {"a.png": b"1" * 100})
    data = bytearray(archive.read_bytes())
    data[8:10] = method.to_bytes(2, "little")
    at = data.find(b"PK\x01\x02")
    data[at + 10 : at + 12] = method.to_bytes(2, "little")
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=rf"compressed by {name}, which is not read here. The archive may be whole"):
        taken("zip", archive, tmp_path / "out")


def test_a_cut_7z_is_reported_as_cut(tmp_path: Path) -> None:
    archive = seven_zip_of(tmp_path / "x.7z", {"a.png": random.Random(0).randbytes(50_000)})
    archive.write_bytes(archive.read_bytes()[:30_000])
    with pytest.raises(ArchiveError, match="truncated or not what its name says"):
        taken("7z", archive, tmp_path / "out")


def test_after_a_crash_that_lost_bytes_the_archive_is_unpacked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    taken("zip", archive, tmp_path / "out")
    journal = tmp_path / "out/.uir/j.jsonl"
    # Killed before the last line, and the machine went down: the sizes are there, the bytes of one file are not.
    journal.write_text("\n".join(journal.read_text().splitlines()[:-1]) + "\n")
    stat = (tmp_path / "out/a/b/2.png").stat()
    (tmp_path / "out/a/b/2.png").write_bytes(bytes(stat.st_size))
    os.utime(tmp_path / "out/a/b/2.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.setattr("uirdata.storage.archives.boot_id", lambda: "another boot")
    assert taken("zip", archive, tmp_path / "out") == FILES


def test_files_are_on_the_disk_before_the_journal_says_that_they_are_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "out/.uir/j.jsonl"
    seen: list[str] = []
    monkeypatch.setattr("uirdata.storage.archives.sync_disk", lambda _: seen.append(journal.read_text()))
    taken("zip", zip_of(tmp_path / "x.zip", FILES), tmp_path / "out")
    assert len(seen) == 1
    assert seen[0].count('"path"') == 3
    assert '"files"' not in seen[0]


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    for files in ({"a": b"1", "a/b": b"2"}, {"a/b": b"2", "a": b"1"}):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with pytest.raises(ArchiveError):
            taken("tar", tar_of(tmp_path / "x.tar", files), tmp_path / "out")


@pytest.mark.parametrize(("kind", "make"), [("zip", zip_of), ("tar", lambda p, f: tar_of(p, f, "w:gz"))])
def test_a_truncated_archive_is_reported(
    tmp_path: Path, kind: str, make: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    archive = make(tmp_path / "x", {"a": random.Random(0).randbytes(50_000)})
    archive.write_bytes(archive.read_bytes()[:30_000])
    with pytest.raises(ArchiveError, match=r"truncated|not what its name says"):
        taken(kind, archive, tmp_path / "out")


def test_a_quick_check_distinguishes_a_page_from_an_archive(tmp_path: Path) -> None:
    page = tmp_path / "x"
    page.write_bytes(b"<!DOCTYPE html><html>")
    assert fault_of("zip", [page]) == "it is not a zip: the directory at its end is missing"
    assert fault_of("rar", [page]).startswith("it is not a rar")
    assert fault_of("7z", [page]).startswith("it is not a 7z")


def test_the_list_of_kinds_is_the_list_of_readers() -> None:
    assert set(packed._ENDINGS) == set(packed._READERS)
    with pytest.raises(ValueError, match="not a format of archives"):
        list(packed.read_members("arj", [Path(__file__)], Limits()))


def test_a_journal_with_a_truncated_line_is_read_up_to_it(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", FILES)
    taken("zip", archive, tmp_path / "out")
    journal = tmp_path / "out/.uir/j.jsonl"
    lines = journal.read_text().splitlines()
    assert json.loads(lines[-1]) == {"files": 3}
    journal.write_text("\n".join(lines[:2]) + "\n" + lines[2][:20])
    assert read_journal(journal) == ((), "")
    assert taken("zip", archive, tmp_path / "out") == FILES
