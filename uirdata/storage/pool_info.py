"""info.json of a shard folder: the settings of its build and its shards, checked field by field before it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from uirdata.errors import ShardError
from uirdata.images import CODECS, Codec
from uirdata.storage.shard_states import MOST_TAR_BYTES, shard_of
from uirdata.validators import (
    MOST_JSON_BYTES,
    InvalidValue,
    json_list,
    json_object,
    load_json,
    naming,
    sha256_digest,
    shown,
    text,
    whole_number,
)

INFO = "info.json"

_MOST_TEXT = 4096
_MOST_PX = 1 << 20
_AGAIN = "run `uir build-shards` again, or get the shards again"


def read_info(folder: Path) -> dict[str, Any]:
    """
    Return the contents of info.json; {} if there is none yet.

    Raises:
        ShardError: it cannot be read, is not valid JSON, or a field is not of the expected form.
    """
    path = folder / INFO
    if not path.exists():
        return {}
    with naming(ShardError, str(path), _AGAIN):
        try:
            if not path.is_file() or path.stat().st_size > MOST_JSON_BYTES:
                raise InvalidValue("is not a file of less than 256 MiB")
            data = path.read_bytes()
        except OSError as error:
            raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error
        return checked_info(data)


def checked_info(data: bytes) -> dict[str, Any]:
    """
    Return the contents of an info.json; InvalidValue says which field is not of the expected form.

    Fields of other releases are kept. Every field may be missing: `required` is for readers that need one.
    """
    document = json_object(load_json(data))
    for name, check in _FIELDS.items():
        if name in document:
            try:
                check(document[name])
            except InvalidValue as fault:
                raise InvalidValue(f"{name}: {fault}") from fault
    return document


def required(folder: Path, info: Mapping[str, Any], *path: str) -> Any:
    """
    Return a value of info.json that a reader cannot do without.

    Raises:
        ShardError: it is missing.
    """
    value: Any = info
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            raise ShardError(f"{folder / INFO}: lacks {'.'.join(path)}; {_AGAIN}")
        value = value[name]
    return value


def pool_codec(folder: Path) -> Codec:
    """
    Return the codec that info.json says a pool's images are in.

    Raises:
        ShardError: it names none, or one that this release does not know.
    """
    named = read_info(folder).get("codec")
    codec = next((known for known in CODECS if known == named), None)
    if codec is None:
        raise ShardError(
            f"{folder / INFO}: the codec is {named!r}, expected {' or '.join(CODECS)}; another tool changed it, or a "
            "newer release wrote the shards"
        )
    return codec


def _boolean(value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidValue(f"{shown(value)} is not true or false")


def _line(value: object) -> None:
    if not text(value, most=_MOST_TEXT).isprintable():
        raise InvalidValue(f"{shown(value)} has control characters")


def _subsets(value: object) -> None:
    for name, classes in json_object(value).items():
        _line(name)
        for types in json_list(classes):
            for degradation in json_list(types):
                _line(degradation)


def _crops(value: object) -> None:
    for group, crop in json_object(value).items():
        _line(group)
        numbers = json_list(crop)
        if len(numbers) != 2:
            raise InvalidValue(f"{shown(group)} has {len(numbers)} numbers, expected size and stride")
        size, stride = (whole_number(number, most=_MOST_PX) for number in numbers)
        if size and not stride:
            raise InvalidValue(f"{shown(group)} has a stride of 0")


def _shards(value: object) -> None:
    for path, row in json_object(value).items():
        shard_of(path)
        state = json_object(row)
        if not {"samples", "bytes", "sha256"} <= state.keys():
            raise InvalidValue(f"{shown(path)} lacks samples, bytes or sha256")
        whole_number(state["samples"])
        whole_number(state["bytes"], most=MOST_TAR_BYTES)
        sha256_digest(state["sha256"])


def _libraries(value: object) -> None:
    for name, version in json_object(value).items():
        _line(name)
        _line(version)


_FIELDS: Mapping[str, Callable[[object], object]] = {
    "format": lambda value: whole_number(value, least=1, most=1000),
    "made_by": _line,
    "libraries": _libraries,
    "seed": whole_number,
    "lazy": _boolean,
    "subsets": _subsets,
    "crops": _crops,
    "shards": _shards,
}
