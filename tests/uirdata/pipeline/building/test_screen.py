from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import synthetic_image, write_png
from uirdata.cropping import Box
from uirdata.facts.own_sources import local_source
from uirdata.images import RgbImage, decode_image, read_image
from uirdata.layout import Layout
from uirdata.pairing import Pair
from uirdata.pipeline.building import screen
from uirdata.pipeline.building.sample_plan import Plan, make_plan
from uirdata.pipeline.building.screen import Screened, cuts_to_screen, screen_cut, with_screening
from uirdata.screening import Limits, least_sharp, sharpness, sharpness_energies
from uirdata.sources import Source, SourceCrop
from uirdata.storage.pair_tables import PAIRS_SCHEMA
from uirdata.storage.tables import read_table, write_rows
from uirdata.subsets import Subset, Use

SIZE = 64


def grainy(height: int, width: int, seed: int) -> RgbImage:
    """Return an image with detail in every block."""
    grain = np.random.default_rng(seed).normal(0, 45, (height, width, 1))
    return np.clip(synthetic_image(height, width, seed) + grain, 0, 255).astype(np.uint8)


def planted(root: Path) -> tuple[Layout, dict[str, Source], Subset]:
    """Write clean photographs, some of them of bad quality, and two published pairs whose GT have the same pixels."""
    layout, folder = Layout(root), root / "photos"
    images = {
        "good": grainy(64, 128, 1),
        "flat": np.full((64, 64, 3), 120, np.uint8),
        "dark": (grainy(64, 64, 2) // 10).astype(np.uint8),
        "blurred": np.asarray(cv2.GaussianBlur(grainy(64, 64, 3), (0, 0), 4), np.uint8),
        "again": grainy(64, 128, 1),
    }
    rows = []
    for name, image in images.items():
        write_png(folder / f"clean/{name}.png", image)
        rows.append((Pair("here", "train", "", False, f"clean/{name}.png", "", "", name), image.shape))
    for number in range(2):
        write_png(folder / f"gt/{number}.png", grainy(64, 64, 7))
        write_png(folder / f"lq/{number}.png", synthetic_image(64, 64, 8 + number))
        pair = Pair("here", "train", "haze", True, f"gt/{number}.png", f"lq/{number}.png", "", f"h{number}")
        rows.append((pair, (64, 64)))
    write_png(folder / "clean/test.png", np.zeros((64, 64, 3), np.uint8))
    rows.append((Pair("here", "test", "", False, "clean/test.png", "", "", "t"), (64, 64)))
    write_pairs(layout, rows)
    uses = (
        Use("here", "noise", "train", ("gaussian-25",), 1, SIZE, SIZE),
        Use("here", "haze", "train", (), 1, SIZE, SIZE),
        Use("here", "noise", "test", ("gaussian-25",)),
    )
    subset = Subset("planted", "", (("noise",), ("haze",)), {}, uses)
    return layout, {"here": replace(local_source("here", folder / "clean"), local_dir=folder)}, subset


def write_pairs(layout: Layout, rows: Sequence[tuple[Pair, Sequence[int]]]) -> None:
    keep = [name for name in PAIRS_SCHEMA.names if hasattr(rows[0][0], name)]
    table = [
        {name: getattr(pair, name) for name in keep} | {"height": h, "width": w, "ok": True, "reason": ""}
        for pair, (h, w, *_) in rows
    ]
    write_rows(layout.pairs("here"), table, PAIRS_SCHEMA)


def screened(
    layout: Layout,
    sources: dict[str, Source],
    subset: Subset,
    *,
    wanted: bool = True,
    workers: int = 1,
    trust: bool = False,
) -> tuple[Plan, list[Screened]]:
    plan = make_plan(subset, sources, layout)
    cuts = cuts_to_screen(plan, sources, screen=wanted)
    folder = layout.root / "photos"
    reports = [screen_cut(cut, folder, layout, workers=workers, trust_files=trust) for cut in cuts]
    return with_screening(plan, cuts, layout), reports


def test_planted_crops_are_found_named_counted_and_left_out(tmp_path: Path) -> None:
    layout, sources, subset = planted(tmp_path)
    plan, (report,) = screened(layout, sources, subset)
    assert (report.crops, report.left_out, report.failures) == (9, 5, [])
    assert report.reasons == {"flat": 1, "dark": 1, "blurred": 1, "duplicated": 2}
    rows = read_table(layout.screening("here", SIZE, SIZE)).to_pylist()
    reasons = {(row["gt"], row["left"]): row["reason"] for row in rows if row["reason"]}
    assert reasons == {
        ("clean/flat.png", 0): "flat",
        ("clean/dark.png", 0): "dark",
        ("clean/blurred.png", 0): "blurred",
        ("clean/again.png", 0): "duplicated",
        ("clean/again.png", 64): "duplicated",
    }
    # The scores of every crop are stored, also of those that are used; published LQ may share a GT.
    assert all(0 <= row["flatness"] <= 1 and 0 <= row["blur"] <= 1 and row["brightness"] >= 0 for row in rows)
    assert [row["duplicate_of"] for row in rows if row["gt"] == "gt/1.png"] == ["gt/0.png:0,0"]
    paths = Counter(sample.gt_path for sample in plan.samples())
    assert paths == {"clean/good.png": 2, "gt/0.png": 1, "gt/1.png": 1, "clean/test.png": 1}


def test_nothing_is_screened_unless_it_is_asked_for(tmp_path: Path) -> None:
    layout, sources, subset = planted(tmp_path)
    plan, reports = screened(layout, sources, subset, wanted=False)
    assert reports == []
    assert list(plan.samples()) == list(make_plan(subset, sources, layout).samples())


def test_crops_that_stay_are_planned_as_they_were(tmp_path: Path) -> None:
    layout, sources, subset = planted(tmp_path)
    plan, _ = screened(layout, sources, subset)
    whole = {sample.key: sample for sample in make_plan(subset, sources, layout).samples()}
    assert all(whole[sample.key] == sample for sample in plan.samples())


def test_a_source_that_drops_its_least_sharp_crops_does_so_unasked_and_only_in_its_own_cut(tmp_path: Path) -> None:
    layout, sources, _ = planted(tmp_path)
    image = synthetic_image(192, 256, 4)
    image[:, :80] = cv2.GaussianBlur(image[:, :80], (0, 0), 2)
    write_png(tmp_path / "photos/gt/0.png", image)
    write_png(tmp_path / "photos/lq/0.png", image)
    write_pairs(layout, [(Pair("here", "train", "haze", True, "gt/0.png", "lq/0.png", "", "h"), image.shape)])
    sources["here"] = replace(sources["here"], crop=SourceCrop(SIZE, SIZE, drop_least_sharp=0.3))
    subset = Subset("sharp", "", (("haze",),), {}, (Use("here", "haze", "train"),))
    plan, (report,) = screened(layout, sources, subset, wanted=False)
    boxes = [Box(top, left, SIZE, SIZE) for top in (0, 64, 128) for left in (0, 64, 128, 192)]
    crops = [image[b.top : b.top + SIZE, b.left : b.left + SIZE] for b in boxes]
    dropped = least_sharp(sharpness([sharpness_energies(crop) for crop in crops]), 0.3)
    assert (report.reasons, len(dropped)) == ({"least sharp": 3}, 3)
    assert [sample.box for sample in plan.samples()] == [box for i, box in enumerate(boxes) if i not in dropped]
    other = Subset("other", "", (("haze",),), {}, (Use("here", "haze", "train", (), 1, 48, 48),))
    assert screened(layout, sources, other, wanted=False)[1] == []


def test_two_workers_write_the_same_table(tmp_path: Path) -> None:
    tables = []
    for workers in (1, 2):
        layout, sources, subset = planted(tmp_path / str(workers))
        screened(layout, sources, subset, workers=workers)
        tables.append(layout.screening("here", SIZE, SIZE).read_bytes())
    assert tables[0] == tables[1]


def test_a_file_that_has_not_changed_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, sources, subset = planted(tmp_path)
    screened(layout, sources, subset)
    table = layout.screening("here", SIZE, SIZE)
    before = table.read_bytes()
    decoded: list[str] = []

    def counted(data: bytes, *, name: str) -> object:
        decoded.append(Path(name).name)
        return decode_image(data, name=name)

    monkeypatch.setattr(screen, "decode_image", counted)
    screened(layout, sources, subset)
    assert (decoded, table.read_bytes()) == ([], before)
    # With trust_files the file is not even read, and the table is not rewritten.
    write_png(tmp_path / "photos/clean/flat.png", grainy(64, 64, 9))
    stamp = table.stat().st_mtime_ns
    _, (report,) = screened(layout, sources, subset, trust=True)
    assert (decoded, report.reasons["flat"], table.stat().st_mtime_ns) == ([], 1, stamp)
    _, (report,) = screened(layout, sources, subset)
    assert (decoded, "flat" in report.reasons) == (["flat.png"], False)


def test_other_limits_judge_the_stored_scores_again(tmp_path: Path) -> None:
    layout, sources, subset = planted(tmp_path)
    screened(layout, sources, subset)
    (cut,) = cuts_to_screen(make_plan(subset, sources, layout), sources, screen=True)
    strict = Limits(brightness=255)
    report = screen_cut(cut, tmp_path / "photos", layout, limits=strict, trust_files=True)
    assert report.reasons["dark"] == 9
    assert screen_cut(cut, tmp_path / "photos", layout, limits=strict, trust_files=True).reasons == report.reasons


def test_an_image_that_cannot_be_read_is_named_and_its_crops_are_left_to_the_build(tmp_path: Path) -> None:
    layout, sources, subset = planted(tmp_path)
    good = tmp_path / "photos/clean/good.png"
    good.write_bytes(good.read_bytes()[:-300])
    (tmp_path / "photos/clean/dark.png").unlink()
    write_png(tmp_path / "photos/clean/blurred.png", read_image(tmp_path / "photos/clean/blurred.png")[:40])
    plan, (report,) = screened(layout, sources, subset)
    reasons = {failure.source: failure.reason for failure in report.failures}
    assert set(reasons) == {"here/clean/good.png", "here/clean/dark.png", "here/clean/blurred.png"}
    assert "cut short" in reasons["here/clean/good.png"]
    assert "No such file" in reasons["here/clean/dark.png"]
    assert "smaller than when it was found" in reasons["here/clean/blurred.png"]
    assert sum(sample.gt_path == "clean/good.png" for sample in plan.samples()) == 2
