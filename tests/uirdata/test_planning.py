from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import pytest

from uirdata.degradations import DEGRADATIONS
from uirdata.errors import UsageError
from uirdata.pairing import Pair
from uirdata.planning import (
    CropSetting,
    FoundPair,
    GroupKey,
    GroupPlan,
    PlannedSample,
    deal,
    parse_shard_path,
    shard_path,
)
from uirdata.subsets import Use

LEVELS = ("gaussian-15", "gaussian-25", "gaussian-50")


def clean(name: str, split: str = "train") -> FoundPair:
    return FoundPair(Pair("wed", split, "", False, name, "", "", name), 300, 200)


def planned(use: Use, found: list[FoundPair], seed: int = 0) -> list[PlannedSample]:
    group = GroupKey(use.split, use.degradation, use.source)
    return list(GroupPlan(group, (use,), CropSetting(128, 128), found, "CC0").samples(seed))


def test_each_crop_gets_as_many_variants_as_asked_with_levels_spread_evenly() -> None:
    samples = planned(Use("wed", "noise", "train", LEVELS, per_image=6), [clean("a.bmp"), clean("b.bmp")])
    assert len(samples) == 2 * 6 * 6  # 3 x 2 windows
    for box in {(s.gt_path, s.box) for s in samples}:
        levels = Counter(s.level for s in samples if (s.gt_path, s.box) == box)
        assert levels == dict.fromkeys(LEVELS, 2)


def test_keys_are_unique_and_hold_no_dot_whatever_the_file_is_called() -> None:
    names = ["0001_0.8_0.04.png", "x/0001.png", "y/0001.png", "sp ace/ü.png", "a" * 200 + ".png"]
    samples = planned(Use("wed", "noise", "train", LEVELS, per_image=7), [clean(name) for name in names])
    keys = [sample.key for sample in samples]
    assert len(set(keys)) == len(keys)
    assert not any("." in key or " " in key or "/" in key for key in keys)


def test_keys_of_every_type_and_level_fit_into_a_tar() -> None:
    found = [FoundPair(Pair("wed", "train", "", False, f"{'n' * 60}.png", "", "", "n"), 12_345, 12_345)]
    for name, degradation in DEGRADATIONS.items():
        group = GroupPlan(
            ("train", name, "wed"),
            (Use("wed", name, "train", per_image=len(degradation.levels)),),
            CropSetting(10_000, 2_345),
            found,
            "CC0",
        )
        assert {sample.level for sample in group.samples(0)} == {level.name for level in degradation.levels}


def test_a_sample_does_not_depend_on_what_else_is_planned() -> None:
    use = Use("wed", "noise", "train", LEVELS, per_image=2)
    alone = planned(use, [clean("b.bmp")])
    assert alone == planned(use, [clean("a.bmp"), clean("b.bmp"), clean("c.bmp")])[len(alone) : 2 * len(alone)]


def test_the_seed_decides_the_levels() -> None:
    use = Use("wed", "noise", "train", LEVELS)
    found = [clean(f"{i}.bmp") for i in range(20)]
    first = [s.level.removeprefix("gaussian-") for s in planned(use, found, 0)[:12]]
    # A literal: levels that change from process to process would also agree with themselves.
    assert " ".join(first) == "15 25 25 15 15 15 15 50 15 50 25 25"
    assert [s.level for s in planned(use, found, 0)] != [s.level for s in planned(use, found, 1)]


def test_a_level_that_cannot_be_made_is_named_with_the_nearest() -> None:
    use = Use("wed", "noise", "train", ("gaussian-15", "gausian-25"))
    with pytest.raises(UsageError, match=r"noise of wed has no level 'gausian-25': did you mean 'gaussian-25'\?"):
        planned(use, [clean("a.bmp")])


def test_splits_and_published_pairs_of_other_types_are_passed_over() -> None:
    hazy = FoundPair(Pair("wed", "train", "haze", True, "g.png", "l.png", "A=1", "g"), 200, 200)
    samples = planned(Use("wed", "noise", "train", LEVELS), [hazy, clean("t.bmp", "test")])
    assert samples == []
    (sample, *_) = planned(Use("wed", "haze", "train"), [hazy, clean("a.bmp")])
    assert (sample.made, sample.real, sample.level, sample.lq_path) == (False, True, "A=1", "l.png")


def test_levels_select_published_pairs_too_and_types_without_levels_can_be_published() -> None:
    pairs = [
        FoundPair(Pair("snow", "train", "snow", False, f"g{level}.png", f"l{level}.png", level, level), 100, 100)
        for level in "SML"
    ]
    assert [s.level for s in planned(Use("snow", "snow", "train", ("L",)), pairs)] == ["L"]
    assert [s.level for s in planned(Use("snow", "snow", "train"), pairs)] == ["S", "M", "L"]
    unseen = FoundPair(Pair("udc", "test", "under-display-camera", True, "g.png", "l.png", "", "g"), 100, 100)
    assert len(planned(Use("udc", "under-display-camera", "test"), [unseen])) == 1


