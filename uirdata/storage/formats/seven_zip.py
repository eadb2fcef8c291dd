"""7z archives as a stream: py7zr pushes the files that it unpacks, and the reader pulls them through a short queue."""

from __future__ import annotations

import importlib
import io
import queue
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

_BLOCKS = 16

_Item = tuple[str, bytes | None]


class _Stopped(Exception):
    """The reader has stopped."""


def opened(py7zr: Any, whole: BinaryIO) -> Any:
    """Return an open `py7zr.SevenZipFile`; its errors become those that the reader of archives knows."""
    try:
        return py7zr.SevenZipFile(whole)
    except py7zr.exceptions.ArchiveError as error:
        raise _readable(error) from error


def pushed_members(archive: Any) -> Iterator[tuple[str, io.RawIOBase]]:
    """
    Yield (name, stream) of each file of an open `py7zr.SevenZipFile`.

    Each stream is read before the next one is requested; the unread rest of it is discarded.
    """
    py7zr: Any = importlib.import_module("py7zr")

    items: queue.Queue[_Item | BaseException | None] = queue.Queue(_BLOCKS)
    stopped = threading.Event()

    def put(item: _Item | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.2)
            except queue.Full:
                continue
            return
        raise _Stopped

    class Pusher(py7zr.Py7zIO):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self._name = name
            self._size = 0
            put((name, None))

        def write(self, s: bytes | bytearray) -> int:
            self._size += len(s)
            put((self._name, bytes(s)))
            return len(s)

        def read(self, _: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, _: int = 0) -> int:
            return offset

        def flush(self) -> None:
            pass

        def size(self) -> int:
            return self._size

    class Factory(py7zr.WriterFactory):  # type: ignore[misc]
        def create(self, filename: str) -> Pusher:
            return Pusher(filename)

    def work() -> None:
        try:
            archive.extractall(factory=Factory())
            put(None)
        except _Stopped:
            return
        except Exception as error:
            try:
                put(error)
            except _Stopped:
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    stream = _Stream(items)
    try:
        while (name := stream.next_name()) is not None:
            yield name, stream
    finally:
        stopped.set()
        thread.join()


class _Stream(io.RawIOBase):
    """The file that is being pushed; it ends where the next one begins."""

    def __init__(self, items: queue.Queue[_Item | BaseException | None]) -> None:
        super().__init__()
        self._items = items
        self._block = b""
        self._next: _Item | None = None
        self._over = False

    def next_name(self) -> str | None:
        """Return the name of the next file; None after the last one."""
        while self._pull():
            self._block = b""
        if self._over or self._next is None:
            return None
        name, self._next = self._next[0], None
        return name

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read some bytes of this file; 0 at its end."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        if not self._block and not self._pull():
            return 0
        size = min(len(view), len(self._block))
        view[:size] = self._block[:size]
        self._block = self._block[size:]
        return size

    def close(self) -> None:
        """Do nothing: the next file comes through the same stream."""

    def _pull(self) -> bool:
        """Take the next block of this file; return False at its end."""
        if self._over or self._next is not None:
            return False
        item = self._items.get()
        if isinstance(item, BaseException):
            self._over = True
            raise _readable(item) from item
        if item is None:
            self._over = True
            return False
        if item[1] is None:
            self._next = item
            return False
        self._block = item[1]
        return bool(self._block) or self._pull()


def _readable(error: BaseException) -> Exception:
    """Return an error of py7zr as one that the reader of archives knows."""
    if type(error).__name__ == "UnsupportedCompressionMethodError":
        return NotImplementedError(f"its compression is not read by py7zr ({error})")
    return RuntimeError(f"py7zr: {error or type(error).__name__}")
