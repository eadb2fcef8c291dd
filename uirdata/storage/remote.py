"""
A remote shard folder: its manifest is cached here, and each shard once samples of it are read.

The folder's info.json lists every shard with its sha256. The cache has, for each version of info.json, a
folder with it and the manifest, and one folder of tars named by hash, shared by all versions.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from uirdata.errors import DownloadError, ShardError
from uirdata.storage.cache_room import CacheRoom
from uirdata.storage.downloads import DownloadSource, Expected, Pace, download
from uirdata.storage.files import writing
from uirdata.storage.locks import locked
from uirdata.storage.manifest_rows import check_sizes
from uirdata.storage.pool_info import INFO, checked_info, read_info, required
from uirdata.storage.shard_states import list_parts, part_path
from uirdata.transfer import Opener
from uirdata.validators import MOST_JSON_BYTES, InvalidValue, naming, shown

RANGE_READS = 8
"""Images of a shard that are read by ranges before the whole shard is downloaded: a few need no gigabyte."""

_AT_ONCE = 8
_LONGEST_WAIT_S = 3600.0
_MOST_TABLE_BYTES = 4 << 30
_REJECTED = "rejected.parquet"
_VERSION = re.compile(r"[0-9a-f]{16}")


class Files(Protocol):
    """The files of one version of a folder. It is pickled and sent to the reading processes."""

    def __call__(self, path: str) -> Opener:
        """Return the opener of a file of the folder."""
        ...


@dataclass(frozen=True)
class RemoteFolder:
    """
    Location of remote shards and of their cache.

    Attributes:
        name: for messages, such as hf://datasets/owner/name.
        cache: cache folder of this remote folder.
        branch: name of the requested version, such as main; "" if there is only one.
        limit: limit in bytes on all cached shards, of all remote folders together; None for no limit.
    """

    name: str
    cache: Path
    branch: str = ""
    limit: int | None = None

    @property
    def tars(self) -> Path:
        """Cached shards, by hash."""
        return self.cache / "tars"

    @property
    def current(self) -> Path:
        """The version that the branch had at the last request."""
        return self.cache / f"current-{self.branch.replace('/', '--') or 'version'}"


class RemoteShards:
    """
    The bytes of remote shards.

    Args:
        folder: their location.
        files: opens the files of the folder.
        shards: sha256 and size by path.
    """

    def __init__(self, folder: RemoteFolder, files: Files, shards: Mapping[str, tuple[str, int]]) -> None:
        self._folder = folder
        self._files = files
        self._shards = dict(shards)
        self._read: Counter[str] = Counter()
        self._room = CacheRoom(folder.cache.parent, folder.limit)

    @property
    def name(self) -> str:
        """The location, for messages."""
        return self._folder.name

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """
        Return a range of a shard: from its cached copy, over the network, or after the download of the whole shard.

        Raises:
            DownloadError: the download failed, or its bytes do not match info.json.
            StorageError: the cache is full or cannot be written.
        """
        sha256, whole = self._shards[shard]
        path = self._folder.tars / f"{sha256}.tar"
        if not _is_here(path, whole):
            self._read[shard] += 1
            few = self._read[shard] <= RANGE_READS or not self._room.make(path, self._shards[shard][1])
            if few and (piece := self._piece(shard, offset, size)) is not None:
                return piece
            self._fetch(shard, path)
        self._room.use(path)
        with path.open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def _piece(self, shard: str, offset: int, size: int) -> bytes | None:
        """Read a range over the network; None if that fails and a download with retries is needed."""
        try:
            incoming = self._files(shard)(start=offset, stop=offset + size)
        except DownloadError:
            return None
        try:
            if incoming.start != offset:
                return None
            data = _first(incoming.chunks, size)
        except DownloadError:
            return None
        finally:
            incoming.close()
        return data if len(data) == size else None

    def _fetch(self, shard: str, path: Path) -> None:
        sha256, size = self._shards[shard]
        place = DownloadSource(f"{self._folder.name}/{shard}", self._files(shard))
        with _alone(path.with_suffix(".lock")):
            if not _is_here(path, size):
                try:
                    download(path, [place], Expected(size, sha256, said_by=f"its {INFO}"), pace=Pace())
                except DownloadError as error:
                    raise DownloadError(
                        f"{error}. If only recipes are published, build the shards with `uir build-shards --from-hub`"
                    ) from error


def _first(chunks: Iterator[bytes], size: int) -> bytes:
    """Return what a server sends for a range; of more than was asked for, a little more, which is an error."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > size:
            break
    return bytes(data)


