"""What is recognised of a user's folder by names alone."""

from __future__ import annotations

import re

import pytest

from uirdata.facts.own_layouts import Recognition, pairs_of_folders, recognise
from uirdata.facts.own_pairs import pairs_by_patterns

SIX = range(6)


def grid(pattern: str, *words: str, numbers: range = SIX) -> list[str]:
    """Return a name for each word and number."""
    return [pattern.format(word, number) for word in words or ("",) for number in numbers]


def rules(found: Recognition) -> list[tuple[str, str, str]]:
    assert not found.doubt
    return [rule for each in found.found for rule in each.rules]


def options(doubt: str) -> list[tuple[str, str]]:
    """Return the patterns of the --pair options that a message names."""
    return re.findall(r"--pair '?([^' ]+)'? '?([^' ]+)'?", doubt)


FOUND = {
    "equal names": (grid("lq/{1}.png") + grid("gt/{1}.png"), 6, ""),
    "capitals and words": (grid("LQ_images/{1}.png") + grid("HQ_images/{1}.png"), 6, ""),
    "at any depth": (grid("Rain100L/x/{0}/{1}.png", "input", "target"), 6, ""),
    "prefixes": (grid("Low/low{1:05d}.png") + grid("Normal/normal{1:05d}.png"), 6, "low-light"),
    "more GT than LQ": (
        grid("low/low{1:05d}.png") + grid("high/normal{1:05d}.png", numbers=range(200)),
        6,
        "low-light",
    ),
    "prefixes that differ by case": (grid("hazy/IMG_{1}.JPG") + grid("clear/img_{1}.png"), 6, "haze"),
    "suffixes": (grid("noisy/{1}_N.png") + grid("gt/{1}_GT.png"), 6, "noise"),
    "scales": (grid("LR/{1:04d}x{0}.png", "2", "3", "4") + grid("HR/{1:04d}.png"), 18, ""),
    "scales in folders": (grid("DIV2K_train_LR_bicubic/X4/{1}x4.png") + grid("DIV2K_train_HR/{1}.png"), 6, ""),
    "several LQ for a GT": (
        grid("rainy_image/{1}_{0}.jpg", "1", "2") + grid("ground_truth/{1}.jpg"),
        12,
        "rain-streak",
    ),
    "levels in the names": (grid("hazy/{1:04d}_{0}_0.2.jpg", "0.8", "1") + grid("clear/{1:04d}.jpg"), 12, "haze"),
    "names with an underscore": (grid("hazy/a_{1}_{0}.png", "1", "2") + grid("clear/a_{1}.png"), 12, "haze"),
    "zero padding": (
        grid("lq/img_{1:03d}.png", numbers=range(1, 120)) + grid("gt/img_{1}.png", numbers=range(1, 120)),
        119,
        "",
    ),
    "side by side": (grid("{1}_lq.png") + grid("{1}_gt.png"), 6, ""),
    "side by side, marks without separators": (grid("{0}{1:03d}.png", "low", "normal"), 6, "low-light"),
    "side by side in folders": (grid("scene{1}/{0}.png", "NOISY_SRGB_010", "GT_SRGB_010"), 6, "noise"),
    "one LQ and one GT in each folder": (grid("scene{1}/{0}.png", "lq", "gt"), 6, ""),
    "marks inside the names": (grid("input_crops/1_NOISY_s{1}.png") + grid("gt_crops/1_GT_s{1}.png"), 6, ""),
    "a GT folder among the LQ": (grid("{1}.png") + grid("gt/{1}.png"), 6, ""),
    "an LQ folder among the GT": (grid("{1}.png") + grid("noisy/{1}.png"), 6, "noise"),
    "a folder of LQ without a name for it": (grid("data/{1}_rain.png") + grid("gt/{1}_clean.png"), 6, ""),
    "folders below": (grid("lq/{0}/{1}_n.png", "a", "b") + grid("gt/{0}/{1}.png", "a", "b"), 12, ""),
    "one pair": (["lq/x.png", "gt/x.png"], 1, ""),
}


@pytest.mark.parametrize(("names", "pairs", "degradation"), FOUND.values(), ids=list(FOUND))
def test_pairs_are_found_by_their_names(names: list[str], pairs: int, degradation: str) -> None:
    found = recognise(sorted(names), "mine")
    assert not found.doubt
    (only,) = found.found
    assert (len(only.pairs), only.degradation) == (pairs, degradation)
    assert only.is_full
    for lq, gt in only.pairs.items():
        assert (
            re.sub(r".*?(\d+)\D*$", r"\1", gt.rpartition(".")[0]).lstrip("0") in re.sub("[^0-9]", "", lq) or pairs == 1
        )
    assert not set(only.pairs) & set(only.pairs.values())


def test_each_lq_has_the_gt_of_its_own_number() -> None:
    for names, _, _ in FOUND.values():
        for each in recognise(sorted(names), "mine").found:
            gts = list(each.pairs.values())
            # Several LQ of a GT: as many for each.
            assert len({gts.count(gt) for gt in gts}) == 1


