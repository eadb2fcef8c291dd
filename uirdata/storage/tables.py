"""Parquet tables: written atomically, the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
_FEW_ROWS, _BYTES_OF_ROW = 1 << 20, 4

_DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, MemoryError, OverflowError)


class DamagedTable(ShardError):
    """A file is no parquet, or damaged: unlike one that cannot be read, it can be replaced."""


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
    # Opened here: pyarrow opens only names that are UTF-8.
    with (
        writing(path) as partial,
        partial.open("wb") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table)
            rows += table.num_rows
    return rows


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """
    Return the table in a parquet file, or in a folder of them.

    Raises:
        ShardError: it is missing, cannot be read, is no parquet or incomplete, or lacks a column.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    for file in files:
        with open_parquet(file) as parquet:
            _check_columns(file, parquet, columns)
    return read_tables(files, path, columns)


def read_typed(
    path: Path, schema: pa.Schema, columns: Sequence[str] | None = None, *, nullable: Collection[str] = ()
) -> pa.Table:
    """
    Return columns of a parquet file that have the types of a schema, valid texts, and a value in every row.

    Args:
        path: the file.
        schema: its columns.
        columns: names of the columns to read; None for all of the schema.
        nullable: names of the columns that may lack values.

    Raises:
        ShardError: as in `read_table`, or a column is not as expected.
    """
    names = list(schema.names if columns is None else columns)
    table = read_table(path, names)
    for name in names:
        column, expected = table[name], schema.field(name).type
        if column.type != expected:
            raise ShardError(
                f"{path}: {name} is {column.type}, expected {expected}; another program or release wrote it"
            )
        if column.null_count and name not in nullable:
            raise ShardError(f"{path}: {name} lacks a value in some rows; another program wrote it")
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ShardError(f"{path}: {name}: {error}; another program wrote it") from error
    return table


def read_tables(
    files: Sequence[Path], name: Path, columns: Sequence[str] | None = None, *, encoded: Sequence[str] = ()
) -> pa.Table:
    """
    Return the rows of parquet files that `open_parquet` has opened before, one file after another.

    Args:
        files: the files, all with the same columns.
        name: what they are together, for messages.
        columns: names of the columns; None for all.
        encoded: names of columns of text to return as dictionary and indices. That takes half as long again, and little
            memory where a short file stands for a very long column, such as a text of megabytes in each of many rows.

    Raises:
        ShardError: as in `read_table`.
    """
    if not files:
        raise ShardError(f"{name}: no such table")
    options: dict[str, Any] = {"columns": columns, "read_dictionary": encoded}
    with _reading(name):
        try:
            # Without partitioning: a folder called a=b above the files is no column.
            return pq.read_table([str(file).encode().decode() for file in files], partitioning=None, **options)
        except UnicodeEncodeError:
            # pyarrow opens only names that are UTF-8.
            return pa.concat_tables(pq.read_table(pa.BufferReader(file.read_bytes()), **options) for file in files)


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """
    Open a parquet file, and check that it can hold the rows that it claims.

    Raises:
        ShardError: it is missing, cannot be read, is no parquet, or claims more rows than its bytes can hold.
    """
    with _reading(path):
        # A pipe would be waited for; pyarrow itself does not open names that are not UTF-8.
        if path.exists() and not path.is_file():
            raise ShardError(f"{path}: is not a file")
        with path.open("rb") as file, pq.ParquetFile(file) as parquet:
            rows, size = parquet.metadata.num_rows, path.stat().st_size
            if not 0 <= rows <= _FEW_ROWS + size // _BYTES_OF_ROW:
                raise ShardError(f"{path}: claims {rows:,} rows in {size:,} bytes, which is no table of this project")
            yield parquet


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for files that are damaged, or no parquet, into ShardError."""
    try:
        yield
    except FileNotFoundError:
        raise ShardError(f"{path}: no such table") from None
    except _DAMAGED as error:
        # pyarrow uses OSError for damage, too, but without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise ShardError(f"{path}: cannot be read: {error.strerror or error}") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DamagedTable(
            f"{path}: cannot be read as parquet ({reason}); delete it and run the command again"
        ) from error


def _check_columns(file: Path, parquet: pq.ParquetFile, columns: Sequence[str] | None) -> None:
    names = parquet.schema_arrow.names
    missing = [name for name in columns or () if names.count(name) != 1]
    if missing:
        raise ShardError(f"{file}: has no column {missing[0]}, or more than one; another program or release wrote it")


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` rows."""
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch
