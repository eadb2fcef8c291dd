from __future__ import annotations

import os
from pathlib import Path

import pytest

import uirdata
from tests.cli.commands import uir
from tests.uirdata.pipeline.building.test_build import _run as build_in
from tests.uirdata.pipeline.trees import small_source
from tests.uirdata.servers import serving
from tests.uirdata.storage.hostile_shards import (
    TAR,
    files_of,
    honest_pool,
    relist,
    set_metadata,
)
from tests.uirdata.storage.test_shards import sample
from uirdata.errors import DownloadError, PublishError, ShardError
from uirdata.pipeline.building.object_pool import ObjectPool
from uirdata.pipeline.building.rebuild import plan_rebuild
from uirdata.pipeline.publishing.outgoing import Tables, outgoing
from uirdata.pipeline.publishing.publication import describe
from uirdata.pipeline.reporting.statistics_page import count_shards
from uirdata.storage.files import writing
from uirdata.storage.manifest_rows import read_manifest
from uirdata.storage.shards import INFO, MANIFEST, list_shards, part_path, shard_state, write_shard

PATHS = [
    "/etc/hostname",
    "../victim.txt",
    "train/noise/../../../x-00000.tar",
    "train/noise/here-00000.txt",
    "train/rain\n/here-00000.tar",
    "elsewhere/noise/here-00000.tar",
    "train/no-type/here-00000.tar",
    "train/noise/.-00000.tar",
    "C:/noise/here-00000.tar",
    "",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_part_that_names_another_file_than_its_shard_is_refused_by_every_reader(tmp_path: Path, path: str) -> None:
    pool = honest_pool(tmp_path / "pool")
    part = set_metadata(pool, path=path)
    for read in (list_shards, uirdata.open_shards, count_shards, describe, read_manifest):
        with pytest.raises(ShardError, match=part.name):
            read(pool)
    assert shard_state(pool, TAR) is None


def test_push_sends_no_file_that_a_part_names_elsewhere(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path / "pool")
    private = tmp_path / "private.txt"
    private.write_bytes(b"secret")
    set_metadata(pool, path=str(private), size=6)
    relist(pool, str(private), bytes=6)
    with pytest.raises(ShardError):
        describe(pool, "me/mine")


@pytest.mark.parametrize("name", [TAR, INFO, "rejected.parquet", f"{MANIFEST}/train-noise-here-00000.parquet"])
def test_push_sends_no_file_that_is_a_link_out_of_the_folder(tmp_path: Path, name: str) -> None:
    pool = honest_pool(tmp_path / "pool")
    target = tmp_path / "private"
    (pool / name).rename(target)
    (pool / name).symlink_to(target)
    with pytest.raises(PublishError, match="link"):
        list(outgoing(describe(pool, "me/mine"), "https://hub", Tables(pool)))


def test_push_publishes_no_other_file_as_the_list_of_rejected_samples(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path / "pool")
    (pool / "rejected.parquet").write_text("a private key")
    with pytest.raises(ShardError, match=r"rejected\.parquet"):
        list(outgoing(describe(pool, "me/mine"), "https://hub", Tables(pool)))


def test_push_deletes_no_tables_in_a_folder_that_its_own_is_a_link_to(tmp_path: Path) -> None:
    pool, mine = honest_pool(tmp_path / "pool"), tmp_path / "mine"
    mine.mkdir()
    (mine / "work.parquet").write_bytes(b"1")
    (pool / ".push").symlink_to(mine)
    with pytest.raises(PublishError, match="link"), Tables(pool).alone():
        pass
    assert (mine / "work.parquet").exists()


def test_discard_deletes_nothing_outside_the_folder(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    pool, victim = honest_pool(tmp_path / "pool"), tmp_path / "victim.txt"
    victim.write_text("mine")
    (pool / INFO).unlink()
    set_metadata(pool, path="../victim.txt")
    with pytest.raises(ShardError):
        build_in(layout, sources, pool, discard=True)
    assert victim.read_text() == "mine"


def test_discard_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    pool, mine = honest_pool(tmp_path / "pool"), tmp_path / "mine"
    (pool / INFO).unlink()
    write_shard(pool, "train/noise/old-00000.tar", [sample("old")], "plan", [])
    (pool / "train/noise").rename(mine)
    (pool / "train/noise").symlink_to(mine)
    with pytest.raises(ShardError, match="link"):
        build_in(layout, sources, pool, discard=True)
    assert (mine / "old-00000.tar").exists()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep remote shards in a cache of the test."""
    monkeypatch.setenv("UIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("path", PATHS[:3])
def test_remote_shards_plant_no_file_where_info_json_names_one(tmp_path: Path, cache: Path, path: str) -> None:
    pool = honest_pool(tmp_path / "pool")
    outside = str(tmp_path / "planted.tar") if path.startswith("/") else path
    relist(pool, outside)
    part = set_metadata(pool, path=outside)
    files = dict(files_of(pool, "/pool"))
    files[f"/pool/{part_path(Path(), outside).as_posix()}"] = part.read_bytes()
    before = below(tmp_path)
    with serving(files) as server, pytest.raises((ShardError, DownloadError)):
        plan_rebuild(f"{server.url}/pool", tmp_path / "out")
    assert {name for name in below(tmp_path) - before if not name.startswith("cache")} == set()


def test_a_hash_of_remote_shards_is_no_path(tmp_path: Path, cache: Path) -> None:
    pool, lock = honest_pool(tmp_path / "pool"), tmp_path / "precious.lock"
    lock.write_text("mine")
    relist(pool, sha256=str(tmp_path / "precious"))
    set_metadata(pool, sha256=str(tmp_path / "precious"))
    with serving(dict(files_of(pool, "/pool"))) as server, pytest.raises(ShardError, match="sha256"):
        uirdata.open_shards(f"{server.url}/pool")[0]
    assert lock.read_text() == "mine"


def test_sizes_of_remote_shards_agree_with_their_manifest(tmp_path: Path, cache: Path) -> None:
    pool = honest_pool(tmp_path / "pool")
    relist(pool, bytes=10)
    with serving(dict(files_of(pool, "/pool"))) as server, pytest.raises(ShardError, match="do not agree"):
        uirdata.open_shards(f"{server.url}/pool")


def test_a_cache_that_names_another_folder_as_its_version_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pool = honest_pool(tmp_path / "pool")
    with serving({}) as server:
        address = f"{server.url}/pool"
    for folder in (cache / uirdata.pipeline.opening._name(address),):
        folder.mkdir(parents=True)
        (folder / "current-version").write_text(str(pool))
    with pytest.raises(ShardError, match="is no version"):
        uirdata.open_shards(address)


def test_object_storage_lists_no_path_that_leaves_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uirdata.hosts.base import Listed

    pool = honest_pool(tmp_path / "pool")
    listed = [Listed(name, name, 10) for name in (f"{MANIFEST}/../../x.parquet", f"{MANIFEST}/../y", "../z.tar")]
    honest = [Listed(name[1:], name, len(data)) for name, data in files_of(pool, "").items()]
    monkeypatch.setattr("uirdata.hosts.objects.Objects.files", lambda *_: tuple(listed + honest))
    local = ObjectPool(pool.as_uri(), tmp_path / "deep/er/local")
    local.download_manifest()
    assert {path.name for path in (tmp_path / "deep").rglob("*") if path.is_file()} == {
        "train-noise-here-00000.parquet",
        "here-00000.tar",
        INFO,
        "rejected.parquet",
    }


def test_a_link_under_the_name_of_a_lock_or_of_a_half_written_file_is_not_written_through(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    out.mkdir()
    mine.write_text("mine")
    (out / ".lock").symlink_to(mine)
    (out / ".info.json.part").symlink_to(mine)
    (out / ".page.txt.part").symlink_to(mine)
    build_in(layout, sources, out)
    with writing(out / "page.txt") as partial:
        partial.write_text("ours")
    assert mine.read_text() == "mine"
    assert len(uirdata.open_shards(out)) > 0


def test_shards_below_a_name_that_is_not_utf_8_are_read_and_counted(tmp_path: Path) -> None:
    pool = honest_pool(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))
    assert uirdata.open_shards(pool)[0].key == "s0"
    assert shard_state(pool, TAR) is not None
    assert uir("stats", pool).exit_code == 0


def test_a_folder_of_photographs_is_not_called_one_to_build_into(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    result = uir("stats", tmp_path)
    assert result.exit_code == 1
    assert "holds other files (photo.jpg" in result.output
    assert f"--out {tmp_path}" not in result.output
    assert "no such folder" in uir("build-shards", "--materialise", tmp_path / "none", "--out", tmp_path / "a").output


def test_a_folder_of_shards_that_does_not_exist_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"nowhere: no manifest\.parquet here; there is no such folder"):
        list_shards(tmp_path / "nowhere")
    result = uir("audit", tmp_path / "nowhere", "--root", tmp_path)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
