"""TOML files as typed frozen objects, read strictly: an unknown key is an error that suggests the most similar key."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

from uirdata.errors import ManifestError, nearest
from uirdata.validators import load_toml, naming

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

STRICT: Mapping[str, Any] = {"extra": "forbid", "strict": True}
"""The `__pydantic_config__` of a dataclass that `typed` reads: no unknown keys, no silent conversions."""


def read_toml(path: Path) -> dict[str, Any]:
    """
    Return the contents of a TOML file: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ManifestError: the file is missing, cannot be read, is not valid TOML, or is nested too deeply.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from error
    with naming(ManifestError, str(path)):
        return load_toml(data)


def typed(document: Mapping[str, Any], kind: type[T], *, name: str) -> T:
    """
    Return the contents of a file as a typed object.

    Args:
        document: tables of the file.
        kind: a frozen dataclass whose `__pydantic_config__` is `STRICT`, as for all dataclasses in it.
        name: name of the file in error messages.

    Raises:
        ManifestError: a key is unknown or missing, or a value is not of its type; the message lists every fault.
    """
    from pydantic import ValidationError

    # Through JSON, because only there pydantic's strict mode accepts lists for tuples and tables for dataclasses.
    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(json.dumps(document, default=str)))
    except ValidationError as error:
        faults = [_fault(detail["loc"], detail, kind) for detail in error.errors(include_url=False)]
        raise ManifestError(f"{name}: " + "; ".join(dict.fromkeys(faults))) from None


@lru_cache(maxsize=32)
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    # Imported here: pydantic takes a tenth of a second to import, which would slow down `uir --help`.
    from pydantic import TypeAdapter

    return TypeAdapter(cast(type[Any], kind))


def _fault(location: Sequence[int | str], detail: Mapping[str, Any], kind: type[Any]) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {where!r}: {nearest(str(location[-1]), _keys_at(kind, location[:-1]))}"
    if detail["type"] in ("missing", "missing_argument"):
        return f"{where!r} is missing"
    message = str(detail["msg"])
    expected = message.removeprefix("Input should be ") if message.startswith("Input should be ") else message
    given = json.dumps(detail["input"], default=str, ensure_ascii=False)
    if len(given) > 60:
        given = given[:57] + "..."
    return f"{where!r} is {given}, expected {expected}"


def _keys_at(kind: type[Any], location: Sequence[int | str]) -> list[str]:
    """Return the keys that a table may have, by following the types of the fields that lead to it."""
    current: Any = kind
    for part in location:
        if isinstance(part, int):
            continue
        if not is_dataclass(current):
            return []
        current = next((t for t in _tables_in(get_type_hints(current).get(part))), None)
    return [field.name for field in fields(current)] if is_dataclass(current) else []


def _tables_in(hint: Any) -> list[Any]:
    if is_dataclass(hint):
        return [hint]
    return [table for argument in get_args(hint) for table in _tables_in(argument)]
