"""
Strict readers of values that come from elsewhere: archives, shards, checkpoints, the Hub, files that a user edited.

Every function returns the value that it was given, or raises InvalidValue, whose message says what is wrong; `naming`
turns that into the error of the reader, with the file and the place. Nothing of a file is used, least of all as a path,
before it has passed here.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

from uirdata.errors import UirError, nearest

T = TypeVar("T")

MOST_JSON_BYTES = 1 << 28
"""Largest JSON or TOML file that is read: 256 MiB, some hundred times the largest that this project writes."""

MOST_DEPTH = 50
"""Deepest nesting of JSON and TOML that is read; this project writes six levels."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*-\d{5,}\.tar")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_MOST_PATH_BYTES = 4096
_MOST_NAME_BYTES = 255


class InvalidValue(ValueError):
    """A value from outside does not have the form that is expected."""


@contextmanager
def naming(error: type[UirError], where: str, then: str = "") -> Iterator[None]:
    """
    Turn InvalidValue into an error that names the file and the place.

    >>> from uirdata.errors import ShardError
    >>> with naming(ShardError, "pool/info.json", "build the shards again"):
    ...     sha256_digest("../x")
    Traceback (most recent call last):
    ...
    uirdata.errors.ShardError: pool/info.json: '../x' is no sha256: 64 hexadecimal digits; build the shards again

    Args:
        error: class of the error that is raised.
        where: file, and key or line, that the value is from.
        then: what to do next.
    """
    try:
        yield
    except InvalidValue as fault:
        raise error(f"{where}: {fault}" + (f"; {then}" if then else "")) from fault


