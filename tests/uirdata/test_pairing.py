from __future__ import annotations

import random
import string
import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uirdata.degradations import DEGRADATIONS
from uirdata.pairing import TYPES, Exclude, LeftOut, Pair, Pairing, PairRule, find_pairs, rule_faults


@dataclass(frozen=True)
class Rules:
    pairs: tuple[PairRule, ...]
    skip: tuple[Exclude, ...] = ()
    id: str = "some"


HAZE = PairRule(
    "train",
    "haze",
    False,
    gt="**/clear/{id}.{png,jpg}",
    lq="**/hazy/{id}_{A}_{beta}.jpg",
    level="A={A},beta={beta}",
    scene="{id}",
)
DPDD = PairRule("train", "defocus-blur", True, gt="{top}/target/{b}.png", lq="{top:.*}/source/{a}.png", kind="sorted")
LISTED = PairRule(
    "test",
    "motion-blur",
    True,
    gt="**/{scene}/gt/gt_sharp.png",
    lq="**/{scene}/real_blur/real_blur.png",
    kind="list",
    list="**/test.txt",
    scene="{scene}",
)
CLEAN = PairRule("train", "", True, gt="{n}.png", lq="")


def no_text(name: str) -> str:
    raise AssertionError(f"{name} was read")


def run(rules: Rules | PairRule, *names: str, text: str = "") -> Pairing:
    source = rules if isinstance(rules, Rules) else Rules((rules,))
    return find_pairs(source, names, (lambda _: text) if text else no_text)


def names_of(pairing: Pairing) -> list[tuple[str, str]]:
    return [(pair.lq, pair.gt) for pair in pairing.pairs]


def reasons(pairing: Pairing) -> dict[str, str]:
    return {left.path: left.reason for left in pairing.left_out}


def test_a_pair_has_all_that_its_rule_and_its_names_tell() -> None:
    rule = replace(HAZE, gt_border=10, drop_identical=True, real=True, split="val")
    assert run(rule, "OTS/hazy/0001_0.8_0.04.jpg", "OTS/clear/0001.png").pairs == (
        Pair(
            source="some",
            split="val",
            degradation="haze",
            real=True,
            gt="OTS/clear/0001.png",
            lq="OTS/hazy/0001_0.8_0.04.jpg",
            level="A=0.8,beta=0.04",
            scene="0001",
            gt_border=10,
            drop_identical=True,
        ),
    )


def test_without_a_template_pairs_of_one_gt_are_a_scene_and_the_level_is_empty() -> None:
    rule = replace(HAZE, scene="", level="")
    pairs = run(rule, "hazy/1_1_1.jpg", "hazy/1_2_2.jpg", "clear/1.png", "hazy/2_1_1.jpg", "clear/2.jpg").pairs
    assert [pair.scene for pair in pairs] == ["clear/1", "clear/1", "clear/2"]
    assert {pair.level for pair in pairs} == {""}


def test_many_lq_may_share_a_gt() -> None:
    found = run(HAZE, "hazy/1_1_1.jpg", "hazy/1_2_2.jpg", "clear/1.png")
    assert names_of(found) == [("hazy/1_1_1.jpg", "clear/1.png"), ("hazy/1_2_2.jpg", "clear/1.png")]
    assert found.left_out == ()


def test_the_folders_in_front_must_be_the_same() -> None:
    found = run(HAZE, "a/hazy/1_1_1.jpg", "b/clear/1.png")
    assert found.pairs == ()
    assert reasons(found) == {
        "a/hazy/1_1_1.jpg": "no GT: a/clear/1.{png,jpg} is missing",
        "b/clear/1.png": "no LQ belongs to this GT",
    }


def test_two_gt_for_one_lq_are_no_pair() -> None:
    found = run(HAZE, "hazy/1_1_1.jpg", "clear/1.png", "clear/1.jpg")
    assert found.pairs == ()
    assert found.unknown == ()
    assert set(reasons(found)) == {"hazy/1_1_1.jpg", "clear/1.png", "clear/1.jpg"}
    assert reasons(found)["hazy/1_1_1.jpg"] == "more than one GT fits: clear/1.jpg, clear/1.png"


