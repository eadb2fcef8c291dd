"""
The parts of manifest.parquet: what each says of its tar, checked before anything of it is used as a path.

A shard folder may be a stranger's. A part that is not of the form that `shards.write_shard` writes is an error with the
file and the reason, so that readers of a state need not check it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from uirdata.degradations import DEGRADATIONS
from uirdata.errors import ShardError
from uirdata.records import SPLITS
from uirdata.storage.tables import DamagedTable, open_parquet, read_table
from uirdata.validators import (
    InvalidValue,
    json_list,
    json_object,
    load_json,
    naming,
    one_of,
    path_below,
    sha256_digest,
    shown,
    tar_path,
    text,
    whole_number,
)

MANIFEST = "manifest.parquet"

MOST_TAR_BYTES = 1 << 43
"""Largest tar, 8 TiB: a thousand times the largest that `--shard-size` is useful for."""

_MOST_TEXT = 1 << 16
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class Rejected:
    """A sample that could not be made."""

    key: str
    shard: str
    source: str
    level: str
    gt_path: str
    lq_path: str
    reason: str


@dataclass(frozen=True)
class ShardState:
    """
    The state of a tar as its part of the manifest describes it.

    Attributes:
        path: of the tar, relative to the shard folder.
        samples: number of samples in it.
        size: of the tar in bytes.
        sha256: of the tar.
        plan: digest of the plan that it was built from.
        rejected: the planned samples that could not be made; a JSON list in the part.
    """

    path: str
    samples: int
    size: int
    sha256: str
    plan: str
    rejected: tuple[Rejected, ...]


class ManifestPart(NamedTuple):
    """A part of the manifest: its file, what it says of its tar, and the columns of its rows."""

    file: Path
    state: ShardState
    schema: pa.Schema


def part_path(folder: Path, path: str) -> Path:
    """
    Return the path of the manifest part of a shard.

    >>> part_path(Path("pool"), "train/noise/wed-00007.tar").as_posix()
    'pool/manifest.parquet/train-noise-wed-00007.parquet'
    """
    return folder / MANIFEST / (path.removesuffix(".tar").replace("/", "-") + ".parquet")


def shard_state(folder: Path, path: str) -> ShardState | None:
    """
    Return the state of a shard; None if it is missing or truncated, or its part is not one of this shard.

    Only the size of the tar is checked, not its hash: `uir verify --deep` checks that.

    Raises:
        ShardError: the part exists and cannot be read, which says nothing about the shard.
    """
    state = _state_or_none(folder, path)
    if state is None:
        return None
    tar = folder / path
    return state if tar.is_file() and tar.stat().st_size == state.size else None


def shard_keys(folder: Path, path: str) -> tuple[str, ...] | None:
    """
    Return the keys of all samples that a shard was planned with, made or rejected; None without its part.

    Raises:
        ShardError: the part exists and cannot be read.
    """
    state = _state_or_none(folder, path)
    if state is None:
        return None
    file = part_path(folder, path)
    made: list[str] = read_table(file, columns=["key"])["key"].to_pylist()
    return (*made, *(row.key for row in state.rejected))


def list_shards(folder: Path) -> list[ShardState]:
    """
    Return the shards in a folder's manifest, sorted by path, whether or not their tars are complete.

    Raises:
        ShardError: there is no manifest, or a part of it is not of the expected form.
    """
    return [part.state for part in list_parts(folder)]


def list_parts(folder: Path) -> list[ManifestPart]:
    """Return the parts of a folder's manifest, sorted by the path of their tar; otherwise as `list_shards`."""
    files = sorted((folder / MANIFEST).glob("*.parquet")) if (folder / MANIFEST).is_dir() else []
    if not files:
        raise ShardError(f"{folder}: no {MANIFEST} here; {_advice(folder)}")
    return sorted((read_part(folder, file) for file in files), key=lambda part: part.state.path)


def read_part(folder: Path, file: Path) -> ManifestPart:
    """
    Return a part of a folder's manifest.

    Raises:
        ShardError: it cannot be read, is no parquet, or is not of the form of a part.
    """
    with open_parquet(file) as parquet:
        rows, schema, metadata = parquet.metadata.num_rows, parquet.schema_arrow, parquet.metadata.metadata or {}
    with naming(_UnfitPart, str(file), "it is no part that this project wrote"):
        state = _state({name: _decoded(metadata, name) for name in _NAMES})
        if part_path(folder, state.path) != file:
            raise InvalidValue(f"describes {state.path}, whose part has another name")
        if state.samples != rows:
            raise InvalidValue(f"says {state.samples} samples, and has {rows} rows")
    return ManifestPart(file, state, schema)


def part_in(folder: Path, path: str) -> Path:
    """
    Return the path of a shard's part, for writing or deleting.

    Raises:
        ShardError: the folder of the parts is a link that leaves the shard folder.
    """
    with naming(ShardError, str(folder), "replace the link by a folder"):
        return path_below(folder, part_path(Path(), path).as_posix())


def tar_in(folder: Path, path: str) -> Path:
    """
    Return the path of a tar, for deleting or publishing.

    Raises:
        ShardError: the path is not that of a shard, or leaves the shard folder through a link.
    """
    with naming(ShardError, str(folder), "replace the link by what it points to"):
        return path_below(folder, tar_path(path))


def read_rejected(file: Path) -> list[Rejected]:
    """
    Return the rows of rejected.parquet; none if there is no such file.

    Raises:
        ShardError: it cannot be read, or its rows are not of the expected form.
    """
    if not file.exists():
        return []
    table = read_table(file, columns=[*_REJECTED])
    with naming(ShardError, str(file), "run `uir build-shards` again to write it"):
        return [_rejected(row) for row in table.to_pylist()]


_NAMES = tuple(field.name for field in fields(ShardState))
_REJECTED = tuple(field.name for field in fields(Rejected))


class _UnfitPart(ShardError):
    """A part of a manifest that is not of the expected form."""


def _state_or_none(folder: Path, path: str) -> ShardState | None:
    file = part_path(folder, path)
    if not file.exists():
        return None
    try:
        return read_part(folder, file).state
    except (DamagedTable, _UnfitPart):
        return None


def _decoded(metadata: Mapping[bytes, bytes], name: str) -> str:
    value = metadata.get(f"uir.{name}".encode())
    if value is None:
        raise InvalidValue(f"has no uir.{name} in its metadata")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"has a uir.{name} that is not UTF-8") from None


def _state(value: Mapping[str, str]) -> ShardState:
    rejected = json_list(load_json(value["rejected"]))
    return ShardState(
        shard_of(value["path"]),
        whole_number(_number(value["samples"])),
        whole_number(_number(value["size"]), most=MOST_TAR_BYTES),
        sha256_digest(value["sha256"]),
        text(value["plan"], most=_MOST_TEXT),
        tuple(_rejected(json_object(row)) for row in rejected),
    )


def shard_of(value: object) -> str:
    """Return the path of a shard whose split and degradation are known; otherwise raise InvalidValue."""
    path = tar_path(value)
    split, degradation, _ = path.split("/")
    one_of(split, SPLITS)
    one_of(degradation, DEGRADATIONS)
    return path


def parse_path(path: str) -> tuple[str, str, str]:
    """
    Return split, degradation and source of a shard.

    >>> parse_path("train/noise/wed-00007.tar")
    ('train', 'noise', 'wed')
    """
    split, degradation, name = path.split("/")
    return split, degradation, name.rpartition("-")[0]


def _rejected(row: Mapping[str, object]) -> Rejected:
    if row.keys() != set(_REJECTED):
        raise InvalidValue(f"a rejected sample has the fields {', '.join(row)[:200]}; expected {', '.join(_REJECTED)}")
    values = {name: text(value, most=_MOST_TEXT) for name, value in row.items()}
    shard_of(values["shard"])
    return Rejected(**values)


def _number(value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise InvalidValue(f"{shown(value)} is not a whole number")
    return int(value)


def _advice(folder: Path) -> str:
    """Return what to do about a folder without a manifest: one that holds other files is not one to build into."""
    if not folder.is_dir():
        return f"there is no such folder; create it with `uir build-shards --out {folder}`"
    others = [path.name for path in islice(sorted(folder.iterdir()), 1000) if not path.name.startswith(".")]
    if not others:
        return f"create one with `uir build-shards --out {folder}`"
    return (
        f"it holds other files ({others[0]}, ...). Name the folder that `uir build-shards --out` wrote; photographs of "
        f"your own become a source with `uir fetch ID --from {folder}`"
    )
