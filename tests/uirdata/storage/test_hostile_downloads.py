"""Downloads from servers that are slow, endless or wrong: they end, and versions of a file are never joined."""

from __future__ import annotations

import errno
import functools
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.uirdata.servers import Habits, answering, serving
from uirdata.errors import DownloadError, StorageError
from uirdata.hosts.http import Http
from uirdata.hosts.web import WebClient
from uirdata.storage.downloads import DownloadSource, Expected, Pace, RateLimit, download
from uirdata.storage.transfers.partial import Partial, bytes_here
from uirdata.transfer import Incoming

QUICK = Pace(attempts=2, first_wait_s=0.001, longest_wait_s=0.002, stall_s=0.3, piece_bytes=32 << 10)
CONTENT = random.Random(7).randbytes(300_000)


def place(url: str, connections: int = 1, stall_s: float = 0.3) -> DownloadSource:
    host = Http(WebClient(stall_s=stall_s))
    return DownloadSource(url, functools.partial(host.open, url), connections)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def sending(blocks: Callable[[int], Iterator[bytes]], total: int | None = None, validator: str = "") -> DownloadSource:
    """Return a place that sends what a function yields from an offset on."""

    def open_at(*, start: int = 0, stop: int | None = None, validator: str = validator) -> Incoming:
        return Incoming("http://x/f", start, total, validator, True, "", blocks(start), lambda: None)

    return DownloadSource("http://x/f", open_at)


# Versions of a file


@pytest.mark.parametrize("etag", ["weak", "none"])
def test_two_versions_with_one_weak_etag_are_not_joined(tmp_path: Path, etag: str) -> None:
    with serving({"/f": CONTENT}, Habits(drop_after=100_000, etag=etag)) as server:
        with pytest.raises(DownloadError):
            download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=replace(QUICK, attempts=1))
        server.habits.drop_after = None
        server.files["/f"] = changed = bytes(reversed(CONTENT))
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == changed


def test_two_versions_with_one_strong_etag_are_not_joined(tmp_path: Path) -> None:
    changed = bytes(reversed(CONTENT))

    def blocks(content: bytes, end: int, start: int) -> Iterator[bytes]:
        yield content[start:end]

    first = sending(functools.partial(blocks, CONTENT, 100_000), len(CONTENT), '"same"')
    second = sending(functools.partial(blocks, changed, len(changed)), len(CONTENT), '"same"')
    with pytest.raises(DownloadError):
        download(tmp_path / "f", [first], Expected(), pace=replace(QUICK, attempts=1))
    assert bytes_here(tmp_path / "f.part") == 100_000
    download(tmp_path / "f", [second], Expected(), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == changed


@pytest.mark.parametrize(("etag", "several"), [("same", True), ("weak", False), ("none", False)])
def test_several_streams_need_a_way_to_tell_versions_apart(tmp_path: Path, etag: str, several: bool) -> None:
    with serving({"/f": CONTENT}, Habits(etag=etag)) as server:
        download(tmp_path / "f", [place(server.url + "/f", 3)], Expected(), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (len(server.requests) > 1) == several


# Slow and endless


def test_a_byte_now_and_then_is_given_up_before_the_first_block(tmp_path: Path) -> None:
    def drip(sock: socket.socket, _: str) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            sock.sendall(b"x")
            time.sleep(0.01)

    with answering(drip) as url:
        begin = time.monotonic()
        with pytest.raises(DownloadError, match="bytes in 0 seconds; given up after 2 attempts"):
            download(tmp_path / "f", [place(url, stall_s=5)], Expected(), pace=replace(QUICK, stall_s=0.1))
        assert time.monotonic() - begin < 2


def test_the_longest_time_grows_with_the_size_and_ends(tmp_path: Path) -> None:
    clock = Clock()

    def slowly(start: int) -> Iterator[bytes]:
        while True:
            # Just over the floor of speed of one window.
            clock.now += 59.0
            yield b"x" * 17_000

    pace = Pace(clock=clock, grace_s=3600.0, slowest_bytes_per_s=1024.0)
    with pytest.raises(DownloadError, match=r"only [\d,]+ bytes in \d+ minutes; given up, the downloaded part is kept"):
        download(tmp_path / "f", [sending(slowly, 10**9)], Expected(), pace=pace)
    assert 3600 < clock.now < 3600 + 2 * 3600
    assert bytes_here(tmp_path / "f.part") > 10**6


def test_a_slow_download_that_is_fast_enough_ends_well(tmp_path: Path) -> None:
    clock = Clock()

    def slowly(start: int) -> Iterator[bytes]:
        for _ in range(100):
            clock.now += 100.0
            yield b"x" * 20_000

    pace = Pace(clock=clock, grace_s=60.0, slowest_bytes_per_s=199.0)
    assert download(tmp_path / "f", [sending(slowly, 2_000_000)], Expected(), pace=pace).bytes == 2_000_000


def test_the_time_that_the_users_limit_takes_does_not_count(tmp_path: Path) -> None:
    clock = Clock()

    class Slow(RateLimit):
        def take(self, size: int) -> float:
            clock.now += size
            return float(size)

    def blocks(start: int) -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    pace = Pace(clock=clock, grace_s=60.0, stall_s=5.0, limit=Slow(1.0))
    assert download(tmp_path / "f", [sending(blocks, 20_000)], Expected(), pace=pace).bytes == 20_000


def endless(start: int) -> Iterator[bytes]:
    while True:
        yield b"x" * (1 << 20)


def test_a_body_of_no_length_stops_before_the_disk_is_full_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uirdata.storage.transfers.streams.free_bytes", lambda _: 4 << 20)
    with pytest.raises(DownloadError, match=r"does not state a length, and sent over .* most of the free space"):
        download(tmp_path / "f", [sending(endless)], Expected(), pace=QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loose", [False, True])
def test_a_body_of_no_length_is_bounded_by_the_expected_size(tmp_path: Path, loose: bool) -> None:
    def whole(start: int) -> Iterator[bytes]:
        yield CONTENT

    places = [sending(endless), sending(whole, len(CONTENT))]
    with pytest.raises(DownloadError, match="the manifest says 1,000"):
        download(tmp_path / "f", places[:1], Expected(1000, loose=loose), pace=QUICK)
    assert list(tmp_path.iterdir()) == []
    # The next mirror is asked.
    assert download(tmp_path / "f", places, Expected(len(CONTENT)), pace=QUICK).bytes == len(CONTENT)


@pytest.mark.parametrize("total", [None, 10_000_000])
def test_a_file_of_unknown_size_may_have_a_limit(tmp_path: Path, total: int | None) -> None:
    with pytest.raises(DownloadError, match=r"at most 1,000,000|over 1,000,000 bytes, which are too many"):
        download(tmp_path / "f", [sending(endless, total)], Expected(most=1_000_000), pace=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_the_stated_length_are_not_read(tmp_path: Path) -> None:
    def too_many(start: int) -> Iterator[bytes]:
        yield CONTENT
        yield from endless(start)

    assert download(tmp_path / "f", [sending(too_many, len(CONTENT))], Expected(), pace=QUICK).bytes == len(CONTENT)
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("header", ["9" * 20, "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 900])
def test_a_server_that_asks_to_wait_for_years_is_given_up(tmp_path: Path, header: str) -> None:
    with (
        serving({"/f": b"x"}, Habits(busy=[503], retry_after=header)) as server,
        pytest.raises(DownloadError, match=r"asks to retry after \d+ minutes"),
    ):
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)


@pytest.mark.parametrize("header", ["-5", "soon", "Mon, 01 Jan 0001 00:00:00 -0000"])
def test_a_time_to_wait_that_means_nothing_is_not_waited_for(tmp_path: Path, header: str) -> None:
    with serving({"/f": b"x"}, Habits(busy=[503], retry_after=header)) as server:
        assert download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK).bytes == 1


# The state of a partial file


def partial(folder: Path) -> Path:
    path = folder / "f.part"
    made = Partial.create(path, place="p", validator="v", total=100, piece_bytes=30, promised={"md5": "ab" * 16})
    made.write(0, b"a" * 30)
    made.write(1, b"b" * 10)
    made.close()
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"total": -1},
        {"total": 10**30},
        {"total": "100"},
        {"total": 5},
        {"piece_bytes": 0},
        {"piece_bytes": -7},
        {"piece_bytes": 1.5},
        {"piece_bytes": None},
        {"promised": ["md5"]},
        {"promised": {"md5": "../x"}},
        {"promised": None},
        {"place": None},
        {"validator": 5},
        {"boot": []},
        {"format": 2},
        {"format": None},
    ],
)
def test_a_state_of_another_form_is_not_resumed(tmp_path: Path, change: dict[str, object]) -> None:
    path = partial(tmp_path)
    assert bytes_here(path) == 40
    state = path.with_name("f.part.state")
    data = state.read_bytes()
    state.write_bytes(json.dumps(json.loads(data[:8192]) | change).encode().ljust(8192) + data[8192:])
    assert Partial.load(path) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 8192 + 64 - 1), block=st.binary(min_size=1, max_size=40), cut=st.integers(0, 8300))