def test_folders_for_splits_make_splits() -> None:
    found = recognise(grid("{0}/{1}.png", "train/input", "train/target", "test/input", "test/target"), "mine")
    assert [rule[0] for rule in rules(found)] == ["test", "train"]
    deep = recognise(
        grid("D/{0}/{1}.png", *(f"{s}/{d}/{k}" for s in ("train", "test") for d in "ab" for k in ("lq", "gt"))), ""
    )
    assert [(split, lq.startswith("{place")) for split, lq, _ in rules(deep)] == [("test", True), ("train", False)]
    assert len(deep.found[0].pairs) == 24
    named = recognise(grid("{0}/{1}.png", "train_blur", "train_sharp", "test_blur", "test_sharp"), "")
    assert sorted(rule[0] for rule in rules(named)) == ["test", "train"]


def test_places_with_names_of_their_own_get_rules_of_their_own() -> None:
    names = grid("Real/Low/low{1}.png") + grid("Real/Normal/normal{1}.png") + grid("Syn/{0}/r{1}.png", "Low", "Normal")
    found = recognise(names, "LOL-v2")
    assert [len(each.pairs) for each in found.found] == [6, 6]


def test_two_kinds_of_lq_may_share_their_gt() -> None:
    found = recognise(grid("{0}/{1}.png", "noisy", "hazy", "clean"), "mine")
    assert sorted(each.degradation for each in found.found) == ["haze", "noise"]


DOUBTFUL = {
    "two folders of GT": (grid("{0}/{1}.png", "input", "target", "gt"), "more than one way"),
    "folders without a role": (grid("{0}/{1}.png", "a", "b"), "files of equal names"),
    "frames of videos": (grid("{0}/{1:08d}.png", "000", "001", "002"), "files of equal names"),
    "a GT folder and two others": (grid("set/{0}/{1}.png", "synthetic", "gt", "mask"), "files of equal names"),
    "namesakes among folders and files": (grid("{1}.png") + grid("x/{1}.jpg"), "files of equal names"),
    "only LQ": (grid("hazy/{1}.png"), "no folder of their GT"),
    "LQ by names only": (grid("{1}_noisy.png"), "no GT was found"),
    "half of the GT are missing": (
        grid("low/low{1}.png") + grid("high/normal{1}.png", numbers=range(1, 4)),
        "3 of 6 LQ",
    ),
    "numbers that do not agree": (grid("blur/{1}.png") + grid("sharp/10{1}.png"), "no LQ has the name of a GT"),
    "one LQ and one GT of different names": (["lq/x.png", "gt/y.png"], "no LQ has the name of a GT"),
    "marks in folders without a role": (grid("A/low{1}.png") + grid("B/normal{1}.png"), "LQ by their names"),
}


@pytest.mark.parametrize(("names", "words"), DOUBTFUL.values(), ids=list(DOUBTFUL))
def test_what_is_not_certain_is_a_doubt_and_never_a_clean_photograph(names: list[str], words: str) -> None:
    found = recognise(sorted(names), "mine")
    assert words in found.doubt
    assert not found.found
    assert "--pair" in found.doubt or "--clean" in found.doubt


@pytest.mark.parametrize(
    "names",
    [
        grid("IMG_{1}.jpg"),
        [*grid("2019/IMG_{1}.jpg", numbers=range(20)), *grid("2020/IMG_{1}.jpg", numbers=range(19, 40))],
        [*grid("Snow Mountain 2020/{1}.jpg"), *grid("rain forest/b{1}.jpg")],
        [*grid("IMG_{1}.jpg", numbers=range(40)), "sunset_low.jpg", "sunset.jpg"],
        [*grid("gt/{1}.png")],
        [*grid("high/x{1}.png"), *grid("{1}.png")],
    ],
)
def test_albums_are_clean_photographs(names: list[str]) -> None:
    assert recognise(sorted(names), "Pictures") == Recognition()


def test_the_name_of_the_folder_itself_counts() -> None:
    assert "no GT was found" in recognise(grid("{1}.png"), "noisy").doubt
    assert recognise(grid("{1}.png"), "snow-2020") == Recognition()


def test_folders_that_the_user_names_are_paired_in_any_shape() -> None:
    names = [*grid("x/bad/a{1}.png"), *grid("x/good/b{1}.png")]
    assert rules(pairs_of_folders(names, "x/bad", "x/good")) == [
        ("train", "x/bad/a{id}.{image}", "x/good/b{id}.{image}")
    ]
    assert pairs_of_folders(names, "x/bad", "x/none").doubt == "x/none holds no image"


def test_the_options_of_a_doubt_are_patterns_that_pair() -> None:
    for name in (
        "two folders of GT",
        "folders without a role",
        "half of the GT are missing",
        "marks in folders without a role",
    ):
        names = sorted(DOUBTFUL[name][0])
        doubt = recognise(names, "mine").doubt
        assert options(doubt)
        for lq, gt in options(doubt):
            assert pairs_by_patterns([("train", lq, gt)], names)
