"""HTTP connections that end: no headers or trailers for ever, no redirects in circles or to where none may lead."""

from __future__ import annotations

import functools
import http.client
import io
import math
import socket
import time
import urllib.parse
import urllib.request
from typing import IO, Any

from uirdata.transfer import Unreachable, redacted

_MOST_IDLE_BYTES = 1 << 20
"""Bytes of headers, trailers and chunk sizes before, between or after those of the file; usual are some hundred."""

_MOST_REDIRECTS = 10
_MOST_VISITS = 3
"""Of one URL: some servers set a cookie and redirect to the same URL."""

_MOST_URL = 8192


class EndlessHeaders(http.client.HTTPException):
    """A server sends headers, interim responses or trailers and no end of them."""

    def __init__(self) -> None:
        super().__init__("the server sends headers without an end")


class Meter(io.RawIOBase):
    """
    The bytes of a connection, of which there must be a part of the file from time to time.

    A timeout of a socket is for one packet only, so that a byte per second would hold it for ever.

    Attributes:
        stall_s: a read that takes longer is given up; the head of a response may take twice that.
    """

    def __init__(self, raw: io.RawIOBase, stall_s: float) -> None:
        super().__init__()
        self._raw = raw
        self.stall_s = stall_s
        self._came = 0
        self._until = time.monotonic() + 2 * stall_s

    def begin(self) -> None:
        """Begin the time and the count of the next read of the file's bytes."""
        self._came = 0
        self._until = time.monotonic() + self.stall_s

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """
        Read what has arrived.

        Raises:
            EndlessHeaders: too many bytes since the last `begin`.
            TimeoutError: too much time.
        """
        count = self._raw.readinto(buffer)
        self._came += count or 0
        if self._came > _MOST_IDLE_BYTES:
            raise EndlessHeaders
        if count and time.monotonic() > self._until:
            raise TimeoutError
        return count

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()
        super().close()


class Response(http.client.HTTPResponse):
    """
    A response that is read through a meter.

    Attributes:
        meter: of its connection.
    """

    def __init__(self, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        timeout = sock.gettimeout()
        self.meter = Meter(self.fp.detach(), math.inf if timeout is None else timeout)
        self.fp = io.BufferedReader(self.meter)


class _Connection(http.client.HTTPConnection):
    response_class = Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = Response


class PlainHandler(urllib.request.HTTPHandler):
    """Opens http URLs."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL."""
        return self.do_open(_Connection, req)


class SecureHandler(urllib.request.HTTPSHandler):
    """Opens https URLs."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL."""
        return self.do_open(functools.partial(_SecureConnection, context=self._context), req)  # type: ignore[attr-defined]


class RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows redirects to other http and https URLs, a few in a row, and from https to https only."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        """
        Open the URL that a response redirects to. The body of that response is not read: it may have no end.

        Raises:
            Unreachable: it leads to no URL that may be opened.
        """
        fp.close()
        target = _target(req.full_url, headers.get("Location") or headers.get("URI") or "")
        here = redacted(req.full_url)
        visited: tuple[str, ...] = getattr(req, "visited", ())
        if visited.count(target) >= _MOST_VISITS:
            raise Unreachable(f"{here}: redirects in a circle, to {_short(target)}")
        if len(visited) >= _MOST_REDIRECTS:
            raise Unreachable(f"{here}: redirects more than {_MOST_REDIRECTS} times in a row")
        new = self.redirect_request(req, fp, code, msg, headers, target)
        if new is None:
            raise Unreachable(f"{here}: redirects with status {code}, which is not followed")
        new.visited = (*visited, target)  # type: ignore[attr-defined]
        return self.parent.open(new, timeout=req.timeout)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def split_url(url: str) -> urllib.parse.SplitResult:
    """
    Return the parts of an http or https URL.

    Raises:
        Unreachable: it is none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise Unreachable(f"{_short(url)!r} is not an http or https URL")
    return parts


def _target(here: str, location: str) -> str:
    """Return the absolute URL of a Location header."""
    name = redacted(here)
    if not location.strip():
        raise Unreachable(f"{name}: redirects, but does not say where to")
    if len(location) > _MOST_URL:
        raise Unreachable(f"{name}: redirects to a URL of {len(location):,} characters")
    try:
        # http.client decodes headers as ISO-8859-1; servers send UTF-8, or escape it.
        escaped = urllib.parse.quote(location.strip(), encoding="iso-8859-1", safe=_PUNCTUATION)
        # With the same scheme and no host urljoin would take it for a path of this host.
        target = escaped if urllib.parse.urlsplit(escaped).scheme else urllib.parse.urljoin(here, escaped)
        parts = split_url(target)
    except (ValueError, Unreachable):
        raise Unreachable(
            f"{name}: redirects to {_short(location)!r}, which is not an http or https URL; not followed"
        ) from None
    if parts.scheme == "http" and urllib.parse.urlsplit(here).scheme == "https":
        raise Unreachable(
            f"{name}: redirects from https to {_short(target)}, where anyone on the way may change the file; not "
            "followed. Open the link in a browser, check the file, and use --from"
        )
    return target if parts.path else urllib.parse.urlunsplit(parts._replace(path="/"))


_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def _short(url: str) -> str:
    url = redacted(url)
    return url if len(url) <= 200 else url[:197] + "..."
