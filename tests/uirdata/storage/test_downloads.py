from __future__ import annotations

import functools
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.uirdata.servers import Habits, serving
from uirdata.errors import DownloadError, StorageError
from uirdata.hosts.http import Http
from uirdata.hosts.web import WebClient
from uirdata.storage.downloads import DownloadSource, Expected, Listener, Pace, RateLimit, download
from uirdata.storage.transfers.partial import Partial, bytes_here

QUICK = Pace(attempts=4, first_wait_s=0.001, longest_wait_s=0.002, stall_s=0.3, piece_bytes=32 << 10)
CONTENT = random.Random(7).randbytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


def place(url: str, connections: int = 1, stall_s: float = 0.3) -> DownloadSource:
    host = Http(WebClient(stall_s=stall_s))
    return DownloadSource(url, functools.partial(host.open, url), connections)


def test_a_file_gets_its_name_only_when_it_is_whole_and_right(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}) as server:
        arrived = download(tmp_path / "f", [place(server.url + "/f")], Expected(sha256=SHA), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (arrived.sha256, arrived.bytes) == (SHA, 300_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_a_large_file_comes_in_several_streams_at_once(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}) as server:
        download(tmp_path / "f", [place(server.url + "/f", connections=3)], Expected(), pace=QUICK)
        ranges = {r for _, r in server.requests if r}
    assert (tmp_path / "f").read_bytes() == CONTENT
    # Ten pieces of 32 KiB; the first one comes with the first response, the last one has an open end.
    assert ranges == {f"bytes={i * 32768}-{'' if i == 9 else (i + 1) * 32768 - 1}" for i in range(1, 10)}


def test_a_lost_connection_is_resumed_at_the_same_byte(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}, Habits(drop_after=70_000)) as server:
        download(tmp_path / "f", [place(server.url + "/f")], Expected(sha256=SHA), pace=QUICK)
        starts = [int(r[6:].split("-")[0]) if r else 0 for _, r in server.requests]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts) == 5


def test_a_server_that_only_claims_to_serve_ranges_is_asked_for_one_stream(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}, Habits(ignore_range=True)) as server:
        download(tmp_path / "f", [place(server.url + "/f", connections=3)], Expected(), pace=QUICK)
        assert (tmp_path / "f").read_bytes() == CONTENT
        # The first stream, one more of each of the others, and the single one that completes the download.
        assert len(server.requests) <= 5


def test_the_mirror_that_a_partial_file_is_of_goes_first(tmp_path: Path) -> None:
    with serving({"/a": CONTENT, "/b": CONTENT}, Habits(busy=[404], drop_after=100_000)) as server:
        places = [place(f"{server.url}/{name}") for name in "ab"]
        with pytest.raises(DownloadError):
            download(tmp_path / "f", places, Expected(), pace=Pace(attempts=1))
        server.habits.drop_after = None
        arrived = download(tmp_path / "f", places, Expected(), pace=QUICK)
    assert arrived.place.endswith("/b")
    assert server.requests[-1] == ("/b", f"bytes={100_000 - 4096}-")


def test_with_a_known_hash_one_mirror_resumes_the_download_of_another(tmp_path: Path) -> None:
    with serving({"/a": CONTENT, "/b": CONTENT}, Habits(drop_after=100_000)) as server:
        with pytest.raises(DownloadError):
            download(tmp_path / "f", [place(server.url + "/a")], Expected(sha256=SHA), pace=Pace(attempts=1))
        server.habits.drop_after = None
        download(tmp_path / "f", [place(server.url + "/b")], Expected(sha256=SHA), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests[-1] == ("/b", f"bytes={100_000 - 4096}-")


def test_the_retry_time_of_a_busy_server_is_respected(tmp_path: Path) -> None:
    with serving({"/f": b"x" * 10}, Habits(busy=[429, 503], retry_after="1")) as server:
        begin = time.monotonic()
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)
        assert time.monotonic() - begin > 1.9
    with (
        serving({"/f": b"x"}, Habits(busy=[503], retry_after="7200")) as server,
        pytest.raises(DownloadError) as caught,
    ):
        download(tmp_path / "g", [place(server.url + "/f")], Expected(), pace=QUICK)
    assert "retry after 120 minutes" in str(caught.value)


def test_a_web_page_is_not_taken_for_a_file(tmp_path: Path) -> None:
    with serving({"/f.zip": CONTENT}, Habits(page=True)) as server, pytest.raises(DownloadError) as caught:
        download(tmp_path / "f.zip", [place(server.url + "/f.zip")], Expected(), pace=QUICK)
    assert "the server sent an HTML page instead of the file ('Quota exceeded')" in str(caught.value)
    assert not (tmp_path / "f.zip").exists()
    assert bytes_here(tmp_path / "f.zip.part") == 0


