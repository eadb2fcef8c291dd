"""Opening of shards in a folder, on the Hugging Face Hub, in object storage, or at another URL."""

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
from uirdata.transfer import Interrupted, Opener, redacted

_HUB = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@]+?))?/?")
_WAITS_S = (1.0, 2.0, 5.0, 15.0)
_LONGEST_RETRY_AFTER_S = 900.0
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")


def open_shards(
    dir: str | Path,  # the name is part of the public contract
    split: str | None = None,
    subset: Subset | None = None,
) -> ShardDataset:
    """
    Open shards, and return a data set of their samples.

    The manifest of remote shards is downloaded now, and each shard when its samples are read: the first few samples
    alone, then the whole shard. Shards are cached in UIR_CACHE, else in HF_HOME/uir, else in ~/.cache/uir, up to the
    size UIR_CACHE_SIZE, such as 200GB: the least recently used shards are deleted first; a shard for which there is no
    room is read sample by sample. With HF_HUB_OFFLINE only the cache is used.

    >>> dataset = open_shards(shards, split="test")
    >>> len(dataset), dataset.class_names
    (6, ('noise', 'gaussian-blur', 'low-light'))

    Args:
        dir: a folder written by `uir build-shards --out`, hf://datasets/OWNER/NAME[@REVISION], or the URL of a shard
            folder: http(s), or another protocol of fsspec, such as s3://bucket/shards.
        split: train, val or test; all splits when None.
        subset: only its samples, with the labels in its order. When None: all samples; if the folder was built for one
            subset only, in its label order, otherwise the types that occur, in the order of `degradations()`.

    Raises:
        ShardError: the folder has no manifest, or a shard is missing or truncated.
        DownloadError: remote shards could not be downloaded.
        UsageError: the shards have no such split.
    """
    if not is_remote(dir):
        return read_shard_folder(Path(dir), split, subset)
    folder, remote = metadata(str(dir))
    return read_shard_folder(folder, split, subset, remote=remote)


def is_remote(place: str | Path) -> bool:
    """
    Return whether a text is the URL of remote shards, and not a local folder.

    >>> is_remote("hf://datasets/me/mine"), is_remote("https://example.org/shards"), is_remote("pool/shards")
    (True, True, False)
    >>> is_remote("s3://bucket/shards")
    True
    """
    return "://" in str(place)


def metadata(place: str) -> tuple[Path, RemoteShards]:
    """
    Download the manifest of remote shards.

    Returns:
        A folder with info.json and the manifest, and access to the bytes of its shards.

    Raises:
        UsageError: the URL is not valid.
        DownloadError: the manifest could not be downloaded.
        ShardError: the URL is not that of a shard folder.
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
    """Files of a host whose paths begin with a prefix."""

    host: str
    prefix: str

    def __call__(self, path: str) -> Opener:
        return functools.partial(_hosts()[self.host].open, self.prefix + path)


@functools.cache
def _hosts() -> Mapping[str, Host]:
    return open_hosts()


def _folder(place: str) -> tuple[RemoteFolder, _HostFiles]:
    """Return the cache folder of a URL and the location of its files."""
    if place.startswith("hf://"):
        match = _HUB.fullmatch(place)
        if not match:
            raise UsageError(
                f"{redacted(place)!r} is not a valid URL of shards; write it like hf://datasets/owner/name@revision"
            )
        revision = match["revision"] or "main"
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        name = _name(redacted(f"{endpoint}-{match['repo']}") if endpoint else match["repo"])
        return (
            RemoteFolder(place.rstrip("/"), _cache() / name, revision, limit=_cache_limit()),
            _HostFiles("huggingface", f"dataset:{match['repo']}@{revision}:"),
        )
    address = place.rstrip("/")
    host = "http" if place.startswith(("http://", "https://")) else "objects"
    shown = redacted(address)
    return RemoteFolder(shown, _cache() / _name(shown), limit=_cache_limit()), _HostFiles(host, address + "/")


def _files(where: _HostFiles) -> Files:
    """Return the files at the current commit of the branch, so that all of them are of one commit."""
    # A new host object: it caches the commit of a branch, and the branch may have moved since the last opening.
    host = open_hosts()[where.host]
    if not isinstance(host, HuggingFace):
        return where
    for wait_s in _WAITS_S:
        try:
            pinned = host.pinned(where.prefix + INFO)
            break
        except Interrupted as error:
            asked_s = error.retry_after_s
            if asked_s is not None and asked_s > _LONGEST_RETRY_AFTER_S:
                raise
            time.sleep(wait_s if asked_s is None else asked_s)
    else:
        pinned = host.pinned(where.prefix + INFO)
    return _HostFiles(where.host, pinned.removesuffix(INFO))


def _cache() -> Path:
    if folder := os.environ.get("UIR_CACHE"):
        return Path(folder)
    home = os.environ.get("HF_HOME")
    return Path(home) / "uir" if home else Path.home() / ".cache" / "uir"


def _cache_limit() -> int | None:
    size = os.environ.get("UIR_CACHE_SIZE")
    if not size:
        return None
    limit = parse_size(size)
    if limit is None:
        raise UsageError(f"UIR_CACHE_SIZE is {size!r}, which is not a size; write it like 200GB")
    return limit


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("--", text).strip("-.")


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