def test_excluded_files_are_left_out_with_the_reason() -> None:
    rule = replace(HAZE, exclude=(Exclude("**/{hazy,clear}/{n:7[^/]*}", "it is broken"),))
    found = run(rule, "hazy/7_1_1.jpg", "clear/7.png", "hazy/8_1_1.jpg", "clear/8.png")
    assert names_of(found) == [("hazy/8_1_1.jpg", "clear/8.png")]
    assert found.left_out == (LeftOut("clear/7.png", "it is broken"), LeftOut("hazy/7_1_1.jpg", "it is broken"))


def test_skipped_files_are_counted_and_unknown_images_are_named() -> None:
    rules = Rules((HAZE,), skip=(Exclude("**/mask/**", "a mask"),))
    found = run(rules, "hazy/1_1_1.jpg", "clear/1.png", "mask/1.png", "a/mask/2.png", "other/1.png", "readme.txt")
    assert found.skipped == 2
    assert found.unknown == ("other/1.png",)
    assert found.left_out == ()


def test_a_skipped_file_is_no_partner() -> None:
    rules = Rules((HAZE,), skip=(Exclude("**/clear/1.png", "wrong"),))
    assert reasons(run(rules, "hazy/1_1_1.jpg", "clear/1.png")) == {
        "hazy/1_1_1.jpg": "no GT: clear/1.{png,jpg} is missing"
    }


def test_only_images_are_paired() -> None:
    rule = replace(HAZE, lq="{id}_n.npz", gt="{id}.npz", level="", scene="")
    assert run(rule, "1_n.npz", "1.npz") == Pairing((), ())


def test_a_file_that_one_rule_pairs_is_not_left_out_by_another() -> None:
    other = replace(HAZE, split="test", lq="**/hazy/{id}_{A}_{beta}.{image}")
    found = run(Rules((replace(HAZE, gt="**/nowhere/{id}.png"), other)), "hazy/1_1_1.jpg", "clear/1.png")
    assert [pair.split for pair in found.pairs] == ["test"]
    assert found.left_out == ()


def test_a_pair_that_two_rules_find_belongs_to_the_first() -> None:
    found = run(Rules((HAZE, replace(HAZE, split="test"))), "hazy/1_1_1.jpg", "clear/1.png")
    assert [pair.split for pair in found.pairs] == ["train"]


def test_one_lq_may_have_two_gt_by_two_rules() -> None:
    drop = PairRule("train", "blur-rain", True, lq="Drop/{n}.png", gt="Clear/{n}.png", level="drop-clear")
    rules = Rules((drop, replace(drop, gt="Blur/{n}.png", level="drop-blur")))
    found = run(rules, "Drop/1.png", "Clear/1.png", "Blur/1.png")
    assert [(pair.gt, pair.level) for pair in found.pairs] == [
        ("Clear/1.png", "drop-clear"),
        ("Blur/1.png", "drop-blur"),
    ]


def test_clean_images_have_no_lq_and_lq_alone_have_no_gt() -> None:
    assert names_of(run(CLEAN, "2.png", "1.png", "a/3.png")) == [("", "1.png"), ("", "2.png")]
    alone = PairRule("test", "haze", True, gt="", lq="RTTS/{n}.png")
    (pair,) = run(alone, "RTTS/1.png").pairs
    assert (pair.lq, pair.gt, pair.scene) == ("RTTS/1.png", "", "RTTS/1")


def test_sorted_folders_pair_by_position_and_each_folder_by_itself() -> None:
    found = run(
        DPDD, "b/source/9.png", "a/source/3.png", "a/source/1.png", "a/target/2.png", "a/target/4.png", "b/target/1.png"
    )
    assert names_of(found) == [
        ("a/source/1.png", "a/target/2.png"),
        ("a/source/3.png", "a/target/4.png"),
        ("b/source/9.png", "b/target/1.png"),
    ]


