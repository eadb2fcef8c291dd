"""A scene keeps its split over adding, removing, other shares and subsets; what is made can be chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from uir_cli.uir import program

import uirdata
from tests.conftest import synthetic_image, write_png
from uirdata.errors import ShardError, UsageError
from uirdata.pipeline.building.narrowed import Narrowing, narrowed
from uirdata.pipeline.building.shared_pictures import refuse_shared_pictures
from uirdata.pipeline.choosing import layout_of
from uirdata.sources import load_sources, own_manifests, read_source
from uirdata.subsets import load_subset, subset_of

SMALL: dict[str, Any] = {"size": 48, "stride": 48, "degradations": ["jpeg"], "levels": ["q10"], "workers": 1}


def photographs(folder: Path, numbers: range) -> Path:
    for number in numbers:
        write_png(folder / f"p{number:02}.png", synthetic_image(48, 48, number))
    return folder


def fetch(root: Path, folder: Path, share: float | None = None) -> None:
    own = None if share is None else uirdata.OwnFolder(test_share=share)
    assert uirdata.fetch("mine", from_dir=folder, own=own, root=root).is_complete


def splits_of(pool: Path | str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in uirdata.open_shards(pool).records:
        found.setdefault(record.gt_path, set()).add(record.split)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fetch(tmp_path / "root", photographs(tmp_path / "photos", range(12)), 0.4)
    uirdata.build("mine", root=tmp_path / "root", **SMALL)
    splits = splits_of(tmp_path / "root/shards")
    assert {split for some in splits.values() for split in some} == {"train", "test"}
    return tmp_path / "root"


def test_a_second_fetch_without_the_share_keeps_it(root: Path, tmp_path: Path) -> None:
    before = splits_of(root / "shards")
    fetch(root, tmp_path / "photos")
    uirdata.build("mine", root=root, **SMALL)
    assert splits_of(root / "shards") == before


def test_photographs_that_are_added_or_removed_leave_the_others_where_they_are(root: Path, tmp_path: Path) -> None:
    before = splits_of(root / "shards")
    photographs(tmp_path / "photos", range(12, 20))
    (tmp_path / "photos/p00.png").unlink()
    fetch(root, tmp_path / "photos")
    uirdata.build("mine", root=root, **SMALL)
    after = splits_of(root / "shards")
    assert len(after) == 20
    assert {path: after[path] for path in before} == before
    assert all(len(splits) == 1 for splits in after.values())


def test_a_photograph_that_is_renamed_keeps_its_split(root: Path, tmp_path: Path) -> None:
    before = splits_of(root / "shards")
    pixels = {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()}
    for round_ in ("a", "b"):
        for path in sorted((tmp_path / "photos").iterdir()):
            path.rename(path.with_name(f"{round_}{path.name}"))
        fetch(root, tmp_path / "photos")
        assert uirdata.verify("mine", root=root).is_good
        pool = tmp_path / f"pool-{round_}"
        uirdata.build("mine", root=root, out=pool, **SMALL)
        after = {path[-7:]: splits for path, splits in splits_of(pool).items()}
        assert after == before
    assert {path.name[-7:]: path.read_bytes() for path in (tmp_path / "photos").iterdir()} == pixels


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_another_share_is_refused_by_the_pool_and_taken_by_another(root: Path, tmp_path: Path, share: float) -> None:
    before = splits_of(root / "shards")
    fetch(root, tmp_path / "photos", share)
    with pytest.raises(ShardError, match=r"pictures that are (test|train) here would be .*--test-share"):
        uirdata.build("mine", root=root, **SMALL)
    assert splits_of(root / "shards") == before
    assert uirdata.build("mine", root=root, out=tmp_path / "other", **SMALL).samples == 12


def test_a_subset_of_the_user_cannot_move_them_either(root: Path, tmp_path: Path) -> None:
    fetch(root, tmp_path / "photos", 0.0)
    (root / "manifests/subsets.toml").write_text(
        '[[subset]]\nname = "all"\ntitle = "t"\nclasses = [["jpeg"]]\n[[subset.use]]\nsources = ["mine"]\n'
        'degradations = ["jpeg"]\nsplits = ["train"]\nlevels = ["q10"]\nsize = 48\nstride = 48\n'
    )
    with pytest.raises(ShardError, match="would be train"):
        uirdata.build(subset="all", root=root, workers=1)


def test_what_one_own_source_tests_with_another_does_not_train_on_if_an_audit_found_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name, share, numbers in (("mine", 0.0, range(6)), ("theirs", 0.9, range(3, 9))):
        folder = photographs(tmp_path / name, numbers)
        own = uirdata.OwnFolder(test_share=share)
        assert uirdata.fetch(name, from_dir=folder, own=own, root=root).is_complete
    (root / "overlaps").mkdir()
    (root / "overlaps/theirs.txt").write_text("# found by an audit\nsame mine p03\nsame mine p04\n")
    with pytest.raises(
        UsageError, match=r"2 scenes of mine, such as p03, are test pictures of theirs.*--variant clean"
    ):
        uirdata.build(["mine", "theirs"], root=root, **SMALL)
    uirdata.build(["mine", "theirs"], root=root, variant="clean", **SMALL)
    trained = {r.gt_path for r in uirdata.open_shards(root / "shards", "train").records if r.source == "mine"}
    assert trained == {"p00.png", "p01.png", "p02.png", "p05.png"}


@pytest.mark.parametrize("order", [("theirs", "mine"), ("mine", "theirs")])
def test_two_builds_into_one_pool_cannot_share_pictures_either(tmp_path: Path, order: tuple[str, str]) -> None:
    root = tmp_path / "root"
    for name, share, numbers in (("mine", 0.0, range(6)), ("theirs", 0.9, range(3, 9))):
        folder = photographs(tmp_path / name, numbers)
        assert uirdata.fetch(name, from_dir=folder, own=uirdata.OwnFolder(test_share=share), root=root).is_complete
    (root / "overlaps").mkdir()
    (root / "overlaps/theirs.txt").write_text("# found by an audit\nsame mine p03\nsame mine p04\n")
    uirdata.build(order[0], root=root, **SMALL)
    before = splits_of(root / "shards")
    with pytest.raises(UsageError, match="2 scenes of mine, such as p03, are test pictures of theirs"):
        uirdata.build(order[1], root=root, **SMALL)
    assert splits_of(root / "shards") == before
    assert uirdata.build(order[1], root=root, out=tmp_path / "other", **SMALL).complete
    if order[1] == "mine":
        assert uirdata.build("mine", root=root, variant="clean", **SMALL).samples == 4


def test_pictures_of_a_published_benchmark_are_not_trained_on(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(root, photographs(tmp_path / "photos", range(4)))
    (root / "overlaps").mkdir()
    (root / "overlaps/cbsd68.txt").write_text("# found by an audit\nsame mine p01\n")
    plan = uirdata.plan("mine", root=root, **{key: SMALL[key] for key in ("size", "degradations")})
    refuse_shared_pictures(plan, load_sources(own_manifests(layout_of(root), [])))
    with pytest.raises(UsageError, match="1 scenes of mine, such as p01, are test pictures of cbsd68"):
        refuse_shared_pictures(plan, load_sources(own_manifests(layout_of(root), [])), ["cbsd68"])


def test_another_share_keeps_the_pairs_that_options_described(tmp_path: Path) -> None:
    for number in range(8):
        write_png(tmp_path / f"D/x/a{number}.png", synthetic_image(48, 48, number + 50))
        write_png(tmp_path / f"D/y/b{number}.png", synthetic_image(48, 48, number))
    root, manifest = tmp_path / "root", tmp_path / "root/manifests/mine.toml"
    described = uirdata.OwnFolder(patterns=[("x/a{id}.png", "y/b{id}.png")], degradation="noise", test_share=0.4)
    uirdata.fetch("mine", from_dir=tmp_path / "D", own=described, root=root)
    first = manifest.read_text()
    fetch(root, tmp_path / "D")
    assert manifest.read_text() == first
    for share in (0.7, 0.0):
        fetch(root, tmp_path / "D", share)
        (rule,) = read_source(manifest).pairs
        assert (rule.lq, rule.gt, rule.degradation, rule.test_share) == (
            "x/a{id}.png",
            "y/b{id}.png",
            "noise",
            share,
        )
    uirdata.build("mine", root=root, size=48, workers=1)
    assert {record.gt_path[:2] for record in uirdata.open_shards(root / "shards").records} == {"y/"}


def test_an_edited_manifest_keeps_its_share_and_refuses_another(tmp_path: Path) -> None:
    folder, root = photographs(tmp_path / "photos", range(6)), tmp_path / "root"
    fetch(root, folder, 0.4)
    manifest = root / "manifests/mine.toml"
    manifest.write_text(manifest.read_text().replace("{path:.+}", "p{path:.+}"))
    edited = manifest.read_text()
    fetch(root, folder)
    assert manifest.read_text() == edited
    for share in (0.0, 0.7):
        with pytest.raises(UsageError, match=r"edited by hand.*test_share would have no effect"):
            fetch(root, folder, share)


def test_a_pool_in_object_storage_keeps_splits_too(tmp_path: Path) -> None:
    folder, root, place = (
        photographs(tmp_path / "photos", range(8)),
        tmp_path / "root",
        f"memory://{tmp_path.name}/pool",
    )
    fetch(root, folder, 0.4)
    uirdata.build("mine", root=root, out=place, **SMALL)
    before = splits_of(place)
    fetch(root, folder, 0.0)
    with pytest.raises(ShardError, match="pictures that are test here would be train"):
        uirdata.build("mine", root=root, out=place, **SMALL)
    assert splits_of(place) == before


def test_an_unfinished_build_with_another_share_can_be_discarded(tmp_path: Path) -> None:
    folder, root = photographs(tmp_path / "photos", range(12)), tmp_path / "root"
    fetch(root, folder, 0.4)
    assert not uirdata.build("mine", root=root, task=(1, 2), **SMALL).complete
    fetch(root, folder, 0.0)
    with pytest.raises(ShardError, match=r"unfinished build.*--discard"):
        uirdata.build("mine", root=root, **SMALL)
    assert uirdata.build("mine", root=root, discard=True, **SMALL).samples == 12
    assert {split for splits in splits_of(root / "shards").values() for split in splits} == {"train"}


def test_the_record_of_renamed_photographs_is_not_lost_in_silence(root: Path, tmp_path: Path) -> None:
    record = layout_of(root).source("mine") / ".uir/splits.json"
    for content in ("{", '{"p00": "tset"}', "[]"):
        record.write_text(content)
        (outcome,) = uirdata.fetch("mine", from_dir=tmp_path / "photos", root=root).sources
        assert (outcome.state, "splits of renamed photographs" in outcome.problems[0]) == ("failed", True)


def test_parts_of_a_subset_that_are_built_one_by_one_have_the_classes_of_the_whole(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fetch(root, photographs(tmp_path / "photos", range(2)))
    (root / "manifests/subsets.toml").write_text(
        '[[subset]]\nname = "all"\ntitle = "t"\nclasses = [["jpeg", "noise"], ["haze", "gaussian-blur"]]\n'
        '[[subset.use]]\nsources = ["mine"]\ndegradations = ["noise", "gaussian-blur"]\nsplits = ["train"]\nsize = 48\n'
    )
    for name in ("gaussian-blur", "noise"):
        uirdata.build(subset="all", root=root, workers=1, degradations=[name])
    classes = json.loads((root / "shards/info.json").read_text())["subsets"]["all"]
    assert classes == [["jpeg", "noise"], ["haze", "gaussian-blur"]]


def uir(*arguments: object) -> Result:
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def test_what_is_made_is_chosen_on_the_command_line(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen"
    shared = ["mine", "--root", root, "--size", 48, "--stride", 48]
    chosen = ["--degradation", "noise,jpeg", "--level", "gaussian-1*,q10", "--per-image", 2]
    assert uir("build-shards", *shared, *chosen, "--out", out, "--workers", 1, "-q").exit_code == 0
    records = list(uirdata.open_shards(out).records)
    assert {(r.degradation, r.level) for r in records} <= {
        ("noise", "gaussian-10"),
        ("noise", "gaussian-15"),
        ("noise", "gaussian-100"),
        ("jpeg", "q10"),
    }
    assert len(records) == 12 * 2 * 2
    shown = uir("stats", out).output
    assert "by level" in shown
    assert "beside the paper's table" not in shown
    counted = json.loads(uir("stats", out, "--degradation", "noise", "--level", "gaussian-1*", "--json").output)
    assert [row["degradation"] for row in counted["by degradation"]] == ["noise"]
    assert counted["samples"] == 24
    assert "did you mean 'noise'?" in uir("stats", out, "--degradation", "noize").output.replace("\n", " ")
    planned = json.loads(uir("crop", *shared, *chosen, "--dry-run", "--json").output)
    assert planned["samples"] == 48
    wrong = uir("build-shards", *shared, "--degradation", "noize", "--out", tmp_path / "none")
    assert (wrong.exit_code, "did you mean 'noise'?" in wrong.output.replace("\n", " ")) == (2, True)


def test_a_pattern_narrows_what_has_such_levels() -> None:
    sources = load_sources()
    whole = subset_of(sources["wed"])
    noise = narrowed(whole, Narrowing(levels=("gaussian-15",)), [sources["wed"]])
    assert (noise.classes, {use.levels for use in noise.uses}) == ((("noise",),), {("gaussian-15",)})
    both = narrowed(whole, Narrowing(("jpeg", "noise"), ("gaussian-15",)), [sources["wed"]])
    assert both.classes == (("noise",), ("jpeg",))
    assert {use.degradation: use.levels for use in both.uses} == {"noise": ("gaussian-15",), "jpeg": ()}
    assert narrowed(whole, Narrowing()) is whole
    with pytest.raises(UsageError, match="no level of noise is called 'gausian-15': did you mean 'gaussian-15'"):
        narrowed(whole, Narrowing(("noise",), ("gausian-15",)), [sources["wed"]])
    part = narrowed(load_subset("5d"), Narrowing(levels=("gaussian-*",)), list(sources.values()))
    assert {use.degradation for use in part.uses} == {"noise"}
    with pytest.raises(UsageError, match=r"no level of haze can be chosen in 5d.*leave --level out"):
        narrowed(load_subset("5d"), Narrowing(("haze",), ("*",)), list(sources.values()))
    published = narrowed(load_subset("5d"), Narrowing(("haze",)), list(sources.values()))
    assert {use.source for use in published.uses} == {"reside-ots", "sots-outdoor"}
