"""The settings of a download: places, expected bytes, retries and limits; and its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from uirdata.errors import DownloadError
from uirdata.transfer import Opener, Unreachable


@dataclass(frozen=True)
class DownloadSource:
    """
    A place from which a file can be downloaded.

    Attributes:
        name: of the place, for messages and for the state of a partial file.
        open: opens the file there.
        connections: how many simultaneous streams of it the place permits.
    """

    name: str
    open: Opener
    connections: int = 1


@dataclass(frozen=True)
class Expected:
    """
    What is known of a file before its download.

    Attributes:
        size: bytes, or None.
        sha256: hex, or "".
        md5: hex, or "".
        said_by: where the values come from, for messages: "the manifest" or "the receipt of its first download".
        loose: a mismatch is reported, and is not an error.
        most: bytes that it may have at most, where its size is not known; None for no limit but that of the disk.
    """

    size: int | None = None
    sha256: str = ""
    md5: str = ""
    said_by: str = "the manifest"
    loose: bool = False
    most: int | None = None


class RateLimit:
    """A limit in bytes per second, shared by all streams."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> float:
        """Wait until this number of further bytes is allowed; return for how many seconds."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._bytes_per_s
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)
        return max(0.0, wait)


@dataclass(frozen=True)
class Pace:
    """
    Retries, waiting times and limits of a download.

    Attributes:
        attempts: failures in a row without progress, before a place is given up.
        first_wait_s: wait after the first failure; doubled after each further one, with a random factor.
        longest_wait_s: upper limit, unless the server states a time.
        longest_retry_after_s: a server that states a longer time is given up.
        stall_s: a stream that sends less than `stall_bytes` in this time is reopened.
        stall_bytes: see `stall_s`.
        grace_s: a download of this length is given up if it is slower than `slowest_bytes_per_s` on average, so that
            the longest time of a download grows with its size.
        slowest_bytes_per_s: see `grace_s`.
        piece_bytes: longer files are downloaded in several streams, if the server supports ranges.
        limit: shared speed limit, or None.
        cancel: set from outside to stop; the downloaded part is kept.
        clock: seconds from any start; a test may set it.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_retry_after_s: float = 900.0
    stall_s: float = 60.0
    stall_bytes: int = 16 << 10
    grace_s: float = 3600.0
    slowest_bytes_per_s: float = 4096.0
    piece_bytes: int = 64 << 20
    limit: RateLimit | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Arrived:
    """
    A downloaded file, complete and checked.

    Attributes:
        place: the place that sent it.
        url: where its bytes came from.
        sha256: hex.
        md5: hex, if one was expected; else "".
        bytes: its size.
        differs: the bytes are not the expected ones, which is allowed for this file.
    """

    place: str
    url: str
    sha256: str
    md5: str
    bytes: int
    differs: bool = False


class WrongBytes(DownloadError):
    """The download is complete, but its bytes are not the expected ones."""


class TooLong(Unreachable):
    """A place sends more bytes than the file can have; what it sent is not kept."""


class Listener:
    """Receives the progress of a file; the default ignores it."""

    def start(self, here: int, total: int | None) -> None:
        """The download starts, or starts again, with this number of bytes on the disk already."""

    def advance(self, amount: int) -> None:
        """Further bytes were received."""


def mismatch(expected: Expected, *, size: int, sha256: str, md5: str) -> str:
    """Return how a file differs from what was expected; "" if it does not, or nothing was expected."""
    if expected.size is not None and size != expected.size:
        short = f", {expected.size - size} short" if size < expected.size else ""
        return f"it has {size} bytes{short}; {expected.said_by} says {expected.size}"
    if expected.sha256 and sha256 != expected.sha256:
        return f"its sha256 is {sha256}; {expected.said_by} says {expected.sha256}"
    if expected.md5 and not expected.sha256 and md5 != expected.md5:
        return f"its md5 is {md5}; {expected.said_by} says {expected.md5}"
    return ""
