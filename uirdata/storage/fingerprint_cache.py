"""
Fingerprints that were made before, by the content of their file or crop.

A folder of parquet parts, written whole and never changed, so any number of audits may share it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from uirdata.fingerprints import VERSION, WINDOWS, Fingerprint, Hashes
from uirdata.storage.tables import read_table, write_rows

_SCHEMA = pa.schema(
    [
        ("content", pa.string()),
        ("gt_sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        # Empty for a picture without contrast.
        ("whole", pa.uint64()),
        # Bytes of an array of `fingerprints.WINDOWS`.
        ("windows", pa.binary()),
    ]
)
_PART = 20_000


@dataclass(frozen=True)
class Seen:
    """
    A picture that was looked at.

    Attributes:
        content: names what was read: the sha256 of a file, or of a crop's pixels.
        gt_sha256: of its decoded pixels.
        fingerprint: of it.
    """

    content: str
    gt_sha256: str
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Batch:
    """
    The fingerprints of some pictures, side by side.

    Attributes:
        numbers: of the pictures, as the caller counts them.
        gt_sha256: of each.
        sizes: height and width of each, (N, 2).
        whole: hash of each; 0 where there is none.
        has_whole: which of them have one.
        windows: of all of them.
        owners: for each window, its picture's place in `numbers`.
    """

    numbers: NDArray[np.int64]
    gt_sha256: Sequence[str]
    sizes: NDArray[np.int64]
    whole: Hashes
    has_whole: NDArray[np.bool_]
    windows: NDArray[np.void]
    owners: NDArray[np.int64]


class FingerprintCache:
    """
    A cache in a folder.

    Args:
        folder: made when something is added; parts of another version of the hashes lie beside ours.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"version-{VERSION}"

    def contents(self) -> set[str]:
        """
        Name what is in it.

        Raises:
            ShardError: a part is broken.
        """
        return {name for part in self._parts() for name in read_table(part, columns=["content"])["content"].to_pylist()}

    def add(self, seen: Iterable[Seen]) -> None:
        """
        Keep fingerprints; a part becomes visible every 20,000, so little is lost when the work is stopped.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        waiting = iter(seen)
        while some := list(islice(waiting, _PART)):
            digest = hashlib.sha256("".join(item.content for item in some).encode()).hexdigest()[:20]
            write_rows(self._folder / f"{digest}.parquet", map(_row, some), _SCHEMA)

    def batches(self, wanted: Mapping[str, int], size: int = _PART) -> Iterator[Batch]:
        """
        Give the fingerprints of some contents, at most `size` of them at a time.

        Args:
            wanted: content to number; what is not in the cache is passed over.
            size: of a batch.

        Raises:
            ShardError: a part is broken.
        """
        names = pa.array(list(wanted), type=pa.string())
        given: set[str] = set()
        for part in self._parts():
            table = read_table(part).filter(pc.field("content").isin(names))
            for batch in table.to_batches(max_chunksize=size):
                new = [name not in given for name in batch["content"].to_pylist()]
                given.update(batch["content"].to_pylist())
                mine = batch.filter(pa.array(new, type=pa.bool_()))
                if mine.num_rows:
                    yield _batch(mine, wanted)

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


def _row(seen: Seen) -> dict[str, object]:
    mark = seen.fingerprint
    return {
        "content": seen.content,
        "gt_sha256": seen.gt_sha256,
        "height": mark.height,
        "width": mark.width,
        "whole": mark.whole,
        "windows": mark.windows.tobytes(),
    }


def _batch(rows: pa.RecordBatch, wanted: Mapping[str, int]) -> Batch:
    windows = [np.frombuffer(data, WINDOWS) for data in rows["windows"].to_pylist()]
    return Batch(
        numbers=np.array([wanted[name] for name in rows["content"].to_pylist()], dtype=np.int64),
        gt_sha256=rows["gt_sha256"].to_pylist(),
        sizes=np.stack([rows[name].to_numpy() for name in ("height", "width")], axis=1).astype(np.int64),
        whole=rows["whole"].fill_null(0).to_numpy().astype(np.uint64),
        has_whole=np.asarray(rows["whole"].is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_),
        windows=np.concatenate(windows),
        owners=np.repeat(np.arange(len(windows)), [len(found) for found in windows]),
    )
