from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.uirdata.pipeline.trees import small_source, small_subset
from uirdata import open_shards
from uirdata.degradations import Recipe, degrade
from uirdata.errors import ShardError, SourceError, StorageError, UirError
from uirdata.images import pixel_sha256, read_image
from uirdata.layout import Layout
from uirdata.pipeline.building.build import BuildReport, build
from uirdata.pipeline.building.build_plan import BuildSettings, Slice, plan_build
from uirdata.pipeline.building.engines import Engine, LocalEngine, RayEngine
from uirdata.pipeline.building.materialise import materialise
from uirdata.pipeline.building.object_pool import ObjectPool
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import Reader, SourcePixels
from uirdata.planning import CropSetting
from uirdata.sources import Source
from uirdata.storage.shards import list_shards
from uirdata.storage.tables import read_table

SETTINGS = BuildSettings(shard_bytes=120_000)


def run(
    root: Path, out: Path, *, workers: int = 1, settings: BuildSettings = SETTINGS, retry: bool = False
) -> BuildReport:
    layout, sources = small_source(root)
    return _run(layout, sources, out, LocalEngine(workers), settings, retry)


def _run(
    layout: Layout,
    sources: dict[str, Source],
    out: Path,
    engine: Engine | None = None,
    settings: BuildSettings = SETTINGS,
    retry: bool = False,
    discard: bool = False,
    task: Slice | None = None,
) -> BuildReport:
    subset = small_subset()
    plan = make_plan(subset, sources, layout, seed=settings.seed)
    todo = plan_build(out, plan, settings, retry_rejected=retry, task=task)
    pixels = SourcePixels(source_folders(sources, layout, plan.sources), settings.seed)
    return build(todo, subsets={subset.name: subset.classes}, pixels=pixels, engine=engine, discard=discard)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_one_two_and_seven_workers_write_the_same_bytes_and_leave_no_process_behind(tmp_path: Path) -> None:
    for workers in (1, 2, 7):
        run(tmp_path, tmp_path / str(workers), workers=workers)
        assert multiprocessing.active_children() == []
    one = digests(tmp_path / "1")
    assert one == digests(tmp_path / "2") == digests(tmp_path / "7")
    assert sum(name.endswith(".tar") for name in one) > 5


@dataclass(frozen=True)
class Deadly:
    """Pixels that kill the first worker that opens them."""

    pixels: SourcePixels
    note: Path
    number: int = signal.SIGKILL

    def open(self) -> Reader:
        """Kill this process the first time; otherwise return a reader."""
        try:
            self.note.touch(exist_ok=False)
        except FileExistsError:
            return self.pixels.open()
        os.kill(os.getpid(), self.number)
        raise AssertionError("unreachable")


def test_a_killed_worker_is_an_error_of_a_local_build_and_finished_shards_are_kept(tmp_path: Path) -> None:
    with pytest.raises(UirError, match="a worker process was killed, most often because memory ran out"):
        _run_deadly(tmp_path, tmp_path / "out", LocalEngine(2))
    run(tmp_path, tmp_path / "whole")
    run(tmp_path, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_worker_that_receives_ctrl_c_before_its_parent_is_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run_deadly(tmp_path, tmp_path / "out", LocalEngine(2), number=signal.SIGINT)


def _run_deadly(
    root: Path, out: Path, engine: Engine, pool: ObjectPool | None = None, number: int = signal.SIGKILL
) -> BuildReport:
    layout, sources = small_source(root)
    plan = make_plan(small_subset(), sources, layout)
    pixels = Deadly(SourcePixels(source_folders(sources, layout, plan.sources), 0), root / "died", number)
    todo = plan_build(out, plan, SETTINGS)
    return build(todo, subsets={"small": small_subset().classes}, pixels=pixels, engine=engine, pool=pool)


def test_a_ray_cluster_of_two_nodes_writes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'universal-image-restoration[ray]'")
    from ray.cluster_utils import Cluster

    run(tmp_path, tmp_path / "local")
    layout, sources = small_source(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[4]))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        _run(layout, sources, tmp_path / "ray", RayEngine())
        # A worker that is killed is replaced; and shards may be in object storage.
        pool = ObjectPool(f"file://{tmp_path}/store", tmp_path / "here")
        _run_deadly(tmp_path, pool.folder, RayEngine(), pool)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert (tmp_path / "died").exists()
    assert digests(tmp_path / "ray") == digests(tmp_path / "store") == digests(tmp_path / "local")


