"""Shard folders of a stranger: small pools whose manifest, info.json and records say what the test wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.uirdata.storage.test_shards import sample
from uirdata.storage.shards import INFO, Rejected, list_shards, part_path, write_json, write_shard
from uirdata.storage.tables import write_rows

TAR = "train/noise/here-00000.tar"


def honest_pool(folder: Path, count: int = 2) -> Path:
    """Write a pool of one shard, with its info.json."""
    write_shard(folder, TAR, [sample(f"s{i}", i) for i in range(count)], "plan", [])
    states = list_shards(folder)
    shards = {state.path: {"samples": state.samples, "bytes": state.size, "sha256": state.sha256} for state in states}
    settings = {"format": 1, "made_by": "another", "seed": 0, "codec": "png", "lazy": False}
    kinds = {"subsets": {"noise": [["noise"]]}, "crops": {"train/noise/here": [0, 0]}}
    write_json(folder / INFO, {**settings, **kinds, "shards": shards})
    write_rows(
        folder / "rejected.parquet", [], pa.schema([(name, pa.string()) for name in Rejected.__dataclass_fields__])
    )
    return folder


def set_metadata(folder: Path, **changes: object) -> Path:
    """Change what the part of the shard says of its tar, such as `path`."""
    part = part_path(folder, TAR)
    table = pq.read_table(part)
    named = {f"uir.{name}".encode(): str(value).encode() for name, value in changes.items()}
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **named}), part)
    return part


def set_column(folder: Path, name: str, values: pa.Array) -> None:
    """Replace a column of the part's rows."""
    part = part_path(folder, TAR)
    table = pq.read_table(part)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, values).replace_schema_metadata(table.schema.metadata), part)


def set_info(folder: Path, **changes: object) -> None:
    """Change fields of info.json; also such that no JSON of ours has."""
    path = folder / INFO
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def relist(folder: Path, path: str = TAR, **changes: object) -> None:
    """Name the shard in info.json otherwise, or say something else of it."""
    info: dict[str, Any] = json.loads((folder / INFO).read_text())
    (row,) = info["shards"].values()
    set_info(folder, shards={path: {**row, **changes}})


def files_of(folder: Path, below: str) -> Mapping[str, bytes]:
    """Return the files of a folder for a server, under a path."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {f"{below}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}