def test_made_samples_of_real_photographs_are_not_real() -> None:
    real = FoundPair(Pair("wed", "train", "", True, "g.png", "", "", "g"), 200, 200)
    assert not any(s.real for s in planned(Use("wed", "noise", "train", LEVELS), [real]))


GROUP = GroupKey("train", "noise", "wed")


def test_shards_fill_to_the_size_keep_order_and_continue_the_numbering() -> None:
    samples = planned(Use("wed", "noise", "train", LEVELS), [clean(f"{i}.bmp") for i in range(10)])
    shards = list(deal(GROUP, samples, shard_bytes=700_000, first_number=3))
    assert [s.path for s in shards[:2]] == ["train/noise/wed-00003.tar", "train/noise/wed-00004.tar"]
    assert [s for shard in shards for s in shard.samples] == samples
    assert {len(shard.samples) for shard in shards[:-1]} == {15}  # 700,000 / (2 x 128 x 128 x 3 x 0.45 + 2,000)


def test_a_sample_larger_than_a_shard_gets_one_of_its_own() -> None:
    samples = planned(Use("wed", "noise", "train", LEVELS), [clean("a.bmp")])
    assert [len(s.samples) for s in deal(GROUP, samples, shard_bytes=1)] == [1] * len(samples)


def test_samples_that_the_pool_has_are_passed_over_and_damaged_shards_keep_their_place() -> None:
    samples = planned(Use("wed", "noise", "train", LEVELS), [clean("a.bmp"), clean("b.bmp")])
    known = {samples[0].key: "", samples[3].key: "train/noise/wed-00001.tar"}
    shards = list(deal(GROUP, samples, shard_bytes=10**9, first_number=2, known=known))
    assert [s.path for s in shards] == ["train/noise/wed-00002.tar", "train/noise/wed-00001.tar"]
    assert shards[1].samples == (samples[3],)
    assert shards[0].samples == tuple(s for s in samples if s.key not in known)


def test_two_uses_that_name_the_same_sample_make_it_once() -> None:
    uses = (Use("wed", "noise", "train", LEVELS), Use("wed", "noise", "train", LEVELS, per_image=2))
    plan = GroupPlan(GROUP, uses, CropSetting(128, 128), [clean("a.bmp")], "CC0")
    keys = [sample.key for sample in plan.samples(0)]
    assert len(set(keys)) == len(keys) == 2 * 6


def test_scenes_of_benchmarks_are_named_and_can_be_left_out() -> None:
    use, found = Use("wed", "noise", "train", LEVELS), [clean("a.bmp"), clean("b.bmp")]
    plan = GroupPlan(GROUP, (use,), CropSetting(0, 0), found, "CC0", {"a.bmp": "cbsd68"})
    assert [(s.scene, s.overlaps) for s in plan.samples(0)] == [("a.bmp", "cbsd68"), ("b.bmp", "")]
    assert [s.scene for s in replace(plan, clean=True).samples(0)] == ["b.bmp"]


def test_a_plan_digest_changes_with_seed_codec_place_and_samples() -> None:
    samples = planned(Use("wed", "noise", "train", LEVELS), [clean("a.bmp")])
    (shard,) = deal(GROUP, samples, shard_bytes=10**9)
    (moved,) = deal(GROUP, samples, shard_bytes=10**9, first_number=1)
    (fewer,) = deal(GROUP, samples[1:], shard_bytes=10**9)
    digests = [shard.digest(0, "webp"), shard.digest(1, "webp"), shard.digest(0, "png")]
    assert len({*digests, moved.digest(0, "webp"), fewer.digest(0, "webp")}) == 5


def test_a_group_key_is_sorted_pickled_and_written_as_the_three_texts_it_holds() -> None:
    keys = [GroupKey("val", "haze", "a"), GroupKey("train", "noise", "b"), GroupKey("train", "haze", "c")]
    assert sorted(keys) == sorted(tuple(key) for key in keys)
    assert pickle.loads(pickle.dumps(keys)) == keys
    assert str(keys[0]) == "val/haze/a"


def test_the_path_of_a_shard_tells_its_group_and_number() -> None:
    group = GroupKey("test", "motion-blur", "real-blur-j")
    assert shard_path(group, 12) == "test/motion-blur/real-blur-j-00012.tar"
    assert parse_shard_path(shard_path(group, 12)) == (group, 12)
    assert parse_shard_path(shard_path(group, 123_456)) == (group, 123_456)
