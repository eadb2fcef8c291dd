"""Published sources that people have unpacked, in the layouts of the field: found by `--from`, counted, and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import synthetic_image, write_png
from uirdata.errors import UirError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.completeness import adopted_state, completeness
from uirdata.pipeline.fetching.fetch import FetchReport, fetch
from uirdata.pipeline.fetching.plan import plan_fetch
from uirdata.pipeline.fetching.plan_values import FetchPlan
from uirdata.pipeline.fetching.tree_search import expected_layouts
from uirdata.pipeline.verifying.verify import verify
from uirdata.progress import Silent
from uirdata.sources import load_sources
from uirdata.storage.pair_tables import read_found

SOURCES = load_sources()

Row = tuple[str, str, str, str]
"""Source, split, LQ and GT with {} for a number; the LQ of clean photographs is ""."""

TREES: Mapping[str, Sequence[Row]] = {
    "promptir": [
        ("reside-ots", "train", "Train/Dehaze/synthetic/part1/00{}5_0.8_0.04.jpg", "Train/Dehaze/original/00{}5.jpg"),
        ("rain100l", "train", "Train/Derain/rainy/rain-{}.png", "Train/Derain/gt/norain-{}.png"),
        (
            "gopro",
            "train",
            "Train/Deblur/blur/GOPR0372_07_00_00004{}.png",
            "Train/Deblur/sharp/GOPR0372_07_00_00004{}.png",
        ),
        ("lol-v1", "train", "Train/Enhance/low/{}.png", "Train/Enhance/gt/{}.png"),
        ("wed", "train", "", "Train/Denoise/0000{}.bmp"),
        ("bsds500", "train", "", "Train/Denoise/a10{}002.jpg"),
        ("sots-outdoor", "test", "test/dehaze/input/000{}_0.8_0.2.jpg", "test/dehaze/target/000{}.png"),
        ("rain100l", "test", "test/derain/Rain100L/input/{}.png", "test/derain/Rain100L/target/{}.png"),
        (
            "gopro",
            "test",
            "test/deblur/gopro/input/GOPR0384_11_00-0{}.png",
            "test/deblur/gopro/target/GOPR0384_11_00-0{}.png",
        ),
        ("lol-v1", "test", "test/enhance/lol/input/{}.png", "test/enhance/lol/target/{}.png"),
        ("cbsd68", "test", "", "test/denoise/bsd68/10{}085.png"),
        ("urban100", "test", "", "test/denoise/urban100/img_00{}.png"),
        ("kodak24", "test", "", "test/denoise/kodak24/kodim0{}.png"),
    ],
    "downloads": [
        (
            "gopro",
            "train",
            "G/GOPRO_Large/train/GOPR0372_07_00/blur/00004{}.png",
            "G/GOPRO_Large/train/GOPR0372_07_00/sharp/00004{}.png",
        ),
        ("lol-v1", "train", "LOL/our485/low/{}.png", "LOL/our485/high/{}.png"),
        ("reside-ots", "train", "RESIDE/OTS/hazy/00{}5_0.8_0.04.jpg", "RESIDE/OTS/clear/00{}5.jpg"),
        ("sots-outdoor", "test", "SOTS/outdoor/hazy/000{}_0.8_0.2.jpg", "SOTS/outdoor/gt/000{}.png"),
        ("wed", "train", "", "WaterlooED/0000{}.bmp"),
        ("bsds500", "train", "", "BSD400/10{}002.jpg"),
        ("cbsd68", "test", "", "CBSD68/10{}085.png"),
        ("rain100l", "test", "Rain100L/rainy/rain-00{}.png", "Rain100L/norain-00{}.png"),
    ],
    "restormer": [
        (
            "gopro",
            "train",
            "D/train/GoPro/input/GOPR0372_07_00-00004{}.png",
            "D/train/GoPro/target/GOPR0372_07_00-00004{}.png",
        ),
        ("rain13k", "train", "D/train/Rain13K/input/{}.jpg", "D/train/Rain13K/target/{}.jpg"),
    ],
    "crops": [
        (
            "gopro",
            "train",
            "GoPro/train/blur_crops/GOPR0372_07_00-000043_s00{}.png",
            "GoPro/train/sharp_crops/GOPR0372_07_00-000043_s00{}.png",
        ),
        (
            "sidd",
            "train",
            "SIDD/train/input_crops/0001_NOISY_SRGB_010_s00{}.png",
            "SIDD/train/gt_crops/0001_GT_SRGB_010_s00{}.png",
        ),
    ],
    "uformer": [
        (
            "gopro",
            "test",
            "GoPro/test/input/GOPR0384_11_00-00000{}.png",
            "GoPro/test/groundtruth/GOPR0384_11_00-00000{}.png",
        ),
        ("hide", "test", "HIDE/test/input/{}fromGOPR0950.png", "HIDE/test/groundtruth/{}fromGOPR0950.png"),
    ],
    "option-files": [
        ("lol-v1", "test", "LowLightDataset/lol_v1_eval/low/{}.png", "LowLightDataset/lol_v1_eval/high/{}.png"),
        ("rain100l", "test", "DerainDataset/100L/Rain100L/rainy/{}.png", "DerainDataset/100L/Rain100L/norain/{}.png"),
        (
            "sidd-validation",
            "test",
            "uformer_test/SIDD/val/input/0-{}.png",
            "uformer_test/SIDD/val/groundtruth/0-{}.png",
        ),
        (
            "realblur",
            "test",
            "DeblurDataset/test/RealBlur_R/input/s-blur_{}.png",
            "DeblurDataset/test/RealBlur_R/target/s-blur_{}.png",
        ),
        (
            "realblur",
            "test",
            "DeblurDataset/test/RealBlur_J/input/s-blur_{}.png",
            "DeblurDataset/test/RealBlur_J/target/s-blur_{}.png",
        ),
        ("mcmaster", "test", "", "drformer/datasets/denoise/test/McMasterHQ/{}.png"),
    ],
}


def write_tree(folder: Path, rows: Sequence[Row], numbers: Sequence[int] = (1, 2, 3)) -> None:
    for _, _, lq, gt in rows:
        for number in numbers:
            for place in filter(None, (lq, gt)):
                write_png(folder / place.format(number), synthetic_image(24, 32, number))


def plan_of(ids: Sequence[str], given: Path, root: Path) -> FetchPlan:
    return plan_fetch([SOURCES[name] for name in ids], Layout(root), from_dir=given)


def take(ids: Sequence[str], given: Path, root: Path) -> FetchReport:
    return fetch(plan_of(ids, given, root), jobs=1, progress=Silent())


def splits_of(root: Path, source: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in read_found(Layout(root), source) or []:
        counts[item.pair.split] = counts.get(item.pair.split, 0) + 1
    return counts


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any connection: `--from` alone downloads nothing."""

    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("tree", TREES)
