from __future__ import annotations

import base64
import http.cookiejar
import inspect
import json
import pkgutil
import time
from http.server import BaseHTTPRequestHandler
from importlib import import_module
from pathlib import Path

import pytest

import uirdata.hosts
from tests.uirdata.servers import Habits, send_bytes, serving
from uirdata.hosts import HOSTS, WebClient, open_hosts
from uirdata.hosts.google_drive import GoogleDrive
from uirdata.hosts.http import Http
from uirdata.hosts.kaggle import Kaggle
from uirdata.hosts.manual import Manual
from uirdata.hosts.package import Package
from uirdata.hosts.share_links import direct_address
from uirdata.transfer import Incoming, Interrupted, RangeRefused, Unreachable, looks_like_html, page_title

DATA = bytes(range(256)) * 8


def body(incoming: Incoming) -> bytes:
    return b"".join(incoming.chunks)


def test_every_host_file_is_listed() -> None:
    # repository is for publishing; the others are helper modules.
    helpers = {"base", "web", "connections", "share_links", "repository"}
    files = {module.name for module in pkgutil.iter_modules(uirdata.hosts.__path__)} - helpers
    assert files == set(HOSTS)


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_every_host_keeps_the_protocol(name: str) -> None:
    host = open_hosts()[name]
    assert host.connections >= 1
    for method in ("reach", "link", "is_folder", "open", "files"):
        assert inspect.getdoc(getattr(host, method))
    # A plug-in imports its base and none of its siblings.
    text = inspect.getsource(import_module(f"uirdata.hosts.{name}"))
    assert not any(f"hosts.{other} " in text for other in HOSTS if other != name)


def test_ranges_and_validators_go_both_ways() -> None:
    with serving({"/f": DATA}) as server:
        host = Http(WebClient())
        whole = host.open(server.url + "/f")
        assert (whole.start, whole.total, whole.ranges, body(whole)) == (0, 2048, True, DATA)
        part = host.open(server.url + "/f", start=100, stop=200, validator=whole.validator)
        assert (part.start, part.total, body(part)) == (100, 2048, DATA[100:200])
        changed = host.open(server.url + "/f", start=100, validator='"another"')
        assert (changed.start, body(changed)) == (0, DATA)
        assert server.headers[1]["If-Range"] == whole.validator
        assert server.headers[0]["Accept-Encoding"] == "identity"
        with pytest.raises(RangeRefused):
            host.open(server.url + "/f", start=5000)


def test_the_validator_is_one_that_if_range_takes() -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    given: dict[str, str] = {}
    with serving({}) as server:
        server.routes["/f"] = lambda ask: send_bytes(ask, DATA, "text/plain", **given)
        for headers, validator in (
            ({"ETag": '"strong"', "Last_Modified": date}, '"strong"'),
            ({"ETag": 'W/"weak"', "Last_Modified": date}, date),
            ({"ETag": 'W/"weak"'}, ""),
            ({"ETag": '"' + "x" * 2000 + '"'}, ""),
            ({}, ""),
        ):
            given.clear()
            given.update(headers)
            incoming = Http(WebClient()).open(server.url + "/f")
            assert incoming.validator == validator
            assert body(incoming) == DATA


@pytest.mark.parametrize(
    ("status", "kind"), [(404, Unreachable), (403, Unreachable), (429, Interrupted), (503, Interrupted)]
)
def test_errors_are_temporary_or_permanent(status: int, kind: type[Exception]) -> None:
    with serving({"/f": DATA}, Habits(busy=[status], retry_after="7")) as server, pytest.raises(kind) as caught:
        Http(WebClient()).open(server.url + "/f")
    assert str(status) in str(caught.value)
    assert getattr(caught.value, "retry_after_s", 7.0) == 7.0


def test_a_date_to_come_back_at_is_read_too() -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    with serving({}, Habits(busy=[503], retry_after=date)) as server, pytest.raises(Interrupted) as caught:
        Http(WebClient()).open(server.url + "/f")
    assert caught.value.retry_after_s == pytest.approx(100, abs=3)


def test_a_refused_connection_is_temporary_and_an_unknown_host_is_permanent() -> None:
    with serving({}) as server:
        url = server.url
    with pytest.raises(Interrupted):
        Http(WebClient(stall_s=1)).open(url)
    with pytest.raises(Unreachable, match=r"not an http or https URL"):
        Http(WebClient()).open("file:///etc/passwd")


def test_a_redirect_cannot_lead_to_a_file_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with serving({}) as server:
        server.routes["/go"] = lambda ask: send_bytes(ask, b"", "text/plain", 302, Location=f"file://{tmp_path}/secret")
        with pytest.raises(Unreachable):
            Http(WebClient()).open(server.url + "/go")


