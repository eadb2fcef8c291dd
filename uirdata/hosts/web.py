"""The HTTP client of all hosts: ranges, validators, redirects, cookies; errors are temporary or permanent."""

from __future__ import annotations

import base64
import email.utils
import gzip
import http.client
import json
import math
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar
from typing import Any

from uirdata.hosts.connections import (
    EndlessHeaders,
    PlainHandler,
    RedirectHandler,
    Response,
    SecureHandler,
    split_url,
)
from uirdata.transfer import Incoming, Interrupted, RangeRefused, Unreachable, redacted
from uirdata.validators import InvalidValue, load_json

LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524})
"""Statuses that may change after a while."""

_PAGE_LIMIT = 8 << 20
_PAGE_S = 300.0
_BLOCK = 1 << 18
_MOST_VALIDATOR = 512
_MOST_WAIT_S = 1e9
_GZIP_NAMES = (".gz", ".tgz", ".gzip", ".svgz")


class WebClient:
    """
    Opens URLs.

    It has no connection pool: files are large, and a fresh connection after an error is worth more than a fast start.
    Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY).
    """

    def __init__(self, *, cookies: CookieJar | None = None, stall_s: float = 60.0, agent: str = "uir/0.1") -> None:
        """
        Set what all requests share.

        Args:
            cookies: of a browser, for links that require a login; servers may add others.
            stall_s: a connection without data for longer counts as lost.
            agent: the User-Agent header.
        """
        self._stall_s = stall_s
        self._agent = agent
        self._opener = urllib.request.OpenerDirector()
        # Only these: the default opener would also follow a redirect to ftp:, and read file:.
        for handler in (
            urllib.request.ProxyHandler(),
            PlainHandler(),
            SecureHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            RedirectHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPCookieProcessor(cookies if cookies is not None else CookieJar()),
        ):
            self._opener.add_handler(handler)

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        validator: str = "",
        secret_headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        """
        Open a URL: see `transfer.Opener`.

        Args:
            url: http or https.
            start: offset of the first byte wanted.
            stop: offset after the last one.
            validator: sent as If-Range.
            secret_headers: sent to this URL, but to none that it redirects to.
        """
        headers = {}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if validator:
                headers["If-Range"] = validator
        return _incoming(url, self._ask(url, headers, secret_headers or {}))

    def page(self, url: str, *, secret_headers: Mapping[str, str] | None = None) -> str:
        """Return the text of a URL, at most 8 MiB."""
        incoming = self.open(url, secret_headers=secret_headers)
        return read_text(incoming)

    def json(
        self, url: str, *, secret_headers: Mapping[str, str] | None = None, send: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the JSON of a URL; with `send`, after posting it."""
        data = None if send is None else json.dumps(send).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        text = read_text(_incoming(url, self._ask(url, headers, secret_headers or {}, data)))
        try:
            return load_json(text)
        except InvalidValue:
            raise Unreachable(f"{redacted(url)}: expected JSON, got {text[:80]!r}") from None

    def _ask(
        self, url: str, headers: Mapping[str, str], secret_headers: Mapping[str, str], data: bytes | None = None
    ) -> Response:
        name = redacted(url)
        parts = split_url(url)
        login, _, host = parts.netloc.rpartition("@")
        if login:
            # urllib would take them as a part of the host's name.
            url = urllib.parse.urlunsplit(parts._replace(netloc=host))
            basic = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
            secret_headers = {"Authorization": f"Basic {basic}", **secret_headers}
        request = urllib.request.Request(_quoted(url), data=data, headers=dict(headers))
        request.add_header("User-Agent", self._agent)
        # Unencoded, because a server that gzips the archive would make the offsets meaningless.
        request.add_header("Accept-Encoding", "identity")
        for name, value in secret_headers.items():
            request.add_unredirected_header(name, value)
        try:
            response = self._opener.open(request, timeout=self._stall_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _sorted_status(name, error) from None
        except urllib.error.URLError as error:
            raise _sorted_reason(name, error.reason) from error
        except http.client.InvalidURL:
            # Its text quotes what it took for a port: the password, if the address has one with a colon or a slash.
            raise Unreachable(f"{name}: this address, or that of the proxy, is not valid") from None
        except (OSError, http.client.HTTPException) as error:
            raise _sorted_reason(name, error) from error
        except (ValueError, OverflowError) as error:
            # A host name or a port that no name server is asked for.
            raise Unreachable(f"{name}: {redacted(_one_line(error))}") from error
        assert isinstance(response, Response)
        if response.status not in (200, 203, 206):
            response.close()
            raise Unreachable(f"{name}: the server answers {response.status} {_one_line(response.reason)}, and no file")
        return response


def read_text(incoming: Incoming) -> str:
    """Return the text of a short stream, and close it."""
    parts: list[bytes] = []
    size = 0
    until = time.monotonic() + _PAGE_S
    try:
        for block in incoming.chunks:
            parts.append(block)
            size += len(block)
            if size > _PAGE_LIMIT:
                raise Unreachable(f"{incoming.url}: the page is larger than {_PAGE_LIMIT >> 20} MiB")
            if time.monotonic() > until:
                raise Interrupted(f"{incoming.url}: only {size} bytes of the page in {_PAGE_S:.0f} seconds")
    finally:
        incoming.close()
    return b"".join(parts).decode("utf-8", "replace")


def _incoming(asked: str, response: Response) -> Incoming:
    headers = response.headers
    length = _number(headers.get("Content-Length"))
    start, total = 0, length
    if response.status == 206:
        match = re.fullmatch(
            r"\s*bytes\s+([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)\s*", headers.get("Content-Range", "")
        )
        if not match:
            response.close()
            raise Unreachable(f"{redacted(response.url)}: answers 206 without a byte range")
        start, total = int(match[1]), _number(match[2])
    packed = _packed(asked, response)
    if packed and response.status == 206:
        response.close()
        raise RangeRefused(f"{redacted(response.url)}: sends a range of the packed file; that of the file is not known")
    return Incoming(
        url=redacted(response.url),
        start=start,
        total=None if packed else total,
        validator="" if packed else _validator(headers),
        ranges=not packed and (response.status == 206 or headers.get("Accept-Ranges", "").strip().lower() == "bytes"),
        content_type=headers.get("Content-Type", ""),
        chunks=_chunks(response, packed=packed),
        close=response.close,
        digests={} if packed else _digests(headers),
    )


def _packed(asked: str, response: Response) -> bool:
    """
    Return whether the server packed the file on the way, although it was asked not to.

    Many servers state the encoding gzip of a file that is a .gz itself: those bytes are the file.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding in ("gzip", "x-gzip"):
        names = (urllib.parse.urlsplit(url).path.lower() for url in (asked, response.url))
        return not any(name.endswith(_GZIP_NAMES) for name in names)
    response.close()
    raise Unreachable(
        f"{redacted(response.url)}: sends the file with the encoding {_one_line(encoding)!r}, although it was asked "
        "for none"
    )


class _Unread:
    """A response whose `read` returns what has arrived, as gzip needs it: it would wait for whole blocks."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def read(self, size: int = -1) -> bytes:
        return self._response.read1(size)


def _chunks(response: Response, *, packed: bool) -> Iterator[bytes]:
    # read1 returns what has arrived; read would wait for the whole block, and a slow connection would look stalled.
    reader = gzip.GzipFile(fileobj=_Unread(response)) if packed else response  # type: ignore[call-overload]
    try:
        while True:
            response.meter.begin()
            block = reader.read1(_BLOCK)
            if not block:
                return
            yield block
    except (OSError, http.client.HTTPException, ValueError, EOFError, zlib.error) as error:
        raise _sorted_reason(redacted(response.url), error) from error
    finally:
        response.close()


def _validator(headers: http.client.HTTPMessage) -> str:
    """Return the strong ETag, or the date; a weak ETag may be that of two versions (RFC 9110, 8.8.1)."""
    tag = headers.get("ETag", "").strip()
    found = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "").strip()
    return found if len(found) <= _MOST_VALIDATOR else ""


def _digests(headers: http.client.HTTPMessage) -> dict[str, str]:
    """Return the hashes that Google's storage states. Content-MD5 is ignored: it may be that of the range."""
    found: dict[str, str] = {}
    for line in headers.get_all("x-goog-hash") or []:
        for item in line.split(","):
            name, _, value = item.strip().partition("=")
            if name == "md5":
                try:
                    found["md5"] = base64.b64decode(value, validate=True).hex()
                except ValueError:
                    continue
    return found


def _sorted_status(url: str, error: urllib.error.HTTPError) -> Interrupted | Unreachable | RangeRefused:
    what = f"{url}: the server answers {error.code} {_one_line(error.reason)}".rstrip()
    if error.code == 416:
        return RangeRefused(what)
    if error.code in LATER:
        return Interrupted(what, retry_after_s=retry_after(error.headers.get("Retry-After", "")))
    if error.code in (401, 403):
        return Unreachable(f"{what}; a login is required, or the daily limit of this IP address is reached")
    return Unreachable(what)


def _sorted_reason(url: str, reason: object) -> Interrupted | Unreachable:
    if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
        return Unreachable(f"{url}: no such host")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Unreachable(f"{url}: its certificate is not valid ({reason.verify_message})")
    if isinstance(reason, EndlessHeaders):
        return Unreachable(f"{url}: {reason}")
    if isinstance(reason, TimeoutError):
        return Interrupted(f"{url}: the connection timed out")
    return Interrupted(f"{url}: the connection was lost ({redacted(_one_line(reason)) or type(reason).__name__})")


def retry_after(text: str) -> float | None:
    """
    Return the seconds that a Retry-After header asks to wait; None if it states no time that can be read.

    >>> retry_after("120"), retry_after("9" * 20), retry_after("-5"), retry_after("soon")
    (120.0, 1000000000.0, None, None)
    """
    stated = text.strip()
    if re.fullmatch(r"[0-9]{1,1000}", stated):
        return min(float(stated), _MOST_WAIT_S)
    try:
        seconds = email.utils.parsedate_to_datetime(stated).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(0.0, seconds), _MOST_WAIT_S) if math.isfinite(seconds) else None


def _one_line(value: object) -> str:
    """Return what a server says, as one short line without control characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())
    return line if len(line) <= 120 else line[:117] + "..."


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\s*[0-9]{1,18}\s*", text) else None


def _quoted(url: str) -> str:
    """Escape characters that manifests may contain unescaped (spaces, Chinese names), and keep existing escapes."""
    return urllib.parse.quote(url, safe=":/?#[]@!$&'()*+,;=%~")
