from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import uirdata
from tests.hub import Hub, Trouble
from tests.uirdata.pipeline.publishing.published import REPO, online_hub, publish
from tests.uirdata.servers import Habits, serving
from uirdata.errors import DownloadError, ShardError, UsageError
from uirdata.pipeline.reporting.statistics_page import count_shards
from uirdata.storage.reading import ShardDataset
from uirdata.storage.remote import RANGE_READS
from uirdata.storage.shards import list_shards

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PLACE = f"hf://datasets/{REPO}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, built: Path) -> Iterator[Hub]:
    """Run a Hub with the pool on it."""
    with online_hub(monkeypatch, tmp_path / "cache") as server:
        publish(built, tmp_path)
        server.log.clear()
        yield server


def same(there: ShardDataset, here: ShardDataset) -> bool:
    return len(there) == len(here) and all(
        a.record == b.record and a.label == b.label and np.array_equal(a.gt, b.gt) and np.array_equal(a.lq, b.lq)
        for a, b in zip(there, here, strict=True)
    )


def read_all(shards: ShardDataset, numbers: range) -> None:
    for number in numbers:
        shards[number]


def asked(server: Hub) -> list[str]:
    return [path.rpartition("/")[2] for kind, path in server.log if kind == "resolve" and path.endswith(".tar")]


def test_shards_on_the_hub_give_the_samples_of_the_folder(server: Hub, built: Path) -> None:
    there = uirdata.open_shards(PLACE)
    assert there.class_names == ("noise", "jpeg", "haze")
    assert same(there, uirdata.open_shards(built))
    before = len(server.log)
    assert same(uirdata.open_shards(f"{PLACE}@main", "train"), uirdata.open_shards(built, "train"))
    assert not [path for _, path in server.log[before:] if path.endswith(("train-00000.tar", ".parquet"))]


def test_a_few_samples_are_read_alone_and_more_download_the_shard(server: Hub, built: Path, tmp_path: Path) -> None:
    there = uirdata.open_shards(PLACE, "train")
    noise = [i for i, r in enumerate(there.records) if r.shard == "train/noise/here-00000.tar"]
    assert len(noise) > RANGE_READS
    for index in noise[: RANGE_READS // 2]:
        there[index]
    tars = tmp_path / "cache"
    assert not list(tars.rglob("*.tar"))
    there[noise[RANGE_READS // 2]]
    assert len(list(tars.rglob("*.tar"))) == 1
    before = len(asked(server))
    for index in noise:
        there[index]
    assert len(asked(server)) == before


def test_no_more_shards_are_cached_than_the_limit_allows_and_old_ones_are_deleted(
    server: Hub, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    largest = max(state.size for state in list_shards(built))
    old = cache / "another/tars/0.tar"
    old.parent.mkdir(parents=True)
    old.write_bytes(bytes(largest))
    monkeypatch.setenv("UIR_CACHE_SIZE", str(2 * largest))
    there = uirdata.open_shards(PLACE)
    assert same(there, uirdata.open_shards(built))
    assert same(there, uirdata.open_shards(built))
    kept = list(cache.rglob("*.tar"))
    assert not old.exists()
    assert 0 < len(kept) < len(list_shards(built))
    assert sum(tar.stat().st_size for tar in kept) <= 2 * largest
    monkeypatch.setenv("UIR_CACHE_SIZE", "much")
    with pytest.raises(UsageError, match="UIR_CACHE_SIZE is 'much'"):
        uirdata.open_shards(PLACE)


def test_statistics_need_no_shard(server: Hub, built: Path) -> None:
    there = count_shards(PLACE)
    assert there.tables() == count_shards(built).tables()
    assert not asked(server)


def test_samples_that_were_read_are_available_offline(
    server: Hub, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert same(uirdata.open_shards(PLACE), uirdata.open_shards(built))
    server.log.clear()
    # As in a read-only shared cache: the lock cannot be taken.
    for lock in (tmp_path / "cache").rglob(".lock"):
        lock.unlink()
        lock.mkdir()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = uirdata.open_shards(PLACE)
    assert len(offline) == 81
    test = uirdata.open_shards(PLACE, "train")
    assert np.array_equal(test[40].lq, uirdata.open_shards(built, "train")[40].lq)
    assert server.log == []
    with pytest.raises(ShardError, match="HF_HUB_OFFLINE is set, and no copy of it is in"):
        uirdata.open_shards("hf://datasets/me/other")


def test_without_a_network_the_copy_is_named(server: Hub, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uirdata.open_shards(PLACE)
    server.close()
    with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE=1 reads the copy in "):
        uirdata.open_shards(PLACE)


def test_a_flaky_hub_gives_the_same_samples(server: Hub, built: Path) -> None:
    for again in range(3):
        server.troubles += [Trouble("resolve", status=503, times=again % 2), Trouble("resolve", drop=True)]
    assert same(uirdata.open_shards(PLACE), uirdata.open_shards(built))
    assert not any(trouble.times for trouble in server.troubles)


def test_a_shard_that_was_changed_on_the_hub_is_refused(server: Hub, built: Path) -> None:
    path = "train/haze/here-00000.tar"
    data = bytearray((built / path).read_bytes())
    data[5000] ^= 1
    server.change(REPO, path, bytes(data))
    there = uirdata.open_shards(PLACE, "train")
    first = there.keys.index(next(record.key for record in there.records if record.shard == path))
    assert [record.shard for record in there.records].count(path) == RANGE_READS
    with pytest.raises(DownloadError, match=r"here-00000\.tar: its sha256 is .*its info\.json says"):
        read_all(there, range(first, first + RANGE_READS))


def test_a_new_revision_shares_the_shards_and_the_old_one_can_be_named(
    server: Hub, built: Path, tmp_path: Path
) -> None:
    old = server.repos[REPO].branches["main"]
    assert same(uirdata.open_shards(PLACE), uirdata.open_shards(built))
    tars = set((tmp_path / "cache").rglob("*.tar"))
    server.change(REPO, "README.md", b"other words")
    before = len(asked(server))
    assert uirdata.open_shards(PLACE, "train")[0].gt.shape == (48, 48, 3)
    assert uirdata.open_shards(f"{PLACE}@{old}", "train")[0].gt.shape == (48, 48, 3)
    assert len(asked(server)) == before
    assert set((tmp_path / "cache").rglob("*.tar")) == tars


def test_it_may_be_sent_to_other_processes(server: Hub, built: Path) -> None:
    there = pickle.loads(pickle.dumps(uirdata.open_shards(PLACE)))
    assert np.array_equal(there[0].gt, uirdata.open_shards(built)[0].gt)


def test_recipes_without_pixels_say_how_to_make_them(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with online_hub(monkeypatch, tmp_path / "cache"):
        publish(built, tmp_path, recipes_only=True)
        there = uirdata.open_shards(PLACE)
        assert there.record(0).source == "here"
        with pytest.raises(DownloadError, match="build-shards --from-hub`"):
            there[0]


def test_shards_are_read_from_any_web_server(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIR_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    files = {f"/pool/{p.relative_to(built)}": p.read_bytes() for p in built.rglob("*") if p.is_file()}
    with serving(files, Habits(drop_after=150_000)) as server:
        assert same(uirdata.open_shards(server.url + "/pool/"), uirdata.open_shards(built))
        with pytest.raises(DownloadError, match="404"):
            uirdata.open_shards(server.url + "/elsewhere")
    with serving({"/x/info.json": b"[]"}) as server, pytest.raises(ShardError, match="is not that of a shard folder"):
        uirdata.open_shards(server.url + "/x")


def test_a_manifest_of_other_shards_is_refused(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    pool = Path(shutil.copytree(built, tmp_path / "pool"))
    first, second = list_shards(pool)[1:3]
    text = (pool / "info.json").read_text().replace(first.sha256, second.sha256)
    (pool / "info.json").write_text(text)
    files = {f"/{p.relative_to(pool)}": p.read_bytes() for p in pool.rglob("*") if p.is_file()}
    with serving(files) as server, pytest.raises(ShardError, match=f"do not agree about {first.path}"):
        uirdata.open_shards(server.url)


def test_a_truncated_cached_shard_is_downloaded_again(server: Hub, built: Path, tmp_path: Path) -> None:
    there, here = uirdata.open_shards(PLACE), uirdata.open_shards(built)
    assert same(there, here)
    for tar in (tmp_path / "cache").rglob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:600])
    assert same(uirdata.open_shards(PLACE), here)


def test_a_missing_branch_or_repository_is_an_error(server: Hub) -> None:
    with pytest.raises(DownloadError, match="has no such branch, tag or commit"):
        uirdata.open_shards(f"{PLACE}@nowhere")
    with pytest.raises(DownloadError, match="no such repository"):
        uirdata.open_shards("hf://datasets/me/nothing")


@pytest.mark.parametrize("place", ["hf://me/small", "hf://datasets/small", "hf://datasets/a/b/c", "hf://models/a/b"])
def test_an_invalid_url_is_an_error_with_the_right_form(place: str) -> None:
    with pytest.raises(UsageError, match="write it like hf://datasets/owner/name@revision"):
        uirdata.open_shards(place)
