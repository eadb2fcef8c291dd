"""Servers that mean harm, or are broken: every answer ends, with the right bytes or with one sentence."""

from __future__ import annotations

import gzip
import math
import socket
import time
import zlib

import pytest

from tests.uirdata.servers import answering, send_bytes, serving
from uirdata.errors import DownloadError
from uirdata.hosts import connections
from uirdata.hosts.http import Http
from uirdata.hosts.web import WebClient, retry_after
from uirdata.transfer import Incoming, Interrupted, Unreachable

DATA = bytes(range(256)) * 8
OK = b"HTTP/1.1 200 OK\r\n"


def body(incoming: Incoming) -> bytes:
    return b"".join(incoming.chunks)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# What is sent first, what is sent again and again, and the pause between.
ENDLESS = {
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
    "slow interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "a slow head": (b"", b"H", 0.01),
    "headers": (OK, b"X-Name: " + b"v" * 60_000 + b"\r\n", 0.0),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Trailer: 1\r\n" * 1000, 0.0),
    "slow trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Trailer: 1\r\n", 0.01),
    "a slow chunk size": (CHUNKED, b"0", 0.01),
}


def again_and_again(sock: socket.socket, block: bytes, wait_s: float = 0.0) -> None:
    """Send a block for ever, until the other side closes."""
    while True:
        sock.sendall(block)
        if wait_s:
            time.sleep(wait_s)


@pytest.mark.parametrize("kind", list(ENDLESS))
def test_a_response_without_an_end_is_given_up(kind: str) -> None:
    first, block, wait_s = ENDLESS[kind]

    def answer(sock: socket.socket, _: str) -> None:
        sock.sendall(first)
        again_and_again(sock, block, wait_s)

    with answering(answer) as url:
        begin = time.monotonic()
        with pytest.raises(DownloadError) as caught:
            body(Http(WebClient(stall_s=0.1)).open(url + "/f"))
        assert time.monotonic() - begin < 5
    assert "\n" not in str(caught.value)


def test_a_page_that_comes_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uirdata.hosts.web._PAGE_S", 0.05)

    def slowly(sock: socket.socket, _: str) -> None:
        sock.sendall(OK + b"\r\n")
        again_and_again(sock, b"x", 0.005)

    with answering(slowly) as url, pytest.raises(Interrupted, match="bytes of the page in 0 seconds"):
        WebClient(stall_s=5).page(url)


def test_the_body_of_a_redirect_is_not_read() -> None:
    def redirect(sock: socket.socket, head: str) -> None:
        if head.startswith("GET /there"):
            sock.sendall(OK + b"Content-Length: 2\r\n\r\nok")
            return
        sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
        again_and_again(sock, b"x" * 65536)

    with answering(redirect) as url:
        assert body(Http(WebClient(stall_s=1)).open(url + "/f")) == b"ok"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "not an http or https URL"),
        ("ftp://example.org/f", "not an http or https URL"),
        ("gopher://example.org/", "not an http or https URL"),
        ("http://", "not an http or https URL"),
        ("http:///f", "not an http or https URL"),
        ("http://[::1/f", "not an http or https URL"),
        ("http://example.org:99999999/f", "not an http or https URL"),
        ("//", "redirects in a circle"),
        ("", "does not say where to"),
        ("/" + "x" * 20_000, "to a URL of 20,001 characters"),
        ("/go", "redirects in a circle"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_one_sentence(location: str, words: str) -> None:
    with serving({}) as server:
        server.routes["/go"] = lambda ask: send_bytes(ask, b"", "text/plain", 302, Location=location)
        with pytest.raises(Unreachable, match=words) as caught:
            Http(WebClient()).open(server.url + "/go")
        assert "\n" not in str(caught.value)
        assert len(server.requests) < 6


def test_three_hundred_redirects_are_too_many() -> None:
    with serving({}) as server:
        for number in range(301):
            server.routes[f"/{number}"] = lambda ask, n=number: send_bytes(  # type: ignore[misc]
                ask, b"", "text/plain", 302, Location=f"/{n + 1}"
            )
        with pytest.raises(Unreachable, match="more than 10 times in a row"):
            Http(WebClient()).open(server.url + "/0")
        assert len(server.requests) == 11


def test_a_few_redirects_are_followed_also_to_the_same_url() -> None:
    seen = []

    def set_cookie(ask: object) -> None:
        seen.append(ask)
        if len(seen) == 1:
            send_bytes(ask, b"", "text/plain", 302, Location="/go", Set_Cookie="a=1")  # type: ignore[arg-type]
        else:
            send_bytes(ask, b"", "text/plain", 302, Location="/f%20\xe4?x=\xc3\xa4")  # type: ignore[arg-type]

    with serving({"/f%20%E4": DATA}) as server:
        server.routes["/go"] = set_cookie
        assert body(Http(WebClient()).open(server.url + "/go")) == DATA


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    with pytest.raises(Unreachable, match=r"from https to http://example\.org/f, where anyone on the way may change"):
        connections._target("https://example.org/f", "http://example.org/f")
    assert connections._target("http://example.org/f", "https://example.org") == "https://example.org/"
    assert connections._target("https://example.org/a/b", "c?d=e f") == "https://example.org/a/c?d=e%20f"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("9" * 20, 1e9),
        ("9" * 900, 1e9),
        ("9" * 9000, None),
        ("-5", None),
        ("1.5", None),
        ("\xb2", None),
        ("NaN", None),
        ("soon", None),
        ("", None),
        ("Mon, 01 Jan 0001 00:00:00 -0000", None),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9),
    ],
)
def test_a_time_to_come_back_at_is_read_or_ignored(header: str, seconds: float | None) -> None:
    found = retry_after(header)
    if header.startswith("Mon, 01 Jan 0001"):
        assert found in (None, 0.0)
    else:
        assert found == seconds
    assert found is None or math.isfinite(found)


