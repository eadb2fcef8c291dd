"""A failure of one file never ends a command over many, whatever the failure is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import synthetic_image, write_png
from tests.uirdata.decoding.test_formats import EPS, HUGE
from tests.uirdata.decoding.test_metadata import ODD, RGB, with_exif
from tests.uirdata.pipeline.trees import small_source, small_subset
from uirdata.errors import ImageError, StorageError, one_file
from uirdata.layout import Layout
from uirdata.pipeline.auditing import gt_images
from uirdata.pipeline.auditing.audit import audit
from uirdata.pipeline.auditing.gt_images import GtImage, ImageLocation
from uirdata.pipeline.building import sample_reader, screen
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.export_crops import export_crops
from uirdata.pipeline.building.sample_plan import Plan, make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.screen import screened_plan
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.pipeline.fetching import inventory
from uirdata.pipeline.fetching.fetch import add_local_source
from uirdata.pipeline.fetching.inventory import take_inventory
from uirdata.pipeline.verifying import pixel_checks
from uirdata.pipeline.verifying.pixel_checks import Group, inspect_group
from uirdata.pipeline.verifying.verify import verify
from uirdata.progress import Silent
from uirdata.sources import Source
from uirdata.storage.fingerprint_cache import FingerprintCache
from uirdata.storage.tables import read_table


def failing(real: Callable[..., Any], fails: Callable[..., bool]) -> Callable[..., Any]:
    """Return a function that fails for one file in a way that nobody foresees."""

    def function(*arguments: Any, **options: Any) -> Any:
        if fails(*arguments):
            raise KeyError("a bug")
        return real(*arguments, **options)

    return function


def planned(tmp_path: Path) -> tuple[Plan, Layout, dict[str, Source]]:
    layout, sources = small_source(tmp_path)
    return make_plan(small_subset(), sources, layout, seed=0), layout, sources


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), RecursionError(), OverflowError("y"), ValueError("z")])
def test_any_failure_of_a_file_names_it_and_our_own_errors_pass(error: Exception) -> None:
    with pytest.raises(ImageError, match=r"a/b\.png"), one_file("a/b.png"):
        raise error
    with pytest.raises(StorageError, match="full"), one_file("a/b.png"):
        raise StorageError("the disk is full")


def test_fetch_and_verify_go_past_bombs_programs_and_odd_metadata(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for side, seed in (("gt", 1), ("lq", 2)):
        write_png(mine / side / "good.png", synthetic_image(40, 50, seed))
    bad = {"bomb": HUGE["png"], "program": EPS, "tiff": HUGE["tif"], "turned": with_exif("png", ODD["zero"][0])}
    for name, data in bad.items():
        write_png(mine / "gt" / f"{name}.png", RGB)
        (mine / "lq" / f"{name}.png").write_bytes(data)
    layout = Layout(tmp_path / "root")
    source = add_local_source("mine", mine, layout, lq="lq", gt="gt", degradation="haze")
    found = take_inventory(source, layout, jobs=2, progress=Silent())
    assert (found.total, found.unreadable) == (2, 3)
    rows = {row["lq"]: row["reason"] for row in read_table(layout.pairs("mine")).to_pylist()}
    assert "its header says 60000 x 60000 pixels" in rows["lq/bomb.png"]
    assert "it is PostScript" in rows["lq/program.png"]
    result = verify([source], layout, deep=True, jobs=1, progress=Silent()).sources[0]
    assert result.inventory is not None
    assert result.inventory.unreadable == 3
    assert result.warnings["damaged metadata"] == 1
    assert "orientation 0 has no meaning" in result.warning_examples["damaged metadata"]


def test_fetch_goes_past_a_failure_that_nobody_foresaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        for side, seed in (("gt", 1), ("lq", 2)):
            write_png(tmp_path / "mine" / side / f"{name}.png", synthetic_image(40, 50, seed))
    layout = Layout(tmp_path / "root")
    broken = failing(inventory.image_size, lambda path: path.match("lq/b.png"))
    monkeypatch.setattr(inventory, "image_size", broken)
    source = add_local_source("mine", tmp_path / "mine", layout, lq="lq", gt="gt", degradation="haze")
    assert take_inventory(source, layout, jobs=1, progress=Silent()).total == 2


def test_verify_goes_past_a_comparison_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("gt", 1), ("a", 2), ("b", 3)):
        write_png(tmp_path / f"{name}.png", synthetic_image(40, 50, seed))
    broken = failing(pixel_checks.compare, lambda _, lq, *__: lq.path == "a.png")
    monkeypatch.setattr(pixel_checks, "compare", broken)
    seen = inspect_group(Group(tmp_path, "gt.png", ("a.png", "b.png"), 0))
    assert [pair.problem[:18] for pair in seen.pairs] == ["cannot be compared", ""]


def test_a_build_goes_past_a_file_and_lists_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, layout, sources = planned(tmp_path)
    broken = failing(sample_reader.read_image, lambda path: path.name == "p1.png")
    monkeypatch.setattr(sample_reader, "read_image", broken)
    settings = BuildSettings(shard_bytes=120_000)
    pixels = SourcePixels(source_folders(sources, layout, plan.sources), settings.seed)
    subset = small_subset()
    report = build(plan_build(tmp_path / "out", plan, settings), subsets={subset.name: subset.classes}, pixels=pixels)
    assert {rejected.gt_path for rejected in report.rejected} == {"clean/p1.png"}
    assert report.samples > 10


def test_crops_are_exported_past_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, layout, sources = planned(tmp_path)
    broken = failing(sample_reader.read_image, lambda path: path.name == "p1.png")
    monkeypatch.setattr(sample_reader, "read_image", broken)
    left = export_crops(plan, source_folders(sources, layout, plan.sources), tmp_path / "out")
    assert left
    assert all("KeyError" in item.reason for item in left)
    assert len(list((tmp_path / "out").rglob("gt/*.png"))) > 10


def test_screening_goes_past_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, layout, sources = planned(tmp_path)
    broken = failing(screen.decode_image, lambda data: data == (tmp_path / "photos/clean/p1.png").read_bytes())
    monkeypatch.setattr(screen, "decode_image", broken)
    _, reports = screened_plan(plan, sources, layout, screen=True)
    assert {failure.source for _, report in reports for failure in report.failures} == {"here/clean/p1.png"}
    assert sum(report.crops for _, report in reports) > 10


def test_an_audit_goes_past_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = []
    for seed, name in enumerate("abc"):
        path = write_png(tmp_path / f"{name}.png", synthetic_image(90, 120, seed))
        images.append(GtImage("", "s", "train", name, path.name, 0, 0, 90, 120, "", ImageLocation(path)))
    bad = synthetic_image(90, 120, 1)
    broken = failing(gt_images.fingerprint, lambda image: np.array_equal(image, bad))
    monkeypatch.setattr(gt_images, "fingerprint", broken)
    report = audit(images, [], FingerprintCache(tmp_path / "cache"))
    assert [failure.source for failure in report.failures] == ["s/b.png"]
    assert report.images == 2


def test_a_deep_file_is_scored_again_after_its_decoding_changed(tmp_path: Path) -> None:
    import cv2

    plan, layout, sources = planned(tmp_path)
    deep = cv2.imencode(".png", synthetic_image(72, 90, 0).astype(np.uint16) * 250)[1].tobytes()
    (tmp_path / "photos/clean/p0.png").write_bytes(deep)
    screened_plan(plan, sources, layout, screen=True)
    (table,) = {path for path in layout.root.rglob("screening-*.parquet") if "noise" not in path.name} or {None}
    assert table is not None
    rows = {row["gt"]: row["file_sha256"] for row in read_table(table).to_pylist()}
    assert rows["clean/p0.png"].endswith("-2")
    assert len(rows["clean/p1.png"]) == 64
