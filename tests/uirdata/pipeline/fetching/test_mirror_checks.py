"""Mirrors are asked for their sizes, sizes are remembered and estimated, and a disk that is too small is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner
from uir_cli.uir import program

from uirdata.errors import StorageError
from uirdata.hosts import open_hosts
from uirdata.layout import Layout
from uirdata.pipeline.fetching.mirror_checks import MirrorCheck, check_mirrors
from uirdata.pipeline.fetching.plan import plan_fetch
from uirdata.pipeline.fetching.remembered_sizes import estimated_bytes, remember_sizes, remembered_sizes
from uirdata.progress import Silent
from uirdata.sources import Mirror, RemoteFile, Source, load_sources

SOURCES = load_sources()


class Answers(BaseHTTPRequestHandler):
    """Answers by path, and remembers what it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Answers.asked.append(self.path)
        if self.path == "/moved.zip":
            self.send_response(301)
            self.send_header("Location", "/new/place.zip")
            self.end_headers()
        elif self.path in ("/gone.zip", "/gated.zip", "/busy.zip"):
            self.send_response({"/gone.zip": 404, "/gated.zip": 403, "/busy.zip": 503}[self.path])
            self.end_headers()
        elif self.path == "/page.zip":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><html>")
        else:
            self.send_response(206)
            self.send_header("Content-Range", "bytes 0-0/1000")
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"P")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def source_at(server: str, *files: tuple[str, int | None]) -> Source:
    made = tuple(
        RemoteFile(name, (Mirror("http", f"{server}/{name}", "official"),), size=size, archive="zip")
        for name, size in files
    )
    return replace(SOURCES["hide"], files=made, alternatives=())


def test_each_answer_has_its_name(server: str) -> None:
    source = source_at(
        server,
        ("alive.zip", 1000),
        ("unknown.zip", None),
        ("changed.zip", 999),
        ("moved.zip", None),
        ("gone.zip", None),
        ("gated.zip", None),
        ("busy.zip", None),
        ("page.zip", None),
    )
    waits: list[float] = []
    checks = check_mirrors([source], open_hosts(), jobs=4, progress=Silent(), wait=waits.append)
    assert {check.file.removesuffix(".zip"): (check.state, check.size) for check in checks} == {
        "alive": ("alive", 1000),
        "unknown": ("alive", 1000),
        "changed": ("changed", 1000),
        "moved": ("moved", 1000),
        "gone": ("dead", None),
        "gated": ("gated", None),
        "busy": ("no answer", None),
        "page": ("dead", None),
    }
    # A pause after each request.
    assert len(waits) == 8


def test_what_only_a_browser_reaches_is_not_asked(server: str) -> None:
    mirror = Mirror("http", f"{server}/alive.zip", "official", access="form", note="fill in the form")
    source = replace(SOURCES["hide"], files=(RemoteFile("a.zip", (mirror,)),), alternatives=())
    (check,) = check_mirrors([source], open_hosts(), jobs=1, progress=Silent())
    assert (check.state, check.detail, Answers.asked) == ("by hand", "fill in the form", [])


def test_the_command_tells_and_remembers_sizes_for_the_plan(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uirdata.pipeline.fetching.mirror_checks._PAUSE_S", 0.0)
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "local.toml").write_text(
        'title = "t"\nlicence = "CC0"\n[[pairs]]\nsplit = "train"\ndegradation = ""\nreal = true\nlq = ""\n'
        'gt = "**/{n}.png"\npublished = 10\n[[files]]\nname = "unknown.zip"\narchive = "zip"\n'
        f'mirrors = [{{ host = "http", where = "{server}/unknown.zip", trust = "official" }}]\n'
    )
    monkeypatch.setenv("UIR_MANIFESTS", str(manifests))
    root = tmp_path / "root"
    arguments = ["--root", str(root), "--json", "-q"]
    planned = json.loads(CliRunner().invoke(program, ["fetch", "local", "--dry-run", *arguments]).output)
    assert (planned["unknown_sizes"], planned["estimated_bytes"]) == (1, 16_000_000)
    (told,) = json.loads(CliRunner().invoke(program, ["sources", "local", "--check", *arguments]).output)
    assert (told["state"], told["size"]) == ("alive", 1000)
    planned = json.loads(CliRunner().invoke(program, ["fetch", "local", "--dry-run", *arguments]).output)
    assert (planned["unknown_sizes"], planned["bytes_to_fetch"], planned["estimated_bytes"]) == (0, 1000, 0)


def test_a_file_without_a_mirror_that_answers_ends_the_check_with_3(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uirdata.pipeline.fetching.mirror_checks._PAUSE_S", 0.0)
    source = source_at(server, ("gone.zip", None))
    monkeypatch.setattr("uirdata.pipeline.choosing.all_sources", lambda _: {"hide": source})
    result = CliRunner().invoke(program, ["sources", "hide", "--check", "--root", str(tmp_path)])
    assert result.exit_code == 3
    assert "no mirror answers for hide/gone.zip" in result.output


@pytest.mark.parametrize("data", ["", "[]", '{"a": 5}', '{"a": {"b": -1}}', '{"a": {"b": 1e9}}', "[" * 10_000])
def test_remembered_sizes_that_do_not_fit_are_left_out(tmp_path: Path, data: str) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/sizes.json").write_text(data)
    assert remembered_sizes(layout) == {}
    remember_sizes(layout, [MirrorCheck("s", "f", "http", "", "alive", 5)])
    assert remembered_sizes(layout) == {("s", "f"): 5}


def test_estimates_are_within_a_factor_of_four_where_the_size_is_published() -> None:
    compared = 0
    for source in SOURCES.values():
        known = [file.expected_size for file in source.files]
        whole = all(rule.published for rule in source.pairs if not rule.layout and not rule.cut)
        if None in known or not source.resolution[:1].isdigit() or not source.pairs or not whole:
            continue
        unknown = [replace(file, size=None, about_size=None) for file in source.files]
        compared += 1
        assert 0.25 < estimated_bytes(source, unknown) / sum(size or 0 for size in known) < 4, source.id
    assert compared >= 5


def test_a_disk_that_is_too_small_for_the_estimate_is_refused_with_a_way_to_start_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uirdata.pipeline.fetching.plan.free_bytes", lambda _: 5_000_000_000)
    plan = plan_fetch([SOURCES["wed"]], Layout(tmp_path))
    with pytest.raises(StorageError, match=r"are estimated, for files of unknown size.*--ignore-estimates"):
        plan.refuse_if_too_large()
    plan.refuse_if_too_large(ignore_estimates=True)
