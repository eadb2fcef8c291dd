"""What passes between a host and the disk: an open stream of bytes, or the reason why there is none."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from uirdata.errors import DownloadError

Way = Literal["automatic", "token", "by hand"]


class Interrupted(DownloadError):
    """
    No bytes now, perhaps later: the line dropped, the server is busy.

    Attributes:
        retry_after_s: when the server said to come back; None if it did not say.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreachable(DownloadError):
    """No bytes from this place, however often one asks: gone, locked, over its quota for the day, a page instead."""


class RangeRefused(DownloadError):
    """The server has no such bytes (HTTP 416): the file is shorter than what is here already, or it changed."""


@dataclass(frozen=True)
class Incoming:
    """
    An open stream.

    Attributes:
        url: where the bytes really come from, for people.
        start: offset of the first byte; 0 where the server ignored the range that was asked for.
        total: bytes of the whole file; None where the server does not say.
        validator: strong ETag or Last-Modified: equal validators mean equal files; "" where there is none.
        ranges: the server is known to serve byte ranges.
        content_type: as told by the server.
        digests: "sha256" or "md5" in hex, where the server promises one for the whole file.
        chunks: the bytes; raises Interrupted when the line drops. It may end early without an error.
        close: ends the stream.
    """

    url: str
    start: int
    total: int | None
    validator: str
    ranges: bool
    content_type: str
    chunks: Iterator[bytes]
    close: Callable[[], None]
    digests: Mapping[str, str] = field(default_factory=dict)


class Opener(Protocol):
    """Opens one file of one host."""

    def __call__(self, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """
        Ask for the bytes from `start` up to, not including, `stop`.

        Args:
            start: offset of the first byte wanted.
            stop: offset after the last one; None is the end of the file.
            validator: of an earlier stream; if the file has changed since, the answer starts at 0.

        Raises:
            Interrupted: try again later.
            Unreachable: do not try again.
            RangeRefused: the file has no byte at `start`.
        """
        ...


@dataclass(frozen=True)
class Reach:
    """
    How a file is got from a place.

    Attributes:
        way: automatic; by a token that must be set first; by hand.
        todo: what a person has to do; "" if nothing.
    """

    way: Way
    todo: str = ""


def looks_like_html(block: bytes) -> bool:
    """Say whether a file's first bytes are those of a web page."""
    head = block.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head")) or (head.startswith(b"<!--") and b"<html" in head)


def page_title(block: bytes) -> str:
    """Give the title of a web page, as one line; "" if it has none."""
    match = re.search(rb"<title[^>]*>(.*?)</title>", block[:65536], re.IGNORECASE | re.DOTALL)
    return " ".join(html.unescape(match[1].decode("utf-8", "replace")).split())[:120] if match else ""
