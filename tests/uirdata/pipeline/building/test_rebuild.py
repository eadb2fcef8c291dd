from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import synthetic_image, write_png
from tests.hub import Hub
from tests.uirdata.pipeline.building.test_build import SETTINGS, digests, run
from tests.uirdata.pipeline.building.test_build import _run as build_from
from tests.uirdata.pipeline.publishing.published import REPO, publish
from tests.uirdata.pipeline.trees import small_source
from uirdata.errors import ShardError
from uirdata.pipeline.building.build import only_builder
from uirdata.pipeline.building.build_plan import BuildSettings, Slice
from uirdata.pipeline.building.rebuild import RebuildReport, plan_rebuild, rebuild
from uirdata.pipeline.building.sample_reader import source_folders

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PLACE = f"hf://datasets/{REPO}"


def rebuilt(tmp_path: Path, out: Path, *, without: str = "") -> RebuildReport:
    """Rebuild from the folder of another user, who fetched the same source; return the report."""
    layout, sources = small_source(tmp_path / "theirs")
    folders = source_folders(sources, layout, [name for name in sources if name != without])
    return rebuild(plan_rebuild(PLACE, out), folders)


@pytest.mark.parametrize("lazy", [False, True])
def test_recipes_and_the_users_own_files_give_the_published_bytes(server: Hub, tmp_path: Path, lazy: bool) -> None:
    pool = tmp_path / "pool"
    run(tmp_path / "ours", pool, settings=BuildSettings(shard_bytes=SETTINGS.shard_bytes, lazy=lazy))
    publish(pool, tmp_path, recipes_only=True)
    report = rebuilt(tmp_path, tmp_path / "out")
    assert report.complete
    assert digests(tmp_path / "out") == digests(pool)
    again = rebuilt(tmp_path, tmp_path / "out")
    assert (again.shards, again.complete) == (0, True)


def test_samples_that_the_publisher_could_not_make_stay_out(server: Hub, tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path / "ours")
    broken = tmp_path / "ours/photos/clean/p1.png"
    broken.write_bytes(broken.read_bytes()[:-300])
    assert build_from(layout, sources, tmp_path / "pool").rejected
    publish(tmp_path / "pool", tmp_path, recipes_only=True)
    assert rebuilt(tmp_path, tmp_path / "out").complete
    assert digests(tmp_path / "out") == digests(tmp_path / "pool")


def test_a_file_of_another_version_is_named_and_its_shards_are_not_kept(server: Hub, tmp_path: Path) -> None:
    pool, out = tmp_path / "pool", tmp_path / "out"
    run(tmp_path / "ours", pool)
    publish(pool, tmp_path, recipes_only=True)
    small_source(tmp_path / "theirs")
    write_png(tmp_path / "theirs/photos/clean/p4.png", synthetic_image(72, 90, 77))
    layout, sources = small_source(tmp_path / "ours")
    folders = source_folders(sources, layout, sources)
    folders["here"] = tmp_path / "theirs/photos"
    report = rebuild(plan_rebuild(PLACE, out), folders)
    assert list(report.differ) == ["test/noise/here-00000.tar"]
    assert "the pixels of here/clean/p4.png differ" in report.differ["test/noise/here-00000.tar"]
    assert not (out / "test/noise/here-00000.tar").exists()
    assert not (out / "info.json").exists()
    folders["here"] = tmp_path / "ours/photos"
    assert rebuild(plan_rebuild(PLACE, out), folders).shards == 1
    assert digests(out) == digests(pool)


def test_a_missing_image_is_named(server: Hub, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    run(tmp_path / "ours", pool)
    publish(pool, tmp_path, recipes_only=True)
    layout, sources = small_source(tmp_path / "theirs")
    (tmp_path / "theirs/photos/lq/h.1.png").unlink()
    report = rebuild(plan_rebuild(PLACE, tmp_path / "out"), source_folders(sources, layout, sources))
    assert list(report.differ) == ["train/haze/here-00000.tar"]
    assert "h.1.png" in report.differ["train/haze/here-00000.tar"]


def test_shards_of_sources_that_are_not_there_are_left(server: Hub, tmp_path: Path) -> None:
    run(tmp_path / "ours", tmp_path / "pool")
    publish(tmp_path / "pool", tmp_path, recipes_only=True)
    report = rebuilt(tmp_path, tmp_path / "out", without="here")
    assert len(report.left) == 8
    assert report.shards == 0


def test_another_pool_and_another_builder_are_not_disturbed(server: Hub, tmp_path: Path) -> None:
    run(tmp_path / "ours", tmp_path / "pool")
    publish(tmp_path / "pool", tmp_path, recipes_only=True)
    run(tmp_path / "ours", tmp_path / "other", settings=BuildSettings(seed=5))
    with pytest.raises(ShardError, match="holds other shards than hf://datasets/me/small"):
        rebuilt(tmp_path, tmp_path / "other")
    with only_builder(tmp_path / "out", Slice()), pytest.raises(ShardError, match="another build is writing here"):
        rebuilt(tmp_path, tmp_path / "out")


def test_parts_of_a_rebuild_on_several_machines_make_one_folder(server: Hub, tmp_path: Path) -> None:
    pool, out = tmp_path / "pool", tmp_path / "out"
    run(tmp_path / "ours", pool)
    publish(pool, tmp_path, recipes_only=True)
    layout, sources = small_source(tmp_path / "theirs")
    folders = source_folders(sources, layout, sources)
    plans = [plan_rebuild(PLACE, out, Slice(part, 3)) for part in (1, 2, 3)]
    assert [(len(plan.todo), plan.waiting) for plan in plans] == [(3, 5), (3, 5), (2, 6)]
    reports = [rebuild(plan, folders) for plan in plans]
    assert [(report.shards, report.waiting, report.complete) for report in reports] == [
        (3, 5, True),
        (3, 2, True),
        (2, 0, True),
    ]
    assert digests(out) == digests(pool)
