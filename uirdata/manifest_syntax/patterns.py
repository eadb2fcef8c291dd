"""
File-name patterns with holes, by which a manifest selects the files of a source.

A pattern is matched against a whole path with "/" between folders:

    {id}            a hole: one or more characters other than "/", as few as possible; repeated holes must be equal
    {id:\\d+}        a hole that matches a regular expression
    {:\\d+}          the same without a name
    {png,jpg}       one of these texts, upper or lower case
    {image}         the suffix of an image file
    *               any characters except "/", possibly none
    **/             any folders, possibly none; at the front it is a hole of its own, named "**"

The suffix after the last dot matches in upper or lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from uirdata.errors import ManifestError
from uirdata.file_kinds import IMAGE_SUFFIXES, is_image_name

PREFIX = "**"
"""Name of the hole that "**/" at the front of a pattern fills."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PREFIX_GROUP = "prefix_"

__all__ = ["PREFIX", "Pattern", "compile_pattern", "fill_template", "is_image_name", "template_holes"]


@dataclass(frozen=True)
class Pattern:
    """
    A compiled pattern.

    Attributes:
        text: as written.
        holes: names of its holes, in order; "**" is the folders at the front.
        expressions: regular expression of each hole.
    """

    text: str
    holes: tuple[str, ...]
    expressions: Mapping[str, str] = field(repr=False)
    _regex: re.Pattern[str] = field(repr=False)
    _needle: str = field(repr=False)

    def match(self, name: str) -> tuple[str, ...] | None:
        """
        Return the values of the holes, in order, or None if the name does not match.

        >>> compile_pattern("hazy/{id}_{A}_{beta}.jpg").match("hazy/0001_0.8_0.04.JPG")
        ('0001', '0.8', '0.04')
        """
        # Most names of a source belong to other rules; a substring test is ten times cheaper than the expression.
        if self._needle not in name:
            return None
        found = self._regex.fullmatch(name)
        return None if found is None else found.groups()

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the pattern with its named holes filled in, for messages."""
        filled = self.text.removeprefix("**/")
        for name, value in values.items():
            if name != PREFIX:
                filled = _fill_hole(filled, name, value)
        return values.get(PREFIX, "") + filled


@lru_cache(maxsize=4096)
def compile_pattern(text: str, like: str = "") -> Pattern:
    """
    Return a compiled pattern.

    Args:
        text: the pattern.
        like: another pattern; a hole that has an expression there and none here uses that one.

    Raises:
        ManifestError: braces do not close, a hole is neither a name nor a choice, or its expression is invalid.
    """
    parts: list[str] = []
    literals: list[str] = [""]
    known = compile_pattern(like).expressions if like else {}
    holes: dict[str, str] = {}
    position = 0
    while position < len(text):
        if text.startswith("**/", position):
            parts.append(rf"(?P<{_PREFIX_GROUP}>(?:.*/)?)" if position == 0 else "(?:.*/)?")
            holes.update({PREFIX: "(?:.*/)?"} if position == 0 else {})
            literals.append("")
            position += 3
        elif text[position] == "*":
            anything = text.startswith("**", position)
            parts.append(".*" if anything else "[^/]*")
            literals.append("")
            position += 2 if anything else 1
        elif text[position] == "{":
            end = _closing(text, position)
            parts.append(_group(text[position + 1 : end], holes, known, text))
            literals.append("")
            position = end + 1
        else:
            parts.append(re.escape(text[position]))
            literals[-1] += text[position]
            position += 1
    ending = len(literals[-1]) - literals[-1].rfind(".") - 1 if "." in literals[-1] else 0
    if ending:
        parts[-ending:] = ["(?i:" + "".join(parts[-ending:]) + ")"]
        literals[-1] = literals[-1][:-ending]
    try:
        regex = re.compile("".join(parts))
    except re.error as error:
        raise ManifestError(f"the pattern '{text}' has an invalid regular expression: {error}") from error
    if regex.groups != len(holes):
        raise ManifestError(f"the pattern '{text}' has a capturing group inside a hole: write (?:...) instead of (...)")
    return Pattern(text, tuple(holes), holes, regex, max(literals, key=len))


def fill_template(template: str, holes: Sequence[str], values: Sequence[str]) -> str:
    """
    Return a template with its holes filled in.

    >>> fill_template("A={A},beta={beta}", ("id", "A", "beta"), ("0001", "0.8", "0.04"))
    'A=0.8,beta=0.04'
    """
    text = template
    for name, value in zip(holes, values, strict=True):
        text = text.replace("{" + name + "}", value)
    return text


def template_holes(template: str) -> tuple[str, ...]:
    """Return the names of the holes of a template: `{name}`, or `{**}` for the folders at the front."""
    return tuple(re.findall(r"\{([^{}]*)\}", template))


def _fill_hole(text: str, name: str, value: str) -> str:
    return re.sub(r"\{" + name + r"(:(?:[^{}]|\{[^{}]*\})*)?\}", lambda _: value, text)


def _closing(text: str, start: int) -> int:
    depth = 0
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ManifestError(f"the pattern '{text}' has a brace that does not close")


def _group(body: str, holes: dict[str, str], known: Mapping[str, str], text: str) -> str:
    if body == "image":
        return "(?i:" + "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES)) + ")"
    name, colon, expression = body.partition(":")
    if colon and not name:
        return f"(?:{expression})"
    if _NAME.fullmatch(name) and (colon or "," not in body):
        if name in holes:
            return f"(?P={name})"
        holes[name] = expression or known.get(name, "[^/]+?")
        return f"(?P<{name}>{holes[name]})"
    if "," in body:
        return "(?i:" + "|".join(re.escape(choice) for choice in body.split(",")) + ")"
    raise ManifestError(f"the pattern '{text}' has the hole {{{body}}}: write {{name}}, {{name:expression}} or {{a,b}}")
