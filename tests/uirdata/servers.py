"""File servers on 127.0.0.1: a correct one, and one with every possible fault."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Habits:
    """
    Faults of a server.

    Attributes:
        drop_after: the connection is closed after this number of bytes of each response.
        ignore_range: every response is the whole file.
        length_lie: added to the stated length.
        busy: statuses of the first responses, such as 429.
        retry_after: header of those.
        page: every response is an HTML page, with status 200.
        etag: "same", "none", "weak", or "new" with each response.
        stall_after: the first response stops after this number of bytes.
        accept_ranges: state that ranges are served, even if they are ignored.
        bytes_per_s: speed.
        no_length: do not state the length.
    """

    drop_after: int | None = None
    ignore_range: bool = False
    length_lie: int = 0
    busy: list[int] = field(default_factory=list)
    retry_after: str = ""
    page: bool = False
    etag: str = "same"
    stall_after: int | None = None
    accept_ranges: bool = True
    bytes_per_s: float | None = None
    no_length: bool = False


PAGE = b"<!DOCTYPE html><html><head><title>Quota exceeded</title></head><body>Sorry</body></html>"


class FileServer:
    """Serves files by path, and records the requests."""

    def __init__(self, files: dict[str, bytes], habits: Habits) -> None:
        self.files = files
        self.habits = habits
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._serve(self)

            def do_HEAD(self) -> None:
                outer._serve(self)

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # Otherwise closing would wait for a connection that stalls on purpose.
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._closing = threading.Event()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self.server.shutdown()
        self.server.server_close()

    def _serve(self, ask: BaseHTTPRequestHandler) -> None:
        path = ask.path.partition("?")[0]
        with self._lock:
            self.requests.append((ask.path, ask.headers.get("Range", "")))
            self.headers.append(dict(ask.headers.items()))
            count = len(self.requests)
            busy = self.habits.busy.pop(0) if self.habits.busy else 0
        ask.close_connection = True
        if path in self.routes:
            self.routes[path](ask)
            return
        if busy:
            ask.send_response(busy)
            if self.habits.retry_after:
                ask.send_header("Retry-After", self.habits.retry_after)
            ask.send_header("Content-Length", "0")
            ask.end_headers()
            return
        if path not in self.files:
            ask.send_error(404)
            return
        self._send(ask, PAGE if self.habits.page else self.files[path], count)

    def _send(self, ask: BaseHTTPRequestHandler, content: bytes, count: int) -> None:
        habits = self.habits
        tag = {"same": f'"{hashlib.md5(content).hexdigest()}"', "weak": 'W/"weak"', "new": f'"{count}"'}.get(
            habits.etag, ""
        )
        start, stop, status = 0, len(content), 200
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", ask.headers.get("Range", ""))
        wanted = ask.headers.get("If-Range", "")
        if match and not habits.ignore_range and (not wanted or wanted == tag):
            start, status = int(match[1]), 206
            stop = min(len(content), int(match[2]) + 1) if match[2] else len(content)
            if start >= len(content):
                ask.send_response(416)
                ask.send_header("Content-Range", f"bytes */{len(content)}")
                ask.send_header("Content-Length", "0")
                ask.end_headers()
                return
        ask.send_response(status)
        if not habits.no_length:
            ask.send_header("Content-Length", str(max(0, stop - start + habits.length_lie)))
        if status == 206:
            ask.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        if habits.accept_ranges:
            ask.send_header("Accept-Ranges", "bytes")
        if tag:
            ask.send_header("ETag", tag)
        ask.send_header("Content-Type", "text/html" if habits.page else "application/octet-stream")
        ask.end_headers()
        if ask.command != "HEAD":
            self._body(ask, content[start:stop], first=count == 1)

    def _body(self, ask: BaseHTTPRequestHandler, body: bytes, *, first: bool) -> None:
        habits = self.habits
        end = len(body) if habits.drop_after is None else min(len(body), habits.drop_after)
        at = 0
        while at < end:
            step = max(512, min(8192, int(habits.bytes_per_s / 20))) if habits.bytes_per_s else 65536
            if first and habits.stall_after is not None:
                if at >= habits.stall_after:
                    self._closing.wait(30)
                    return
                step = min(step, habits.stall_after - at)
            block = body[at : min(end, at + step)]
            ask.wfile.write(block)
            at += len(block)
            if habits.bytes_per_s:
                time.sleep(len(block) / habits.bytes_per_s)
        if end < len(body):
            ask.wfile.flush()
            # A reset instead of an orderly close.
            ask.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ask.connection.close()


@contextmanager
def serving(files: dict[str, bytes], habits: Habits | None = None) -> Iterator[FileServer]:
    """Serve files while the block runs."""
    server = FileServer(files, habits if habits is not None else Habits())
    try:
        yield server
    finally:
        server.close()


@contextmanager
def answering(answer: Callable[[socket.socket, str], None]) -> Iterator[str]:
    """
    Answer each connection with raw bytes while the block runs; yield the URL.

    Args:
        answer: is given the connection and the head of the request; the connection is closed afterwards.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (block := connection.recv(65536)):
                head += block
            answer(connection, head.decode("latin-1"))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Closing alone would not wake the thread that accepts.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def send_bytes(ask: BaseHTTPRequestHandler, body: bytes, content_type: str, status: int = 200, **headers: str) -> None:
    """Send the response of a route."""
    ask.send_response(status)
    ask.send_header("Content-Type", content_type)
    ask.send_header("Content-Length", str(len(body)))
    ask.send_header("Connection", "close")
    for name, value in headers.items():
        ask.send_header(name.replace("_", "-"), value)
    ask.end_headers()
    if ask.command != "HEAD":
        ask.wfile.write(body)
