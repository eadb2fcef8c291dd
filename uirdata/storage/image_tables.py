"""
Copies of shards as parquet tables with the images in their rows.

Readers of WebDataset name a column after everything that follows the first dot of a member's name, so a tar can only
provide `lq.png` and `json`. A table provides `lq`, `gt`, `label`, `level`, `source` to all readers of parquet, such as
`datasets` and the viewer of the Hub. The images are the bytes of the tar, neither decoded nor compressed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from uirdata.errors import ShardError
from uirdata.records import Record
from uirdata.storage.downloads import hash_file
from uirdata.storage.files import storage_error, writing
from uirdata.storage.manifest_rows import read_part_rows
from uirdata.storage.shard_states import ShardState

IMAGES = ("lq", "gt")
FACTS = ("level", "source", "split", "real", "key", "scene", "recipe", "overlaps", "licence")
"""Columns of a table besides its images and `label`, the name of the degradation; as in the record."""

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TYPES = {"str": pa.string(), "bool": pa.bool_()}
_FACT_FIELDS = [(name, _TYPES[str(Record.__dataclass_fields__[name].type)]) for name in FACTS]
_HEAD: list[tuple[str, pa.DataType]] = [*((name, _IMAGE) for name in IMAGES), ("label", pa.string())]
SCHEMA = pa.schema([*_HEAD, *_FACT_FIELDS])

_GROUP_BYTES, _GROUP_ROWS = 32_000_000, 1000
"""A row group is what a streaming reader downloads and holds in memory at once."""

_PLACES = ["codec", "degradation", "gt_offset", "gt_size", "lq_offset", "lq_size"]


def write_image_table(folder: Path, state: ShardState, target: Path) -> tuple[int, str]:
    """
    Write the table of one shard, atomically; the same shard and pyarrow version give the same bytes.

    Args:
        folder: the shard folder.
        state: state of a shard that is not lazy.
        target: file of the table.

    Returns:
        Size of the table in bytes, and its sha256.

    Raises:
        ShardError: the tar is missing or was changed since it was built.
        StorageError: the disk is full or the folder cannot be written.
    """
    tar = folder / state.path
    try:
        size, found = tar.stat().st_size, hash_file(tar)[0]
    except OSError as error:
        raise ShardError(f"{tar}: cannot be read ({error.strerror}); run `uir build-shards` again") from error
    if found != state.sha256:
        raise ShardError(
            f"{tar}: its sha256 is {found}, the manifest says {state.sha256}: it was changed since it was built "
            f"({size:,} bytes). Delete it and run `uir build-shards` to build it again"
        )
    rows = read_part_rows(folder, state.path, [*FACTS, *_PLACES]).to_pylist()
    plain = ["label", *FACTS]
    with (
        writing(target) as partial,
        tar.open("rb") as file,
        partial.open("wb") as table,
        pq.ParquetWriter(
            table,
            SCHEMA,
            compression={**dict.fromkeys(plain, "zstd"), **{f"{name}.{part}": "none" for name, part in _leaves()}},
            use_dictionary=plain,
            write_statistics=plain,
            write_page_index=True,
        ) as writer,
    ):
        for group in _groups(rows):
            columns: dict[str, list[Any]] = {name: [row[name] for row in group] for name in FACTS}
            columns["label"] = [row["degradation"] for row in group]
            for name in IMAGES:
                columns[name] = [_image(file.fileno(), row, name) for row in group]
            writer.write_table(pa.table(columns, schema=SCHEMA))
    try:
        return target.stat().st_size, hash_file(target)[0]
    except OSError as error:
        raise storage_error(target, error) from error


def _leaves() -> Iterator[tuple[str, str]]:
    for name in IMAGES:
        for part in ("bytes", "path"):
            yield name, part


def _groups(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        size = row["gt_size"] + row["lq_size"]
        if group and (held + size > _GROUP_BYTES or len(group) == _GROUP_ROWS):
            yield group
            group, held = [], 0
        group.append(row)
        held += size
    if group:
        yield group


def _image(file: int, row: dict[str, Any], name: str) -> dict[str, Any]:
    data = os.pread(file, row[f"{name}_size"], row[f"{name}_offset"])
    return {"bytes": data, "path": f"{row['key']}.{name}.{row['codec']}"}
