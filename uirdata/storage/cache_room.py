"""Space for cached shards: the least recently used ones are deleted to stay below a limit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class CacheRoom:
    """
    A limit on the bytes of all cached shards.

    Shards that this process reads are never deleted: training reads all of them in turn and would download them again
    and again. If there is no room for a shard, ranges of it are read over the network instead.

    Args:
        cache: the folder that contains the folders of all remote shard folders.
        limit: in bytes; None for no limit.
    """

    def __init__(self, cache: Path, limit: int | None) -> None:
        self._cache = cache
        self._limit = limit
        self._mine: set[Path] = set()
        self._refused: set[Path] = set()

    def use(self, tar: Path) -> None:
        """Mark a cached shard as in use."""
        if tar not in self._mine:
            self._mine.add(tar)
            # Other readers of the cache see from the time when a shard was last used.
            with contextlib.suppress(OSError):  # a shared cache may be read-only
                os.utime(tar)

    def make(self, tar: Path, size: int) -> bool:
        """Delete least recently used shards until one of this size fits; return whether it does."""
        if self._limit is None or tar in self._mine:
            return True
        if tar in self._refused:
            return False
        kept = sorted(self._tars(), key=lambda item: item[1])
        used = sum(taken for _, _, taken in kept)
        for old, _, taken in kept:
            if used + size <= self._limit:
                break
            if old not in self._mine:
                old.unlink(missing_ok=True)
                used -= taken
        if used + size > self._limit:
            self._refused.add(tar)
            return False
        return True

    def _tars(self) -> Iterator[tuple[Path, float, int]]:
        for tar in self._cache.glob("*/tars/*.tar"):
            try:
                status = tar.stat()
            except FileNotFoundError:
                continue  # deleted by another process
            yield tar, status.st_mtime, status.st_size
