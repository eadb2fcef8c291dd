"""Validators of outside values: what is returned is safe to use, and what is not safe is refused in words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uirdata.errors import ShardError
from uirdata.validators import (
    InvalidValue,
    byte_range,
    decoded,
    disk_path,
    finite_number,
    load_json,
    load_toml,
    md5_digest,
    naming,
    one_of,
    path_below,
    relative_path,
    sha256_digest,
    shown,
    tar_path,
    text,
    whole_number,
)

PARTS = st.sampled_from(["a", "..", ".", "", "b c", "\\", "C:", "x\n", "é", "~", "\0", "n" * 256, "con", "\udce9"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ALL = (relative_path, tar_path, sha256_digest, whole_number, finite_number, text, shown)


@given(ANYTHING)
@example(10**5000)
@example(math.nan)
@example("\udce9")
def test_any_value_passes_or_is_refused_in_one_printable_line(value: Any) -> None:
    for check in ALL:
        said = ""
        try:
            assert check(value) is value or check is shown
        except InvalidValue as error:
            said = str(error)
        assert not said or (said.isprintable() and len(said) < 300)


@given(st.lists(PARTS, max_size=5).map("/".join) | st.text())
def test_a_path_that_passes_stays_below_its_root(path: str) -> None:
    root = Path("/data/root")
    try:
        joined = path_below(root, path)
    except InvalidValue:
        return
    assert joined.resolve().is_relative_to(root)
    assert joined != root
    assert joined.relative_to(root).as_posix() == path


def test_a_path_through_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    (tmp_path / "root/inside").symlink_to(tmp_path / "root")
    with pytest.raises(InvalidValue, match="link"):
        path_below(tmp_path / "root", "link/file")
    assert path_below(tmp_path / "root", "inside/file") == tmp_path / "root/inside/file"


@pytest.mark.parametrize(
    "path",
    ["train/noise/wed-00007.tar", "test/low-light-blur-noise/lol-blur-00000.tar", "val/noise/my-photos-2-123456.tar"],
)
def test_paths_of_shards_pass(path: str) -> None:
    assert tar_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "../noise/wed-00007.tar",
        "/train/noise/wed-00007.tar",
        "train/noise/wed-00007.tar\n",
        "train/noise/x/wed-00007.tar",
        "train/wed-00007.tar",
        "train/noise/wed.tar",
        "train/noise/wed-00007.parquet",
        ".git/noise/wed-00007.tar",
    ],
)
def test_other_paths_are_no_shards(path: str) -> None:
    with pytest.raises(InvalidValue):
        tar_path(path)


@given(st.integers(), st.integers(), st.integers(0, 1000))
def test_a_range_that_passes_lies_in_its_file(start: int, length: int, size: int) -> None:
    try:
        first, count = byte_range(start, length, size)
    except InvalidValue:
        assert start < 0 or length < 0 or start + length > size
    else:
        assert 0 <= first <= first + count <= size


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("[" * 100_000, "nested"),
        ("[" * 60 + "]" * 60, "deeper than 50"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -1e999}', "holds -1e999, expected finite numbers"),
        ("{", "not valid JSON"),
        (b"\xff{}", "not UTF-8"),
        ("[" + "1" * 5000 + "]", "not valid JSON"),
    ],
)
def test_json_that_cannot_be_used_is_refused(data: str | bytes, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        load_json(data)


@pytest.mark.parametrize("path", ["a", "a/b\tc.png", "a\\b", "C:x", "\udcff/\n"])
def test_names_of_files_of_this_machine_may_be_odd(path: str) -> None:
    assert disk_path(path) == path


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", ".", "../a", "a/..", "a\0b", 5, None, "a" * 5000])
def test_a_path_of_this_machine_stays_below_its_folder(path: object) -> None:
    with pytest.raises(InvalidValue):
        disk_path(path)


@pytest.mark.parametrize("value", ["", "ab" * 15, "AB" * 16, "ab" * 32, "../" * 10, 5, None])
def test_an_md5_has_32_digits(value: object) -> None:
    assert md5_digest("ab" * 16) == "ab" * 16
    with pytest.raises(InvalidValue):
        md5_digest(value)


def test_json_and_toml_have_a_largest_size() -> None:
    with pytest.raises(InvalidValue, match="at most 10"):
        load_json("[" + " " * 20 + "]", most_bytes=10)
    with pytest.raises(InvalidValue, match="at most 10"):
        load_toml("# " + "x" * 20, most_bytes=10)


@pytest.mark.parametrize("data", ["a = " + "[" * 100_000, "a = " + "[" * 60 + "]" * 60, "a = ", b"\xff\xfea"])
def test_toml_that_cannot_be_used_is_refused(data: str | bytes) -> None:
    with pytest.raises(InvalidValue):
        load_toml(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_editors_write_is_read(encoding: str) -> None:
    assert load_toml('name = "köln"'.encode(encoding)) == {"name": "köln"}
    assert load_json('{"name": "köln"}'.encode(encoding)) == {"name": "köln"}
    assert decoded("köln".encode(encoding)) == "köln"


@given(ANYTHING)
def test_json_of_any_value_is_read_back_or_refused(value: Any) -> None:
    try:
        document = json.dumps(value)
    except (TypeError, ValueError):
        return
    try:
        loaded = load_json(document)
    except InvalidValue:
        assert "NaN" in document or "Infinity" in document
    else:
        assert json.dumps(loaded) == document


def test_the_reader_names_file_fault_and_remedy() -> None:
    words = r"^pool/info.json: codec: 'wepb' is not known: did you mean 'webp'\?; update$"
    with pytest.raises(ShardError, match=words), naming(ShardError, "pool/info.json: codec", "update"):
        one_of("wepb", ("webp", "png"))
