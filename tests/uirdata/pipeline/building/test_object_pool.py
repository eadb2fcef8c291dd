from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from uir_cli.uir import program

import uirdata
from tests.uirdata.pipeline.building.test_build import SETTINGS, digests
from tests.uirdata.pipeline.building.test_build import run as run_locally
from tests.uirdata.pipeline.trees import small_source, small_subset
from uirdata.errors import DownloadError
from uirdata.hosts.objects import Objects
from uirdata.pipeline.building.build import BuildReport, build
from uirdata.pipeline.building.build_plan import Slice, plan_build
from uirdata.pipeline.building.engines import Engine, LocalEngine
from uirdata.pipeline.building.object_pool import ObjectPool
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import SourcePixels


def run(root: Path, pool: ObjectPool, task: Slice | None = None, engine: Engine | None = None) -> BuildReport:
    layout, sources = small_source(root)
    pool.download_manifest()
    plan = make_plan(small_subset(), sources, layout)
    todo = plan_build(pool.folder, plan, SETTINGS, task=task)
    pixels = SourcePixels(source_folders(sources, layout, plan.sources), 0)
    return build(todo, subsets={"small": small_subset().classes}, pixels=pixels, engine=engine, pool=pool)


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """Object storage in the memory of this process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_locally(folder, folder / "shards")
    return folder / "shards"


def unpack(system: fsspec.AbstractFileSystem, place: str, folder: Path) -> dict[str, str]:
    shutil.rmtree(folder, ignore_errors=True)
    system.get(place, str(folder), recursive=True)
    return {name: digest for name, digest in digests(folder).items() if not name.startswith(".")}


def test_object_storage_gets_the_bytes_of_a_folder_also_from_two_machines(
    tmp_path: Path, memory: fsspec.AbstractFileSystem, whole: Path
) -> None:
    # Each machine keeps its own copy of the manifest.
    one, two = (ObjectPool("memory://bucket/shards", tmp_path / name) for name in ("one", "two"))
    assert not run(tmp_path, one, Slice(1, 2)).complete
    assert run(tmp_path, two, Slice(2, 2)).complete
    assert unpack(memory, "/bucket/shards", tmp_path / "got") == digests(whole)
    assert run(tmp_path, one).shards == 0
    there = uirdata.open_shards(whole)
    for item, other in zip(uirdata.open_shards("memory://bucket/shards"), there, strict=True):
        assert item.record == other.record
        assert np.array_equal(item.lq, other.lq)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIR_CACHE", str(tmp_path / "cache"))


def test_an_incomplete_upload_of_a_dead_machine_is_built_again(
    tmp_path: Path, memory: fsspec.AbstractFileSystem, whole: Path
) -> None:
    pool = ObjectPool("memory://bucket/shards", tmp_path / "here")
    run(tmp_path, pool)
    names = sorted(name for name in memory.find("/bucket/shards") if name.endswith(".tar"))
    memory.pipe_file(names[0], b"cut short")
    memory.rm_file(names[1])
    memory.rm_file(sorted(memory.find("/bucket/shards/manifest.parquet"))[2])
    memory.rm_file("/bucket/shards/info.json")
    shutil.rmtree(pool.folder)
    assert run(tmp_path, pool).shards == 3
    assert unpack(memory, "/bucket/shards", tmp_path / "got") == digests(whole)


def test_workers_upload_their_shards_and_the_command_takes_a_url(tmp_path: Path, whole: Path) -> None:
    place = f"file://{tmp_path}/store"
    run(tmp_path, ObjectPool(place, tmp_path / "here"), engine=LocalEngine(2))
    assert digests(tmp_path / "store") == digests(whole)
    (tmp_path / "mine").mkdir()
    shutil.copy(tmp_path / "photos/clean/p0.png", tmp_path / "mine")
    fetched = CliRunner().invoke(program, ["fetch", "mine", "--from", str(tmp_path / "mine"), "--root", str(tmp_path)])
    assert fetched.exit_code == 0, fetched.output
    (tmp_path / "manifests/subsets.toml").write_text(
        '[[subset]]\nname = "small"\ntitle = "noise of mine"\nclasses = [["noise"]]\n'
        '[[subset.use]]\nsources = ["mine"]\ndegradations = ["noise"]\nsplits = ["train"]\nlevels = ["gaussian-25"]\n'
    )
    other = f"file://{tmp_path}/other"
    command = ["build-shards", "--subset", "small", "--out", other, "--root", str(tmp_path), "--workers", "1"]
    built = CliRunner().invoke(program, command)
    assert built.exit_code == 0, built.output
    assert f"Written to {other}" in built.output
    assert len(uirdata.open_shards(other)) == len(uirdata.open_shards(tmp_path / "other")) > 0
    refused = CliRunner().invoke(program, [*command, "--materialise", str(tmp_path / "other")])
    assert refused.exit_code == 2


def test_ranges_are_read_and_a_missing_object_is_an_error(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/bucket/f", bytes(range(200)))
    incoming = Objects().open("memory://bucket/f", start=20, stop=50)
    assert (incoming.start, incoming.total, b"".join(incoming.chunks)) == (20, 200, bytes(range(20, 50)))
    with pytest.raises(DownloadError, match="no such object"):
        Objects().open("memory://bucket/g")
    with pytest.raises(DownloadError, match="nowhere://x"):
        Objects().open("nowhere://x")
    assert Objects().files("memory://bucket/none/") == ()
