"""Configurations as text: read from TOML, strictly, changed by single settings, and written next to the weights."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
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

FREE_ON_RESUME = frozenset(
    {
        "out",
        "data.shards",
        "data.workers",
        "data.accumulate",
        "init.checkpoint",
        *(f"loop.{f.name}" for f in fields(LoopConfig) if f.name not in ("seed", "precision")),
    }
)
"""What a resumed run may change without becoming another run."""

_ESCAPE = re.compile(r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\.")
"""A pair of surrogates, or another escape, so that an escaped backslash does not begin one."""


def config_from_toml(text: str, *, where: str, drop_unknown: bool = False) -> TrainConfig:
    """
    Read a configuration.

    Args:
        text: TOML; tables and keys as in `TrainConfig`, those not named keep their default.
        where: what an error calls the text.
        drop_unknown: pass over keys that this release does not know, as a checkpoint of another one may have.

    Raises:
        UsageError: it is no TOML, has a key that is not known or a value that cannot be.
    """
    try:
        document = _parsed(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: no TOML: {error}") from error
    return config_from_document(_without_unknown(document) if drop_unknown else document, where=where)


def config_from_document(document: Mapping[str, Any], *, where: str) -> TrainConfig:
    """Check nested tables and give the configuration that they mean; errors as `config_from_toml`."""
    import pydantic

    try:
        # JSON's strict mode takes a list for a tuple and an integer for a real number, and nothing else for another.
        config: TrainConfig = _adapter().validate_json(json.dumps(document, allow_nan=False), strict=True)
    except pydantic.ValidationError as error:
        raise UsageError(f"{where}: {_explain(error)}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error
    return config


def read_config(path: Path) -> TrainConfig:
    """
    Read a configuration file.

    Raises:
        UsageError: it is missing or not a configuration.
    """
    try:
        return config_from_toml(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def with_settings(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """
    Change single values.

    Args:
        config: stays as it is.
        settings: such as "optimizer.lr=1e-4" or "model.size.width=16". The value is TOML, or else text.

    Raises:
        UsageError: a setting has no "=", names an unknown key, or has a value that cannot be.
    """
    document = to_document(config)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting!r} is not KEY=VALUE, such as optimizer.lr=1e-4")
        *tables, last = key.strip().split(".")
        table = document
        for name in tables:
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {setting!r}: {name} holds one value, not a table")
            table = inner
        table[last] = toml_value(value.strip())
    return config_from_document(document, where="--set" if settings else "configuration")


def to_document(config: TrainConfig) -> dict[str, Any]:
    """Give nested tables of plain values, as TOML and JSON hold them."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(config), default=dict))
    return document


def to_toml(config: TrainConfig, comments: Mapping[str, str] | None = None) -> str:
    """
    Write a configuration, complete, as `config_from_toml` reads it.

    Args:
        config: what to write.
        comments: dotted key to a remark that follows the value, such as where it comes from.

    Raises:
        UsageError: a string holds surrogates, as a file name that is not UTF-8 does.
    """
    return toml_text(to_document(config), comments=comments)


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Name the dotted keys whose values differ."""
    a, b = dict(_flat(to_document(one))), dict(_flat(to_document(other)))
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def keys_of(config: TrainConfig) -> list[str]:
    """Name every dotted key that has a value."""
    return [key for key, _ in _flat(to_document(config))]


def json_schema() -> dict[str, Any]:
    """Give the JSON schema of a configuration, for editors."""
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
    # A choice between kinds puts their names behind the key; people only want the key.
    known = [part for i, part in enumerate(path) if i < 2 or not part.startswith(("int", "float", "bool", "tuple"))]
    return f"{'.'.join(known)} is {first['input']!r}: {first['msg'].lower()}"


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # Earlier versions escaped strings as JSON does: characters beyond U+FFFF as two surrogates, DEL not at all.
        return tomllib.loads(_ESCAPE.sub(_joined_surrogates, text).replace("\x7f", r"\u007f"))


def _joined_surrogates(escape: re.Match[str]) -> str:
    pair: str = json.loads(f'"{escape[0]}"') if escape[1] else escape[0]
    return pair


def _without_unknown(document: dict[str, Any]) -> dict[str, Any]:
    known = to_document(TrainConfig())
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict) and isinstance(known.get(name), dict):
            # The tables whose keys are the user's own are empty by default: model.size and data.repeat.
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
    """Read a value as TOML writes it; what is none is taken as text, so that words need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows
