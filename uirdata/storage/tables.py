"""Parquet tables: written atomically, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from uirdata.errors import ShardError
from uirdata.storage.files import writing

T = TypeVar("T")

_ROWS_AT_ONCE = 50_000


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """
    Write rows to a parquet file that appears under its final name only when complete.

    Returns:
        The number of rows.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    batches = batched(rows, _ROWS_AT_ONCE)
    return _write_tables(path, (pa.Table.from_pylist(batch, schema=schema) for batch in batches), schema)


def write_objects(path: Path, objects: Iterable[object], schema: pa.Schema) -> int:
    """
    Write a row for each object, its attributes by the schema's names; otherwise as `write_rows`, three times as fast.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    row = attrgetter(*schema.names)
    batches = batched(objects, _ROWS_AT_ONCE)
    columns = (zip(*map(row, batch), strict=True) for batch in batches)
    tables = (
        pa.Table.from_arrays([pa.array(c, t) for c, t in zip(some, schema.types, strict=True)], schema=schema)
        for some in columns
    )
    return _write_tables(path, tables, schema)


def _write_tables(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> int:
    rows = 0
    with writing(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return rows


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """
    Return the table in a parquet file, or in a folder of them.

    Raises:
        ShardError: it is missing or incomplete.
    """
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise ShardError(f"{path}: no such table") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{path}: cannot be read as parquet ({error}); delete it and run the command again") from error


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` rows."""
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch
