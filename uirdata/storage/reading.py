"""Random access to the samples of shards, without unpacking or scanning."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import pyarrow as pa
import pyarrow.compute as pc

from uirdata.degradations import DEGRADATIONS, Recipe, degrade
from uirdata.errors import ImageError, NoSamplesError, RecipeError, ShardError, UsageError, nearest
from uirdata.fast_decoding import part_of
from uirdata.images import RgbImage, Window, decode_image, pixel_sha256
from uirdata.records import RECORD_FIELDS, Record, record_from_row
from uirdata.storage.manifest_rows import checked_rows
from uirdata.storage.pool_info import read_info
from uirdata.storage.remote import RemoteShards
from uirdata.storage.shard_states import ManifestPart, list_parts
from uirdata.storage.subset_rows import in_subset
from uirdata.subsets import Subset

_OPEN_FILES = 128


@dataclass(frozen=True)
class ShardItem:
    """
    A sample with its pixels.

    >>> import uirdata
    >>> item = uirdata.open_shards(shards)[0]
    >>> item.lq.shape, item.gt.dtype.name, item.label
    ((40, 48, 3), 'uint8', 1)

    Attributes:
        key: its name.
        lq: (H, W, 3) RGB uint8.
        gt: (H, W, 3) RGB uint8, the same size.
        label: index of its degradation in the data set's `class_names`.
        record: all metadata of the sample.
    """

    key: str
    lq: RgbImage
    gt: RgbImage
    label: int
    record: Record


class SampleLocation(NamedTuple):
    """
    Position and size of a sample in its shard.

    Attributes:
        key, shard, gt_offset, gt_size, lq_offset, lq_size, codec, recipe, height, width: as in its record.
        label: index of its degradation in the data set's `class_names`.
    """

    key: str
    shard: str
    gt_offset: int
    gt_size: int
    lq_offset: int
    lq_size: int
    codec: str
    recipe: str
    height: int
    width: int
    label: int


class ShardDataset(Sequence[ShardItem]):
    """
    The samples of a shard folder by number, in the order of split, degradation, source and shard.

    It may be pickled, and shared with forked processes: each process opens its own files.

    >>> import uirdata
    >>> dataset = uirdata.open_shards(shards, "train")
    >>> len(dataset), dataset.class_names[dataset[0].label], len(dataset[2:5])
    (18, 'gaussian-blur', 3)

    Attributes:
        folder: the shard folder.
        class_names: names of the labels. Types that share a class are joined by "+".
    """

    def __init__(
        self, folder: Path, table: pa.Table, classes: Sequence[Sequence[str]], remote: RemoteShards | None = None
    ) -> None:
        self.folder = folder
        self._remote = remote
        self.class_names: tuple[str, ...] = tuple("+".join(types) for types in classes)
        self._label = {name: label for label, types in enumerate(classes) for name in types}
        self._table = table.combine_chunks()
        self._files: OrderedDict[tuple[int, str], int] = OrderedDict()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> ShardItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[ShardItem]: ...

    def __getitem__(self, index: int | slice) -> ShardItem | list[ShardItem]:
        """
        Return a sample.

        Raises:
            IndexError: there is no such number.
            ShardError: its shard is missing, truncated or changed.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self.record(index)
        lq, gt = self.pair(record)
        return ShardItem(record.key, lq, gt, self._label[record.degradation], record)

    def place(self, index: int) -> SampleLocation:
        """
        Return what a loader needs to know of a sample before it reads pixels, in a tenth of the time of `record`.

        Raises:
            IndexError: there is no such number.
        """
        row, columns = self._row(index)
        values = {name: columns[name][row].as_py() for name in SampleLocation._fields if name != "label"}
        return SampleLocation(label=self._label[columns["degradation"][row].as_py()], **values)

    def pair(
        self, place: SampleLocation | Record, window: Window | None = None, *, fresh: int | None = None
    ) -> tuple[RgbImage, RgbImage]:
        """
        Return the pixels of a sample.

        Args:
            place: position of the sample, from `place` or `record`.
            window: the part of both images to return; None for all.
            fresh: a seed, 0 to 2**63 - 1, to synthesise the LQ anew: the same recipe, other noise, another blur path.
                Published pairs do not change.

        Returns:
            LQ and GT, (H, W, 3) RGB uint8 both.

        Raises:
            ShardError: the shard is missing, truncated or changed.
            RecipeError: the recipe cannot be replayed.
        """
        remake = fresh is not None and bool(place.recipe)
        if place.lq_size and not remake:
            gt = self._image(place, place.gt_offset, place.gt_size, "gt", window)
            return self._image(place, place.lq_offset, place.lq_size, "lq", window), gt
        # The LQ of a lazy sample is not stored; it is made from the whole GT, with the same bytes each time.
        gt = self._image(place, place.gt_offset, place.gt_size, "gt", None)
        try:
            recipe = Recipe.from_json(place.recipe)
            lq = degrade(gt, recipe if fresh is None else replace(recipe, seed=fresh))
        except RecipeError as error:
            raise RecipeError(f"{self.folder}/{place.shard}: {place.key}: {error}") from error
        parts = part_of(lq, window), part_of(gt, window)
        if parts[0] is None or parts[1] is None:
            raise ShardError(
                f"{self.folder}/{place.shard}: {place.key}.gt.{place.codec} is smaller than the manifest says; "
                "delete the tar and run `uir build-shards` again"
            )
        return parts[0], parts[1]

    def __iter__(self) -> Iterator[ShardItem]:
        return (self[i] for i in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "_columns"}
        return {**state, "_files": OrderedDict()}

    def __del__(self, getpid: Callable[[], int] = os.getpid, close: Callable[[int], None] = os.close) -> None:
        """Close the files that this process opened; `os` itself may be gone when the interpreter exits."""
        for (process, _), descriptor in getattr(self, "_files", {}).items():
            if process == getpid():
                close(descriptor)

    @property
    def records(self) -> Sequence[Record]:
        """The records by number, read on access."""
        return _Records(self)

    @property
    def keys(self) -> list[str]:
        """The key of each sample, by number."""
        return list(self._table["key"].to_pylist())

    @property
    def degradations(self) -> list[str]:
        """The degradation of each sample, by number."""
        return list(self._table["degradation"].to_pylist())

    @property
    def levels(self) -> list[str]:
        """The level of each sample, by number."""
        return list(self._table["level"].to_pylist())

    @property
    def labels(self) -> list[int]:
        """The label of each sample, by number."""
        return [self._label[name] for name in self.degradations]

    @cached_property
    def digest(self) -> str:
        """A sha256 of the keys, degradations and pixels of all samples in their order, read from the manifest."""
        found = hashlib.sha256()
        for name in ("key", "degradation", "gt_sha256", "lq_sha256"):
            found.update("\n".join(self._table[name].to_pylist()).encode() + b"\0")
        return found.hexdigest()

    def record(self, index: int) -> Record:
        """
        Return the metadata of a sample, without its pixels.

        Raises:
            IndexError: there is no such number.
        """
        row, columns = self._row(index)
        return record_from_row({name: column[row].as_py() for name, column in columns.items()})

    def _row(self, index: int) -> tuple[int, dict[str, pa.Array]]:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        start, columns = self._columns[bisect_right(self._columns, index, key=lambda part: part[0]) - 1]
        return index - start, columns

    @cached_property
    def _columns(self) -> list[tuple[int, dict[str, pa.Array]]]:
        """The number of the first row of each part of the table, and its columns, which give fast access to one row."""
        parts, start = [], 0
        for batch in self._table.to_batches():
            parts.append((start, {name: batch.column(name) for name in RECORD_FIELDS}))
            start += batch.num_rows
        return parts

    def check(self, index: int) -> None:
        """
        Check that a sample's pixels are those that were written.

        Raises:
            ShardError: they are not.
        """
        item = self[index]
        for image, expected, name in ((item.gt, item.record.gt_sha256, "GT"), (item.lq, item.record.lq_sha256, "LQ")):
            if pixel_sha256(image) != expected:
                raise ShardError(
                    f"{self.folder / item.record.shard}: the {name} of {item.key} is not what was written; "
                    "delete the tar and run `uir build-shards` again"
                )

    def _image(
        self, place: SampleLocation | Record, offset: int, size: int, role: str, window: Window | None
    ) -> RgbImage:
        path = f"{self.folder}/{place.shard}"
        if self._remote is not None:
            data = self._remote.read(place.shard, offset, size)
        else:
            data = os.pread(self._descriptor(path), size, offset)
            if len(data) != size:
                raise _cut_short(Path(path))
        name = f"{path}: {place.key}.{role}.{place.codec}"
        try:
            return decode_image(data, name=name, window=window)
        except ImageError as error:
            raise ShardError(
                f"{name}: is not the image that was written; delete the tar and run `uir build-shards` again"
            ) from error

    def _descriptor(self, path: str) -> int:
        key = (os.getpid(), path)
        descriptor = self._files.get(key)
        if descriptor is None:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise ShardError(
                    f"{path}: cannot be read ({error.strerror}); run `uir build-shards` again to restore it"
                ) from error
            self._files[key] = descriptor
            if len(self._files) > _OPEN_FILES:
                (process, _), oldest = self._files.popitem(last=False)
                if process == os.getpid():
                    os.close(oldest)
        self._files.move_to_end(key)
        return descriptor


