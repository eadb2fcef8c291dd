"""Opening shards wherever they lie: in a folder, on the Hugging Face Hub, in object storage, below an address."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uirdata.errors import DownloadError, UsageError
from uirdata.hosts import Host, open_hosts
from uirdata.hosts.huggingface import HuggingFace
from uirdata.storage.byte_sizes import parse_size
from uirdata.storage.reading import ShardDataset, read_shard_folder
from uirdata.storage.remote import Files, RemoteFolder, RemoteShards, mirror
from uirdata.storage.shards import INFO
from uirdata.subsets import Subset
from uirdata.transfer import Interrupted, Opener

_HUB = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@]+?))?/?")
_WAITS_S = (1.0, 2.0, 5.0, 15.0)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


def open_shards(
    dir: str | Path,  # the name is part of the public contract
    split: str | None = None,
    subset: Subset | None = None,
) -> ShardDataset:
    """
    Open shards.

    Of shards that lie elsewhere the manifest is fetched now, and each shard when samples of it are read: the first few
    by themselves, then the whole of it. They are kept in UIR_CACHE, else in HF_HOME/uir, else ~/.cache/uir, and not
    more than UIR_CACHE_SIZE of them, such as 200GB: shards that were not wanted for longest make room; what has none is
    read sample by sample. HF_HUB_OFFLINE takes what is there.

    >>> dataset = open_shards(shards, split="test")
    >>> len(dataset), dataset.class_names
    (6, ('noise', 'gaussian-blur', 'low-light'))

    Args:
        dir: what `uir build-shards --out` wrote, hf://datasets/OWNER/NAME[@REVISION], or the address of a shard
            folder: http(s), or whatever fsspec reaches, such as s3://bucket/shards.
        split: train, val or test; all of them when None.
        subset: only samples that it names, labelled in its order. When None: all samples; if the folder was built for
            one subset only, its label order, otherwise the types that are there, in the order of `degradations()`.

    Raises:
        ShardError: the folder has no manifest, or a shard is missing or cut short.
        DownloadError: it lies elsewhere and did not arrive.
        UsageError: there is no such split in it.
    """
    if not is_remote(dir):
        return read_shard_folder(Path(dir), split, subset)
    folder, remote = metadata(str(dir))
    return read_shard_folder(folder, split, subset, remote=remote)


def is_remote(place: str | Path) -> bool:
    """
    Say whether a text names shards that lie elsewhere.

    >>> is_remote("hf://datasets/me/mine"), is_remote("https://example.org/shards"), is_remote("pool/shards")
    (True, True, False)
    >>> is_remote("s3://bucket/shards")
    True
    """
    return "://" in str(place)


def metadata(place: str) -> tuple[Path, RemoteShards]:
    """
    Bring the manifest of remote shards home.

    Returns:
        A folder with info.json and the manifest, and the bytes of its shards.

    Raises:
        UsageError: the address is none.
        DownloadError: it did not arrive.
        ShardError: it is no shard folder.
    """
    folder, where = _folder(place)
    if _offline() and where.host != "objects":
        return mirror(folder, None)
    try:
        return mirror(folder, _files(where))
    except DownloadError as error:
        if not folder.current.exists():
            raise
        raise DownloadError(f"{error}. HF_HUB_OFFLINE=1 reads the copy in {folder.cache}") from error


@dataclass(frozen=True)
class _HostFiles:
    """Files below a place of a host."""

    host: str
    prefix: str

    def __call__(self, path: str) -> Opener:
        return functools.partial(_hosts()[self.host].open, self.prefix + path)


@functools.cache
def _hosts() -> Mapping[str, Host]:
    return open_hosts()


def _folder(place: str) -> tuple[RemoteFolder, _HostFiles]:
    """Turn an address into a folder of the cache and the place of its files."""
    if place.startswith("hf://"):
        match = _HUB.fullmatch(place)
        if not match:
            raise UsageError(f"{place!r} is no place of shards; write it like hf://datasets/owner/name@revision")
        revision = match["revision"] or "main"
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        name = _name(f"{endpoint}-{match['repo']}" if endpoint else match["repo"])
        return (
            RemoteFolder(place.rstrip("/"), _cache() / name, revision, limit=_cache_limit()),
            _HostFiles("huggingface", f"dataset:{match['repo']}@{revision}:"),
        )
    address = place.rstrip("/")
    host = "http" if place.startswith(("http://", "https://")) else "objects"
    return RemoteFolder(address, _cache() / _name(address), limit=_cache_limit()), _HostFiles(host, address + "/")


def _files(where: _HostFiles) -> Files:
    """Hold the files at the commit that the branch has now, so that all are of one."""
    # A new host: it remembers the commit of a branch, and the branch may have moved since the last opening.
    host = open_hosts()[where.host]
    if not isinstance(host, HuggingFace):
        return where
    for wait_s in _WAITS_S:
        try:
            pinned = host.pinned(where.prefix + INFO)
            break
        except Interrupted as error:
            time.sleep(wait_s if error.retry_after_s is None else error.retry_after_s)
    else:
        pinned = host.pinned(where.prefix + INFO)
    return _HostFiles(where.host, pinned.removesuffix(INFO))


def _cache() -> Path:
    if told := os.environ.get("UIR_CACHE"):
        return Path(told)
    home = os.environ.get("HF_HOME")
    return Path(home) / "uir" if home else Path.home() / ".cache" / "uir"


def _cache_limit() -> int | None:
    told = os.environ.get("UIR_CACHE_SIZE")
    if not told:
        return None
    limit = parse_size(told)
    if limit is None:
        raise UsageError(f"UIR_CACHE_SIZE is {told!r}, which is no size; write it like 200GB")
    return limit


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("--", text).strip("-")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