def text(value: object, *, most: int = 1 << 20) -> str:
    """Return valid Unicode text of at most `most` characters."""
    if not isinstance(value, str):
        raise InvalidValue(f"{shown(value)} is a {type(value).__name__}, expected text")
    if len(value) > most:
        raise InvalidValue(f"{shown(value)} has {len(value)} characters, expected at most {most}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(f"{shown(value)} is not valid Unicode") from error
    return value


def relative_path(value: object) -> str:
    """Return a path with / between its parts that stays below the folder that it is relative to."""
    path = text(value)
    parts = path.split("/")
    if not path or _CONTROL.search(path) or "\\" in path or _DRIVE.match(path):
        raise InvalidValue(f"{shown(path)} is not a relative path with / between its parts")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidValue(f"{shown(path)} leaves its folder, or is not in its shortest form")
    if len(path.encode()) > _MOST_PATH_BYTES or any(len(part.encode()) > _MOST_NAME_BYTES for part in parts):
        raise InvalidValue(f"{shown(path)} is longer than file systems allow")
    return path


def disk_path(value: object) -> str:
    """
    Return a relative path, with / between its parts, of a file on this machine that stays below its folder.

    Its names may hold whatever a file system allows: users have files with tabs and backslashes in their names, and
    with bytes that are not UTF-8.
    """
    if not isinstance(value, str) or len(value) > _MOST_PATH_BYTES:
        raise InvalidValue(f"{shown(value)} is not a path of at most {_MOST_PATH_BYTES} characters")
    if "\0" in value or any(part in ("", ".", "..") for part in value.split("/")):
        raise InvalidValue(f"{shown(value)} leaves its folder, or is not in its shortest form")
    return value


def path_below(root: Path, value: object) -> Path:
    """
    Return the path of a file below a folder, none of whose existing parents is a link out of it.

    >>> path_below(Path("pool"), "train/noise/wed-00000.tar").as_posix()
    'pool/train/noise/wed-00000.tar'
    """
    path = root / PurePosixPath(relative_path(value))
    if not path.resolve().is_relative_to(root.resolve()):
        raise InvalidValue(f"{shown(value)} is reached through a link that leaves {root}")
    return path


def tar_path(value: object) -> str:
    """Return the path of a shard below its folder: split/degradation/source-NNNNN.tar."""
    path = relative_path(value)
    if not _SHARD.fullmatch(path):
        raise InvalidValue(f"{shown(path)} is no path of a shard: split/degradation/source-NNNNN.tar")
    return path


def sha256_digest(value: object) -> str:
    """Return a sha256 of 64 lower-case hexadecimal digits."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise InvalidValue(f"{shown(value)} is no sha256: 64 hexadecimal digits")
    return value


def md5_digest(value: object) -> str:
    """Return an MD5 of 32 lower-case hexadecimal digits."""
    if not isinstance(value, str) or not _MD5.fullmatch(value):
        raise InvalidValue(f"{shown(value)} is no MD5: 32 hexadecimal digits")
    return value


def whole_number(value: object, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return an integer (no bool, no float) between two bounds, both inclusive."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidValue(f"{shown(value)} is not a whole number from {least} to {most}")
    return value


def finite_number(value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a finite int or float between two bounds, both inclusive."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not _is_finite(value):
        raise InvalidValue(f"{shown(value)} is not a finite number")
    if not least <= value <= most:
        raise InvalidValue(f"{shown(value)} is not a number from {least:g} to {most:g}")
    return value


def byte_range(start: object, length: object, size: int) -> tuple[int, int]:
    """Return first byte and length of a part that lies in a file of `size` bytes."""
    first, count = whole_number(start), whole_number(length)
    if first + count > size:
        raise InvalidValue(f"bytes {first} to {first + count} do not lie in a file of {size} bytes")
    return first, count


def one_of(value: object, choices: Collection[str]) -> str:
    """Return one of the known names; the message suggests the most similar one."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidValue(f"{shown(value)} is not known: {nearest(value, choices)}")
    return value


def load_json(data: str | bytes, *, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Return the value of a JSON text (UTF-8, a byte order mark allowed) of bounded size and depth, without NaN."""
    if len(data) > most_bytes:
        raise InvalidValue(f"has {len(data)} bytes, expected at most {most_bytes}")
    try:
        value = json.loads(decoded(data), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise InvalidValue("is nested too deeply") from None
    except InvalidValue:
        raise
    except ValueError as error:
        raise InvalidValue(f"is not valid JSON: {error}") from error
    return _not_too_deep(value)


def load_typed(data: str | bytes, kind: type[T], *, most_bytes: int = MOST_JSON_BYTES) -> T:
    """
    Return the object of a dataclass whose fields a JSON object holds, without conversions but those of JSON.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Size:
    ...     width: int
    ...     factors: tuple[float, ...] = ()
    >>> load_typed('{"width": 3, "factors": [1, 0.5]}', Size)
    Size(width=3, factors=(1.0, 0.5))
    >>> load_typed('{"width": "3"}', Size)
    Traceback (most recent call last):
    ...
    uirdata.validators.InvalidValue: has an unfit value: width: input should be a valid integer
    """
    from pydantic import ValidationError

    json_object(load_json(data, most_bytes=most_bytes))
    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(decoded(data), strict=True))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidValue(f"has an unfit value: {where}: {first['msg'].lower()}") from error


def load_toml(data: str | bytes, *, most_bytes: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Return the tables of a TOML text of bounded size and depth; UTF-8, or UTF-16 with a byte order mark."""
    if len(data) > most_bytes:
        raise InvalidValue(f"has {len(data)} bytes, expected at most {most_bytes}")
    try:
        document = tomllib.loads(decoded(data))
    except RecursionError:
        raise InvalidValue("is nested too deeply") from None
    except InvalidValue:
        raise
    except ValueError as error:
        raise InvalidValue(f"is not valid TOML: {error}") from error
    _not_too_deep(document)
    return document


def json_object(value: object) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise InvalidValue(f"{shown(value)} is a {type(value).__name__}, expected an object")
    return value


def json_list(value: object, *, most: int = 1 << 26) -> list[Any]:
    """Return a JSON list."""
    if not isinstance(value, list) or len(value) > most:
        raise InvalidValue(f"{shown(value)} is no list of at most {most} values")
    return value


def decoded(data: str | bytes) -> str:
    """Return text that an editor wrote: UTF-8 with or without a byte order mark, or UTF-16 or UTF-32 with one."""
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    # Longest mark first: that of UTF-32 begins with that of UTF-16.
    marks = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    encoding = next((name for mark, name in marks.items() if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidValue(f"is not {encoding.removesuffix('-sig').upper()} text; save it as UTF-8") from error


def shown(value: object) -> str:
    """Return a value for a message, shortened, with control characters and line breaks escaped."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "an integer of over 60 digits"
    written = repr(value) if isinstance(value, (str, bytes, int, float, bool, type(None))) else type(value).__name__
    return written if len(written) <= 80 else written[:77] + "..."


@cache
def _adapter(kind: Hashable) -> Any:
    # Imported here: pydantic takes a tenth of a second to import.
    from pydantic import TypeAdapter

    return TypeAdapter(cast(type[Any], kind))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _finite(digits: str) -> float:
    """Return a number of JSON, which reads 1e999 as infinity without a word."""
    value = float(digits)
    return value if math.isfinite(value) else cast(float, _no_constant(digits))


def _no_constant(name: str) -> object:
    raise InvalidValue(f"holds {name}, expected finite numbers")


def _not_too_deep(value: Any) -> Any:
    level: list[Any] = [value]
    for _ in range(MOST_DEPTH + 1):
        inner: list[Any] = []
        for part in level:
            if isinstance(part, Mapping):
                inner += part.values()
            elif isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
                inner += part
        if not inner:
            return value
        level = inner
    raise InvalidValue(f"is nested deeper than {MOST_DEPTH} levels")
