"""The interface between a host and the disk: an open stream of bytes, or the reason why there is none."""

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
    A temporary failure: the connection was lost, the server is busy.

    Attributes:
        retry_after_s: seconds to wait that the server asked for; None if it did not state any.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreachable(DownloadError):
    """A permanent failure of this place: removed, access denied, daily quota exceeded, an HTML page instead."""


class RangeRefused(DownloadError):
    """The server has no such byte range (HTTP 416): the file is shorter than the part on the disk, or has changed."""


def redacted(text: str) -> str:
    """
    Return a URL, or a message that quotes some, without what gives access: user and password, signatures, tokens.

    Every URL passes here on its way into a message, a receipt or a name.

    >>> redacted("cannot open https://me:secret@example.org/a.zip?size=2&token=abc")
    'cannot open https://***@example.org/a.zip?size=2&token=***'
    """
    for pattern, stars in _SECRET:
        text = pattern.sub(stars, text)
    return text


_SECRET = (
    # A user name alone is no secret, but a token stands there, too. Elsewhere than in http it may be the name of a
    # container (abfs://container@account).
    (re.compile(r"(?i)\b(https?://)[^\s/?#\"<>]*@"), r"\1***@"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#\"<>:]*:[^\s/?#\"<>]*@"), r"\1***@"),
    # A password with a slash in it ends the host for every reader; what stands before the slash is no port then.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#\"<>:@]*:(?!\d*[/?#])[^\s\"<>]*@"), r"\1***@"),
    (
        re.compile(
            r"(?i)([?&](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|signature|sig|"
            r"(?:access_?|auth_?|api_?)?(?:token|key|secret)|passw(?:or)?d|auth)=)[^\s&#\"'<>]+"
        ),
        r"\1***",
    ),
)


@dataclass(frozen=True)
class Incoming:
    """
    An open stream.

    Attributes:
        url: the address that the bytes come from, for messages.
        start: offset of the first byte; 0 if the server ignored the requested range.
        total: size of the whole file in bytes; None if the server does not state it.
        validator: strong ETag or Last-Modified: equal validators mean equal files; "" if there is none.
        ranges: the server is known to support byte ranges.
        content_type: as sent by the server.
        digests: "sha256" or "md5" in hex, if the server states one for the whole file.
        chunks: the bytes; raises Interrupted when the connection is lost. It may end early without an error.
        close: closes the stream.
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
        Request the bytes from `start` up to, not including, `stop`.

        Args:
            start: offset of the first byte.
            stop: offset after the last one; None is the end of the file.
            validator: of an earlier stream; if the file has changed since, the response starts at 0.

        Raises:
            Interrupted: try again later.
            Unreachable: do not try again.
            RangeRefused: the file has no byte at `start`.
        """
        ...


@dataclass(frozen=True)
class Reach:
    """
    Whether and how a file can be downloaded from a place.

    Attributes:
        way: automatic; with a token that must be set first; by hand.
        todo: what the user has to do; "" if nothing.
    """

    way: Way
    todo: str = ""


def looks_like_html(block: bytes) -> bool:
    """Return whether the first bytes of a file are those of an HTML page."""
    head = block.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    return head.startswith((b"<!doctype html", b"<html", b"<head")) or (head.startswith(b"<!--") and b"<html" in head)


def page_title(block: bytes) -> str:
    """Return the title of an HTML page as one line; "" if it has none."""
    match = re.search(rb"<title[^>]*>(.*?)</title>", block[:65536], re.IGNORECASE | re.DOTALL)
    return " ".join(html.unescape(match[1].decode("utf-8", "replace")).split())[:120] if match else ""