def test_all_that_a_tree_holds_is_taken(tree: str, linked: bool, tmp_path: Path) -> None:
    write_tree(tmp_path / "disk" / tree, TREES[tree])
    given = tmp_path / "disk" / tree
    if linked:
        (tmp_path / "links").mkdir()
        (tmp_path / "links/data").symlink_to(given)
        # A link to a parent folder must not make the walk endless.
        (given / "loop").symlink_to(tmp_path / "links")
        given = tmp_path / "links"
    wanted: dict[str, dict[str, int]] = {}
    for source, split, _, _ in TREES[tree]:
        counts = wanted.setdefault(source, {})
        counts[split] = counts.get(split, 0) + 3
    take(list(wanted), given, tmp_path / "root")
    assert {source: splits_of(tmp_path / "root", source) for source in wanted} == wanted


def test_a_folder_with_all_trees_counts_every_image_once(tmp_path: Path) -> None:
    for tree, rows in TREES.items():
        write_tree(tmp_path / "all" / tree, rows)
    ids = sorted({row[0] for rows in TREES.values() for row in rows})
    take(ids, tmp_path / "all", tmp_path / "root")
    found = {source: splits_of(tmp_path / "root", source) for source in ids}
    # Frames 0{} and 00000{} of two trees are three different frames each only where their numbers differ.
    assert found["gopro"] == {"train": 3, "test": 3}
    assert found["lol-v1"] == {"train": 3, "test": 3}
    assert found["wed"] == {"train": 3}
    assert found["reside-ots"] == {"train": 3}
    assert found["sots-outdoor"] == {"test": 3}
    assert found["rain100l"] == {"train": 3, "test": 3}
    assert found["bsds500"] == {"train": 3}
    assert found["cbsd68"] == {"test": 3}


