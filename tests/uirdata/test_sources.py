from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uirdata.errors import ManifestError
from uirdata.pairing import TYPES, UNSEEN, Example, PairRule, find_pairs
from uirdata.sources import MANIFESTS, Feed, Mirror, RemoteFile, Source, load_sources, read_source, source_faults

SOURCES = load_sources()
RULES = [(source, index) for source in SOURCES.values() for index in range(len(source.pairs))]

SMALL = """
title = "t"
licence = "l"

[[files]]
name = "a.zip"
archive = "zip"
mirrors = [{ host = "http", where = "https://example.org/a.zip", trust = "official" }]

[[pairs]]
split = "train"
degradation = "haze"
real = false
lq = "lq/{id}.png"
gt = "gt/{id}.png"
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, name: str = "small") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return path

    return write


def test_every_file_of_the_folder_is_a_source() -> None:
    assert list(SOURCES) == sorted(path.stem for path in (MANIFESTS / "sources").glob("*.toml"))
    assert len(SOURCES) >= 60


def as_read(example: Example) -> set[tuple[str, str, str]]:
    return {(pair.gt, pair.lq, pair.level) for pair in example.pairs}


@pytest.mark.parametrize(("source", "index"), RULES, ids=[f"{source.id}-{index}" for source, index in RULES])
def test_every_rule_makes_of_its_example_what_the_manifest_says(source: Source, index: int) -> None:
    rule = source.pairs[index]
    example = rule.example
    assert example is not None, "every rule carries an example"
    assert example.pairs
    found = find_pairs(replace(source, pairs=(rule,)), example.names, example.lists.__getitem__)
    assert {(pair.gt, pair.lq, pair.level) for pair in found.pairs} == as_read(example)
    if rule.lq and rule.gt and rule.kind == "names":
        # Without its GT the LQ is left out, and the reason contains the file that was expected.
        for pair in example.pairs:
            alone = find_pairs(replace(source, pairs=(rule,), skip=()), [pair.lq], example.lists.__getitem__)
            assert [left.path for left in alone.left_out] == [pair.lq]
            assert alone.left_out[0].reason.startswith("no GT: ")


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_the_rules_of_a_source_do_not_take_each_others_files(source: Source) -> None:
    names: set[str] = set()
    lists: dict[str, str] = {}
    wanted: set[tuple[str, str, bool, str, str, str]] = set()
    others: set[tuple[str, str, bool, str, str, str]] = set()
    for rule in source.pairs:
        assert rule.example is not None
        names.update(rule.example.names)
        lists.update(rule.example.lists)
        pairs = {(rule.split, rule.degradation, rule.real, *pair) for pair in as_read(rule.example)}
        (others if rule.layout else wanted).update(pairs)
    found = find_pairs(source, sorted(names), lists.__getitem__)
    # The examples of other layouts name the same images, which count once.
    assert wanted <= {(p.split, p.degradation, p.real, p.gt, p.lq, p.level) for p in found.pairs} <= wanted | others
    assert found.unknown == ()


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_the_images_of_a_source_count_once_in_whatever_layouts_they_lie(source: Source) -> None:
    for other in {rule.layout for rule in source.pairs if rule.layout}:
        rules = [rule for rule in source.pairs if rule.layout == other]
        for rule in rules:
            assert rule.example is not None
            # The files of the example in its own layout, and the same images in that of the authors.
            alone = find_pairs(source, rule.example.names, rule.example.lists.__getitem__)
            assert {(p.gt, p.lq, p.level) for p in alone.pairs} == as_read(rule.example)


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_a_manifest_has_all_required_facts(source: Source) -> None:
    assert source.title
    assert source.licence
    assert source.homepage.startswith("http")
    assert source.files
    assert source.local_dir is None
    assert {rule.split for rule in source.pairs} <= {"train", "val", "test"}
    assert {rule.degradation for rule in source.pairs} <= {"", *TYPES, *UNSEEN}
    for file in [*source.files, *(file for other in source.alternatives for file in other.files)]:
        assert file.mirrors
        assert file.size is None or file.about_size is None, "exact, or about; not both"
        for mirror in file.mirrors:
            assert mirror.host in {"http", "huggingface", "google_drive", "kaggle", "package", "manual"}
            assert mirror.where.startswith("http") == (mirror.host in ("http", "manual"))
            assert mirror.host != "manual" or mirror.access in ("by-hand", "login", "form")
            assert mirror.host != "huggingface" or mirror.where.split(":")[0] in ("dataset", "model")
    if source.feeds:
        assert source.crop is not None, "whoever feeds a row of the table says how it is cut"


def test_the_published_layouts_pair_as_their_authors_say() -> None:
    def pairs(name: str, *names: str) -> list[tuple[str, str, str]]:
        found = find_pairs(SOURCES[name], names, lambda _: "")
        return [(pair.lq, pair.gt, pair.level) for pair in found.pairs]

    assert pairs("reside-ots", "OTS/hazy/0001_0.8_0.04.jpg", "OTS/clear/0001.png") == [
        ("OTS/hazy/0001_0.8_0.04.jpg", "OTS/clear/0001.png", "A=0.8,beta=0.04")
    ]
    assert pairs("lfdof", "LFDOF/train_data/input/A/A_ap2_07.png", "LFDOF/train_data/ground_truth/A.png") == [
        ("LFDOF/train_data/input/A/A_ap2_07.png", "LFDOF/train_data/ground_truth/A.png", "ap2")
    ]
    assert pairs("gopro", *(f"GOPRO_Large/train/GOPR1/{x}/1.png" for x in ("blur", "blur_gamma", "sharp"))) == [
        ("GOPRO_Large/train/GOPR1/blur/1.png", "GOPRO_Large/train/GOPR1/sharp/1.png", "")
    ]
    top = "RainDS/RainDS_syn/train"
    assert pairs(
        "rainds", f"{top}/rainstreak_raindrop/pie-rd-rain-3.png", f"{top}/gt/pie-norain-3.png", f"{top}/gt/norain-3.png"
    ) == [(f"{top}/rainstreak_raindrop/pie-rd-rain-3.png", f"{top}/gt/pie-norain-3.png", "")]
    folders = [
        "clear",
        "low",
        "haze",
        "rain",
        "snow",
        "low_haze",
        "low_rain",
        "low_snow",
        "haze_rain",
        "haze_snow",
        "low_haze_rain",
        "low_haze_snow",
    ]
    composites = pairs("cdd-11", *(f"CDD-11_train/{folder}/1.png" for folder in folders))
    assert [level for *_, level in composites] == sorted(folders[5:])
    assert {gt for _, gt, _ in composites} == {"CDD-11_train/clear/1.png"}
    its = find_pairs(SOURCES["reside-its"], ["ITS/hazy/1_1_0.9.png", "ITS/clear/1.png"], lambda _: "").pairs
    assert [pair.gt_border for pair in its] == [10]


def test_known_defects_are_handled() -> None:
    our485 = [f"our485/{side}/{n}.png" for n in (2, 79, 111, 735) for side in ("low", "high")]
    found = find_pairs(SOURCES["lol-v1"], our485, lambda _: "")
    assert [pair.lq for pair in found.pairs] == ["our485/low/2.png"]
    assert len(found.left_out) == 6
    assert all("different scenes" in left.reason for left in found.left_out)
    clarity = SOURCES["raindrop-clarity"]
    assert [rule.level for rule in clarity.pairs if rule.drop_identical] == ["blur-clear"]
    assert {rule.kind for rule in SOURCES["dpdd"].pairs} == {"sorted"}
    assert {rule.kind for rule in SOURCES["rsblur"].pairs} == {"list"}


def test_pairs_that_share_an_image_share_their_scene() -> None:
    for source in SOURCES.values():
        for rule in source.pairs:
            assert rule.example is not None
            found = find_pairs(replace(source, pairs=(rule,)), rule.example.names, rule.example.lists.__getitem__)
            scenes: dict[str, set[str]] = {}
            for pair in found.pairs:
                scenes.setdefault(pair.gt or pair.lq, set()).add(pair.scene)
            assert scenes, source.id
            assert all(len(names) == 1 for names in scenes.values()), source.id


def test_the_photographs_of_the_sample_are_those_of_the_packages() -> None:
    sample = SOURCES["sample"]
    assert sample.redistributable
    rules = {rule.split: rule for rule in sample.pairs}
    names = [file.name for file in sample.files]
    found = find_pairs(sample, names, lambda _: "")
    by_split = {split: {pair.gt for pair in found.pairs if pair.split == split} for split in rules}
    assert by_split["train"] | by_split["test"] == set(names)
    assert not by_split["train"] & by_split["test"]
    assert (len(by_split["train"]), len(by_split["test"])) == (9, 3)
    assert all(file.repacked and file.licence and file.sha256 and file.size for file in sample.files)


def test_reading_all_manifests_is_quick() -> None:
    start = time.process_time()
    load_sources()
    # Processor time, about a sixth of a second; other processes do not count.
    assert time.process_time() - start < 3


def test_a_small_manifest_gives_all_defaults(manifest: Callable[[str], Path]) -> None:
    assert read_source(manifest(SMALL)) == Source(
        id="small",
        title="t",
        licence="l",
        files=(RemoteFile("a.zip", (Mirror("http", "https://example.org/a.zip", "official"),), archive="zip"),),
        pairs=(PairRule("train", "haze", False, gt="gt/{id}.png", lq="lq/{id}.png"),),
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'licence = "l"',
            'license = "l"',
            ["unknown key 'license'", "did you mean 'licence'?", "'licence' is missing"],
        ),
        ("archive =", "archiv =", ["files[0].archiv", "did you mean 'archive'?"]),
        ("where =", "were =", ["files[0].mirrors[0].were", "did you mean 'where'?"]),
        ('"official"', '"offical"', ["files[0].mirrors[0].trust", "'official', 'repack' or 'third-party'"]),
        ('"zip"', '"zap"', ["files[0].archive", "expected"]),
        ('"train"', '"trian"', ["pairs[0].split", "'train', 'val' or 'test'"]),
        ('"haze"', '"hase"', ["pairs[0].degradation", "did you mean 'haze'?"]),
        ("gt/{id}", "gt/{name}", ["pairs[0].gt has the hole 'name'"]),
        ("real = false", 'real = "no"', ["pairs[0].real", "expected a valid boolean"]),
        ("[[pairs]]", 'sha256 = "abc"\n[[pairs]]', ["files[0].sha256", "64 lower-case hexadecimal digits"]),
        ("[[pairs]]", "size = -1\n[[pairs]]", ["files[0].size", "negative"]),
        ('name = "a.zip"', 'name = "../a.zip"', ["files[0].name", "below the downloads"]),
        ('title = "t"', 'title = "t"\nid = "other"', ["id is 'other'", "small.toml"]),
        ("mirrors = [{", "mirrors = [] #", ["files[0].mirrors is empty"]),
        (
            "[[pairs]]",
            '[[files]]\nname = "a.zip"\nmirrors = []\n[[pairs]]',
            ["which another file has already"],
        ),
        ("[[pairs]]", '[[skip]]\npattern = "{"\nreason = "r"\n[[pairs]]', ["skip[0].pattern", "does not close"]),
    ],
)
def test_a_manifest_that_cannot_be_is_named_with_the_key_and_what_was_expected(
    manifest: Callable[[str], Path], old: str, new: str, words: list[str]
) -> None:
    assert old in SMALL
    with pytest.raises(ManifestError) as caught:
        read_source(manifest(SMALL.replace(old, new, 1)))
    for word in ("small.toml", *words):
        assert word in str(caught.value)


def test_a_source_has_rules_or_says_why_not(manifest: Callable[[str], Path]) -> None:
    bare = SMALL[: SMALL.index("[[pairs]]")]
    with pytest.raises(ManifestError, match="unpaired"):
        read_source(manifest(bare))
    with pytest.raises(ManifestError, match="unpaired"):
        read_source(manifest('unpaired = "why"\n' + SMALL))
    assert read_source(manifest('unpaired = "why"\n' + bare)).pairs == ()


def test_an_id_is_small_letters_digits_and_hyphens(manifest: Callable[[str], Path]) -> None:
    with pytest.raises(ManifestError, match="lower-case letters, digits and hyphens"):
        read_source(manifest(SMALL, "Big_Name"))


def test_two_manifests_of_one_id_are_an_error_that_names_both(tmp_path: Path) -> None:
    (tmp_path / "gopro.toml").write_text(SMALL)
    with pytest.raises(ManifestError, match=r"gopro\.toml and .*gopro\.toml are both called gopro"):
        load_sources([tmp_path])


def test_further_folders_add_sources_and_missing_ones_add_none(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SMALL)
    (tmp_path / "subsets.toml").write_text("")
    found = load_sources([tmp_path, tmp_path / "nowhere"])
    assert set(found) - set(SOURCES) == {"mine"}
    assert list(found) == sorted(found)


def test_access_is_the_most_that_any_file_asks_by_its_easiest_mirror() -> None:
    def remote(*accesses: str) -> RemoteFile:
        return RemoteFile("f" + "".join(accesses), tuple(Mirror("http", "u", "official", a) for a in accesses))  # type: ignore[arg-type]

    def access(*files: RemoteFile) -> str:
        return Source("x", "t", "l", files).access

    assert access() == "open"
    assert access(remote("by-hand", "open")) == "open"
    assert access(remote("open"), remote("form", "token")) == "token"
    assert access(remote("token"), remote("by-hand")) == "by-hand"
    assert {name: SOURCES[name].access for name in ("sample", "gopro", "lsdir", "rdnet", "lsrw")} == {
        "sample": "open",
        "gopro": "open",
        "lsdir": "token",
        "rdnet": "login",
        "lsrw": "by-hand",
    }


def test_published_counts_are_summed_over_rules() -> None:
    assert SOURCES["lsrw"].published() == {("train", "low-light", True): 5600, ("test", "low-light", True): 50}
    assert SOURCES["gopro"].published() == {("train", "motion-blur", False): 2103, ("test", "motion-blur", False): 1111}


def test_a_plan_takes_exact_sizes_before_others() -> None:
    assert RemoteFile("a", (), size=3, about_size=4).expected_size == 3
    assert RemoteFile("a", (), size=0, about_size=4).expected_size == 0
    assert RemoteFile("a", (), about_size=4).expected_size == 4
    assert RemoteFile("a", ()).expected_size is None


@given(st.text(max_size=12))
def test_no_id_leaves_its_folder(name: str) -> None:
    source = Source(name, "t", "l", (), (PairRule("train", "", True, "{n}.png", ""),))
    if not source_faults(source):
        assert name == Path(name).name
        assert "/" not in name
        assert name not in ("", ".", "..")
        assert name == name.lower()


def test_a_feed_may_leave_its_number_open() -> None:
    assert Feed("noise", "nobody says").pairs is None
