"""Fill one partial file from one place: streams, resuming, and consistency checks of the server's answers."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from uirdata.storage.files import free_bytes
from uirdata.storage.transfers.download_types import (
    Arrived,
    DownloadSource,
    Expected,
    Listener,
    Pace,
    TooLong,
    WrongBytes,
    mismatch,
)
from uirdata.storage.transfers.partial import ENDLESS, Partial
from uirdata.transfer import Incoming, Interrupted, RangeRefused, Unreachable, looks_like_html, page_title

_READ_BACK = 1 << 20
_SYNC_EVERY = 64 << 20
_OVERLAP = 4096
_PROGRESS = 16 << 10
_SPARE = 16 << 20
_SHARE_OF_DISK = 0.9


class Contradiction(Exception):
    """The file at the place is not the one that the partial file was begun with; the download must start again."""

    def __init__(self, message: str, *, ranges: bool = True) -> None:
        super().__init__(message)
        self.ranges = ranges


class Filling:
    """One attempt to fill a partial file from one place."""

    def __init__(
        self,
        part: Path,
        name: str,
        place: DownloadSource,
        expected: Expected,
        pace: Pace,
        listener: Listener,
        *,
        ranges: bool,
    ) -> None:
        self._part = part
        self._name = name
        self._place = place
        self._expected = expected
        self._pace = pace
        self._listener = listener
        self._ranges = ranges
        self._opened: Incoming | None = None
        self._url = place.name
        self._stop = threading.Event()
        self._errors: list[Exception] = []
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._begun = pace.clock()
        self._came = 0
        self._held_s = 0.0
        self._most = ENDLESS

    def run(self, target: Path) -> Arrived:
        """Download the file, check it, and rename it to its final name."""
        partial = self._begin()
        try:
            self._most = self._ceiling(partial.here)
            self._listener.start(partial.here, partial.total)
            sha256, md5 = self._fill(partial)
            for name, found in (("sha256", sha256), ("md5", md5)):
                if found and partial.promised.get(name, found) != found:
                    raise Contradiction(f"its {name} is {found}, the server stated {partial.promised[name]}")
            size = partial.total or 0
            wrong = mismatch(self._expected, size=size, sha256=sha256, md5=md5)
            if wrong and not self._expected.loose:
                raise WrongBytes(wrong)
            partial.finish(target)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.close()
            raise
        return Arrived(
            self._place.name, self._url, sha256, md5 if self._expected.md5 else "", size, differs=bool(wrong)
        )

    def _begin(self) -> Partial:
        partial = Partial.load(self._part)
        if partial is not None:
            # With a pinned hash any place may continue what another began: an error cannot stay unnoticed.
            if (partial.place == self._place.name or self._expected.sha256) and (self._ranges or partial.pieces == 1):
                if partial.place != self._place.name:
                    partial.validator = ""
                return partial
            partial.close()
        opened = self._retrying(lambda: self._place.open())
        self._opened = opened
        try:
            self._note(opened)
            if (
                not self._expected.loose
                and not self._expected.sha256
                and None not in (self._expected.size, opened.total)
                and self._expected.size != opened.total
            ):
                # With a hash the file is downloaded nevertheless, to find out whether it was only packed again.
                raise Unreachable(
                    f"{self._url} has {opened.total} bytes; {self._expected.said_by} says {self._expected.size}"
                )
            if opened.total is not None and opened.total > (free := free_bytes(self._part.parent)):
                # Another place may have another length, so this is not an error of the disk yet.
                raise Unreachable(
                    f"{self._url} has {opened.total:,} bytes, and {free:,} are free on the disk; free space and run "
                    "the same command again"
                )
            if opened.total is not None and opened.total > (self._expected.most or ENDLESS):
                raise Unreachable(f"{self._url} has {opened.total:,} bytes, expected at most {self._expected.most:,}")
            # Pieces of two versions would be joined if neither a validator nor a hash could tell.
            known = bool(opened.validator or self._expected.sha256)
            many = self._ranges and opened.ranges and self._place.connections > 1 and known
            whole = max(1, opened.total or 1)
            # A bound on the number of slots in the state file.
            piece = max(self._pace.piece_bytes, whole // 4096) if many else whole
            return Partial.create(
                self._part,
                place=self._place.name,
                validator=opened.validator,
                total=opened.total,
                piece_bytes=piece,
                promised=opened.digests,
            )
        except BaseException:
            opened.close()
            raise

    def _fill(self, partial: Partial) -> tuple[str, str]:
        count = max(1, min(self._place.connections, partial.pieces))
        threads = [threading.Thread(target=self._work, args=(partial,), daemon=True) for _ in range(count)]
        sha256 = hashlib.sha256()
        md5 = hashlib.md5(usedforsecurity=False) if self._expected.md5 or "md5" in partial.promised else None
        hashed = 0
        next_sync = partial.here + _SYNC_EVERY

        def follow() -> int:
            at = hashed
            while at < partial.frontier and not self._stop.is_set():
                block = partial.read(at, min(_READ_BACK, partial.frontier - at))
                sha256.update(block)
                if md5 is not None:
                    md5.update(block)
                at += len(block)
            return at

        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                hashed = follow()
                if partial.here >= next_sync:
                    partial.sync()
                    next_sync = partial.here + _SYNC_EVERY
                threads[0].join(timeout=0.1) if threads[0].is_alive() else time.sleep(0.02)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            if self._opened is not None:
                self._opened.close()
        if self._errors:
            # A contradiction explains the errors of the other streams.
            raise min(self._errors, key=lambda error: not isinstance(error, (Contradiction, RangeRefused)))
        if self._pace.cancel.is_set() and not partial.is_whole:
            raise Interrupted("interrupted; run the same command again to resume")
        self._stop.clear()
        hashed = follow()
        return sha256.hexdigest(), md5.hexdigest() if md5 is not None else ""

    def _work(self, partial: Partial) -> None:
        try:
            while not self._stopping() and (piece := self._next_piece(partial)) is not None:
                self._fetch_piece(partial, piece)
        except Exception as error:
            with self._lock:
                self._errors.append(error)
            self._stop.set()

    def _next_piece(self, partial: Partial) -> int | None:
        with self._lock:
            for piece in range(partial.pieces):
                if piece not in self._taken and not partial.is_done(piece):
                    self._taken.add(piece)
                    return piece
        return None

    def _fetch_piece(self, partial: Partial, piece: int) -> None:
        tries = 0
        while not partial.is_done(piece) and not self._stopping():
            before = partial.done(piece)
            reason = Interrupted("the stream ended early")
            try:
                self._stream(partial, piece)
            except Interrupted as error:
                reason = error
            if partial.is_done(piece) or self._stopping():
                return
            self._refuse_if_slow()
            tries = 1 if partial.done(piece) - before >= _PROGRESS else tries + 1
            if tries >= self._pace.attempts:
                raise Interrupted(f"{reason}; given up after {tries} attempts, the downloaded part is kept")
            self._wait(tries, reason.retry_after_s)

    def _stream(self, partial: Partial, piece: int) -> None:
        start, end = partial.span(piece)
        at = start + partial.done(piece)
        opened, self_opened = None, False
        with self._lock:
            if at == 0 and self._opened is not None:
                opened, self._opened, self_opened = self._opened, None, True
        # The last bytes on the disk are requested again and must be the same: servers state wrong validators.
        again = min(_OVERLAP, at - start)
        if opened is None:
            stop = None if partial.total is None or end >= partial.total else end
            opened = self._place.open(start=at - again, stop=stop, validator=partial.validator)
        try:
            if not self_opened:
                self._note(opened)
            skip = self._agreed(partial, opened, at - again)
            overlap = partial.read(at - again, again)
            blocks = _skipping(_peeked(self._watched(opened)), skip)
            for block in _after_overlap(blocks, overlap):
                if at == 0:
                    self._refuse_page(block)
                block = block[: end - at]
                if partial.total is None and at + len(block) > self._most:
                    raise TooLong(f"{self._url}: the server does not state a length, and {self._why_too_long()}")
                partial.write(piece, block)
                at += len(block)
                self._listener.advance(len(block))
                if at >= end:
                    return
                if self._stopping():
                    return
            if partial.total is None:
                partial.end_here()
        finally:
            opened.close()

    def _agreed(self, partial: Partial, opened: Incoming, wanted: int) -> int:
        """Check that the stream is of the same file; return how many of its first bytes are on the disk already."""
        if opened.validator and partial.validator and opened.validator != partial.validator:
            raise Contradiction(f"{self._url} changed during the download")
        if opened.total is not None and partial.total is not None and opened.total != partial.total:
            raise Contradiction(f"{self._url} has {opened.total} bytes now, but had {partial.total}")
        if opened.start == wanted:
            if not partial.validator:
                partial.validator = opened.validator
            return 0
        if opened.start != 0:
            raise Contradiction(
                f"{self._url} sent bytes from {opened.start} on, but {wanted} was requested", ranges=False
            )
        if partial.pieces > 1 or not partial.validator:
            raise Contradiction(f"{self._url} ignores byte ranges", ranges=False)
        return wanted

    def _watched(self, opened: Incoming) -> Iterator[bytes]:
        """Yield the received blocks, at the allowed speed; raise Interrupted if the stream is too slow."""
        clock = self._pace.clock
        window, came = clock(), 0
        for block in opened.chunks:
            if self._pace.limit is not None:
                held_s = self._pace.limit.take(len(block))
                window += held_s
                with self._lock:
                    self._held_s += held_s
            came += len(block)
            with self._lock:
                self._came += len(block)
            yield block
            if came >= self._pace.stall_bytes:
                window, came = clock(), 0
            elif clock() - window > self._pace.stall_s:
                raise Interrupted(f"{self._url}: only {came} bytes in {self._pace.stall_s:.0f} seconds")
            self._refuse_if_slow()

    def _refuse_if_slow(self) -> None:
        """Refuse a download that is slow for so long that it would not end; waits for the user's limit do not count."""
        taken_s = self._pace.clock() - self._begun - self._held_s
        if taken_s > self._pace.grace_s + self._came / self._pace.slowest_bytes_per_s:
            raise Unreachable(
                f"{self._url}: only {self._came:,} bytes in {taken_s / 60:.0f} minutes; given up, the downloaded part "
                "is kept"
            )

    def _ceiling(self, here: int) -> int:
        """Return how many bytes a file of unstated length may have at most."""
        if self._expected.size is not None:
            # More than expected: only a whole file can be compared with the one that was expected.
            return 2 * self._expected.size + _SPARE
        return min(self._expected.most or ENDLESS, here + int(_SHARE_OF_DISK * free_bytes(self._part.parent)))

    def _why_too_long(self) -> str:
        if self._expected.size is not None:
            return f"sent over {self._most:,} bytes; {self._expected.said_by} says {self._expected.size:,}"
        if self._expected.most == self._most:
            return f"sent over {self._most:,} bytes, which are too many"
        return f"sent over {self._most:,} bytes, most of the free space of the disk; nothing of it is kept"

    def _refuse_page(self, block: bytes) -> None:
        if looks_like_html(block) and not self._name.lower().endswith((".html", ".htm")):
            title = page_title(block)
            raise Unreachable(
                f"{self._url}: the server sent an HTML page instead of the file"
                + (f" ({title!r})" if title else "")
                + "; "
                "the link is broken, or requires a login or a click: open it in a browser and use --from"
            )

    def _note(self, opened: Incoming) -> None:
        self._url = opened.url

    def _retrying(self, ask: Callable[[], Incoming]) -> Incoming:
        for tries in range(1, self._pace.attempts + 1):
            try:
                return ask()
            except Interrupted as error:
                if tries == self._pace.attempts or self._stopping():
                    raise Interrupted(f"{error}; given up after {tries} attempts") from error
                self._wait(tries, error.retry_after_s)
        raise AssertionError("unreachable")

    def _wait(self, tries: int, retry_after_s: float | None) -> None:
        if retry_after_s is not None and retry_after_s > self._pace.longest_retry_after_s:
            raise Unreachable(f"{self._url} asks to retry after {retry_after_s / 60:.0f} minutes")
        wait = min(self._pace.longest_wait_s, self._pace.first_wait_s * 2.0 ** (tries - 1)) * random.uniform(0.5, 1.0)
        until = time.monotonic() + max(wait, retry_after_s or 0.0)
        while (left := until - time.monotonic()) > 0 and not self._stopping():
            self._stop.wait(min(left, 0.5))

    def _stopping(self) -> bool:
        return self._stop.is_set() or self._pace.cancel.is_set()


def _peeked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Gather the first 512 bytes into one block, so that an HTML page can be recognised."""
    head = b""
    for block in chunks:
        head += block
        if len(head) >= 512:
            break
    if head:
        yield head
    yield from chunks


def _skipping(blocks: Iterator[bytes], skip: int) -> Iterator[bytes]:
    for block in blocks:
        if skip >= len(block):
            skip -= len(block)
            continue
        yield block[skip:]
        skip = 0


def _after_overlap(blocks: Iterator[bytes], overlap: bytes) -> Iterator[bytes]:
    """Yield what follows the overlap, after checking that the overlap equals the bytes on the disk."""
    for block in blocks:
        if overlap:
            shared = min(len(overlap), len(block))
            if block[:shared] != overlap[:shared]:
                raise Contradiction("the file has changed since its download began")
            overlap, block = overlap[shared:], block[shared:]
        if block:
            yield block