def test_the_next_mirror_is_asked_when_one_has_other_bytes(tmp_path: Path) -> None:
    other = CONTENT[:-1] + b"?"
    with serving({"/bad": other, "/good": CONTENT}) as server:
        places = [place(f"{server.url}/{name}") for name in ("gone", "bad", "good")]
        arrived = download(tmp_path / "f", places, Expected(sha256=SHA), pace=QUICK)
    assert arrived.place.endswith("/good")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_wrong_bytes_are_kept_under_another_name_and_explained(tmp_path: Path) -> None:
    with serving({"/f": CONTENT[:-5]}) as server, pytest.raises(DownloadError) as caught:
        download(
            tmp_path / "f",
            [place(server.url + "/f")],
            Expected(size=300_000, sha256=SHA),
            pace=QUICK,
            explain=lambda path: f"looked at {path.stat().st_size}",
        )
    assert "it has 299995 bytes, 5 short; the manifest says 300000; looked at 299995" in str(caught.value)
    assert (tmp_path / "f.rejected").read_bytes() == CONTENT[:-5]
    assert not (tmp_path / "f").exists()


def test_a_file_that_may_be_repacked_is_accepted_and_reported(tmp_path: Path) -> None:
    with serving({"/f": b"new bytes"}) as server:
        arrived = download(tmp_path / "f", [place(server.url + "/f")], Expected(3, SHA, loose=True), pace=QUICK)
    assert arrived.differs
    assert (tmp_path / "f").read_bytes() == b"new bytes"


def test_a_stalled_stream_is_reopened(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}, Habits(stall_after=50_000)) as server:
        begin = time.monotonic()
        download(tmp_path / "f", [place(server.url + "/f")], Expected(sha256=SHA), pace=QUICK)
        assert time.monotonic() - begin < 15
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_very_slow_stream_is_given_up(tmp_path: Path) -> None:
    habits = Habits(bytes_per_s=20_000)
    pace = Pace(attempts=2, first_wait_s=0.001, stall_s=0.2, stall_bytes=1 << 20)
    with serving({"/f": CONTENT}, habits) as server, pytest.raises(DownloadError) as caught:
        download(tmp_path / "f", [place(server.url + "/f", stall_s=5)], Expected(), pace=pace)
    assert "bytes in 0 seconds" in str(caught.value)


def test_the_cap_on_speed_holds_over_all_streams(tmp_path: Path) -> None:
    pace = Pace(piece_bytes=32 << 10, limit=RateLimit(400_000))
    with serving({"/f": CONTENT}) as server:
        begin = time.monotonic()
        download(tmp_path / "f", [place(server.url + "/f", connections=3)], Expected(), pace=pace)
        assert 0.6 < time.monotonic() - begin < 15


def test_a_file_that_changes_between_two_runs_is_downloaded_again(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}, Habits(drop_after=100_000)) as server:
        pace = Pace(attempts=1, first_wait_s=0.001)
        with pytest.raises(DownloadError):
            download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=pace)
        assert bytes_here(tmp_path / "f.part") == 100_000
        server.habits.drop_after = None
        server.files["/f"] = changed = b"!" + CONTENT[1:]
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == changed


def test_a_change_is_seen_without_any_validator_by_asking_for_some_bytes_twice(tmp_path: Path) -> None:
    with serving({"/f": CONTENT}, Habits(drop_after=100_000, etag="none")) as server:
        with pytest.raises(DownloadError):
            download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=Pace(attempts=1))
        server.habits.drop_after = None
        server.files["/f"] = changed = bytes(reversed(CONTENT))
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)
    assert (tmp_path / "f").read_bytes() == changed


def test_after_a_power_cut_only_bytes_known_to_be_on_the_disk_are_believed(tmp_path: Path) -> None:
    partial = Partial.create(tmp_path / "f.part", place="p", validator="v", total=100, piece_bytes=100)
    partial.write(0, b"a" * 40)
    partial.sync()
    partial.write(0, b"b" * 30)
    partial.close()
    assert bytes_here(tmp_path / "f.part") == 70
    state = tmp_path / "f.part.state"
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        state.write_bytes(state.read_bytes().replace(boot.read_text().strip().encode(), b"0" * 36))
        assert bytes_here(tmp_path / "f.part") == 40


def test_a_full_disk_is_an_error_that_names_the_reason(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "f.part").symlink_to("/dev/full")
    with serving({"/f": CONTENT}) as server, pytest.raises(StorageError, match="disk is full"):
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)