def test_slices_in_any_order_write_the_same_bytes_as_one_build(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "whole")
    layout, sources = small_source(tmp_path)
    complete = [_run(layout, sources, tmp_path / "sliced", task=Slice(part, 3)).complete for part in (3, 1, 2)]
    assert complete == [False, False, True]
    assert digests(tmp_path / "sliced") == digests(tmp_path / "whole")


def test_lazy_shards_give_the_same_items_and_keep_each_gt_once(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "kept")
    run(tmp_path, tmp_path / "lazy", settings=BuildSettings(shard_bytes=120_000, lazy=True))
    kept, lazy = (open_shards(tmp_path / name) for name in ("kept", "lazy"))
    by_key = {item.key: item for item in lazy}
    assert set(by_key) == {item.key for item in kept}
    for item in kept:
        other = by_key[item.key]
        assert np.array_equal(item.lq, other.lq)
        assert np.array_equal(item.gt, other.gt)
        assert (other.record.lq_size == 0) == bool(item.record.recipe)
        assert item.record.lq_sha256 == other.record.lq_sha256
    size = {name: sum(p.stat().st_size for p in (tmp_path / name).rglob("*.tar")) for name in ("kept", "lazy")}
    # Two noisy LQ of each crop and one JPEG: three LQ less, and one GT less.
    assert size["lazy"] < 0.6 * size["kept"]
    with pytest.raises(ShardError, match="is lazy, this build is not lazy"):
        run(tmp_path, tmp_path / "lazy")


def test_a_lazy_pool_materialised_is_what_a_direct_build_writes(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "direct")
    run(tmp_path, tmp_path / "lazy", settings=BuildSettings(shard_bytes=90_000, lazy=True))
    materialise(tmp_path / "lazy", tmp_path / "made", shard_bytes=SETTINGS.shard_bytes)
    assert digests(tmp_path / "made") == digests(tmp_path / "direct")
    with pytest.raises(ShardError, match="is not lazy"):
        materialise(tmp_path / "direct", tmp_path / "again", shard_bytes=10**9)


def test_lazy_shards_are_plain_webdataset_with_the_recipes_in_their_json(tmp_path: Path) -> None:
    import webdataset

    run(tmp_path, tmp_path / "lazy", settings=BuildSettings(shard_bytes=10**9, lazy=True))
    tar = tmp_path / "lazy/train/noise/here-00000.tar"
    seen = 0
    for sample in webdataset.WebDataset(str(tar), shardshuffle=False).decode("rgb8"):
        assert set(sample) - {"__key__", "__url__", "__local_path__"} == {"gt.webp", "json"}
        for record in sample["json"]["samples"]:
            lq = degrade(sample["gt.webp"], Recipe.from_json(record["recipe"]))
            assert pixel_sha256(lq) == record["lq_sha256"]
            seen += 1
    assert seen == open_shards(tmp_path / "lazy", "train").degradations.count("noise")


def test_killed_half_way_and_started_again_it_writes_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "whole")
    script = (
        "import sys; from pathlib import Path; from tests.uirdata.pipeline.building.test_build import run;"
        "run(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    out = tmp_path / "killed"
    for wanted in (1, 4):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(out)], start_new_session=True)
        deadline = time.monotonic() + 60
        while len(list(out.rglob("*.tar"))) < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.tar")}
    finished = len(list((out / "manifest.parquet").glob("*.parquet")))
    assert 0 < finished < len(digests(tmp_path / "whole"))
    report = run(tmp_path, out)
    assert digests(out) == digests(tmp_path / "whole")
    # What was finished before was not built again.
    assert report.shards + finished == sum(path.suffix == ".tar" for path in out.rglob("*"))
    assert sum(before.get(path) == path.stat().st_mtime_ns for path in out.rglob("*.tar")) >= finished


