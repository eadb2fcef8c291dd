"""
A cache of fingerprints, by the content of their file or crop.

A folder of parquet parts, written atomically and never changed, so that any number of audits may share it.
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

from uirdata.errors import ShardError
from uirdata.similarity.fingerprints import VERSION, WINDOWS, Fingerprint, Hashes
from uirdata.storage.tables import read_typed, write_rows

_SCHEMA = pa.schema(
    [
        ("content", pa.string()),
        ("gt_sha256", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        # Empty for an image without contrast.
        ("whole", pa.uint64()),
        # Bytes of an array of `fingerprints.WINDOWS`.
        ("windows", pa.binary()),
    ]
)
_PART = 20_000


@dataclass(frozen=True)
class Seen:
    """
    An image and its fingerprint.

    Attributes:
        content: identifies the bytes: the sha256 of a file, or of a crop's pixels.
        gt_sha256: of its decoded pixels.
        fingerprint: its fingerprint.
    """

    content: str
    gt_sha256: str
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Wholes:
    """
    The hashes of whole images, as arrays.

    Attributes:
        pixels: number to the sha256 of the decoded pixels, for all images.
        numbers: of the images that have a hash, in the caller's numbering.
        hashes: of these images.
    """

    pixels: Mapping[int, str]
    numbers: NDArray[np.int64]
    hashes: Hashes


@dataclass(frozen=True)
class Batch:
    """
    The windows of some images, as arrays.

    Attributes:
        numbers: of the images, in the caller's numbering.
        sizes: height and width of each, (N, 2).
        windows: of all of them.
        owners: for each window, the index of its image in `numbers`.
    """

    numbers: NDArray[np.int64]
    sizes: NDArray[np.int64]
    windows: NDArray[np.void]
    owners: NDArray[np.int32]


class FingerprintCache:
    """
    A cache in a folder.

    Args:
        folder: created when something is added; it may also contain parts of other versions of the hashes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"version-{VERSION}"

    def contents(self) -> set[str]:
        """
        Return the contents that have a fingerprint in the cache.

        Raises:
            ShardError: a part is broken.
        """
        return {
            name for part in self._parts() for name in read_typed(part, _SCHEMA, ["content"])["content"].to_pylist()
        }

    def add(self, seen: Iterable[Seen]) -> None:
        """
        Add fingerprints; a part is written every 20,000, so that little is lost in an interruption.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        waiting = iter(seen)
        while some := list(islice(waiting, _PART)):
            digest = hashlib.sha256("".join(item.content for item in some).encode()).hexdigest()[:20]
            write_rows(self._folder / f"{digest}.parquet", map(_row, some), _SCHEMA)

    def wholes(self, wanted: Mapping[str, int]) -> Wholes:
        """
        Return what is known of whole images: some hundred bytes each, so all of them at once.

        Args:
            wanted: content to number; contents that are not in the cache are skipped.

        Raises:
            ShardError: a part is broken.
        """
        pixels: dict[int, str] = {}
        numbers: list[int] = []
        hashes: list[int] = []
        for rows in self._rows(wanted, ["content", "gt_sha256", "whole"], _PART):
            for content, sha256, whole in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                pixels[wanted[content]] = sha256
                if whole is not None:
                    numbers.append(wanted[content])
                    hashes.append(whole)
        return Wholes(pixels, np.array(numbers, dtype=np.int64), np.array(hashes, dtype=np.uint64))

    def batches(self, wanted: Mapping[str, int], size: int = _PART) -> Iterator[Batch]:
        """Yield the windows of some contents, of at most `size` images at a time; otherwise as `wholes`."""
        for rows in self._rows(wanted, ["content", "height", "width", "windows"], size):
            windows = [_windows(data, self._folder) for data in rows["windows"].to_pylist()]
            yield Batch(
                numbers=np.array([wanted[name] for name in rows["content"].to_pylist()], dtype=np.int64),
                sizes=np.stack([rows[name].to_numpy() for name in ("height", "width")], axis=1).astype(np.int64),
                windows=np.concatenate(windows),
                owners=np.repeat(np.arange(len(windows), dtype=np.int32), [len(found) for found in windows]),
            )

    def blocks(self, wanted: Mapping[str, int], windows: int) -> Iterator[Batch]:
        """Yield the same in few large batches, each of about `windows` windows."""
        waiting: list[Batch] = []
        for batch in self.batches(wanted):
            waiting.append(batch)
            if sum(len(some.windows) for some in waiting) >= windows:
                yield _joined(waiting)
                waiting = []
        if waiting:
            yield _joined(waiting)

    def _rows(self, wanted: Mapping[str, int], columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
        names = pa.array(list(wanted), type=pa.string())
        given: set[str] = set()
        for part in self._parts():
            table = read_typed(part, _SCHEMA, columns, nullable=["whole"]).filter(pc.field("content").isin(names))
            for rows in table.to_batches(max_chunksize=size):
                contents = rows["content"].to_pylist()
                # Two audits at the same time may both have added an image.
                new = rows.filter(pa.array([name not in given for name in contents], type=pa.bool_()))
                given.update(contents)
                if new.num_rows:
                    yield new

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


def _windows(data: bytes, folder: Path) -> NDArray[np.void]:
    if len(data) % WINDOWS.itemsize:
        raise ShardError(f"{folder}: {len(data)} bytes are no list of windows; delete the folder, it is made again")
    return np.frombuffer(data, WINDOWS)


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


def _joined(batches: Sequence[Batch]) -> Batch:
    firsts = np.cumsum([0, *(len(batch.numbers) for batch in batches[:-1])])
    return Batch(
        numbers=np.concatenate([batch.numbers for batch in batches]),
        sizes=np.concatenate([batch.sizes for batch in batches]),
        windows=np.concatenate([batch.windows for batch in batches]),
        owners=np.concatenate([b.owners + np.int32(first) for b, first in zip(batches, firsts, strict=True)]),
    )