def test_a_test_set_that_looks_like_training_data_is_never_taken_for_it(tmp_path: Path) -> None:
    write_tree(tmp_path / "mine", [row for row in TREES["downloads"] if row[0] in ("sots-outdoor", "cbsd68")])
    report = take(["reside-ots", "bsds500"], tmp_path / "mine", tmp_path / "root")
    assert [source.state for source in report.sources] == ["left", "left"]
    belongs = {row.belongs for row in plan_of(["reside-ots"], tmp_path / "mine", tmp_path / "root").unwanted}
    assert belongs == {"sots-outdoor", "cbsd68"}


def test_photographs_of_the_test_set_are_not_taken_into_the_training_set_of_the_same_collection(tmp_path: Path) -> None:
    for name in ("100075.jpg", "101085.jpg"):
        write_png(tmp_path / "BSD" / name, synthetic_image(24, 32, 1))
    (outcome,) = take(["bsds500"], tmp_path / "BSD", tmp_path / "root").sources
    assert outcome.inventory is not None
    assert (outcome.inventory.total, list(outcome.inventory.left_out)) == (
        1,
        ["is of the val part of BSDS500, which holds the test set CBSD68"],
    )


def test_indoor_haze_is_not_taken_for_outdoor_haze(tmp_path: Path) -> None:
    write_png(tmp_path / "ITS/hazy/1_1_0.90179.png", synthetic_image(24, 32, 1))
    write_png(tmp_path / "ITS/clear/1.png", synthetic_image(24, 32, 1))
    assert take(["reside-ots"], tmp_path, tmp_path / "root").sources[0].state == "left"


def test_more_pairs_than_a_source_has_are_of_another(tmp_path: Path) -> None:
    row: Row = ("rain200l", "test", "test/input/{}.png", "test/target/{}.png")
    write_tree(tmp_path / "mine", [row], range(201))
    (planned,) = plan_of(["rain200l"], tmp_path / "mine", tmp_path / "root").sources
    assert planned.tree is None
    assert "holds 201 pairs, and rain200l has 200" in planned.doubts[0]


def test_names_too_common_to_be_recognised_are_taken_below_a_folder_of_the_id_only(tmp_path: Path) -> None:
    row: Row = ("rain200l", "test", "test/input/{}.png", "test/target/{}.png")
    write_tree(tmp_path / "mine", [row])
    ids = ["rain200l", "rain200h"]
    assert [source.tree for source in plan_of(ids, tmp_path / "mine", tmp_path / "root").sources] == [None, None]
    write_tree(tmp_path / "mine/rain200l", [row])
    trees = [source.tree for source in plan_of(ids, tmp_path / "mine", tmp_path / "root").sources]
    assert trees[0] is not None
    assert (trees[0].pairs, trees[1]) == (3, None)


def test_what_is_found_is_told_by_layout_and_folder_and_what_nothing_wanted_is_counted(tmp_path: Path) -> None:
    write_tree(tmp_path / "mine", [row for row in TREES["promptir"] if row[0] == "gopro"])
    (tmp_path / "mine/notes").mkdir()
    (tmp_path / "mine/notes/a.txt").write_text("x")
    write_png(tmp_path / "mine/holiday/IMG_1.jpg", synthetic_image(24, 32, 1))
    plan = plan_of(["gopro", "wed"], tmp_path / "mine", tmp_path / "root")
    tree = plan.sources[0].tree
    assert tree is not None
    assert [(part.split, part.layout, part.folders, part.pairs, part.published) for part in tree.parts] == [
        ("train", "PromptIR and AdaIR", ("Train/Deblur/blur", "Train/Deblur/sharp"), 3, 2103),
        ("test", "PromptIR and AdaIR", ("test/deblur/gopro/input", "test/deblur/gopro/target"), 3, 1111),
    ]
    assert {(row.folder, row.suffix, row.files) for row in plan.unwanted} == {
        ("holiday", ".jpg", 1),
        ("notes", ".txt", 1),
    }
    assert [file.state for file in plan.sources[1].files] == ["left"]
    assert plan.bytes_to_fetch == 0
    wed = fetch(plan, jobs=1, progress=Silent()).sources[1]
    assert "holds 1 .jpg, 1 .txt" in wed.problems[0]
    assert "**/pristine_images/*.bmp (4,744)" in wed.problems[0]


def test_the_layouts_of_a_source_are_shown_without_expressions() -> None:
    for source in SOURCES.values():
        for text in expected_layouts(source):
            assert "\\" not in text, source.id
            assert "?" not in text, source.id