def test_killed_twenty_times_at_random_moments_it_writes_the_same_bytes(tmp_path: Path) -> None:
    small = BuildSettings(shard_bytes=30_000)
    start = time.monotonic()
    run(tmp_path, tmp_path / "whole", settings=small)
    took = time.monotonic() - start
    out = tmp_path / "killed"
    # A process that has imported everything forks the builds to kill: twenty in the time of a few.
    script = (
        "import os, sys, time; from pathlib import Path; from tests.uirdata.pipeline.building import test_build as it\n"
        "for delay in map(float, sys.argv[3:]):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        it.run(Path(sys.argv[1]), Path(sys.argv[2]), settings=it.BuildSettings(shard_bytes=30_000))\n"
        "        os._exit(0)\n"
        "    time.sleep(delay)\n"
        "    os.kill(child, 9)\n"
        "    print(os.WIFSIGNALED(os.waitpid(child, 0)[1]), flush=True)\n"
    )
    delays = [str(delay) for delay in np.random.default_rng(5).uniform(0, took / 5, 20)]
    command = [sys.executable, "-c", script, str(tmp_path), str(out), *delays]
    hits = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    assert len(hits) == 20
    assert hits.count("True") >= 5
    for state in list_shards(out) if (out / "manifest.parquet").exists() else []:
        assert hashlib.sha256((out / state.path).read_bytes()).hexdigest() == state.sha256
    run(tmp_path, out, settings=small)
    assert digests(out) == digests(tmp_path / "whole")


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "out")
    before = digests(tmp_path / "out")
    assert run(tmp_path, tmp_path / "out").shards == 0
    assert digests(tmp_path / "out") == before


def test_a_made_lq_is_what_its_recipe_makes_of_its_gt(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "out")
    dataset = open_shards(tmp_path / "out")
    assert dataset.class_names == ("noise", "jpeg", "haze")
    made = 0
    for item in dataset:
        record = item.record
        whole = read_image(tmp_path / "photos" / record.gt_path)
        window = whole[record.top : record.top + record.height, record.left : record.left + record.width]
        assert np.array_equal(item.gt, window)
        if record.recipe:
            made += 1
            assert np.array_equal(item.lq, degrade(item.gt, Recipe.from_json(record.recipe)))
            assert json.loads(record.recipe)["level"] == record.level
        else:
            assert (record.degradation, record.real, record.level) == ("haze", True, "beta=0.1")
    assert made > 20
    assert {r.height for r in open_shards(tmp_path / "out", "test").records} == {72}


