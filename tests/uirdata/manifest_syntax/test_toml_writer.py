from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uirdata.errors import UsageError
from uirdata.manifest_syntax.toml_writer import toml_text

text = st.text(st.characters(exclude_categories=["Cs"]))
scalar = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | text
value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))


@given(st.dictionaries(text, value, max_size=4))
def test_what_is_written_reads_back_equal(document: dict[str, Any]) -> None:
    lists_of_tables = [
        key for key, item in document.items() if isinstance(item, list) and all(isinstance(part, dict) for part in item)
    ]
    assert tomllib.loads(toml_text(document)) == document
    assert tomllib.loads(toml_text(document, sections=lists_of_tables)) == document


@pytest.mark.parametrize(
    "hard",
    ["runs/😀", 'a "quoted" \\ one', "\\ud83d\\ude00", "line\nline\r\n\ttab", "\x00\x08\x1b\x7f\x85\u2028", "é", ""],
)
def test_hard_texts_survive_as_value_and_as_key(hard: str) -> None:
    document = {hard: hard, "table": {hard: [hard, {hard: hard}]}}
    assert tomllib.loads(toml_text(document)) == document


def test_the_layout_is_what_people_expect() -> None:
    document = {
        "table": {"lr": 1e-06, "stages": [{"start": 5, "crop": 16}], "empty": {}, "last": True},
        "name": "x",
        "pairs": [{"gt": "a", "use": [{"levels": [["b"], []]}]}, {"gt": "c"}],
    }
    written = toml_text(document, comments={"name": "ours", "table.lr": "the paper"}, sections=("pairs", "pairs.use"))
    assert written == (
        'name = "x"  # ours\n\n'
        "[table]\nlr = 1e-06  # the paper\nstages = [{ start = 5, crop = 16 }]\nlast = true\n\n"
        "[table.empty]\n\n"
        '[[pairs]]\ngt = "a"\n\n[[pairs.use]]\nlevels = [["b"], []]\n\n[[pairs]]\ngt = "c"\n'
    )


def test_a_file_name_that_is_not_unicode_is_refused_with_its_key() -> None:
    with pytest.raises(UsageError, match=r"folder = .*udcff.* cannot be written as TOML"):
        toml_text({"name": "x", "folder": "runs/\udcff"})