def _is_here(path: Path, size: int) -> bool:
    """Return whether a shard is cached and has its full size."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def mirror(folder: RemoteFolder, files: Files | None) -> tuple[Path, RemoteShards]:
    """
    Download the manifest and info.json of a remote folder.

    Args:
        folder: its location.
        files: files of the current version of the branch; None uses the cached version without network access.

    Returns:
        A folder with info.json and the manifest, and the bytes of its shards.

    Raises:
        DownloadError: the download failed.
        ShardError: it is not a shard folder, or nothing of it is cached and `files` is None.
        StorageError: the cache is full or cannot be written.
    """
    if files is None:
        # Without a lock: a shared cache may be read-only.
        if not folder.current.exists():
            raise ShardError(
                f"{folder.name}: HF_HUB_OFFLINE is set, and no copy of it is in {folder.cache}; unset it and try again"
            )
        here = folder.cache / _current(folder)
    else:
        with _alone(folder.cache / ".lock"):
            here = _download_version(folder, files)
            with writing(folder.current) as partial:
                partial.write_text(here.name)
    info = read_info(here)
    shards = {path: (row["sha256"], row["bytes"]) for path, row in required(here, info, "shards").items()}
    return here, RemoteShards(folder, files or _Offline(folder.name), shards)


@dataclass(frozen=True)
class _Offline:
    """No files: every access raises DownloadError."""

    name: str

    def __call__(self, path: str) -> Opener:
        raise DownloadError(f"{self.name}/{path}: is not cached, and HF_HUB_OFFLINE is set; unset it and try again")


def _download_version(folder: RemoteFolder, files: Files) -> Path:
    coming = folder.cache / "coming" / INFO
    coming.unlink(missing_ok=True)
    _download(coming, folder, files, INFO)
    data = _read_short(coming)
    shards = _shards_in(folder, data)
    here = folder.cache / hashlib.sha256(data).hexdigest()[:16]
    if (here / INFO).exists():
        return here
    wanted = {part_path(here, path): part_path(Path(), path).as_posix() for path in shards}
    wanted[here / _REJECTED] = _REJECTED
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        todo = {path: name for path, name in wanted.items() if not path.exists()}
        list(pool.map(lambda item: _download(item[0], folder, files, item[1]), todo.items()))
    parts = list_parts(here) if shards else []
    check_sizes(here, parts)
    listed = {part.state.path: (part.state.sha256, part.state.size) for part in parts}
    if listed != shards:
        odd = sorted(set(listed.items()) ^ set(shards.items()))[0][0]
        for path in wanted:
            path.unlink()
        raise ShardError(f"{folder.name}: its {INFO} and its manifest do not agree about {odd}; try again")
    # Last: a folder that has this file has all the others.
    coming.replace(here / INFO)
    return here


def _current(folder: RemoteFolder) -> str:
    """Return the name of the folder of the current version."""
    with naming(ShardError, str(folder.current), "delete it and open the shards again"):
        name = _read_short(folder.current).decode("ascii", "replace").strip()
        if not _VERSION.fullmatch(name):
            raise InvalidValue(f"{shown(name)} is no version of {folder.name}")
    return name


def _shards_in(folder: RemoteFolder, data: bytes) -> dict[str, tuple[str, int]]:
    with naming(ShardError, f"{folder.name}: its {INFO} is not that of a shard folder"):
        info = checked_info(data)
        if "shards" not in info:
            raise InvalidValue("it lists no shards")
        return {path: (row["sha256"], row["bytes"]) for path, row in info["shards"].items()}


def _read_short(path: Path) -> bytes:
    if path.stat().st_size > MOST_JSON_BYTES:
        raise ShardError(f"{path}: is larger than 256 MiB")
    return path.read_bytes()


def _download(target: Path, folder: RemoteFolder, files: Files, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = Expected(most=MOST_JSON_BYTES if name == INFO else _MOST_TABLE_BYTES)
    download(target, [DownloadSource(f"{folder.name}/{name}", files(name))], expected, pace=Pace())


def _alone(path: Path) -> AbstractContextManager[None]:
    """Hold a lock among the processes that read one remote folder."""
    return locked(path, "another process is downloading the same shards", wait_s=_LONGEST_WAIT_S)