@pytest.mark.parametrize("encoding", ["gzip", "X-GZIP"])
def test_gzip_that_nobody_asked_for_is_undone(encoding: str) -> None:
    packed = gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:])
    with serving({}) as server:
        server.routes["/f"] = lambda ask: send_bytes(
            ask, packed, "application/zip", Content_Encoding=encoding, ETag='"x"', Accept_Ranges="bytes"
        )
        incoming = Http(WebClient()).open(server.url + "/f")
        assert (incoming.total, incoming.validator, incoming.ranges) == (None, "", False)
        assert body(incoming) == DATA


def test_a_file_that_is_a_gz_itself_keeps_its_bytes() -> None:
    packed = gzip.compress(DATA)
    with serving({}) as server:
        server.routes["/f.tar.gz"] = lambda ask: send_bytes(ask, packed, "application/x-tar", Content_Encoding="x-gzip")
        incoming = Http(WebClient()).open(server.url + "/f.tar.gz")
        assert incoming.total == len(packed)
        assert body(incoming) == packed


@pytest.mark.parametrize("damage", ["cut", "flipped", "none at all"])
def test_gzip_that_is_damaged_on_the_way_is_a_lost_connection(damage: str) -> None:
    packed = bytearray(gzip.compress(DATA))
    if damage == "cut":
        del packed[-12:]
    elif damage == "flipped":
        packed[-6] ^= 1
    else:
        packed[:] = DATA
    with serving({}) as server:
        server.routes["/f"] = lambda ask: send_bytes(ask, bytes(packed), "text/plain", Content_Encoding="gzip")
        with pytest.raises(Interrupted, match="the connection was lost"):
            body(Http(WebClient()).open(server.url + "/f"))


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "\x1b[31m"])
def test_another_encoding_is_refused(encoding: str) -> None:
    with serving({}) as server:
        server.routes["/f"] = lambda ask: send_bytes(ask, zlib.compress(DATA), "text/plain", Content_Encoding=encoding)
        with pytest.raises(Unreachable, match="although it was asked for none") as caught:
            Http(WebClient()).open(server.url + "/f")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 299 \x1b[31mred\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-" + b"9" * 5000 + b"/5\r\n\r\n",
        b"HTTP/1.1 206 Partial\r\nContent-Range: pages 1-2/3\r\n\r\n",
        b"HTTP/1.1 404 " + b"x" * 5000 + b"\x1b[31m\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99999999 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
        b"\x00" * 200_000,
        OK + b"X: y\r\n" * 200 + b"\r\n",
        OK + b"Content-Length: -5\r\n\r\n" + b"HTTP",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nshort",
    ],
)
def test_an_odd_answer_is_one_short_sentence_or_bytes(head: bytes) -> None:
    def answer(sock: socket.socket, _: str) -> None:
        sock.sendall(head)

    with answering(answer) as url:
        said = outcome(url + "/f")
    assert said in ("", "HTTP") or (said.isprintable() and len(said) < 400 and url in said)


def outcome(url: str) -> str:
    """Return the text of a URL, or the error."""
    try:
        return body(Http(WebClient(stall_s=1)).open(url)).decode()
    except DownloadError as error:
        return str(error)


@pytest.mark.parametrize("url", ["http://[::1", "http://", "http:///f", "http://h:0/f", "http://h:x/", "nonsense"])
def test_an_odd_address_is_refused(url: str) -> None:
    with pytest.raises(Unreachable, match="is not an http or https URL"):
        Http(WebClient()).open(url)


def test_a_host_name_that_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(DownloadError):
        Http(WebClient()).open("http://" + "a" * 70 + ".example/f")
    with pytest.raises(DownloadError):
        Http(WebClient()).open("http://a..b/f")


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "NaN", ""])
def test_json_of_a_server_is_bounded(text: str) -> None:
    with serving({}) as server:
        server.routes["/j"] = lambda ask: send_bytes(ask, text.encode(), "application/json")
        with pytest.raises(Unreachable, match="expected JSON"):
            WebClient().json(server.url + "/j")
