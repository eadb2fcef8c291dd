"""Room for shards that lie elsewhere: old ones make place for new ones, up to a limit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


class CacheRoom:
    """
    A limit on the bytes of all shards that are kept here.

    Shards that this process reads are never taken away: an order that comes back to each of them, as training's does,
    would fetch them again and again. What has no room then is read by ranges.

    Args:
        cache: the folder below which each remote folder has its own.
        limit: in bytes; None where there is none.
    """

    def __init__(self, cache: Path, limit: int | None) -> None:
        self._cache = cache
        self._limit = limit
        self._mine: set[Path] = set()
        self._refused: set[Path] = set()

    def use(self, tar: Path) -> None:
        """Note that a shard that is here is read."""
        if tar not in self._mine:
            self._mine.add(tar)
            # Readers that share the cache see by it how long ago a shard was wanted.
            os.utime(tar)

    def make(self, tar: Path, size: int) -> bool:
        """Delete shards, those that nobody wanted for longest first, until one of this size fits; say if it does."""
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
                continue  # another process made room
            yield tar, status.st_mtime, status.st_size