class _Records(Sequence[Record]):
    def __init__(self, dataset: ShardDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self._dataset.record(i) for i in range(*index.indices(len(self)))]
        return self._dataset.record(index)


def read_shard_folder(
    folder: Path,
    split: str | None = None,
    subset: Subset | None = None,
    *,
    remote: RemoteShards | None = None,
) -> ShardDataset:
    """
    Return the samples of a folder of this machine; `uirdata.open_shards` also opens those that lie elsewhere.

    Args:
        folder: the folder written by `uir build-shards --out`.
        split: as in `uirdata.open_shards`.
        subset: as in `uirdata.open_shards`.
        remote: the bytes of the shards, if `folder` has only their manifest.

    Raises:
        ShardError: the folder has no manifest, or a shard is missing or truncated.
        NoSamplesError: it has no sample of the subset.
        UsageError: it has no such split.
    """
    if not folder.is_dir():
        raise ShardError(f"{folder}: no such folder; create it with `uir build-shards --out {folder}`")
    parts = list_parts(folder)
    if remote is None:
        _check_shards(folder, parts)
    name = remote.name if remote is not None else folder
    table = checked_rows(folder, parts)
    present = set(table["degradation"].unique().to_pylist())
    if split is not None:
        splits = sorted(table["split"].unique().to_pylist())
        if split not in splits:
            own = "; for a folder of your own, `uir fetch ID --from DIR --test-share 0.2` puts some scenes into it"
            raise UsageError(f"{name} has no split {split!r}: {nearest(split, splits)}{own if split == 'test' else ''}")
        table = table.filter(pc.field("split") == split)
    if subset is not None:
        table = table.filter(in_subset(subset))
        if not table.num_rows:
            raise NoSamplesError(
                f"{name} holds no sample of {subset.name}; run `uir build-shards --subset {subset.name}`"
            )
        return ShardDataset(folder, table, subset.classes, remote)
    return ShardDataset(folder, table, _classes(folder, present), remote)


def _classes(folder: Path, present: set[str]) -> Sequence[Sequence[str]]:
    built = read_info(folder).get("subsets", {})
    if len(built) == 1:
        (classes,) = built.values()
        if present <= {name for types in classes for name in types}:
            return [tuple(types) for types in classes]
    return [(name,) for name in DEGRADATIONS if name in present]


def _check_shards(folder: Path, parts: Sequence[ManifestPart]) -> None:
    for _, state, _ in parts:
        path = folder / state.path
        if not path.is_file():
            raise ShardError(f"{path}: is missing; run `uir build-shards` again to restore it")
        if path.stat().st_size != state.size:
            raise _cut_short(path, state.size)


def _cut_short(path: Path, expected: int | None = None) -> ShardError:
    says = f", the manifest says {expected:,}" if expected else ""
    return ShardError(
        f"{path}: has {path.stat().st_size:,} bytes{says}: it was truncated or changed. "
        "Run `uir build-shards` again to restore it"
    )
