"""The metadata of a sample: its row in manifest.parquet, and the JSON member stored with its pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from uirdata.errors import ShardError

SPLITS = ("train", "val", "test")

KEY = r"[^./\\ \x00-\x1f\x7f]+"
"""Form of a key: readers of WebDataset split at the first dot, and may unpack the rest as a path."""

MOST_KEY_BYTES = 90

_KEY = re.compile(KEY)


@dataclass(frozen=True)
class Record:
    """
    One sample of a shard.

    >>> import uirdata
    >>> record = uirdata.open_shards(shards).record(0)
    >>> record.degradation, record.split, (record.height, record.width)
    ('gaussian-blur', 'test', (40, 48))

    Attributes:
        key: its name in the tar; unique in the pool. Without dots: readers of WebDataset split at the first one.
        shard: the tar, relative to the shard folder.
        gt_offset: offset of the first byte of the GT in the tar.
        gt_size: size of the GT in bytes.
        lq_offset: offset of the first byte of the LQ in the tar.
        lq_size: size of the LQ in bytes; 0 in lazy shards, where readers make it from `recipe`.
        codec: encoding of both images, which is also the suffix of their names.
        degradation: one of the nineteen types.
        level: name of the level; "" if the source does not state it.
        recipe: JSON of the recipe that made the LQ; "" for a published pair.
        source: id of the source.
        split: train, val or test.
        real: captured, not synthesised.
        scene: samples with the same source and scene show the same GT image; they belong to the same split.
        gt_path: the GT's file, relative to the source's folder.
        lq_path: the LQ's file; "" if the LQ was synthesised.
        gt_border: pixels that were cut off each side of the GT image first.
        top: of the crop, in pixels of the GT image without its border.
        left: of the crop.
        height: of the crop.
        width: of the crop.
        overlaps: benchmarks that contain this scene, joined by commas.
        gt_sha256: of the decoded GT pixels (`images.pixel_sha256`).
        lq_sha256: of the decoded LQ pixels.
        licence: of the source.
    """

    key: str
    shard: str
    gt_offset: int
    gt_size: int
    lq_offset: int
    lq_size: int
    codec: str
    degradation: str
    level: str
    recipe: str
    source: str
    split: str
    real: bool
    scene: str
    gt_path: str
    lq_path: str
    gt_border: int
    top: int
    left: int
    height: int
    width: int
    overlaps: str
    gt_sha256: str
    lq_sha256: str
    licence: str

    def __post_init__(self) -> None:
        """Check that the key is one that readers of WebDataset neither split nor move."""
        check_key(self.key)


RECORD_FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Record))

IN_TAR: tuple[str, ...] = tuple(
    name for name in RECORD_FIELDS if name not in ("shard", "gt_offset", "gt_size", "lq_offset", "lq_size")
)
"""The fields in the JSON member of a sample: all that do not depend on its position in the tar."""


def check_key(key: str) -> None:
    """
    Check that a text can be the key of a sample.

    Raises:
        ShardError: it is empty, over 90 bytes, or has a dot, a slash or a space.
    """
    if not _KEY.fullmatch(key) or len(key.encode()) > MOST_KEY_BYTES:
        raise ShardError(
            f"{key!r} cannot be a sample's key: 1 to {MOST_KEY_BYTES} bytes, without dots, slashes and spaces"
        )


def check_columns(names: Sequence[str], where: str) -> None:
    """
    Check that a manifest has every field of a record.

    Raises:
        ShardError: one is missing.
    """
    missing = [name for name in RECORD_FIELDS if name not in names]
    if missing:
        raise ShardError(
            f"{where} lacks {', '.join(missing)}: another release built these shards. Build them again elsewhere"
        )


def record_from_row(row: dict[str, Any]) -> Record:
    """
    Return the record of a row of manifest.parquet.

    Raises:
        ShardError: a field is missing.
    """
    check_columns(list(row), "a row of the manifest")
    return Record(**{name: row[name] for name in RECORD_FIELDS})