def test_sorted_folders_of_unequal_numbers_pair_nothing() -> None:
    found = run(DPDD, "a/source/1.png", "a/source/2.png", "a/target/2.png")
    assert found.pairs == ()
    assert len(found.left_out) == 3
    assert "2 LQ and 1 GT" in found.left_out[0].reason


@pytest.mark.parametrize("prefix", ["", "RSBlur/", "deep/RSBlur/"])
def test_a_list_names_the_pairs_below_some_folder(prefix: str) -> None:
    text = "1/gt/gt_sharp.png 1/real_blur/real_blur.png \n\n./2/gt/gt_sharp.png 2\\real_blur\\real_blur.png\n"
    names = [f"{prefix}{scene}/{end}" for scene in "123" for end in ("gt/gt_sharp.png", "real_blur/real_blur.png")]
    found = run(LISTED, *names, "test.txt", text=text)
    assert [(pair.scene, pair.gt) for pair in found.pairs] == [
        ("1", f"{prefix}1/gt/gt_sharp.png"),
        ("2", f"{prefix}2/gt/gt_sharp.png"),
    ]
    assert reasons(found) == dict.fromkeys(names[4:], "no line of test.txt names it")


def test_a_list_with_the_columns_the_other_way_round_pairs_the_same() -> None:
    names = ("1/gt/gt_sharp.png", "1/real_blur/real_blur.png", "test.txt")
    turned = replace(LISTED, columns="lq gt")
    assert names_of(run(turned, *names, text=f"{names[1]} {names[0]}")) == [(names[1], names[0])]
    assert run(turned, *names, text=f"{names[0]} {names[1]}").pairs == ()


def test_missing_files_of_a_list_are_reported() -> None:
    found = run(LISTED, "1/gt/gt_sharp.png", "test.txt", text="1/gt/gt_sharp.png 1/real_blur/real_blur.png")
    assert (
        reasons(found)["1/gt/gt_sharp.png"] == "no LQ: 1/real_blur/real_blur.png is missing, test.txt line 1 names it"
    )
    found = run(LISTED, "1/real_blur/real_blur.png", "test.txt", text="1/gt/gt_sharp.png 1/real_blur/real_blur.png")
    assert "no GT: 1/gt/gt_sharp.png is missing" in reasons(found)["1/real_blur/real_blur.png"]


def test_a_missing_or_broken_list_is_reported() -> None:
    found = run(LISTED, "1/gt/gt_sharp.png", "1/real_blur/real_blur.png")
    assert set(reasons(found).values()) == {"**/test.txt is missing"}
    found = run(LISTED, "1/gt/gt_sharp.png", "test.txt", text="only-one-column\n")
    assert "line 1 has no two columns" in reasons(found)["test.txt"]


def test_a_share_of_the_scenes_goes_to_the_test_split_by_name_alone() -> None:
    names = [f"hazy/{n}_{k}_1.jpg" for n in range(400) for k in (1, 2)] + [f"clear/{n}.png" for n in range(400)]
    pairs = run(replace(HAZE, test_share=0.25), *names).pairs
    split_of = {pair.scene: pair.split for pair in pairs}
    assert all(pair.split == split_of[pair.scene] for pair in pairs)
    assert 70 <= list(split_of.values()).count("test") <= 130
    # A literal: the choice must be the same on every machine, and must not change when other files are added.
    assert [scene for scene in split_of if split_of[scene] == "test"][:5] == ["0", "108", "111", "117", "122"]
    fewer = run(replace(HAZE, test_share=0.25), *names[:100], *names[800:850]).pairs
    assert all(pair.split == split_of[pair.scene] for pair in fewer)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"degradation": "hase"}, "did you mean 'haze'?"),
        ({"gt": "clear/{number}.png"}, "gt has the hole 'number', which lq lacks"),
        ({"level": "{bet}"}, "level has the hole 'bet': did you mean 'beta'?"),
        ({"scene": "{idd}"}, "scene has the hole 'idd'"),
        ({"lq": "{id"}, "does not close"),
        ({"lq": "", "gt": ""}, "neither gt nor lq"),
        ({"lq": ""}, "a rule with an lq must name its degradation"),
        ({"degradation": ""}, "a rule with an lq must name its degradation"),
        ({"kind": "list"}, "given together"),
        ({"list": "x.txt"}, "given together"),
        ({"exclude": (Exclude("{", "why"),)}, "exclude[0].pattern"),
        ({"test_share": 1.5}, "test_share is 1.5"),
    ],
)
def test_a_rule_that_cannot_be_followed_says_why(change: dict[str, object], words: str) -> None:
    assert rule_faults(HAZE) == []
    assert words in "; ".join(rule_faults(replace(HAZE, **change)))  # type: ignore[arg-type]


