"""Plain values as TOML text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.items import Item, Table

from uirdata.errors import UsageError


def toml_text(
    document: Mapping[str, Any], *, comments: Mapping[str, str] | None = None, sections: Collection[str] = ()
) -> str:
    """
    Return a document as TOML that `tomllib` reads back as an equal one.

    Args:
        document: tables of strings, numbers, truth values, lists and further tables.
        comments: dotted key to a remark that follows the value.
        sections: dotted keys of lists of tables that are written as `[[key]]`; other lists are written in line.

    Raises:
        UsageError: a string holds surrogates, as a file name that is not UTF-8 does; TOML has no form for them.
    """
    root = tomlkit.document()
    _fill(root, document, "", comments or {}, sections)
    text = root.as_string()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.split("\n")[text.count("\n", 0, error.start)]
        raise UsageError(
            f"{line!a} cannot be written as TOML: it is not valid Unicode; rename the file or folder"
        ) from error
    return text


def _fill(
    table: Container | Table,
    values: Mapping[str, Any],
    prefix: str,
    comments: Mapping[str, str],
    sections: Collection[str],
) -> None:
    """Add values to a table, those with a header of their own last, as whatever follows a header belongs to it."""

    def headed(inner: Mapping[str, Any], key: str) -> Table:
        made = tomlkit.table()
        _fill(made, inner, f"{prefix}{key}.", comments, sections)
        return made

    later: dict[str, Item] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            later[key] = headed(value, key)
        elif value and prefix + key in sections:
            later[key] = tables = tomlkit.aot()
            for inner in value:
                tables.append(headed(inner, key))
        else:
            item = _inline(value)
            if remark := comments.get(prefix + key):
                item.comment(remark)
                item.trivia.comment_ws = "  "
            table.append(key, item)
    for key, item in later.items():
        table.append(key, item)


def _inline(value: Any) -> Item:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key, inner in value.items():
            table.append(key, _inline(inner))
        # { a = 1 }, not {a = 1}: a space before the first key, and one after the last value.
        for number, item in enumerate(table.value.body):
            item[1].trivia.indent = "" if number else " "
            item[1].trivia.trail = " " if number + 1 == len(value) else ""
        return table
    if isinstance(value, (list, tuple)):
        array = tomlkit.array()
        for inner in value:
            array.append(_inline(inner))
        return array
    made: Item = tomlkit.item(value)
    return made
