from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import synthetic_image
from tests.hub import READER, STRANGER, Hub, hub
from tests.uirdata.pipeline.fetching.archived import zipped
from tests.uirdata.pipeline.test_all_sources import example_tree, unpinned
from uirdata.hosts import WebClient, open_hosts
from uirdata.hosts.huggingface import HuggingFace
from uirdata.images import encode_image
from uirdata.layout import Layout
from uirdata.pairing import PairRule
from uirdata.pipeline.fetching.fetch import fetch, plan_fetch
from uirdata.progress import Silent
from uirdata.sources import Mirror, RemoteFile, Source, load_sources
from uirdata.storage.downloads import Pace
from uirdata.storage.tables import read_table
from uirdata.storage.transfers.receipts import Receipts
from uirdata.transfer import Unreachable

REPO = "someone/Rain"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Return a Hub that the Hub's library connects to."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def host() -> HuggingFace:
    return HuggingFace(WebClient())


def test_a_file_is_read_at_one_commit_with_the_hash_that_the_hub_promises(server: Hub, host: HuggingFace) -> None:
    data = bytes(range(256)) * 100
    commit = server.add(REPO, {"data/a.zip": data})
    incoming = host.open(f"dataset:{REPO}@main:data/a.zip", start=100)
    assert b"".join(incoming.chunks) == data[100:]
    assert incoming.digests == {"sha256": hashlib.sha256(data).hexdigest()}
    assert (incoming.start, incoming.total) == (100, 25600)
    assert any(f"/resolve/{commit}/data/a.zip" in path for _, path in server.log)


def test_a_folder_is_listed(server: Hub, host: HuggingFace) -> None:
    server.add(REPO, {"data/b.png": b"1", "data/sub/a.png": b"22", ".gitattributes": b"", "README.md": b"x"})
    listed = host.files(f"dataset:{REPO}:data/")
    assert [(f.path, f.where, f.size) for f in listed] == [
        ("b.png", f"dataset:{REPO}:data/b.png", 1),
        ("sub/a.png", f"dataset:{REPO}:data/sub/a.png", 2),
    ]
    assert [f.path for f in host.files(f"dataset:{REPO}:")] == ["README.md", "data/b.png", "data/sub/a.png"]


def test_a_gated_repository_says_what_to_do_and_opens_with_a_token(
    server: Hub, host: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(REPO, {"a.zip": b"12345"}, gated=True)
    for token in ("", STRANGER):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(Unreachable, match="accept its terms, and set HF_TOKEN"):
            host.open(f"dataset:{REPO}:a.zip")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert b"".join(host.open(f"dataset:{REPO}:a.zip").chunks) == b"12345"
    assert server.count("cdn") == 1
    assert not any(
        "Authorization" in headers
        for (kind, _), headers in zip(server.log, server.headers, strict=True)
        if kind == "cdn"
    )


def test_offline_mode_is_obeyed_and_named(host: HuggingFace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert host.reach(f"dataset:{REPO}:a.zip").way == "by hand"
    with pytest.raises(Unreachable, match="HF_HUB_OFFLINE is set"):
        host.open(f"dataset:{REPO}:a.zip")


@pytest.mark.parametrize("where", ["someone/Rain", "dataset:Rain:x", "bucket:a/b:x"])
def test_a_place_that_cannot_be_says_what_was_expected(host: HuggingFace, where: str) -> None:
    with pytest.raises(Unreachable, match="expected dataset:owner/name@revision:path"):
        host.link(where)


def test_a_source_on_the_hub_is_downloaded_over_a_connection_that_breaks(server: Hub, tmp_path: Path) -> None:
    images = {
        f"{side}/{i}.png": encode_image(synthetic_image(40, 48, i), "png")
        for side in ("rain", "norain")
        for i in range(4)
    }
    packed = zipped(images)
    source = Source(
        id="rain",
        title="t",
        licence="l",
        files=(
            RemoteFile("rain.zip", (Mirror("huggingface", f"dataset:{REPO}:rain.zip", "official"),), archive="zip"),
            RemoteFile("more", (Mirror("huggingface", f"dataset:{REPO}:more/", "official"),), archive="folder"),
        ),
        pairs=(PairRule("train", "rain-streak", False, "**/norain/{n}.png", "**/rain/{n}.png"),),
    )
    more = {f"more/x/{side}/{i}.png": images[f"{side}/0.png"] for side in ("rain", "norain") for i in range(10, 12)}
    server.add(REPO, {"rain.zip": packed, **more})
    server.cut_after = 20_000
    layout = Layout(tmp_path)
    pace = Pace(first_wait_s=0.001, longest_wait_s=0.002, piece_bytes=30_000)
    report = fetch(plan_fetch([source], layout, hosts=open_hosts()), jobs=2, progress=Silent(), pace=pace)
    assert report.is_complete, report.sources
    table = read_table(layout.pairs("rain")).to_pylist()
    assert [(row["lq"], row["gt"], row["ok"]) for row in table] == [
        *((f"rain/{i}.png", f"norain/{i}.png", True) for i in range(4)),
        *((f"x/rain/{i}.png", f"x/norain/{i}.png", True) for i in range(10, 12)),
    ]
    receipt = Receipts(layout.receipts("rain")).get("rain.zip")
    assert receipt is not None
    assert receipt.sha256 == hashlib.sha256(packed).hexdigest()


def test_a_published_source_is_downloaded_from_the_hub(server: Hub, tmp_path: Path) -> None:
    source = unpinned(load_sources()["lol-v1"])
    files, expected = example_tree(source)
    repo, _, path = source.files[0].mirrors[0].where.removeprefix("dataset:").partition(":")
    name, _, revision = repo.partition("@")
    server.add(name, {path: zipped(files)}, branches=(revision,))
    layout = Layout(tmp_path)
    report = fetch(plan_fetch([source], layout, hosts=open_hosts()), jobs=2, progress=Silent())
    assert report.is_complete, report.sources
    rows = read_table(layout.pairs("lol-v1")).to_pylist()
    assert {(row["lq"], row["gt"]) for row in rows if row["ok"]} == expected
