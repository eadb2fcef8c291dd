from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from uirdata.errors import ManifestError
from uirdata.manifest_syntax.typed_toml import STRICT, read_toml, typed


@dataclass(frozen=True)
class Part:
    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    size: int
    colour: Literal["red", "blue"] = "red"


@dataclass(frozen=True)
class Thing:
    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    name: str
    parts: tuple[Part, ...] = ()
    best: Part | None = None


def test_tables_become_frozen_objects() -> None:
    read = typed({"name": "a", "parts": [{"size": 1, "colour": "blue"}], "best": {"size": 2}}, Thing, name="x.toml")
    assert read == Thing("a", (Part(1, "blue"),), Part(2))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"name": "a", "part": []}, ["unknown key 'part'", "did you mean 'parts'?"]),
        ({"name": "a", "parts": [{"size": 1}, {"size": 1, "color": "red"}]}, ["'parts[1].color'", "mean 'colour'?"]),
        ({"name": "a", "best": {"size": 1, "sise": 2}}, ["unknown key 'best.sise'", "mean 'size'?"]),
        ({"name": "a", "zzzz": 1}, ["unknown key 'zzzz'", "expected one of: name, parts, best"]),
        ({"name": "a", "parts": [{"colour": "red"}]}, ["'parts[0].size' is missing"]),
        ({"name": 3}, ["'name' is 3, expected a valid string"]),
        ({"name": "a", "parts": [{"size": "1"}]}, ["'parts[0].size' is \"1\", expected a valid integer"]),
        ({"name": "a", "parts": [{"size": True}]}, ["'parts[0].size' is true, expected a valid integer"]),
        ({"name": "a", "parts": [{"size": 1, "colour": "green"}]}, ["\"green\", expected 'red' or 'blue'"]),
        ({"name": "a", "parts": {"size": 1}}, ["'parts'", "expected"]),
    ],
)
def test_what_cannot_be_is_named_with_file_key_and_what_was_expected(
    document: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ManifestError) as caught:
        typed(document, Thing, name="folder/x.toml")
    message = str(caught.value)
    assert message.startswith("folder/x.toml: ")
    for word in words:
        assert word in message


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ManifestError, match=r"'name' is 1.*unknown key 'nam'"):
        typed({"name": 1, "nam": 2}, Thing, name="x")


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("a = \n")
    with pytest.raises(ManifestError, match=r"x\.toml: is not valid TOML"):
        read_toml(path)
    with pytest.raises(ManifestError, match=r"no such file"):
        read_toml(tmp_path / "y.toml")
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ManifestError, match=r"x\.toml: is not UTF-8 text"):
        read_toml(path)


def test_what_editors_save_is_read_and_what_no_editor_saves_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes('a = "Übung"\r\n'.encode(encoding))
        assert read_toml(path) == {"a": "Übung"}
    wrong = {
        b"a = " + b"[" * 100_000: "nested too deeply",
        b"a = " + b"[" * 60 + b"]" * 60: "nested deeper",
        b"a." * 100 + b"b = 1": "nested deeper",
        b"a = " + b"9" * 5_000: "is not valid TOML",
        b"\xff\xfea": "is not UTF-16 text",
        b"a = '\0'": "is not valid TOML",
    }
    for data, words in wrong.items():
        path.write_bytes(data)
        with pytest.raises(ManifestError, match=rf"x\.toml: .*{words}"):
            read_toml(path)