def test_a_broken_image_costs_its_own_samples_and_is_listed_with_the_reason(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    broken = tmp_path / "photos/clean/p1.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-400])
    report = _run(layout, sources, tmp_path / "out")
    assert {row.gt_path for row in report.rejected} == {"clean/p1.png"}
    assert all("p1.png: is cut short" in row.reason for row in report.rejected)
    listed = read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert len(listed) == len(report.rejected) > 0
    assert "clean/p1.png" not in {record.gt_path for record in open_shards(tmp_path / "out").records}
    # A second run does not retry them; --retry-rejected does, and gives the same result as without the error.
    assert _run(layout, sources, tmp_path / "out").shards == 0
    broken.write_bytes(whole)
    again = _run(layout, sources, tmp_path / "out", retry=True)
    assert again.rejected == ()
    run(tmp_path, tmp_path / "sound")
    assert digests(tmp_path / "out") == digests(tmp_path / "sound")


def test_an_lq_of_another_size_than_its_gt_is_rejected_with_both_sizes(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    image = read_image(tmp_path / "photos/lq/h.0.png")
    from tests.conftest import write_png

    write_png(tmp_path / "photos/lq/h.0.png", image[:, :60])
    report = _run(layout, sources, tmp_path / "out")
    assert {row.lq_path for row in report.rejected} == {"lq/h.0.png"}
    assert "60 x 64 pixels, its GT gt/h.0.png has 64 x 64" in report.rejected[0].reason


def test_a_shard_cut_short_is_restored_to_the_byte(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "out")
    before = digests(tmp_path / "out")
    tar = sorted((tmp_path / "out").rglob("*.tar"))[2]
    tar.write_bytes(tar.read_bytes()[:-1000])
    with pytest.raises(ShardError, match="truncated"):
        open_shards(tmp_path / "out")
    assert run(tmp_path, tmp_path / "out").shards == 1
    assert digests(tmp_path / "out") == before


def test_another_seed_codec_or_crop_does_not_mix_into_a_pool(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "out")
    with pytest.raises(ShardError, match="built with seed 0, not 1; use --seed 0"):
        run(tmp_path, tmp_path / "out", settings=BuildSettings(seed=1))
    with pytest.raises(ShardError, match="built with codec webp, not png"):
        run(tmp_path, tmp_path / "out", settings=BuildSettings(codec="png"))
    layout, sources = small_source(tmp_path)
    plan = make_plan(small_subset(), sources, layout, crop=CropSetting(64, 64))
    with pytest.raises(ShardError, match="cropped with size 48, stride 32, not 64, 64"):
        plan_build(tmp_path / "out", plan, SETTINGS)


def test_another_subset_adds_shards_and_rewrites_none(tmp_path: Path) -> None:
    run(tmp_path, tmp_path / "out")
    before = digests(tmp_path / "out")
    layout, sources = small_source(tmp_path)
    more = small_subset(per_image=5)
    plan = make_plan(more, sources, layout)
    todo = plan_build(tmp_path / "out", plan, SETTINGS)
    pixels = SourcePixels(source_folders(sources, layout, ["here"]), 0)
    build(todo, subsets={more.name: more.classes}, pixels=pixels)
    after = digests(tmp_path / "out")
    assert {name: after[name] for name in before if name.endswith(".tar")} == {
        name: digest for name, digest in before.items() if name.endswith(".tar")
    }
    assert len(open_shards(tmp_path / "out")) == sum(1 for _ in plan.samples())


def test_a_full_disk_is_reported_and_finished_shards_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uirdata.storage import shards

    real, calls = shards.TarWriter.add, iter(range(10**6))

    def add(self: shards.TarWriter, name: str, data: bytes) -> int:
        if next(calls) > 60:
            raise OSError(28, "No space left on device")
        return real(self, name, data)

    monkeypatch.setattr(shards.TarWriter, "add", add)
    with pytest.raises(StorageError, match=r"the disk is full\. Finished files are kept"):
        run(tmp_path, tmp_path / "out")
    monkeypatch.undo()
    finished = len(list((tmp_path / "out").rglob("*.tar")))
    assert finished > 0
    run(tmp_path, tmp_path / "out")
    run(tmp_path, tmp_path / "other")
    assert digests(tmp_path / "out") == digests(tmp_path / "other")


def test_shards_of_another_unfinished_build_are_an_error_until_they_are_discarded(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    run(tmp_path, tmp_path / "out", settings=BuildSettings(shard_bytes=60_000))
    (tmp_path / "out/info.json").unlink()  # as if it had not been finished
    with pytest.raises(ShardError, match="Finish it with the command that started it"):
        run(tmp_path, tmp_path / "out")
    _run(layout, sources, tmp_path / "out", discard=True)
    run(tmp_path, tmp_path / "other")
    assert digests(tmp_path / "out") == digests(tmp_path / "other")


def test_two_builds_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ShardError, match="another build is writing here"):
            run(tmp_path, tmp_path / "out")


def test_slices_share_a_folder_and_keep_a_whole_build_out_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import fcntl

    from uirdata.pipeline.building.build import only_builder
    from uirdata.pipeline.building.build_plan import Slice

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with only_builder(tmp_path, Slice(1, 2)), only_builder(tmp_path, Slice(2, 2)):
        for task in (Slice(), Slice(1, 2)):
            with pytest.raises(ShardError, match="another build is writing here"), only_builder(tmp_path, task):
                pass
    with only_builder(tmp_path, Slice()):
        pass


def test_nothing_fetched_is_an_error_with_the_command_to_run(tmp_path: Path) -> None:
    _, sources = small_source(tmp_path)
    with pytest.raises(SourceError, match="not fetched; run `uir fetch here`"):
        make_plan(small_subset(), sources, Layout(tmp_path / "empty"))
