"""What a download is asked for, how patient it is, and what comes of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from uirdata.errors import DownloadError
from uirdata.transfer import Opener


@dataclass(frozen=True)
class DownloadSource:
    """
    Where a file can be had.

    Attributes:
        name: of the place, for people and for the state of a partial file.
        open: opens the file there.
        connections: how many streams of it the place bears at once.
    """

    name: str
    open: Opener
    connections: int = 1


@dataclass(frozen=True)
class Expected:
    """
    What is known of a file before it comes.

    Attributes:
        size: bytes, or None.
        sha256: hex, or "".
        md5: hex, or "".
        said_by: who says so, for the message: "the manifest" or "the receipt of its first download".
        loose: bytes that differ are told, and are no error.
    """

    size: int | None = None
    sha256: str = ""
    md5: str = ""
    said_by: str = "the manifest"
    loose: bool = False


class RateLimit:
    """Bytes a second, shared by all streams."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        """Wait until so many more bytes may come."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self._bytes_per_s
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)


@dataclass(frozen=True)
class Pace:
    """
    How patient a download is.

    Attributes:
        attempts: in a row without progress, before a place is given up.
        first_wait_s: after the first failure; doubled after each further one, with some chance in it.
        longest_wait_s: never more than this, unless the server names a time.
        longest_retry_after_s: a server that names a longer time is given up.
        stall_s: a stream that brings less than `stall_bytes` in this time is opened anew.
        stall_bytes: see `stall_s`.
        piece_bytes: files longer than this come in several streams, if the server serves ranges.
        limit: shared cap, or None.
        cancel: set from outside to stop; what is here is kept.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    longest_retry_after_s: float = 900.0
    stall_s: float = 60.0
    stall_bytes: int = 16 << 10
    piece_bytes: int = 64 << 20
    limit: RateLimit | None = None
    cancel: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Arrived:
    """
    A file that is here, whole and checked.

    Attributes:
        place: the place that gave it.
        url: where its bytes came from.
        sha256: hex.
        md5: hex, where one was expected; else "".
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
    """All bytes came, and they are not those that were expected."""


class Listener:
    """Hears how far a file is; the default hears nothing."""

    def start(self, here: int, total: int | None) -> None:
        """The file begins, or begins again, with so many bytes here already."""

    def advance(self, amount: int) -> None:
        """More bytes are here."""


def mismatch(expected: Expected, *, size: int, sha256: str, md5: str) -> str:
    """Say in what a file differs from what was expected; "" where it does not, or nothing was."""
    if expected.size is not None and size != expected.size:
        short = f", {expected.size - size} short" if size < expected.size else ""
        return f"it has {size} bytes{short}; {expected.said_by} says {expected.size}"
    if expected.sha256 and sha256 != expected.sha256:
        return f"its sha256 is {sha256}; {expected.said_by} says {expected.sha256}"
    if expected.md5 and not expected.sha256 and md5 != expected.md5:
        return f"its md5 is {md5}; {expected.said_by} says {expected.md5}"
    return ""