def test_a_file_for_which_there_is_no_room_is_refused_before_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uirdata.storage.transfers.streams.free_bytes", lambda _: len(CONTENT) - 1)
    with serving({"/f": CONTENT, "/g": CONTENT[:-1]}) as server:
        with pytest.raises(DownloadError, match=rf"has {len(CONTENT):,} bytes, and {len(CONTENT) - 1:,} are free"):
            download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK)
        assert not list(tmp_path.iterdir())
        # A place that states a wrong length does not affect the others.
        places = [place(server.url + "/f"), place(server.url + "/g")]
        assert download(tmp_path / "f", places, Expected(), pace=QUICK).bytes == len(CONTENT) - 1


def test_a_listener_receives_every_byte_once(tmp_path: Path) -> None:
    class Count(Listener):
        total: int | None = None
        came = 0

        def start(self, here: int, total: int | None) -> None:
            self.total, self.came = total, here

        def advance(self, amount: int) -> None:
            self.came += amount

    heard = Count()
    with serving({"/f": CONTENT}, Habits(drop_after=90_000)) as server:
        download(tmp_path / "f", [place(server.url + "/f")], Expected(), pace=QUICK, listener=heard)
    assert heard.came == heard.total == 300_000


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.sampled_from([0, 1, 4096, 60_000, 200_000]),
    habits=st.builds(
        Habits,
        drop_after=st.sampled_from([None, None, 1, 20_000, 90_000]),
        ignore_range=st.booleans(),
        length_lie=st.sampled_from([0, 0, 0, 1000, -1000]),
        busy=st.lists(st.sampled_from([429, 503, 500, 404]), max_size=2),
        page=st.sampled_from([False, False, False, True]),
        etag=st.sampled_from(["same", "none", "weak", "new"]),
        accept_ranges=st.booleans(),
        no_length=st.booleans(),
        stall_after=st.sampled_from([None, None, None, None, None, 10_000]),
    ),
    connections=st.sampled_from([1, 3]),
    pinned=st.booleans(),
    changes=st.booleans(),
)
def test_whatever_a_server_does_the_bytes_are_right_or_there_is_an_error(
    size: int, habits: Habits, connections: int, pinned: bool, changes: bool
) -> None:
    content, other = CONTENT[:size], bytes(reversed(CONTENT))[:size]
    # If the server states a shorter length and no hash is known, the error cannot be detected.
    pinned = pinned or habits.length_lie < 0 or (habits.no_length and habits.drop_after is not None)
    expected = Expected(sha256=hashlib.sha256(content).hexdigest()) if pinned else Expected()
    pace = Pace(attempts=3, first_wait_s=0.0005, longest_wait_s=0.001, stall_s=0.15, piece_bytes=16 << 10)
    with tempfile.TemporaryDirectory() as folder, serving({"/f": other if changes else content}, habits) as server:
        target = Path(folder) / "f"
        for _ in range(2):
            try:
                arrived = download(target, [place(server.url + "/f", connections, stall_s=0.15)], expected, pace=pace)
            except DownloadError:
                assert not target.exists()
            else:
                got = target.read_bytes()
                assert got == content or (got == other and not pinned)
                assert arrived.sha256 == hashlib.sha256(got).hexdigest()
                break
            # The file changes between two runs, and then back to the right one.
            server.files["/f"] = content


CHILD = """
import functools, sys
from pathlib import Path
from uirdata.hosts.http import Http
from uirdata.hosts.web import WebClient
from uirdata.storage.downloads import Expected, Pace, DownloadSource, download
url, target = sys.argv[1:]
opener = functools.partial(Http(WebClient()).open, url)
download(Path(target), [DownloadSource(url, opener, 3)], Expected(), pace=Pace(piece_bytes=256 << 10))
"""


def test_a_kill_at_any_moment_loses_no_byte_and_never_leaves_a_wrong_file(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3_000_000)
    target = tmp_path / "f"
    rng = random.Random(int(os.environ.get("PYTEST_SEED", "3")))
    here, kills = 0, 0
    with serving({"/f": content}, Habits(bytes_per_s=1_000_000)) as server:
        while not target.exists():
            asked = len(server.requests)
            child = subprocess.Popen([sys.executable, "-c", CHILD, server.url + "/f", str(target)])
            while not server.requests[asked:] and child.poll() is None:
                time.sleep(0.01)
            if kills < 4:
                time.sleep(rng.uniform(0.02, 0.25))
                child.send_signal(signal.SIGKILL)
                kills += 1
            child.wait()
            if not target.exists():
                now = bytes_here(tmp_path / "f.part")
                assert now >= here
                here = now
            if asked:
                # It resumes from the partial file, and never requests the whole file again.
                assert all(range_ for _, range_ in server.requests[asked:])
    assert kills >= 1
    assert here > 0
    assert target.read_bytes() == content