def test_the_names_of_the_types_are_those_of_the_degradations() -> None:
    assert tuple(DEGRADATIONS) == TYPES


word = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=5)


@settings(max_examples=60)
@given(
    scenes=st.dictionaries(word, st.sets(st.tuples(word, word), min_size=1, max_size=4), max_size=6),
    orphans=st.sets(word, max_size=3),
    prefix=st.sampled_from(["", "a/", "a/b/"]),
    seed=st.integers(0, 2**32),
)
def test_a_tree_in_a_layout_pairs_back_exactly(
    scenes: dict[str, set[tuple[str, str]]], orphans: set[str], prefix: str, seed: int
) -> None:
    want = {
        (f"{prefix}hazy/{scene}_{a}_{b}.jpg", f"{prefix}clear/{scene}.png", f"A={a},beta={b}", scene)
        for scene, settings_ in scenes.items()
        for a, b in settings_
    }
    lonely_gt = {f"{prefix}clear/{name}.png" for name in orphans - set(scenes)}
    lonely_lq = {f"{prefix}hazy/{name}-x_1_2.jpg" for name in orphans}
    names = [*{gt for _, gt, _, _ in want}, *{lq for lq, *_ in want}, *lonely_gt, *lonely_lq]
    random.Random(seed).shuffle(names)
    found = run(HAZE, *names)
    assert {(pair.lq, pair.gt, pair.level, pair.scene) for pair in found.pairs} == want
    assert {left.path for left in found.left_out} == lonely_gt | lonely_lq
    assert found == run(HAZE, *sorted(names))
    # Every name is accounted for, exactly once.
    used = {path for pair in found.pairs for path in (pair.gt, pair.lq)}
    assert used | {left.path for left in found.left_out} == set(names)


@settings(max_examples=40)
@given(
    lq=st.sets(word, max_size=8),
    gt=st.sets(word, max_size=8),
)
def test_sorted_rules_pair_all_or_nothing(lq: set[str], gt: set[str]) -> None:
    found = run(DPDD, *(f"x/source/{name}.png" for name in lq), *(f"x/target/{name}.png" for name in gt))
    if len(lq) == len(gt):
        expected = list(zip(sorted(lq), sorted(gt), strict=True))
        assert names_of(found) == [(f"x/source/{a}.png", f"x/target/{b}.png") for a, b in expected]
    else:
        assert found.pairs == ()
        assert len(found.left_out) == len(lq) + len(gt)


def test_a_hundred_thousand_names_pair_in_seconds() -> None:
    names = [f"OTS/hazy/{n:05d}_0.8_{b}.jpg" for n in range(3000) for b in range(30)]
    names += [f"OTS/clear/{n:05d}.png" for n in range(3000)] + [f"other/{n}.png" for n in range(7000)]
    start = time.process_time()
    assert len(run(HAZE, *names).pairs) == 90_000
    # Processor time, about one second; a wide margin, for a rule must not be quadratic.
    assert time.process_time() - start < 10