def test_a_damaged_state_gives_no_state_or_one_within_its_file(tmp_path: Path, at: int, block: bytes, cut: int) -> None:
    path = partial(tmp_path)
    state = path.with_name("f.part.state")
    data = bytearray(state.read_bytes())
    data[at : at + len(block)] = block
    state.write_bytes(bytes(data) if cut % 2 else bytes(data[:cut]))
    found = Partial.load(path)
    if found is not None:
        assert all(0 <= found.done(piece) <= 30 for piece in range(found.pieces))
        assert found.here <= 40
        found.close()


def test_a_very_long_validator_does_not_break_the_state(tmp_path: Path) -> None:
    made = Partial.create(tmp_path / "f.part", place="p" * 9000, validator="v" * 9000, total=100, piece_bytes=100)
    made.write(0, b"a" * 60)
    made.close()
    again = Partial.load(tmp_path / "f.part")
    assert again is not None
    assert (again.here, again.total, again.place, again.validator) == (60, 100, "", "")
    again.close()


# File systems


@pytest.mark.parametrize("name", ["n" * 255, "雪" * 85])
def test_a_file_with_the_longest_name_is_downloaded_and_resumed(tmp_path: Path, name: str) -> None:
    with serving({"/f": CONTENT}, Habits(drop_after=100_000)) as server:
        with pytest.raises(DownloadError):
            download(tmp_path / name, [place(server.url + "/f")], Expected(), pace=replace(QUICK, attempts=1))
        download(tmp_path / name, [place(server.url + "/f")], Expected(), pace=QUICK)
        assert server.requests[1][1] == f"bytes={100_000 - 4096}-"
        with pytest.raises(DownloadError, match=r"It is kept as .*\.rejected"):
            download(tmp_path / name, [place(server.url + "/f")], Expected(sha256="0" * 64), pace=QUICK)
    assert (tmp_path / name).read_bytes() == CONTENT


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_is_downloaded_where_nothing_can_be_synced_or_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with serving({"/f": CONTENT}) as server:
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": CONTENT}


def test_a_partial_file_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    path = partial(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"f\.part: cannot be written"):
        Partial.load(path)
