from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uirdata.errors import ManifestError
from uirdata.manifest_syntax.patterns import PREFIX, compile_pattern, fill_template, is_image_name, template_holes


@pytest.mark.parametrize(
    ("pattern", "name", "holes"),
    [
        ("gt/{id}.png", "gt/0001.png", ("0001",)),
        ("gt/{id}.png", "gt/0001.PNG", ("0001",)),
        ("{id}_{a}.png", "x_y_z.png", ("x", "y_z")),
        ("{id}/{id}_{n}.png", "a/a_1.png", ("a", "1")),
        ("**/gt/{id}.png", "gt/1.png", ("", "1")),
        ("**/gt/{id}.png", "a/b/gt/1.png", ("a/b/", "1")),
        (r"{n:\d{4}}.{image}", "0001.jpeg", ("0001",)),
        ("{id}.{png,jpg}", "a.b.JPG", ("a.b",)),
        ("{id}.{image}", "0001_0.8_0.04.jpg", ("0001_0.8_0.04",)),
        ("{:low|high}/{n}.png", "high/1.png", ("1",)),
        ("a/**/{n}.png", "a/1.png", ("1",)),
        ("a/**/{n}.png", "a/b/c/1.png", ("1",)),
        ("mask/**", "mask/x/y.npz", ()),
        ("*-{n}.png", "rain-1.png", ("1",)),
        ("{pie:(?:pie-)?}rain-{n}.png", "rain-1.png", ("", "1")),
    ],
)
def test_a_pattern_gives_what_fills_its_holes(pattern: str, name: str, holes: tuple[str, ...]) -> None:
    assert compile_pattern(pattern).match(name) == holes


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("gt/{id}.png", "gt/a/0001.png"),
        ("gt/{id}.png", "x/gt/0001.png"),
        ("gt/{id}.png", "gt/.png"),
        ("gt/{id}.png", "GT/1.png"),
        ("gt/{id}.png", "gt/1.png.part"),
        ("gt/{id}.png", "gt/1xpng"),
        ("{id}/{id}_{n}.png", "a/b_1.png"),
        (r"{n:\d{4}}.png", "00001.png"),
        ("*-{n}.png", "a/rain-1.png"),
        ("**/gt/{id}.png", "xgt/1.png"),
        ("{id}.{image}", "1.npz"),
    ],
)
def test_a_pattern_matches_the_whole_name_and_no_other(pattern: str, name: str) -> None:
    assert compile_pattern(pattern).match(name) is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("gt/{id.png", "does not close"),
        ("gt/{}.png", "{}"),
        ("gt/{a b}.png", "{a b}"),
        (r"{n:(\d+)}.png", "(?:"),
        ("{n:[}.png", "regular expression"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_with_its_text(pattern: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        compile_pattern(pattern)
    assert words in str(caught.value)
    assert pattern in str(caught.value)


def test_a_hole_takes_its_expression_from_the_other_pattern() -> None:
    like = r"{top:(?:.*/)?}{pie:(?:pie-)?}rain-{n:\d+}.png"
    assert compile_pattern("{top}{pie}norain-{n}.png", like).match("a/b/norain-1.png") == ("a/b/", "", "1")
    assert compile_pattern("{top}{pie}norain-{n}.png", like).match("norain-x.png") is None
    assert compile_pattern("{top}{pie}norain-{n}.png").match("a/b/norain-1.png") is None


def test_a_filled_pattern_is_the_name_that_was_expected() -> None:
    pattern = compile_pattern("**/gt/{id}_{k:\\d{2}}.{png,jpg}")
    assert pattern.fill({PREFIX: "a/b/", "id": "x", "k": "07"}) == "a/b/gt/x_07.{png,jpg}"
    assert compile_pattern("gt/{id}.png").fill({"id": r"a\1"}) == r"gt/a\1.png"


def test_templates_are_filled_by_name() -> None:
    assert fill_template("A={A},beta={beta}", ("id", "A", "beta"), ("1", "0.8", "0.04")) == "A=0.8,beta=0.04"
    assert template_holes("s-{a}-{b}") == ("a", "b")


def test_an_image_is_known_by_its_ending_in_any_case() -> None:
    assert is_image_name("a/b.PNG")
    assert is_image_name("b.tif")
    assert not is_image_name("png")
    assert not is_image_name("a.png.part")


@given(
    identity=st.text(string.ascii_letters + string.digits + " .-", min_size=1, max_size=12),
    level=st.text(string.digits, min_size=1, max_size=3),
    prefix=st.lists(st.text(string.ascii_letters, min_size=1, max_size=4), max_size=3),
)
def test_what_was_written_into_holes_is_read_out_of_them(identity: str, level: str, prefix: list[str]) -> None:
    folders = "".join(part + "/" for part in prefix)
    pattern = compile_pattern(r"**/lq/{id}_{level:\d+}.png")
    assert pattern.match(f"{folders}lq/{identity}_{level}.png") == (folders, identity, level)