def test_a_secret_header_does_not_follow_a_redirect() -> None:
    with serving({"/there": DATA}) as there, serving({}) as here:
        here.routes["/go"] = lambda ask: send_bytes(ask, b"", "text/plain", 302, Location=there.url + "/there")
        incoming = WebClient().open(here.url + "/go", start=5, secret_headers={"Authorization": "Bearer x"})
        assert body(incoming) == DATA[5:]
        assert here.headers[0]["Authorization"] == "Bearer x"
        assert "Authorization" not in there.headers[0]


def test_cookies_of_a_browser_are_sent_and_those_of_the_server_kept() -> None:
    jar = http.cookiejar.CookieJar()
    with serving({"/f": DATA}) as server:
        server.routes["/set"] = lambda ask: send_bytes(ask, b"ok", "text/plain", Set_Cookie="seen=1; Path=/")
        client = WebClient(cookies=jar)
        assert client.page(server.url + "/set") == "ok"
        client.open(server.url + "/f").close()
        assert server.headers[-1]["Cookie"] == "seen=1"


# ---- Google Drive

FORM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="download-form" action="{url}/download" method="get">
<input type="submit" value="Download anyway"/><input type="hidden" name="id" value="abc">
<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="u-1"></form></body></html>"""
QUOTA = "<html><head><title>Google Drive - Quota exceeded</title></head><body>Too many users have viewed</body></html>"
FOLDER = """<html><body><div id="folder-view">
<div class="flip-entries"><div class="flip-entry" id="entry-F1" tabindex="0"><div class="flip-entry-info">
<a href="https://drive.google.com/file/d/F1/view?usp=drive_web" target="_blank"><div class="flip-entry-visual"></div>
<div class="flip-entry-title">train &amp; val.zip</div></a></div></div>
<div class="flip-entry" id="entry-D1"><div class="flip-entry-info"><a href="https://drive.google.com/drive/folders/D1">
<div class="flip-entry-title">sub</div></a></div></div></div></div></body></html>"""
SUB = """<div class="flip-entries"><div class="flip-entry" id="entry-F2"><a href="https://drive.google.com/file/d/F2/view">
<div class="flip-entry-title">b.zip</div></a></div></div>"""


def test_drive_confirms_the_virus_page_and_keeps_the_range() -> None:
    with serving({}) as server:

        def answer(ask: BaseHTTPRequestHandler) -> None:
            if "uuid=u-1" not in ask.path:
                send_bytes(ask, FORM.format(url=server.url).encode(), "text/html; charset=utf-8")
            elif ask.headers.get("Range"):
                send_bytes(ask, DATA[10:], "application/zip", 206, Content_Range=f"bytes 10-2047/{len(DATA)}")
            else:
                send_bytes(ask, DATA, "application/zip")

        server.routes["/download"] = answer
        drive = GoogleDrive(WebClient(), files_at=server.url)
        assert body(drive.open("abc")) == DATA
        assert body(drive.open("abc", start=10)) == DATA[10:]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (QUOTA, "Try again after 24 hours"),
        ("<html>Too many users have viewed or downloaded this file recently</html>", "Try again after 24 hours"),
        ("<html>The download quota for this file has been exceeded</html>", "Try again after 24 hours"),
        ('<html><a href="https://accounts.google.com/x">?</a></html>', "cookies"),
        ("<html>Sign in to continue</html>", "cookies"),
        ("<html>?</html>", "a page"),
    ],
)
def test_drives_pages_become_errors_with_a_way_out(page: str, words: str) -> None:
    with serving({}) as server:
        server.routes["/download"] = lambda ask: send_bytes(ask, page.encode(), "text/html")
        with pytest.raises(Unreachable) as caught:
            GoogleDrive(WebClient(), files_at=server.url).open("abc")
    assert words in str(caught.value)
    assert "https://drive.google.com/file/d/abc/view" in str(caught.value)


def test_drive_lists_folders_in_folders() -> None:
    with serving({"/x": DATA}) as server:
        server.routes["/embeddedfolderview"] = lambda ask: send_bytes(
            ask, (FOLDER if "id=TOP" in ask.path else SUB).encode(), "text/html"
        )
        server.routes["/download"] = lambda ask: send_bytes(
            ask, b"b" if "id=F2" in ask.path else b"a", "application/zip"
        )
        drive = GoogleDrive(WebClient(), files_at=server.url, folders_at=server.url)
        assert [(f.path, f.where) for f in drive.files("folder:TOP")] == [
            ("sub/b.zip", "F2"),
            ("train & val.zip", "F1"),
        ]
        assert drive.is_folder("folder:TOP")
        assert not drive.is_folder("folder:TOP/b.zip")
        assert body(drive.open("folder:TOP/b.zip")) == b"b"
        with pytest.raises(Unreachable, match=r"has no file c\.zip; it has sub/b\.zip, train & val\.zip"):
            drive.open("folder:TOP/c.zip")


# ---- share links


def test_share_links_of_dropbox_and_sharepoint_ask_for_the_file() -> None:
    client = WebClient()
    link = "https://www.dropbox.com/scl/fi/ab/x.zip?rlkey=k&dl=0"
    assert direct_address(link, client) == ("https://www.dropbox.com/scl/fi/ab/x.zip?rlkey=k&dl=1", {})
    link = "https://ntu-my.sharepoint.com/:u:/g/personal/a/E?e=S"
    assert direct_address(link, client)[0].endswith("?e=S&download=1")
    assert direct_address("https://example.org/a?dl=0", client) == ("https://example.org/a?dl=0", {})


def test_share_links_of_onedrive_and_yandex_take_one_step_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as server:
        server.routes["/token"] = lambda ask: send_bytes(ask, b'{"token": "t-1"}', "application/json")
        server.routes["/ya"] = lambda ask: send_bytes(ask, b'{"href": "https://y.example/f"}', "application/json")
        monkeypatch.setattr("uirdata.hosts.share_links._ONEDRIVE_TOKEN", server.url + "/token")
        monkeypatch.setattr("uirdata.hosts.share_links._YANDEX", server.url + "/ya?public_key=")
        address, headers = direct_address("https://1drv.ms/u/s!AimB?e=x", WebClient())
        share = base64.urlsafe_b64encode(b"https://1drv.ms/u/s!AimB?e=x").decode().rstrip("=")
        assert address.endswith(f"/shares/u!{share}/driveitem/content")
        assert headers["Authorization"] == "Badger t-1"
        for host in ("disk.yandex.ru", "disk.yandex.com", "yadi.sk"):
            assert direct_address(f"https://{host}/d/abc", WebClient()) == ("https://y.example/f", {})


# ---- Kaggle, package, manual


def test_kaggle_sends_the_account_and_asks_for_one_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    monkeypatch.delenv("KAGGLE_KEY", raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    with serving({"/api/v1/datasets/download/o/n": DATA, "/api/v1/datasets/download/o/n/a b.zip": b"1"}) as server:
        kaggle = Kaggle(WebClient(), endpoint=server.url)
        assert kaggle.reach("o/n").way == "token"
        with pytest.raises(Unreachable, match=r"kaggle\.json"):
            kaggle.open("o/gone")
        (tmp_path / "kaggle.json").write_text(json.dumps({"username": "u", "key": "k"}))
        assert kaggle.reach("o/n").way == "automatic"
        assert body(kaggle.open("o/n")) == DATA
        assert server.headers[-1]["Authorization"] == "Basic " + base64.b64encode(b"u:k").decode()


def test_a_file_of_a_package_is_read_where_it_is_installed() -> None:
    where = "numpy:numpy/version.py"
    whole = Package().open(where)
    assert b"version" in body(whole)
    assert whole.total is not None
    assert body(Package().open(where, start=whole.total - 1)) == body(Package().open(where))[-1:]
    assert Package().reach(where).way == "automatic"
    with pytest.raises(RangeRefused):
        Package().open(where, start=whole.total + 1)


def test_a_package_that_is_not_installed_names_the_extra_to_install() -> None:
    with pytest.raises(Unreachable, match=r'pip install "universal-image-restoration\[demo\]"'):
        Package().open("no-such-distribution:a/b.png")
    assert Package().reach("no-such-distribution:a/b.png").way == "by hand"
    with pytest.raises(Unreachable, match="has no file"):
        Package().open("numpy:numpy/no-such-file.png")


def test_manual_says_which_page_to_open() -> None:
    assert Manual().reach("https://pan.example/s/1?pwd=x").todo == "open https://pan.example/s/1?pwd=x in a browser"
    with pytest.raises(Unreachable):
        Manual().open("https://pan.example/s/1")


@pytest.mark.parametrize(
    ("head", "is_page"),
    [
        (b"<!DOCTYPE html><html>", True),
        (b"\n\n  <HTML lang=en>", True),
        (b"\xef\xbb\xbf<html>", True),
        (b"<!-- x --><html>", True),
        (b"PK\x03\x04<html>", False),
        (b"<svg><html></svg>", False),
        (b"", False),
    ],
)
def test_a_page_is_known_by_its_first_bytes(head: bytes, is_page: bool) -> None:
    assert looks_like_html(head) is is_page


def test_the_title_of_a_page_is_one_line() -> None:
    assert page_title(b"<html><title>\n Quota &amp; more\n </title>") == "Quota & more"
    assert page_title(b"<html>") == ""
