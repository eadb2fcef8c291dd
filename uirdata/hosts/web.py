"""The HTTP client of all hosts: ranges, validators, redirects, cookies; errors are temporary or permanent."""

from __future__ import annotations

import base64
import email.utils
import http.client
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar
from typing import Any

from uirdata.transfer import Incoming, Interrupted, RangeRefused, Unreachable, redacted

LATER = frozenset({408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524})
"""Statuses that may change after a while."""

_PAGE_LIMIT = 8 << 20


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
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPRedirectHandler(),
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
            # A weak ETag must not be sent here (RFC 9110, 13.1.5).
            if validator and not validator.startswith("W/"):
                headers["If-Range"] = validator
        response = self._ask(url, headers, secret_headers or {})
        return _incoming(response)

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
        text = read_text(_incoming(self._ask(url, headers, secret_headers or {}, data)))
        try:
            return json.loads(text)
        except ValueError:
            raise Unreachable(f"{redacted(url)}: expected JSON, got {text[:80]!r}") from None

    def _ask(
        self, url: str, headers: Mapping[str, str], secret_headers: Mapping[str, str], data: bytes | None = None
    ) -> http.client.HTTPResponse:
        name = redacted(url)
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:
            raise Unreachable(f"{name!r} is not a valid URL") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Unreachable(f"{name!r} is not an http or https URL")
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
        if response is None:
            raise Unreachable(f"{name}: redirects to a URL that is neither http nor https")
        return response  # type: ignore[no-any-return]


def read_text(incoming: Incoming) -> str:
    """Return the text of a short stream, and close it."""
    parts: list[bytes] = []
    size = 0
    try:
        for block in incoming.chunks:
            parts.append(block)
            size += len(block)
            if size > _PAGE_LIMIT:
                raise Unreachable(f"{incoming.url}: the page is larger than {_PAGE_LIMIT >> 20} MiB")
    finally:
        incoming.close()
    return b"".join(parts).decode("utf-8", "replace")


def _incoming(response: http.client.HTTPResponse) -> Incoming:
    headers = response.headers
    length = _number(headers.get("Content-Length"))
    start, total = 0, length
    if response.status == 206:
        match = re.fullmatch(r"\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", headers.get("Content-Range", ""))
        if not match:
            response.close()
            raise Unreachable(f"{redacted(response.url)}: answers 206 without a byte range")
        start, total = int(match[1]), _number(match[3])
    return Incoming(
        url=redacted(response.url),
        start=start,
        total=total,
        validator=_validator(headers),
        ranges=response.status == 206 or headers.get("Accept-Ranges", "").strip().lower() == "bytes",
        content_type=headers.get("Content-Type", ""),
        chunks=_chunks(response),
        close=response.close,
        digests=_digests(headers),
    )


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        # read1 returns what has arrived; read would wait for the whole block, and a slow connection would look stalled.
        while block := response.read1(1 << 18):
            yield block
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _sorted_reason(redacted(response.url), error) from error
    finally:
        response.close()


def _validator(headers: http.client.HTTPMessage) -> str:
    tag = headers.get("ETag", "").strip()
    if tag and not tag.startswith("W/"):
        return tag
    return headers.get("Last-Modified", "").strip() or tag


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
    what = f"{url}: the server answers {error.code} {error.reason}"
    if error.code == 416:
        return RangeRefused(what)
    if error.code in LATER:
        return Interrupted(what, retry_after_s=_retry_after(error.headers.get("Retry-After", "")))
    if error.code in (401, 403):
        return Unreachable(f"{what}; a login is required, or the daily limit of this IP address is reached")
    return Unreachable(what)


def _sorted_reason(url: str, reason: object) -> Interrupted | Unreachable:
    if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
        return Unreachable(f"{url}: no such host")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Unreachable(f"{url}: its certificate is not valid ({reason.verify_message})")
    if isinstance(reason, TimeoutError):
        return Interrupted(f"{url}: the connection timed out")
    return Interrupted(f"{url}: the connection was lost ({redacted(str(reason)) or type(reason).__name__})")


def _retry_after(text: str) -> float | None:
    if not text.strip():
        return None
    seconds = _number(text)
    if seconds is not None:
        return float(seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\s*[0-9]{1,18}\s*", text) else None


def _quoted(url: str) -> str:
    """Escape characters that manifests may contain unescaped (spaces, Chinese names), and keep existing escapes."""
    return urllib.parse.quote(url, safe=":/?#[]@!$&'()*+,;=%~")
