"""Kinds of files by name and by first bytes, and walks of folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import synthetic_image, write_png
from uirdata.errors import ImageError, SourceError
from uirdata.file_kinds import (
    IMAGE_SUFFIXES,
    NOT_READ,
    count_unread,
    is_image_name,
    is_of_the_system,
    unread_reason,
    unread_text,
    what_it_is,
)
from uirdata.folders import list_files
from uirdata.images import image_size, read_image
from uirdata.manifest_syntax.patterns import compile_pattern

JUNK = (
    "photos/#snapshot/1.png",
    "@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "photos/@eaDir/1.png",
    "__MACOSX/photos/1.jpg",
    "photos/._1.jpg",
    ".Trashes/501/1.jpg",
    ".thumbnails/large/1.png",
    "$RECYCLE.BIN/S-1-5/1.png",
    "$Recycle.Bin/1.png",
    "lost+found/1.png",
    "#recycle/1.png",
    "@__thumb/1.png",
    "Thumbs.db",
    "photos/thumbs.db",
    ".DS_Store",
    "desktop.ini",
    "System Volume Information/1.png",
)


@pytest.mark.parametrize("path", JUNK)
def test_what_systems_leave_behind_is_no_picture(tmp_path: Path, path: str) -> None:
    assert is_of_the_system(path)
    write_png(tmp_path / path, synthetic_image(20, 24, 1))
    write_png(tmp_path / "photos/kept.png", synthetic_image(20, 24, 1))
    assert list_files(tmp_path) == ["photos/kept.png"]


@pytest.mark.parametrize("path", ["a/b.png", "Trashes/1.png", "recycle/1.png", "my.photos/thumb.png", "eaDir/1.png"])
def test_folders_of_the_user_are_not_of_the_system(path: str) -> None:
    assert not is_of_the_system(path)


def test_links_are_followed_once_and_a_missing_folder_is_named(tmp_path: Path) -> None:
    write_png(tmp_path / "elsewhere/1.png", synthetic_image(20, 24, 1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "mine")
    assert list_files(tmp_path / "mine") == ["a/1.png"]
    with pytest.raises(SourceError, match="no such folder"):
        list_files(tmp_path / "none")


@pytest.mark.parametrize("name", ["a.png", "a.JFIF", "b/a.jpe", "a.pgm", "a.dib", "x.y/a.TIFF"])
def test_names_of_images(name: str) -> None:
    assert is_image_name(name)
    assert compile_pattern("**/{id}.{image}").match(name) is not None
    assert unread_reason(name) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("IMG_1.DNG", "darktable"),
        ("a/b.cr3", "darktable"),
        ("x.NEF", "darktable"),
        ("x.gif", "256 colours"),
        ("x.jp2", "opj_decompress"),
        ("x.jxl", "djxl"),
        ("x.tga", "save it as PNG"),
        ("x.exr", "floating-point"),
        ("x.psd", "save it as PNG"),
    ],
)
def test_images_that_are_not_read_are_named_with_what_converts_them(name: str, words: str) -> None:
    assert not is_image_name(name)
    assert words in unread_reason(name)


def test_no_suffix_is_both_read_and_not_read() -> None:
    assert IMAGE_SUFFIXES.isdisjoint(NOT_READ)
    assert {".heic", ".avif"} <= IMAGE_SUFFIXES | NOT_READ.keys()
    assert unread_reason("notes.txt") == unread_reason("README") == unread_reason("a.dng/b") == ""


def test_unread_files_are_counted_the_most_frequent_first() -> None:
    names = ["1.gif", *(f"{n}.NEF" for n in range(2)), "1.png", "notes.txt"]
    assert unread_text(count_unread(names)) == "3 files not read (.nef 2, .gif 1)"
    assert unread_text(count_unread(["1.gif"])) == "1 file not read (.gif 1)"
    assert unread_text(count_unread(["1.png"])) == ""


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
OTHERS = {
    "an LFS pointer": (LFS, "git lfs pull"),
    "an annex pointer": (b"/annex/objects/SHA256E-s31390--f50d7a.png\n", "git annex get"),
    "a page": (b"<!DOCTYPE html><html><head><title>Sign in</title>", "a web page"),
    "a page after a mark": (b"\xef\xbb\xbf\r\n <HTML lang=en>", "a web page"),
    "a page after a comment": (b"<!-- saved from url=(0014)about:internet -->\n<html>", "a web page"),
    "an error of a store": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML file"),
    "an error of an API": (b'{"error": "Repository not found"}', "a JSON file"),
    "an archive": (b"PK\x03\x04" + bytes(40), "unpack it"),
    "a PDF": (b"%PDF-1.7\n", "PDF"),
    "Canon's sensor data": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "darktable"),
    "a GIF": (b"GIF89a" + bytes(40), "256 colours"),
}


@pytest.mark.parametrize(("data", "words"), OTHERS.values(), ids=list(OTHERS))
def test_files_under_the_name_of_an_image_are_recognised(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(ImageError) as refused:
            read(path)
        assert str(refused.value).startswith(f"{path}: is no image that is read: it is ")
        assert words in str(refused.value)


def test_images_are_not_taken_for_something_else(tmp_path: Path) -> None:
    # The first pixels of a TIFF may be any bytes, "CR" among them.
    assert what_it_is(b"II*\0\x08\x01\0\0CR" + bytes(40)) == ""
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b"P6\n", b"version 2"):
        assert what_it_is(head) == ""
    # Many comments must not take time: the pattern reads them once.
    assert "web page" in what_it_is(b"<!---->" * 80)
