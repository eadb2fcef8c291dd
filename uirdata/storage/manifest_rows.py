"""
The rows of manifest.parquet, as one table whose every value was checked.

A manifest may be a stranger's, and it may have millions of rows, so whole columns are checked: texts by their different
values, numbers by their limits, places by the size of their tar.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uirdata.degradations.base import MOST_RECIPE_BYTES
from uirdata.errors import ShardError
from uirdata.images import CODECS
from uirdata.records import KEY, MOST_KEY_BYTES, RECORD_FIELDS, Record, check_columns
from uirdata.storage.shard_states import MANIFEST, ManifestPart, list_parts, parse_path, part_path, read_part
from uirdata.storage.tables import read_tables
from uirdata.validators import InvalidValue, naming, shown

_TYPES = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_()}
MANIFEST_SCHEMA = pa.schema([(field.name, _TYPES[str(field.type)]) for field in fields(Record)])

_THREADS = 4
_BLOCK = 1 << 17
_MOST_IMAGE_BYTES = 1 << 33
_MOST_PX = 1 << 20
_MOST_PIXELS = 1 << 32

_FEW_TEXT_BYTES, _EXPANSION = 1 << 30, 100
"""Bytes of text that a manifest may hold, and how many more for each byte of its files."""

_NO_PATH = r"\x00|(?:^|/)\.{0,2}(?:/|$)"
_NOT_IN_KEYS = b"./\\ \x7f" + bytes(range(32))

_Check = Callable[[pa.Array], pa.Array]
"""Returns for each text whether it is fit."""


def read_manifest(folder: Path, columns: Collection[str] | None = None) -> pa.Table:
    """
    Return the rows of a folder's manifest, checked; by tar, in the order of their bytes.

    Args:
        folder: the shard folder; its tars may be missing.
        columns: names of the columns; None for all.

    Raises:
        ShardError: there is no manifest, or a part of it, a column or a value is not of the expected form.
    """
    return checked_rows(folder, list_parts(folder), columns)


def read_part_rows(folder: Path, path: str, columns: Collection[str] | None = None) -> pa.Table:
    """Return the rows of one shard of a folder; otherwise as `read_manifest`."""
    return checked_rows(folder, [read_part(folder, part_path(folder, path))], columns)


def checked_rows(folder: Path, parts: Sequence[ManifestPart], columns: Collection[str] | None = None) -> pa.Table:
    """
    Return the rows of some parts of a folder's manifest; otherwise as `read_manifest`.

    Args:
        folder: the shard folder.
        parts: from `list_parts`.
        columns: names of the columns; None for all.
    """
    wanted = [name for name in RECORD_FIELDS if columns is None or name in _needed(columns)]
    for part in parts:
        _check_types(part)
    table = read_tables([part.file for part in parts], folder / MANIFEST, wanted).combine_chunks()
    # In threads: this has to take little beside the reading, which has threads, too.
    with _naming(folder), ThreadPoolExecutor(_THREADS) as pool:
        texts = [pool.submit(_check_text, name, chunk) for name in _texts(wanted) for chunk in table[name].chunks]
        for checked in texts:
            checked.result()
        _check_numbers(table)
        _check_places(table, parts)
    if "gt_offset" in wanted and not _is_sorted(table):
        table = table.sort_by([("shard", "ascending"), ("gt_offset", "ascending")])
    return table if columns is None else table.select([name for name in wanted if name in columns])


def check_sizes(folder: Path, parts: Sequence[ManifestPart]) -> None:
    """
    Check that the texts of some parts are not out of all proportion to their files, before they are read as they are.

    Raises:
        ShardError: they are.
    """
    for part in parts:
        _check_types(part)
    texts = _texts(RECORD_FIELDS)
    table = read_tables([part.file for part in parts], folder / MANIFEST, texts, encoded=texts)
    room = _FEW_TEXT_BYTES + _EXPANSION * sum(part.file.stat().st_size for part in parts)
    with _naming(folder):
        for name in texts:
            for chunk in table[name].chunks:
                _check_text(name, chunk.dictionary)
                room -= pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0
        if room < 0:
            raise InvalidValue(f"has over {_EXPANSION} times as much text as bytes")


def _needed(columns: Collection[str]) -> set[str]:
    """Return columns, and those that their checks need: where a row belongs, where an image begins and ends."""
    return {
        *columns,
        *_PLACE,
        *(name for pair in _TOGETHER if set(pair) & set(columns) for name in pair),
    }


def _naming(folder: Path) -> AbstractContextManager[None]:
    return naming(ShardError, str(folder / MANIFEST), "these shards are damaged, or this project did not write them")


def _texts(names: Sequence[str]) -> list[str]:
    return [name for name in names if MANIFEST_SCHEMA.field(name).type == pa.string()]


_TOGETHER = (("gt_offset", "gt_size"), ("lq_offset", "lq_size"), ("height", "width"))
_PLACE = ("shard", "split", "degradation", "source")


def _check_types(part: ManifestPart) -> None:
    if part.schema.equals(MANIFEST_SCHEMA):
        return
    check_columns(part.schema.names, str(part.file))
    for field in MANIFEST_SCHEMA:
        if part.schema.names.count(field.name) != 1:
            raise ShardError(f"{part.file}: has several columns {field.name}; another program wrote it")
        found = part.schema.field(field.name).type
        if found != field.type:
            raise ShardError(f"{part.file}: {field.name} is {found}, expected {field.type}; another program wrote it")


def _known(choices: Collection[str]) -> _Check:
    return lambda values: pc.is_in(values, value_set=pa.array(list(choices)))


def _is_key(values: pa.Array) -> pa.Array:
    if all(len(block.translate(None, _NOT_IN_KEYS)) == len(block) for block in _blocks(values)):
        return pc.greater(pc.binary_length(values), 0)
    return pc.match_substring_regex(values, f"^{KEY}$")


def _is_path(values: pa.Array) -> pa.Array:
    data = np.frombuffer(b"".join(_blocks(values)), np.uint8)
    slash = data == ord("/")
    # No text has a zero byte, // or ./ if their joined bytes have none, which is found in a tenth of the time.
    if data.all() and not (slash[1:] & (slash | (data == ord(".")))[:-1]).any():
        ends = [pc.starts_with(values, "/"), pc.ends_with(values, "/"), pc.ends_with(values, ".")]
        if not any(pc.any(odd).as_py() for odd in ends):
            return pc.greater(pc.binary_length(values), 0)
    return pc.invert(pc.match_substring_regex(values, _NO_PATH))


def _is_path_or_none(values: pa.Array) -> pa.Array:
    none = pc.equal(pc.binary_length(values), 0)
    return none if pc.all(none).as_py() else pc.or_(none, _is_path(values))


def _is_sha256(values: pa.Array) -> pa.Array:
    # In a tenth of the time of an expression, and a manifest has millions.
    if not any(block.translate(None, b"0123456789abcdef") for block in _blocks(values)):
        return pc.equal(pc.binary_length(values), 64)
    return pc.match_substring_regex(values, "^[0-9a-f]{64}$")


def _blocks(values: pa.Array) -> Iterator[bytes]:
    """Yield the bytes of all texts, joined, in blocks that fit into the cache of a processor."""
    _, offsets, data = values.buffers()
    if data is not None:
        places = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
        for start in range(places[0], places[-1], _BLOCK):
            yield bytes(memoryview(data)[start : min(start + _BLOCK, places[-1])])


_TEXTS: dict[str, tuple[int, _Check | None, str]] = {
    "key": (MOST_KEY_BYTES, _is_key, "without dots, slashes and spaces"),
    "codec": (64, _known(CODECS), " or ".join(CODECS)),
    "recipe": (MOST_RECIPE_BYTES, None, ""),
    "gt_path": (4096, _is_path, "a path below the folder of a source"),
    "lq_path": (4096, _is_path_or_none, "a path below the folder of a source, or none"),
    "gt_sha256": (64, _is_sha256, "64 hexadecimal digits"),
    "lq_sha256": (64, _is_sha256, "64 hexadecimal digits"),
}
"""
Most bytes of a text, what it must be, and how a message says that. All others have at most 4096 bytes; those that say
where a row belongs are compared with the path of its tar.
"""

_LIMITS: dict[str, tuple[int, int]] = {
    "gt_offset": (512, 1 << 43),
    "gt_size": (1, _MOST_IMAGE_BYTES),
    "lq_offset": (0, 1 << 43),
    "lq_size": (0, _MOST_IMAGE_BYTES),
    "gt_border": (0, _MOST_PX),
    "top": (0, _MOST_PX),
    "left": (0, _MOST_PX),
    "height": (1, _MOST_PX),
    "width": (1, _MOST_PX),
}


def _check_text(name: str, values: pa.Array) -> None:
    most, check, expected = _TEXTS.get(name, (4096, None, ""))
    try:
        values.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InvalidValue(f"{name}: {error}") from error
    if values.null_count:
        raise InvalidValue(f"{name} is null in some rows")
    if len(values) and pc.max(pc.binary_length(values)).as_py() > most:
        raise InvalidValue(f"{name} has over {most} bytes in some rows")
    unfit = pc.index(check(values), False).as_py() if check else -1
    if unfit >= 0:
        raise InvalidValue(f"{name} is {shown(values[unfit].as_py())}, expected {expected}")


def check_paths(name: str, values: pa.Array) -> None:
    """Check that texts are paths below a folder, or empty; InvalidValue says which is not."""
    unfit = pc.index(_is_path_or_none(values), False).as_py()
    if unfit >= 0:
        raise InvalidValue(f"{name} is {shown(values[unfit].as_py())}, expected a path below the folder of the source")


def _check_numbers(table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise InvalidValue(f"{name} is null in some rows")
        if name in _LIMITS and len(column):
            least, most = _LIMITS[name]
            found = pc.min_max(column).as_py()
            if found["min"] < least or found["max"] > most:
                odd = found["min"] if found["min"] < least else found["max"]
                raise InvalidValue(f"{name} is {odd}, expected {least} to {most}")
    if {"height", "width"} <= set(table.column_names):
        _no_row(pc.greater(pc.multiply(table["height"], table["width"]), _MOST_PIXELS), table, "has too many pixels")


def _check_places(table: pa.Table, parts: Sequence[ManifestPart]) -> None:
    """Check that the rows of a part belong to its tar, and that their images lie in it."""
    counts = [part.state.samples for part in parts]
    if sum(counts) != table.num_rows:
        raise InvalidValue(f"has {table.num_rows} rows, its parts say {sum(counts)}")
    owner = pa.array(np.repeat(np.arange(len(parts)), counts))
    places = [(part.state.path, *parse_path(part.state.path)) for part in parts]
    for name, values in zip(_PLACE, zip(*places, strict=True), strict=True):
        _no_row(pc.not_equal(table[name], pa.array(values).take(owner)), table, f"is in the part of another {name}")
    ends = pa.array([part.state.size for part in parts], pa.int64()).take(owner)
    for image in ("gt", "lq"):
        if {f"{image}_offset", f"{image}_size"} <= set(table.column_names):
            end = pc.add(table[f"{image}_offset"], table[f"{image}_size"])
            _no_row(pc.greater(end, ends), table, "has an image that ends behind its tar")
    if {"lq_size", "recipe"} <= set(table.column_names):
        unmade = pc.and_(pc.equal(table["lq_size"], 0), pc.equal(table["recipe"], ""))
        _no_row(unmade, table, "has neither an LQ nor a recipe of one")


def _no_row(unfit: pa.ChunkedArray, table: pa.Table, fault: str) -> None:
    row = pc.index(unfit, True).as_py()
    if row >= 0:
        raise InvalidValue(f"a sample of {table['shard'][row].as_py()} {fault}")


def _is_sorted(table: pa.Table) -> bool:
    """Return whether the rows of each tar are in the order of their bytes; the tars are."""
    if table.num_rows < 2:
        return True
    shard, offset = (pa.chunked_array(table[name]).combine_chunks() for name in ("shard", "gt_offset"))
    later = pc.greater_equal(offset[1:], offset[:-1])
    return bool(pc.all(pc.or_(later, pc.not_equal(shard[1:], shard[:-1]))).as_py())
