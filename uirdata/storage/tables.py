"""Parquet tables: written whole or not at all, the same bytes for the same rows."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from uirdata.errors import ShardError, StorageError

T = TypeVar("T")

_ROWS_AT_ONCE = 50_000

PAIRS_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("split", pa.string()),
        ("degradation", pa.string()),
        ("real", pa.bool_()),
        ("gt", pa.string()),
        ("lq", pa.string()),
        ("level", pa.string()),
        ("scene", pa.string()),
        ("gt_border", pa.int32()),
        # Of the LQ and of the GT after its border is cut: they are equal wherever `ok`. 0 where it could not be read.
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("ok", pa.bool_()),
        # Why the pair is left out; "" where `ok`.
        ("reason", pa.string()),
    ]
)
"""Rows of pairs.parquet: the fields of `pairing.Pair`, its size, and whether it is used."""


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """
    Write rows to a parquet file under its final name only when it is whole.

    Returns:
        How many rows it has.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    batches = batched(rows, _ROWS_AT_ONCE)
    return _write_tables(path, (pa.Table.from_pylist(batch, schema=schema) for batch in batches), schema)


def write_objects(path: Path, objects: Iterable[object], schema: pa.Schema) -> int:
    """
    Write a row for each object, its attributes by the schema's names; otherwise as `write_rows`, at thrice its speed.

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
    Read a parquet file, or a folder of them.

    Raises:
        ShardError: it is missing or not whole.
    """
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError:
        raise ShardError(f"{path}: no such table") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{path}: cannot be read as parquet ({error}); delete it and run the command again") from error


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """
    Give a partial name to write to; it becomes `path` when the block ends well, after its bytes are on the disk.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _partial(path) as partial:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """
    Give a name beside `path` that no other process writes to; what one that died left there is overwritten.

    Tasks of one build may come to the same table at the same time. Each holds a lock on the partial file that it
    writes, and takes the next name where another holds it.
    """
    for number in count(1):
        # The leading dot: pyarrow reads a folder of parts as one table and skips such names.
        partial = path.with_name(f".{path.name}{'' if number == 1 else f'.{number}'}.part")
        while True:
            with partial.open("ab") as file:
                taken = _is_locked(file)
                # Between opening and locking, the one who held it may have given it its final name.
                if not taken and not _is_same(file, partial):
                    continue
                if not taken:
                    yield partial
                    return
            break


def _is_locked(file: BinaryIO) -> bool:
    """Lock a file, or say that another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        # A file system without locks: then each shard and table must be written by one process, as everywhere else.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return False


def _is_same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def free_bytes(path: Path) -> int:
    """Say how much room the disk of a file has, whether or not the file and its folders are there."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def storage_error(path: Path, error: OSError) -> StorageError:
    """Say in a person's words why a file could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"{path}: the disk is full. What was finished is kept; free some space and run the same command again"
        )
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give lists of up to `size` of them."""
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch
