"""Configurations as TOML: strict reading, changes by single settings, and writing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from maskdcpt.config.train_config import (
    DataConfig,
    InitConfig,
    LoopConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    StageConfig,
    TrainConfig,
)
from uirdata.errors import UsageError, nearest
from uirdata.manifest_syntax.toml_writer import toml_text
from uirdata.validators import InvalidValue, decoded, load_toml, naming

FREE_ON_RESUME = frozenset(
    {
        "out",
        "data.shards",
        "data.workers",
        "data.accumulate",
        "data.validation_split",
        "init.checkpoint",
        *(f"loop.{f.name}" for f in fields(LoopConfig) if f.name not in ("seed", "precision")),
    }
)
"""The keys that a resumed run may change."""

_MOST_TABLES = 5
"""More tables than any key is in."""

_ESCAPE = re.compile(r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\.")
"""A pair of surrogates, or another escape, so that an escaped backslash does not begin one."""


def config_from_toml(text: str, *, where: str, drop_unknown: bool = False) -> TrainConfig:
    """
    Return the configuration of a TOML text.

    Args:
        text: TOML; tables and keys as in `TrainConfig`, missing ones keep their default.
        where: the name of the text in error messages.
        drop_unknown: ignore unknown keys, as a checkpoint of another release may have them.

    Raises:
        UsageError: the text is not TOML, or has an unknown key or an invalid value.
    """
    with naming(UsageError, where):
        document = _parsed(text)
    return config_from_document(_without_unknown(document) if drop_unknown else document, where=where)


def config_from_document(document: Mapping[str, Any], *, where: str) -> TrainConfig:
    """Return the configuration of nested tables, after checking them; errors as `config_from_toml`."""
    import pydantic

    _refuse_unwritable(document, where)
    try:
        # JSON's strict mode accepts a list for a tuple and an integer for a float, but no other conversions.
        config: TrainConfig = _adapter().validate_json(json.dumps(document, allow_nan=False), strict=True)
    except pydantic.ValidationError as error:
        raise UsageError(f"{where}: {_explain(error)}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error
    return config


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _refuse_unwritable(document: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Refuse, by their keys, values that JSON or a TOML file cannot hold."""
    for name, value in document.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            _refuse_unwritable(value, where, f"{key}.")
        elif isinstance(value, list):
            _refuse_unwritable({str(number): part for number, part in enumerate(value)}, where, f"{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where}: {key} is {value}; expected a finite number")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UsageError(f"{where}: {key} is an integer of {value.bit_length()} bits; expected at most 63")
        elif isinstance(value, str) and not _is_unicode(value):
            raise UsageError(f"{where}: {key} is {value!r}, which is not valid Unicode; rename the file or folder")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_config(path: Path) -> TrainConfig:
    """
    Return the configuration of a TOML file: UTF-8, or UTF-16 with a byte order mark, as editors of Windows save it.

    Raises:
        UsageError: the file does not exist, cannot be read, or is not a configuration.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    with naming(UsageError, str(path)):
        text = decoded(data)
    return config_from_toml(text, where=str(path))


def with_settings(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """
    Return a configuration with single values changed.

    Args:
        config: is not changed.
        settings: such as "optimizer.lr=1e-4" or "model.size.width=16". A value that is not TOML is taken as text.

    Raises:
        UsageError: a setting has no "=", names an unknown key, or has an invalid value.
    """
    document = to_document(config)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting!r} is not KEY=VALUE, such as optimizer.lr=1e-4")
        *tables, last = key.strip().split(".")
        if len(tables) > _MOST_TABLES:
            raise UsageError(f"--set {key.strip()[:40]}...: a key has at most {_MOST_TABLES} tables")
        table = document
        for name in tables:
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {setting!r}: {name} is a single value, not a table")
            table = inner
        table[last] = toml_value(value.strip())
    return config_from_document(document, where="--set" if settings else "configuration")


def to_document(config: TrainConfig) -> dict[str, Any]:
    """Return a configuration as nested tables of plain values, for TOML and JSON."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(config), default=_plain))
    return document


