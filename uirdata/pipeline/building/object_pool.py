"""
A pool of shards in object storage, such as s3://bucket/shards.

Its manifest is mirrored in a local folder, with an empty placeholder file of the right size for each tar, so that
planning and listing work as for a local pool. Workers build a shard in a temporary folder and upload it, the tar before
its part of the manifest: as on a disk, the part means that its tar is complete.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uirdata.errors import StorageError, UsageError
from uirdata.hosts.objects import Objects
from uirdata.layout import Layout
from uirdata.storage.downloads import DownloadSource, Expected, Pace, download
from uirdata.storage.pool_info import INFO
from uirdata.storage.shard_states import MANIFEST, ShardState, list_shards, part_path, shard_of
from uirdata.transfer import Interrupted, redacted
from uirdata.validators import InvalidValue

_REJECTED = "rejected.parquet"
_PART = re.compile(re.escape(MANIFEST) + r"/[A-Za-z0-9_-]+\.parquet")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


def _is_ours(path: str) -> bool:
    """Return whether an object is one of a pool; a bucket may hold others, whose names may be no paths."""
    if path in (INFO, _REJECTED) or _PART.fullmatch(path):
        return True
    try:
        shard_of(path)
    except InvalidValue:
        return False
    return True


def open_object_pool(place: str, layout: Layout) -> ObjectPool:
    """
    Return the pool at a URL, such as s3://bucket/shards; its manifest is downloaded into the root.

    Raises:
        UsageError: the URL is not one that can be written to.
        DownloadError: the object storage does not answer.
        StorageError: the root cannot be written.
    """
    if place.startswith(("hf://", "http://", "https://")):
        raise UsageError(
            f"shards cannot be written to {redacted(place)}; `uir push-hf` publishes a folder of them on the Hub"
        )
    pool = ObjectPool(place.rstrip("/"), layout.root / "objects" / _NOT_IN_NAMES.sub("--", redacted(place)).strip("-."))
    pool.download_manifest()
    return pool


@dataclass(frozen=True)
class ObjectPool:
    """
    A pool in object storage, and the local folder of its manifest.

    Attributes:
        place: URL of the pool, as fsspec takes it.
        folder: the local folder.
    """

    place: str
    folder: Path

    def download_manifest(self) -> None:
        """
        Download the manifest, and write placeholder files for the tars.

        Raises:
            DownloadError: the object storage does not answer.
            StorageError: the folder cannot be written.
        """
        there = {item.path: item.size for item in Objects().files(self.place + "/") if _is_ours(item.path)}
        for name in (INFO, _REJECTED, *(name for name in there if name.startswith(MANIFEST + "/"))):
            (self.folder / name).unlink(missing_ok=True)
            if name in there:
                self._fetch(name)
        for part in (self.folder / MANIFEST).glob("*.parquet"):
            if f"{MANIFEST}/{part.name}" not in there:
                part.unlink()
        for state in list_shards(self.folder) if any((self.folder / MANIFEST).glob("*.parquet")) else []:
            self._stand_in(state.path, there.get(state.path))

    def made_there(self, path: str, make: Callable[[Path], ShardState]) -> ShardState:
        """Build a shard in a temporary folder, and upload it; return its state."""
        with tempfile.TemporaryDirectory(prefix="uir-") as name:
            folder = Path(name)
            state = make(folder)
            self._put(folder, path)
            self._put(folder, part_path(Path(), path).as_posix())
        return state

    def take(self, state: ShardState) -> None:
        """Add a shard that a worker has uploaded to the local folder."""
        self._fetch(part_path(Path(), state.path).as_posix())
        self._stand_in(state.path, state.size)

    def publish(self) -> None:
        """Upload the files that a finished build writes besides its shards; info.json last."""
        for name in (_REJECTED, INFO):
            self._put(self.folder, name)

    def delete(self, path: str) -> None:
        """Delete a shard, its part of the manifest first."""
        for name in (part_path(Path(), path).as_posix(), path):
            Objects().delete(f"{self.place}/{name}")

    def _fetch(self, name: str) -> None:
        address = f"{self.place}/{name}"
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        download(
            target,
            [DownloadSource(redacted(address), functools.partial(Objects().open, address))],
            Expected(),
            pace=Pace(),
        )

    def _put(self, folder: Path, name: str) -> None:
        try:
            with (folder / name).open("rb") as file:
                Objects().put(file, f"{self.place}/{name}")
        except Interrupted as error:
            raise StorageError(f"{error}. Finished shards are kept; run the same command again") from error

    def _stand_in(self, path: str, size: int | None) -> None:
        tar = self.folder / path
        tar.unlink(missing_ok=True)
        if size is not None:
            tar.parent.mkdir(parents=True, exist_ok=True)
            with tar.open("wb") as file:
                # A sparse file: it takes no disk space.
                file.truncate(size)
