from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import synthetic_image, write_png
from tests.uirdata.pipeline.trees import small_source, small_subset
from uirdata.errors import ManifestError
from uirdata.facts.overlaps import load_overlaps
from uirdata.images import RgbImage
from uirdata.manifest_syntax.patterns import compile_pattern
from uirdata.pipeline.auditing.audit import AuditReport, audit
from uirdata.pipeline.auditing.gt_images import GtImage, ImageLocation, shard_images, source_images
from uirdata.pipeline.auditing.report import count_hits, scene_pattern, write_audit_page, write_hits, write_overlaps
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.storage.fingerprint_cache import FingerprintCache
from uirdata.storage.tables import read_table


def generated() -> dict[str, RgbImage]:
    """Return twenty-four images: crops of photographs of scikit-image that do not overlap, and generated ones."""
    data = pytest.importorskip("skimage.data")
    found = {f"made-{seed}": synthetic_image(320, 384, seed) for seed in range(8)}
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        whole = np.asarray(getattr(data, name)(), dtype=np.uint8)
        # Enlarged, because a quarter of each must be larger than a crop of 256 pixels.
        large = np.asarray(Image.fromarray(whole).resize((768, 640), Image.Resampling.BICUBIC))
        for number in range(4):
            top, left = 320 * (number // 2), 384 * (number % 2)
            found[f"{name}-{number}"] = large[top : top + 320, left : left + 384]
    return found


def as_jpeg(image: RgbImage, quality: int = 50) -> RgbImage:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def half(image: RgbImage) -> RgbImage:
    size = image.shape[1] // 2, image.shape[0] // 2
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


COPIES: dict[str, Callable[[RgbImage], RgbImage]] = {
    "re-encoded": as_jpeg,
    "resized": half,
    "cropped": lambda image: image[29:285, 67:323],
    "flipped": lambda image: image[:, ::-1],
    "turned": lambda image: image[::-1, ::-1],
    "darker": lambda image: (image * 0.6).astype(np.uint8),
    "brighter": lambda image: np.clip(image * 1.25 + 10, 0, 255).astype(np.uint8),
    "cropped, flipped and re-encoded": lambda image: as_jpeg(np.ascontiguousarray(image[29:285, 67:323][:, ::-1]), 70),
}


def gt_images(folder: Path, source: str, images: dict[str, RgbImage], split: str = "train") -> list[GtImage]:
    found = []
    for name, image in images.items():
        path = write_png(folder / source / f"{name}.png", np.ascontiguousarray(image))
        height, width = image.shape[:2]
        found.append(GtImage("", source, split, name, path.name, 0, 0, height, width, "", ImageLocation(path)))
    return found


def scenes(report: AuditReport) -> set[tuple[str, str]]:
    return {(hit.one.scene, hit.other.scene) for hit in report.against}


def test_planted_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Check precision and recall for eight copies of each of twelve images, among twelve others."""
    images = generated()
    held, others = list(images)[::2], list(images)[1::2]
    benchmark = gt_images(tmp_path, "bench", {name: images[name] for name in held}, "test")
    train = gt_images(tmp_path, "others", {name: images[name] for name in others})
    for copy, change in COPIES.items():
        copies = gt_images(tmp_path / copy, "copies", {name: change(images[name]) for name in held})
        train += [replace(found, gt_path=copy) for found in copies]
    report = audit(train, benchmark, FingerprintCache(tmp_path / "cache"), workers=1)
    assert [hit for hit in report.against if hit.one.scene != hit.other.scene] == []  # precision 1
    assert report.within == []
    found = {(hit.one.gt_path, hit.one.scene): hit.kind for hit in report.against}
    recall = {copy: sum((copy, name) in found for name in held) / len(held) for copy in COPIES}
    assert recall == dict.fromkeys(COPIES, 1.0)
    assert {copy: kind for (copy, _), kind in found.items()} == {
        copy: "crop" if "cropped" in copy else "near" for copy in COPIES
    }


def test_a_hit_has_the_flip_and_the_common_part(tmp_path: Path) -> None:
    image = synthetic_image(300, 400, 11)
    (train,) = gt_images(tmp_path, "crops", {"a": image[20:276, 60:316][:, ::-1]})
    (bench,) = gt_images(tmp_path, "bench", {"b": image}, "test")
    (hit,) = audit([train], [bench], FingerprintCache(tmp_path / "cache")).against
    assert (hit.kind, hit.flip) == ("crop", "horizontal")
    assert hit.windows >= 3
    assert hit.similarity > 0.95
    assert np.abs(np.subtract(hit.other_part, (20, 60, 256, 256))).max() <= 5
    assert np.abs(np.subtract(hit.one_part, (0, 0, 256, 256))).max() <= 5


def test_equal_pixels_are_exact_whatever_the_file(tmp_path: Path) -> None:
    image = synthetic_image(80, 90, 1)
    train = gt_images(tmp_path, "one", {"a": image, "b": synthetic_image(80, 90, 2)})
    (bench,) = gt_images(tmp_path, "two", {"c": image}, "test")
    Image.fromarray(image).save(tmp_path / "two/c.bmp")
    other = replace(bench, place=ImageLocation(tmp_path / "two/c.bmp"))
    report = audit(train, [bench, other], FingerprintCache(tmp_path / "cache"))
    assert [(hit.kind, hit.one.scene, hit.similarity) for hit in report.against] == [("exact", "a", 1.0)] * 2


def test_candidates_of_hashes_count_only_if_the_pixels_agree(tmp_path: Path) -> None:
    image, collage = synthetic_image(320, 384, 5), synthetic_image(320, 384, 6)
    # Windows in a corner match at one placement, but the common part of the two images there is not the same.
    collage[:220, :250] = image[:220, :250]
    train = gt_images(tmp_path, "train", {"collage": collage, "copy": as_jpeg(image)})
    bench = gt_images(tmp_path, "bench", {"b": image}, "test")
    cache = FingerprintCache(tmp_path / "cache")
    assert scenes(audit(train, bench, cache)) == {("copy", "b")}
    assert scenes(audit(train, bench, cache, min_similarity=-1.0)) == {("copy", "b"), ("collage", "b")}


def test_within_a_data_set_only_other_scenes_count(tmp_path: Path) -> None:
    image = synthetic_image(200, 260, 5)
    images = {"a": image, "b": image, "c": as_jpeg(image), "d": synthetic_image(200, 260, 6)}
    train = gt_images(tmp_path, "one", images)
    # Two crops of one scene overlap by design.
    same_scene = [
        replace(train[3], gt_path="d2.png", place=ImageLocation(write_png(tmp_path / "d2.png", images["d"][:180])))
    ]
    report = audit([*train, *same_scene], [], FingerprintCache(tmp_path / "cache"))
    assert {(hit.kind, hit.one.scene, hit.other.scene) for hit in report.within} == {
        ("exact", "a", "b"),
        ("near", "a", "c"),
        ("near", "b", "c"),
    }
    assert report.against == []


def test_fingerprints_are_kept_by_content_and_unreadable_images_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uirdata.pipeline.auditing import gt_images as module

    images = {name: synthetic_image(90, 120, seed) for seed, name in enumerate("abc")}
    train = gt_images(tmp_path, "one", images)
    train[1].place.path.write_bytes(b"not an image")
    moved = replace(train[2], place=ImageLocation(tmp_path / "gone.png"))
    report = audit([*train, moved], [], FingerprintCache(tmp_path / "cache"))
    assert report.images == 2
    assert sorted(failure.source for failure in report.failures) == ["one/b.png", "one/c.png"]
    assert any("gone.png: cannot be read" in failure.reason for failure in report.failures)
    monkeypatch.setattr(module, "fingerprint", lambda _: pytest.fail("fingerprinted twice"))
    renamed = gt_images(tmp_path, "two", {"x": images["a"]})
    assert audit([*renamed, train[0]], [], FingerprintCache(tmp_path / "cache")).within[0].kind == "exact"


def test_batches_give_each_content_once_and_only_what_is_wanted(tmp_path: Path) -> None:
    cache = FingerprintCache(tmp_path / "cache")
    train = gt_images(tmp_path, "one", {name: synthetic_image(90, 120, seed) for seed, name in enumerate("abcde")})
    audit(train[:3], [], cache)
    audit(train[3:], [], cache)
    contents = sorted(cache.contents())
    assert len(contents) == 5
    wanted = {name: number for number, name in enumerate(contents) if number != 1}
    batches = list(cache.batches({**wanted, "unknown": 9}, size=2))
    assert sorted(number for batch in batches for number in batch.numbers.tolist()) == [0, 2, 3, 4]
    for batch in batches:
        assert len(batch.numbers) <= 2
        assert set(batch.owners.tolist()) <= set(range(len(batch.numbers)))
        assert len(batch.owners) == len(batch.windows) > 0


def built(tmp_path: Path) -> tuple[Path, list[GtImage]]:
    """Return a pool of the small source, and its GT images."""
    layout, sources = small_source(tmp_path)
    plan = make_plan(small_subset(), sources, layout)
    pool = tmp_path / "pool"
    pixels = SourcePixels(source_folders(sources, layout, ["here"]), 0)
    build(plan_build(pool, plan, BuildSettings(lazy=True)), subsets={"small": small_subset().classes}, pixels=pixels)
    return pool, shard_images(pool, ("train",))


def test_images_of_shards_are_each_gt_once_and_match_the_files_they_come_from(tmp_path: Path) -> None:
    pool, train = built(tmp_path)
    records = read_table(pool / "manifest.parquet").to_pylist()
    assert len(train) == len({row["gt_sha256"] for row in records if row["split"] == "train"}) < len(records)
    layout, _ = small_source(tmp_path)
    files = source_images("here", tmp_path / "photos", layout, {"train"})
    assert files is not None
    assert [image.scene for image in files] == ["p0", "p1", "p2", "p3", "h0", "h1"]
    report = audit(train, [replace(file, source="bench") for file in files], FingerprintCache(tmp_path / "cache"))
    # Each crop of 48 pixels is too small for windows; the whole-hash cannot see a crop.
    assert report.failures == []
    assert source_images("nowhere", tmp_path, layout, {"train"}) is None
    exchanged = replace(train[1], place=train[2].place)
    (failure,) = audit([exchanged], [], FingerprintCache(tmp_path / "exchanged")).failures
    assert "has other pixels than when" in failure.reason
    broken = train[0].place
    data = bytearray(broken.path.read_bytes())
    data[broken.offset + 100 : broken.offset + 200] = bytes(100)
    broken.path.write_bytes(data)
    assert audit(train, [], FingerprintCache(tmp_path / "new")).failures != []


def report_of(tmp_path: Path, names: Iterable[str]) -> AuditReport:
    images = {name: synthetic_image(150, 200, seed) for seed, name in enumerate(names)}
    bench = gt_images(tmp_path, "bench", {f"b-{name}": image for name, image in images.items()}, "test")
    train = gt_images(tmp_path, "train", {name: as_jpeg(image) for name, image in images.items()})
    return audit(train, bench, FingerprintCache(tmp_path / "cache"))


def test_overlap_lists_are_what_planning_reads_and_earlier_scenes_stay(tmp_path: Path) -> None:
    report = report_of(tmp_path, ["train-001", "odd {name} *"])
    folder = tmp_path / "overlaps"
    assert write_overlaps(report.against, folder) == [folder / "bench.txt"]
    overlaps = load_overlaps([folder], known_sources=["train", "bench"])
    assert {(o.benchmark, o.source, o.kind) for o in overlaps} == {("bench", "train", "same")}
    assert all(o.evidence.startswith("uir audit: 2 pictures of the benchmark") for o in overlaps)
    patterns = [compile_pattern(overlap.scenes) for overlap in overlaps]
    assert [
        sum(p.match(scene) is not None for p in patterns) for scene in ("train-001", "odd {name} *", "odd x y")
    ] == [1, 1, 0]
    before = (folder / "bench.txt").read_text()
    write_overlaps(report.against, folder)
    assert (folder / "bench.txt").read_text() == before
    later = [replace(hit, one=replace(hit.one, scene="train-002")) for hit in report.against[:1]]
    write_overlaps(later, folder)
    assert len({overlap.scenes for overlap in load_overlaps([folder])}) == 3
    (folder / "bench.txt").write_text("same train x\n")
    with pytest.raises(ManifestError, match="there is no evidence"):
        write_overlaps(later, folder)


@pytest.mark.parametrize("scene", ["train-011", "a/b.PNG", "x*y", "{1}", " lead", "ü\u2003x", "a{b,c}"])
def test_the_pattern_of_a_scene_matches_that_scene(scene: str) -> None:
    pattern = compile_pattern(scene_pattern(scene))
    assert pattern.match(scene) is not None
    assert pattern.match(scene + "0") is None
    assert not any(character.isspace() for character in scene_pattern(scene))


def test_hits_are_written_counted_and_shown(tmp_path: Path) -> None:
    report = report_of(tmp_path, ["a", "<b>"])
    assert write_hits(report, tmp_path / "audit.parquet") == 2
    rows = read_table(tmp_path / "audit.parquet").to_pylist()
    assert {(row["source"], row["scene"], row["other_source"], row["other_scene"]) for row in rows} == {
        ("train", "a", "bench", "b-a"),
        ("train", "<b>", "bench", "b-<b>"),
    }
    assert all(row["against"] and row["similarity"] > 0.9 and row["part_height"] > 100 for row in rows)
    (count,) = count_hits(report.against)
    assert {name: count[name] for name in ("source", "is in", "scenes", "near")} == {
        "source": "train",
        "is in": "bench",
        "scenes": 2,
        "near": 2,
    }
    (tmp_path / "train/a.png").unlink()
    write_audit_page(report, tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text()
    assert page.count("<figure>") == 1
    assert page.count("data:image/webp;base64,") == 2
    assert "a.png: cannot be read" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