def checked(config: TrainConfig) -> TrainConfig:
    """
    Return a configuration that was made in Python, checked as one from a file is; paths become texts.

    Raises:
        UsageError: it is no TrainConfig, or a value has the wrong type or is out of range.
    """
    if not isinstance(config, TrainConfig):
        raise UsageError(
            f"expected a TrainConfig, not {type(config).__name__}; `config_from_toml` and `find_preset` make one"
        )
    try:
        document = to_document(config)
    except TypeError as error:
        raise UsageError(f"the configuration has a value that no file can hold: {error}") from error
    return config_from_document(document, where="the configuration")


def to_toml(config: TrainConfig, comments: Mapping[str, str] | None = None) -> str:
    """
    Return the complete configuration as TOML, as `config_from_toml` reads it.

    Args:
        config: what to write.
        comments: dotted key to a comment that follows the value, such as its origin.

    Raises:
        UsageError: a string contains surrogates, as a file name that is not UTF-8 does.
    """
    return toml_text(to_document(config), comments=comments)


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Return the dotted keys whose values differ, sorted."""
    a, b = dict(_flat(to_document(one))), dict(_flat(to_document(other)))
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def keys_of(config: TrainConfig) -> list[str]:
    """Return every dotted key that has a value."""
    return [key for key, _ in _flat(to_document(config))]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration, for editors."""
    schema: dict[str, Any] = _adapter().json_schema()
    return schema


@cache
def _adapter() -> Any:
    import pydantic

    for kind in (
        ModelConfig, DataConfig, StageConfig, ObjectiveConfig, OptimizerConfig, InitConfig, LoopConfig, TrainConfig
    ):  # fmt: skip
        setattr(kind, "__pydantic_config__", pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))  # noqa: B010
    return pydantic.TypeAdapter(TrainConfig)


def _explain(error: Any) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {'.'.join(path)!r}; {nearest(path[-1], _known_keys(path[:-1]))}"
    # For a union pydantic appends the names of the types to the key; the message needs the key alone.
    known = [part for i, part in enumerate(path) if i < 2 or not part.startswith(("int", "float", "bool", "tuple"))]
    return f"{'.'.join(known)} is {_shortened(first['input'])}: {first['msg'].lower()}"


def _shortened(value: object) -> str:
    written = repr(value)
    return written if len(written) <= 80 else written[:77] + "..."


def _parsed(text: str) -> dict[str, Any]:
    try:
        return load_toml(text)
    except InvalidValue:
        # Earlier versions escaped strings as JSON does: characters beyond U+FFFF as two surrogates, DEL not at all.
        return load_toml(_ESCAPE.sub(_joined_surrogates, text).replace("\x7f", r"\u007f"))


def _joined_surrogates(escape: re.Match[str]) -> str:
    pair: str = json.loads(f'"{escape[0]}"') if escape[1] else escape[0]
    return pair


def _without_unknown(document: dict[str, Any]) -> dict[str, Any]:
    known = to_document(TrainConfig())
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict) and isinstance(known.get(name), dict):
            # The tables with keys of the user, model.size and data.repeat, are not checked here: empty by default.
            kept[name] = {k: v for k, v in value.items() if k in known[name]}
        elif name in known:
            kept[name] = value
    return kept


def _known_keys(tables: Sequence[str]) -> list[str]:
    kind: Any = TrainConfig()
    for name in tables:
        if name.isdigit():
            kind = StageConfig(1, 8, 1)
        elif is_dataclass(kind) and hasattr(kind, name):
            kind = getattr(kind, name)
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def toml_value(text: str) -> Any:
    """Return the value of a TOML expression; a text that is not TOML is returned itself, so words need no quotes."""
    try:
        return load_toml(f"value = {text}")["value"]
    except InvalidValue:
        return text


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows
