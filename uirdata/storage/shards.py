"""
Write shards: plain tars that WebDataset reads, the same bytes for the same samples.

Each shard has, beside the tar, one part of manifest.parquet. It is written after the tar, so if a part exists, its tar
is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from uirdata.errors import ShardError
from uirdata.records import IN_TAR, record_from_row
from uirdata.storage.files import writing
from uirdata.storage.manifest_rows import MANIFEST_SCHEMA
from uirdata.storage.pool_info import INFO, pool_codec, read_info
from uirdata.storage.shard_states import (
    MANIFEST,
    Rejected,
    ShardState,
    list_shards,
    part_path,
    shard_keys,
    shard_state,
)
from uirdata.storage.tables import write_rows

__all__ = [
    "INFO",
    "MANIFEST",
    "MANIFEST_SCHEMA",
    "Rejected",
    "SampleBytes",
    "ShardState",
    "TarWriter",
    "list_shards",
    "part_path",
    "pool_codec",
    "read_info",
    "shard_keys",
    "shard_state",
    "write_json",
    "write_shard",
]

_BLOCK = 512


@dataclass(frozen=True)
class SampleBytes:
    """
    A sample ready to be written: its encoded images, and its record without shard and offsets.

    A lazy sample has an empty `lq`: readers make it from its recipe. Lazy samples of one GT must be consecutive.
    """

    gt: bytes
    lq: bytes
    fields: Mapping[str, Any]


class TarWriter:
    """
    Write a USTAR archive: owner, time and mode are constants, so equal members give equal bytes.

    tarfile spends most of its time on building headers field by field; here only name, size and checksum change.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0
        self._digest = hashlib.sha256()

    def add(self, name: str, data: bytes) -> int:
        """
        Append a member.

        Returns:
            The offset of its first byte in the archive.

        Raises:
            ShardError: the name has over 100 bytes or the member over 8 GiB, the limits of USTAR.
        """
        self._write(_header(name, len(data)))
        offset = self._offset
        self._write(data)
        self._write(b"\0" * (-len(data) % _BLOCK))
        return offset

    def close(self) -> tuple[int, str]:
        """End the archive; return its size in bytes and its sha256."""
        self._write(b"\0" * (2 * _BLOCK))
        return self._offset, self._digest.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._offset += len(data)


def write_shard(
    folder: Path, path: str, samples: Iterable[SampleBytes], plan: str, rejected: Sequence[Rejected]
) -> ShardState:
    """
    Write one tar and its part of the manifest, both atomically.

    Args:
        folder: the shard folder.
        path: of the tar, relative to it.
        samples: what to write; may be empty.
        plan: digest of the plan, kept in the part.
        rejected: stored in the part too; read after the last sample is written, so the caller may fill it meanwhile.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    records: list[dict[str, Any]] = []
    target = folder / path
    with writing(target) as partial, partial.open("wb") as file:
        tar = TarWriter(file)
        for _, together in groupby(samples, _gt_identity):
            records += _add_samples(tar, path, list(together))
        size, sha256 = tar.close()
        file.flush()
    state = ShardState(path, len(records), size, sha256, plan, tuple(rejected))
    values = asdict(state) | {"rejected": json.dumps([asdict(row) for row in rejected], sort_keys=True)}
    metadata = {f"uir.{name}": str(value) for name, value in values.items()}
    write_rows(part_path(folder, path), records, MANIFEST_SCHEMA.with_metadata(metadata))
    return state


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """
    Write JSON with sorted keys, atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with writing(path) as partial:
        partial.write_text(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _gt_identity(sample: SampleBytes) -> tuple[object, ...]:
    """Return a value that is equal for lazy samples that share a GT, and different for all others."""
    if sample.lq:
        return (sample.fields["key"],)
    return tuple(sample.fields[name] for name in ("source", "gt_path", "top", "left", "height", "width"))


def _add_samples(tar: TarWriter, path: str, samples: Sequence[SampleBytes]) -> list[dict[str, Any]]:
    """Write one sample, or the lazy samples of one GT: the image once, and the records of all in one JSON list."""
    first = samples[0]
    key, codec = first.fields["key"], first.fields["codec"]
    documents = [{name: sample.fields[name] for name in IN_TAR} for sample in samples]
    # Alphabetical order, as in webdataset's own writer.
    gt_offset = tar.add(f"{key}.gt.{codec}", first.gt)
    tar.add(f"{key}.json", _json(documents[0] if first.lq else {"samples": documents}))
    lq_offset = tar.add(f"{key}.lq.{codec}", first.lq) if first.lq else 0
    places = {
        "shard": path,
        "gt_offset": gt_offset,
        "gt_size": len(first.gt),
        "lq_offset": lq_offset,
        "lq_size": len(first.lq),
    }
    return [asdict(record_from_row({**sample.fields, **places})) for sample in samples]


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _header(name: str, size: int) -> bytes:
    encoded = name.encode()
    if len(encoded) > 100 or size >= 8 << 30:
        raise ShardError(f"{name}: a member's name has at most 100 bytes and its data at most 8 GiB")
    header = bytearray(_BLOCK)
    header[: len(encoded)] = encoded
    header[100:108] = b"0000644\0"
    header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % size
    header[136:148] = b"00000000000\0"
    header[148:156] = b"        "
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