def test_only_with_fetch_missing_the_rest_is_downloaded(tmp_path: Path) -> None:
    write_tree(tmp_path / "mine", [row for row in TREES["promptir"] if row[0] == "gopro"])
    plan = plan_fetch(
        [SOURCES["gopro"], SOURCES["wed"]], Layout(tmp_path / "root"), from_dir=tmp_path / "mine", fetch_missing=True
    )
    assert [[file.state for file in source.files] for source in plan.sources] == [["given"], ["missing"]]


def test_a_tree_grows_with_a_second_folder_and_stays_part_until_it_is_whole(tmp_path: Path) -> None:
    row: Row = ("cbsd68", "test", "", "CBSD68/{}.png")
    write_tree(tmp_path / "one", [row], range(1000, 1002))
    write_tree(tmp_path / "two", [row], range(1000, 1068))
    layout = Layout(tmp_path / "root")
    (first,) = take(["cbsd68"], tmp_path / "one", layout.root).sources
    assert first.state == "partly"
    assert first.problems[0].startswith("2 of 68 pairs; `uir fetch cbsd68 --from")
    assert (str(completeness(SOURCES["cbsd68"], layout)), adopted_state(SOURCES["cbsd68"], layout)) == (
        "2 of 68 pairs",
        "part",
    )
    (checked,) = verify([SOURCES["cbsd68"]], layout, deep=False, jobs=1, progress=Silent()).sources
    assert checked.state == "partly"
    assert checked.todo[0].startswith("2 of 68 pairs")
    # A plain fetch does not take the part for all of it.
    assert plan_fetch([SOURCES["cbsd68"]], layout).sources[0].files[0].state != "here"
    (second,) = take(["cbsd68"], tmp_path / "two", layout.root).sources
    assert second.state == "done"
    assert plan_fetch([SOURCES["cbsd68"]], layout).sources[0].files[0].state == "here"
    assert verify([SOURCES["cbsd68"]], layout, deep=False, jobs=1, progress=Silent()).sources[0].state == "good"


@pytest.mark.parametrize("damage", ["truncated", "size", "partner"])
def test_damage_in_a_taken_tree_is_a_fault(tmp_path: Path, damage: str) -> None:
    write_tree(tmp_path / "mine", [row for row in TREES["uformer"] if row[0] == "hide"])
    target = tmp_path / "mine/HIDE/test/input/1fromGOPR0950.png"
    if damage == "truncated":
        target.write_bytes(target.read_bytes()[:200])
    elif damage == "size":
        write_png(target, synthetic_image(20, 32, 1))
    else:
        target.unlink()
    take(["hide"], tmp_path / "mine", tmp_path / "root")
    (checked,) = verify([SOURCES["hide"]], Layout(tmp_path / "root"), deep=True, jobs=1, progress=Silent()).sources
    assert checked.state == "faulty"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UirError, match="no such folder"):
        plan_of(["wed"], tmp_path / "nowhere", tmp_path / "root")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("kodak24", "results/PromptIR/Kodak24/kodim0{}.png"),
        ("kodak24", "Kodak_noisy25/kodim0{}.png"),
        ("cbsd68", "noisy/CBSD68/10{}085.png"),
        ("bsds500", "noisy/BSD400/10{}002.jpg"),
        ("wed", "WED_sigma25/0000{}.bmp"),
    ],
)
def test_degraded_or_restored_copies_are_never_taken_for_clean_images(source: str, name: str, tmp_path: Path) -> None:
    write_tree(tmp_path / "own", [(source, "test", "", name)])
    plan = plan_of([source], tmp_path / "own", tmp_path / "root")
    assert plan.sources[0].tree is None
    assert sum(row.files for row in plan.unwanted) == 3


def test_a_folder_of_the_id_is_named_in_what_is_found(tmp_path: Path) -> None:
    write_tree(tmp_path / "own", [("kodak24", "test", "", "kodak24/kodim0{}.png")])
    tree = plan_of(["kodak24"], tmp_path / "own", tmp_path / "root").sources[0].tree
    assert tree is not None
    assert tree.parts[0].folders == ("kodak24",)


def test_files_whose_names_are_not_utf8_are_counted_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    try:
        (tmp_path / "own" / "caf\udce9.png").write_bytes(b"x")
    except OSError:
        pytest.skip("this disk holds names in UTF-8 only")
    rows = plan_of(["kodak24"], tmp_path / "own", tmp_path / "root").unwanted
    assert [(row.folder, row.suffix, row.files) for row in rows] == [(".", ".png", 1)]
    assert "not UTF-8" in rows[0].reason
