"""The user's own folders: from any layout to shards, and nothing degraded is ever a GT."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import uirdata
from tests.conftest import synthetic_image, write_png
from uirdata import OwnFolder
from uirdata.errors import SourceError, UsageError
from uirdata.images import RgbImage
from uirdata.layout import Layout
from uirdata.pipeline.fetching.fetch import FetchReport, SourceOutcome, add_local_source
from uirdata.pipeline.fetching.own_manifest import is_edited
from uirdata.pipeline.fetching.swapped import look_at, looks_swapped
from uirdata.sources import read_source

LAYOUTS = {
    "inside-a-split": ("train/input/{}.png", "train/target/{}.png"),
    "inside-a-name": ("Rain100L/input/{}.png", "Rain100L/target/{}.png"),
    "long-words": ("rainy_image/{}_1.jpg", "ground_truth/{}.jpg"),
    "prefixes": ("Low/low0000{}.png", "Normal/normal0000{}.png"),
    "adjectives": ("blurry/{}.png", "sharp/{}.png"),
    "suffixes": ("noisy/{}_N.png", "gt/{}_GT.png"),
    "phone-names": ("hazy/IMG_{}.JPG", "clear/img_{}.png"),
    "several-lq": ("hazy/{}_1.png", "clear/{}.png"),
    "side-by-side": ("{}_lq.png", "{}_gt.png"),
    "with-images": ("LQ_images/{}.png", "HQ_images/{}.png"),
    "scales": ("LR/{}x4.png", "HR/{}.png"),
    "zero-padded": ("lq/{:03d}.png", "gt/{}.png"),
    "no-words": ("a/{}.png", "b/{}.png"),
    "videos": ("set/x/{:08d}.png", "set/y/{:08d}.png"),
    "half-a-word": ("data/{}_rain.png", "gt/{}_clean.png"),
}


def degraded(image: RgbImage, seed: int) -> RgbImage:
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0, 25, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def write(path: Path, image: RgbImage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def make(folder: Path, lq: str, gt: str, count: int = 3) -> Path:
    for number in range(count):
        clean = synthetic_image(64, 72, number)
        write(folder / lq.format(number), degraded(clean, number))
        write(folder / gt.format(number), clean)
    return folder


def said(message: str) -> OwnFolder:
    """Return the first way that a refusal offers, as options that were typed."""
    # Where any type will do, noise is what the images have.
    typed = re.search(r"--pair ('[^']*'|\S+) ('[^']*'|\S+)", message)
    patterns = tuple(shlex.split(typed[0])[1:]) if typed else ()
    assert typed or "--degradation" in message
    return OwnFolder(degradation="noise", patterns=(patterns,) if len(patterns) == 2 else ())


def fetched(name: str, folder: Path, root: Path, own: OwnFolder | None = None) -> SourceOutcome:
    report: FetchReport = uirdata.fetch(name, from_dir=folder, root=root, own=own, jobs=1)
    return report.sources[0]


def test_every_layout_becomes_shards_whose_gt_are_clean(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, (lq, gt) in LAYOUTS.items():
        folder = make(tmp_path / name, lq, gt)
        try:
            outcome = fetched(name, folder, root)
        except UsageError as refusal:
            assert not (root / f"manifests/{name}.toml").exists()
            outcome = fetched(name, folder, root, said(str(refusal)))
        assert (outcome.state, outcome.inventory.total if outcome.inventory else 0) == ("done", 3), outcome
        assert outcome.taken.startswith("taken as 3 pairs ("), outcome.taken
    built = uirdata.build(list(LAYOUTS), root=root, codec="png")
    assert built.complete
    items = list(uirdata.open_shards(root / "shards"))
    assert len(items) == 3 * len(LAYOUTS)
    for item in items:
        lq, gt = LAYOUTS[item.record.source]
        assert item.record.gt_path in {gt.format(number) for number in range(3)}
        assert item.record.lq_path in {lq.format(number) for number in range(3)}
        assert look_at(item.gt).noise < 10 < look_at(item.lq).noise


@pytest.mark.parametrize(
    ("degradation", "worsen"),
    [
        ("noise", lambda image: degraded(image, 1)),
        ("low-light", lambda image: (image * 0.3).astype(np.uint8)),
        (
            "rain-streak",
            lambda image: np.maximum(image, np.where(np.arange(128)[:, None] % 9, 0, 220)).astype(np.uint8),
        ),
        ("haze", lambda image: (image * 0.5 + 110).astype(np.uint8)),
        ("motion-blur", lambda image: np.mean([np.roll(image, n, 1) for n in range(9)], axis=0).astype(np.uint8)),
    ],
)
def test_swapped_lq_and_gt_are_refused_with_the_line_for_either_meaning(tmp_path, degradation, worsen) -> None:
    for number in range(4):
        image = synthetic_image(128, 128, number)
        write(tmp_path / f"right/lq/{number}.png", worsen(image))
        write(tmp_path / f"right/gt/{number}.png", image)
        write(tmp_path / f"wrong/lq/{number}.png", image)
        write(tmp_path / f"wrong/gt/{number}.png", worsen(image))
    own = OwnFolder(degradation=degradation)
    assert fetched("right", tmp_path / "right", tmp_path / "root", own).remarks == ()
    with pytest.raises(UsageError, match="look swapped") as refused:
        fetched("wrong", tmp_path / "wrong", tmp_path / "root", own)
    offers = re.findall(r"--pair \S+ \S+ --degradation \S+", str(refused.value).replace(";", " "))
    assert len(offers) == 2
    meant: dict[str, bool] = {}
    for offer in offers:
        _, lq, gt, _, kind = shlex.split(offer)
        outcome = fetched("wrong", tmp_path / "wrong", tmp_path / "root", OwnFolder(kind, patterns=((lq, gt),)))
        assert outcome.state == "done"
        meant[lq.partition("/")[0]] = bool(outcome.remarks)
    # What the measures speak against is taken where it was said, and warned of.
    assert meant == {"gt": False, "lq": True}


def test_what_cannot_be_measured_is_not_called_swapped(tmp_path: Path) -> None:
    image = synthetic_image(64, 64, 1)
    write(tmp_path / "a.png", image)
    (tmp_path / "b.png").write_bytes(b"x")
    assert looks_swapped(tmp_path, "moire", [("a.png", "a.png")]) == ""
    assert looks_swapped(tmp_path, "noise", [("a.png", "b.png")]) == ""
    assert looks_swapped(tmp_path, "noise", []) == ""


def test_one_sentence_says_what_was_taken_and_what_was_not_read(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"album/{number}.png", synthetic_image(40, 48, number))
    for number in range(5):
        (tmp_path / f"album/IMG_{number}.CR2").write_bytes(b"x")
    for junk in ("@eaDir/1.png/SYNO_THUMB.png", "._1.png", "__MACOSX/1.png", ".Trashes/1.png", "$RECYCLE.BIN/1.png"):
        write_png(tmp_path / "album" / junk, synthetic_image(40, 48, 1))
    (tmp_path / "album/2.dng").write_bytes(b"x")
    outcome = fetched("album", tmp_path / "album", tmp_path / "root")
    assert outcome.taken == "taken as 12 clean photographs; 6 files not read (.cr2 5, .dng 1)"
    assert len(outcome.remarks) == 2
    assert "darktable" in outcome.remarks[0]
    pairs = make(tmp_path / "pairs", "noisy/{}.png", "gt/{}.png", 4)
    assert fetched("pairs", pairs, tmp_path / "root").taken == "taken as 4 pairs (noise) from noisy/gt"
    tests = make(tmp_path / "tests", "test/noisy/{}.png", "test/gt/{}.png", 2)
    assert fetched("tests", tests, tmp_path / "root").taken == (
        "taken as 2 pairs (noise), 2 for test from test/noisy and test/gt"
    )


def test_an_edited_manifest_is_kept_and_used(tmp_path: Path) -> None:
    folder, root = make(tmp_path / "mine", "noisy/{}.png", "gt/{}.png"), tmp_path / "root"
    manifest = root / "manifests/mine.toml"
    fetched("mine", folder, root)
    assert not is_edited(manifest)
    fetched("mine", folder, root, OwnFolder(degradation="real-noise"))
    assert read_source(manifest).degradations == ("real-noise",)
    edited = manifest.read_text().replace('"real-noise"', '"jpeg"').replace("title", "# by me\ntitle")
    manifest.write_text(edited)
    outcome = fetched("mine", folder, root)
    assert manifest.read_text() == edited
    assert outcome.taken == f"taken as 3 pairs (jpeg) from noisy/gt, as {manifest} says, which is kept as it is"
    for own in (OwnFolder(degradation="haze"), OwnFolder(licence="CC0"), OwnFolder(clean=True)):
        with pytest.raises(UsageError, match="edited by hand"):
            fetched("mine", folder, root, own)
    with pytest.raises(UsageError, match=r"describes .*mine, not"):
        fetched("mine", make(tmp_path / "other", "noisy/{}.png", "gt/{}.png"), root)
    assert manifest.read_text() == edited


def test_our_data_folder_inside_an_album_is_no_part_of_it(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"album/{number}.png", synthetic_image(64, 72, number))
        write(tmp_path / f"album/uir-data/sources/gopro/{number}.png", synthetic_image(64, 72, number))
    outcome = fetched("mine", tmp_path / "album", tmp_path / "album/uir-data")
    assert outcome.taken == "taken as 3 clean photographs"


def test_what_options_said_is_remembered_for_the_same_folder(tmp_path: Path) -> None:
    folder, root = make(tmp_path / "mine", "a/{}.png", "b/{}.png"), tmp_path / "root"
    own = OwnFolder("noise", patterns=(("a/{id}.png", "b/{id}.png"),))
    assert fetched("mine", folder, root, own).taken == "taken as 3 pairs (noise) from a/b"
    assert not is_edited(root / "manifests/mine.toml")
    assert fetched("mine", folder, root).taken == "taken as 3 pairs (noise) from a/b"
    # Other options replace them, and so does another folder.
    assert fetched("mine", folder, root, OwnFolder(clean=True)).taken == "taken as 6 clean photographs"
    assert fetched("mine", folder, root).taken == "taken as 6 clean photographs"
    album = tmp_path / "album"
    write(album / "1.png", synthetic_image(64, 72, 1))
    assert fetched("mine", album, root).taken == "taken as 1 clean photograph"
    with pytest.raises(UsageError, match="equal names"):
        fetched("mine", folder, root)


def test_a_manifest_of_an_earlier_release_is_used_as_it_is(tmp_path: Path) -> None:
    folder, root = make(tmp_path / "mine", "noisy/{}.png", "gt/{}.png"), tmp_path / "root"
    source = add_local_source("mine", folder, Layout(root), test_share=0.25)
    manifest = root / "manifests/mine.toml"
    earlier = manifest.read_text().split("\n", 1)[1]
    manifest.write_text(earlier)
    assert add_local_source("mine", folder, Layout(root)) == source
    # The same options are no contradiction.
    assert add_local_source("mine", folder, Layout(root), test_share=0.25) == source
    assert manifest.read_text() == earlier
    with pytest.raises(UsageError, match="earlier release"):
        add_local_source("mine", folder, Layout(root), test_share=0.5)


@pytest.mark.parametrize("content", [(), ("a.heif2", "notes.txt"), ("a.cr2", "b.arw"), ("@eaDir/1.png", "._1.png")])
def test_a_folder_without_images_changes_nothing(tmp_path: Path, content: tuple[str, ...]) -> None:
    folder, root = make(tmp_path / "mine", "noisy/{}.png", "gt/{}.png"), tmp_path / "root"
    fetched("mine", folder, root)
    before = (root / "manifests/mine.toml").read_bytes()
    for name in content:
        (tmp_path / "empty" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "empty" / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=r"no image.*nothing was changed") as refused:
        fetched("mine", tmp_path / "empty", root)
    assert ("darktable" in str(refused.value)) == ("a.cr2" in content)
    assert (root / "manifests/mine.toml").read_bytes() == before


@pytest.mark.parametrize(("name", "nearest"), [("gpro", "gopro"), ("lol-v11", "lol-v1"), ("realblurr", "realblur")])
def test_an_id_that_is_almost_that_of_a_source_is_refused(tmp_path: Path, name: str, nearest: str) -> None:
    folder = make(tmp_path / "mine", "noisy/{}.png", "gt/{}.png")
    with pytest.raises(UsageError, match=f"did you mean '{nearest}'"):
        fetched(name, folder, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert fetched(f"my-{name}", folder, tmp_path / "root").state == "done"
    # Where options describe it, the folder is the user's own.
    assert fetched(name, folder, tmp_path / "root", OwnFolder(degradation="noise")).state == "done"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (OwnFolder(degradation="haez"), "did you mean 'haze'"),
        (OwnFolder(degradation="Noise"), "did you mean 'noise'"),
        (OwnFolder(clean=True, degradation="noise"), "exclude each other"),
        (OwnFolder(clean=True, lq="noisy", gt="gt"), "exclude each other"),
        (OwnFolder(patterns=(("noisy/{id}.png", ""),)), "needs a pattern of the LQ and one of the GT"),
        (OwnFolder("noise", patterns=(("noisy/{id}.png", "gt/{n}.png"),)), "hole 'n', which lq lacks"),
        (OwnFolder("noise", patterns=(("noisy/{id.png", "gt/{id}.png"),)), "brace that does not close"),
        (OwnFolder("noise", patterns=(("gt/{id}.jpg", "noisy/{id}.png"),)), "match 0 LQ, 3 GT"),
        (OwnFolder(patterns=(("noisy/{id}.png", "gt/{id}.png"),)), "degradation of noisy is missing"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path: Path, own: OwnFolder, words: str) -> None:
    folder = make(tmp_path / "mine", "noisy/{}.png", "gt/{}.png")
    with pytest.raises(UsageError) as refused:
        fetched("mine", folder, tmp_path / "root", own)
    assert words in str(refused.value)
    assert not (tmp_path / "root/manifests").exists()


def test_a_misspelt_degradation_is_refused_without_an_own_folder_too() -> None:
    for ids in ((), ("gopro",)):
        with pytest.raises(UsageError, match="did you mean 'haze'"):
            uirdata.fetch(ids, own=OwnFolder(degradation="haez"))


def test_patterns_say_any_other_layout(tmp_path: Path) -> None:
    for number in range(3):
        image = synthetic_image(64, 72, number)
        write(tmp_path / f"mine/x{number}/before.png", degraded(image, number))
        write(tmp_path / f"mine/y{number}/after.png", image)
        write(tmp_path / f"mine/z/{number}-dirty.png", degraded(image, number))
        write(tmp_path / f"mine/z/{number}-ok.png", image)
    own = OwnFolder(
        "noise", patterns=(("x{n}/before.png", "y{n}/after.png"), ("z/{n}-dirty.{image}", "z/{n}-ok.{image}"))
    )
    outcome = fetched("mine", tmp_path / "mine", tmp_path / "root", own)
    assert outcome.inventory is not None
    assert outcome.inventory.total == 6


def test_clean_takes_what_only_looks_like_pairs(tmp_path: Path) -> None:
    for number in range(3):
        for folder in ("hazy", "clear"):
            write(tmp_path / f"mine/{folder}/{number}.png", synthetic_image(64, 72, number))
    outcome = fetched("mine", tmp_path / "mine", tmp_path / "root", OwnFolder(clean=True))
    assert outcome.taken == "taken as 6 clean photographs"


def test_pairs_of_two_sizes_say_why_none_can_be_used(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"mine/LR/{number}x4.png", synthetic_image(16, 18, number))
        write(tmp_path / f"mine/HR/{number}.png", synthetic_image(64, 72, number))
    outcome = fetched("mine", tmp_path / "mine", tmp_path / "root", OwnFolder(degradation="noise"))
    assert outcome.state == "failed"
    assert "another size than its GT, as in super-resolution" in outcome.problems[0]


def test_a_folder_that_cannot_be_read_is_a_source_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "mine", "noisy/{}.png", "gt/{}.png")
    monkeypatch.setattr("os.scandir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(SourceError, match="cannot be read"):
        add_local_source("mine", folder, Layout(tmp_path / "root"))
