from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import synthetic_image, write_png
from uirdata.degradations import DEGRADATIONS
from uirdata.errors import ManifestError, UsageError
from uirdata.facts.own_sources import local_source
from uirdata.manifest_syntax.pair_rules import can_have_level
from uirdata.pairing import TYPES
from uirdata.sources import load_sources
from uirdata.subsets import Subset, Use, load_subset, load_subsets, subset_of

SOURCES = load_sources()
SUBSETS = load_subsets()
USE = 'sources = ["a"], splits = ["train"], degradations = ["haze"]'


def test_the_subsets_are_those_of_the_paper_and_the_sample() -> None:
    assert set(SUBSETS) == {"sample", "5d", "12d", "single", "mixed", "full", "bench"}


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=list(SUBSETS))
def test_every_use_has_a_rule_and_levels_that_exist(subset: Subset) -> None:
    assert set(subset.sources) <= set(SOURCES)
    for use in subset.uses:
        rules = [rule for rule in SOURCES[use.source].pairs if rule.split == use.split and rule.gt]
        published = [rule for rule in rules if rule.degradation == use.degradation]
        assert published or any(not rule.degradation for rule in rules), use
        if not published:
            for level in use.levels:
                DEGRADATIONS[use.degradation].level(level)
        elif use.levels:
            for level in use.levels:
                assert any(can_have_level(rule, level) for rule in published), (use, level)
    assert {use.degradation for use in subset.uses} == set(subset.degradations)
    for name in subset.no_reference:
        assert not any(rule.gt for rule in SOURCES[name].pairs)


def test_labels_are_the_positions_of_the_classes() -> None:
    five = SUBSETS["5d"]
    assert five.class_names == ("haze", "rain-streak", "noise", "motion-blur", "low-light")
    twelve = SUBSETS["12d"]
    assert len(twelve.classes) == 12
    assert len(twelve.degradations) == 13
    assert twelve.class_names[0] == "noise+real-noise"
    assert set(TYPES[:14]) - set(twelve.degradations) == {"rain-streak-raindrop"}


def test_full_is_the_nineteen_types_in_label_order() -> None:
    assert SUBSETS["full"].degradations == TYPES == SUBSETS["single"].degradations + SUBSETS["mixed"].degradations
    assert set(SUBSETS["full"].uses) == {*SUBSETS["single"].uses, *SUBSETS["mixed"].uses}
    assert {use.split for use in SUBSETS["full"].uses} == {"train"}


def test_repeats_are_the_papers_but_for_the_misprint_of_snow() -> None:
    assert dict(SUBSETS["5d"].repeat) == {
        "haze": 1,
        "rain-streak": 300,
        "noise": 15,
        "motion-blur": 5,
        "low-light": 60,
    }
    twelve = ["4GN", "4RN", "1MB", "20DB", "1GB", "4J", "5H", "8RS", "180RD", "5S", "4MS", "30LL", "6MR"]
    written = [f"{times}{DEGRADATIONS[name].abbreviation}" for name, times in SUBSETS["12d"].repeat.items()]
    assert written == twelve


def test_the_five_degradation_setting_is_built_from_what_the_paper_names() -> None:
    five = SUBSETS["5d"]
    train = {(use.degradation, use.source) for use in five.uses if use.split == "train"}
    test = {(use.degradation, use.source, use.levels) for use in five.uses if use.split == "test"}
    assert train == {
        ("haze", "reside-ots"),
        ("rain-streak", "rain100l"),
        ("noise", "bsds500"),
        ("noise", "wed"),
        ("motion-blur", "gopro"),
        ("low-light", "lol-v1"),
    }
    assert test == {
        ("haze", "sots-outdoor", ()),
        ("rain-streak", "rain100l", ()),
        ("noise", "cbsd68", ("gaussian-25",)),
        ("motion-blur", "gopro", ()),
        ("low-light", "lol-v1", ()),
    }
    counts = {rule.published for rule in SOURCES["rain100l"].pairs if rule.published}
    assert counts == {200, 100}
    noise = {use.levels for use in five.uses if use.degradation == "noise" and use.split == "train"}
    assert noise == {("gaussian-15", "gaussian-25", "gaussian-50")}


def test_noise_and_blur_are_made_six_times_an_image() -> None:
    assert sum(use.per_image == 6 for use in SUBSETS["single"].uses) == 10
    for use in SUBSETS["single"].uses:
        made = any(not rule.lq for rule in SOURCES[use.source].pairs)
        assert use.per_image == (6 if made and use.degradation in ("noise", "gaussian-blur") else 1)


def test_no_subset_trains_on_a_split_that_it_tests_on() -> None:
    for subset in SUBSETS.values():
        trained = {(use.source, use.degradation) for use in subset.uses if use.split == "train"}
        evaluated = {(use.source, use.degradation, use.split) for use in subset.uses if use.split != "train"}
        assert trained or evaluated
        # Of BSDS500, only the train split (BSD400) and of CBSD68 nothing is trained on: their test images are one set.
        assert ("bsds500", "noise", "val") not in evaluated
        assert "cbsd68" not in {source for source, _ in trained}


def test_a_level_that_no_published_pair_has_is_named_with_the_nearest(tmp_path: Path) -> None:
    text = (
        '[[subset]]\nname = "x"\ntitle = "t"\nclasses = [["low-light-blur-noise"]]\n[[subset.use]]\n'
        'sources = ["lol-blur"]\ndegradations = ["low-light-blur-noise"]\nsplits = ["test"]\nlevels = ["{level}"]\n'
    )
    (tmp_path / "subsets.toml").write_text(text.replace("{level}", "low_blur_noise"))
    assert load_subset("x", SOURCES, [tmp_path]).uses[0].levels == ("low_blur_noise",)
    (tmp_path / "subsets.toml").write_text(text.replace("{level}", "low_blur_niose"))
    with pytest.raises(ManifestError, match=r"level 'low_blur_niose': did you mean 'low_blur_noise'\?"):
        load_subset("x", SOURCES, [tmp_path])


def test_a_level_that_cannot_be_made_is_named_with_its_file_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "subsets.toml").write_text(
        '[[subset]]\nname = "x"\ntitle = "t"\nclasses = [["noise"]]\n[[subset.use]]\n'
        'sources = ["sample"]\ndegradations = ["noise"]\nsplits = ["train"]\nlevels = ["gausian-15"]\n'
    )
    with pytest.raises(ManifestError, match=r"subsets.toml.*noise has no level 'gausian-15'.*mean 'gaussian-15'\?"):
        load_subset("x", SOURCES, [tmp_path])


def test_the_sample_trains_on_crops_and_tests_on_whole_images_with_one_level_each() -> None:
    sample = SUBSETS["sample"]
    assert sample.sources == ("sample",)
    assert len(sample.degradations) == 6
    for use in sample.uses:
        if use.split == "train":
            assert (use.size, use.stride) == (256, 128)
        else:
            assert use.size == 0
            assert use.per_image == len(use.levels) == 1
            (trained,) = (u for u in sample.uses if u.split == "train" and u.degradation == use.degradation)
            assert set(use.levels) <= set(trained.levels)


def test_a_source_is_a_subset_too() -> None:
    gopro = load_subset("gopro", SOURCES)
    assert gopro.uses == (Use("gopro", "motion-blur", "train"), Use("gopro", "motion-blur", "test"))
    assert gopro.classes == (("motion-blur",),)
    rainds = load_subset("rainds", SOURCES)
    assert rainds.degradations == ("rain-streak", "raindrop", "rain-streak-raindrop")
    wed = load_subset("wed", SOURCES)
    assert wed.degradations == tuple(name for name in TYPES if DEGRADATIONS[name].levels)


def test_a_folder_of_ones_own_is_a_subset_with_a_test_share(tmp_path: Path) -> None:
    write_png(tmp_path / "photos/a.png", synthetic_image(8, 8, 1))
    source = local_source("mine", tmp_path / "photos", test_share=0.2)
    splits = {use.split for use in load_subset("mine", {"mine": source}).uses}
    assert splits == {"train", "test"}


def test_a_source_without_gt_is_no_subset() -> None:
    for name in ("dicm", "rain800"):
        with pytest.raises(UsageError, match=name):
            subset_of(SOURCES[name])


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'sampel': did you mean 'sample'\?"):
        load_subset("sampel", SOURCES)
    with pytest.raises(UsageError, match=r"did you mean 'rainds'\?"):
        load_subset("rainsd", SOURCES)
    with pytest.raises(UsageError, match="5d"):
        load_subset("qqqqqqqq", SOURCES)


def test_a_folder_of_ones_own_adds_subsets(tmp_path: Path) -> None:
    (tmp_path / "subsets.toml").write_text(
        """
        [[subset]]
        name = "alone"
        title = "t"
        no_reference = ["dicm"]
        [[subset]]
        name = "two"
        title = "t"
        include = ["5d", "alone"]
        no_reference = ["lime"]
        classes = [["snow"]]
        repeat = { snow = 3 }
        [[subset.use]]
        sources = ["csd", "srrs"]
        splits = ["train"]
        degradations = ["snow"]
        """
    )
    two = load_subset("two", SOURCES, [tmp_path])
    assert two.class_names == (*SUBSETS["5d"].class_names, "snow")
    assert two.no_reference == ("dicm", "lime")
    assert two.sources[-2:] == ("dicm", "lime")
    assert two.repeat["snow"] == 3
    assert two.repeat["haze"] == 1
    assert two.uses == (*SUBSETS["5d"].uses, Use("csd", "snow", "train"), Use("srrs", "snow", "train"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('classes = [["hase"]]', "did you mean 'haze'?"),
        ('classes = [["haze"], ["haze"]]', "two classes"),
        ('classes = [["haze"]]\nrepeat = { snow = 1 }', "'snow', which is in no class"),
        ('classes = [["haze"]]\nrepeat = { haze = 0 }', "repeat of haze is 0"),
        ('include = ["singel"]', "did you mean 'single'?"),
        ('class = [["haze"]]', "did you mean 'classes'?"),
        (
            'classes = [["haze"]]\nuse = [{ sources = ["a"], splits = ["train"], degradations = ["snow"] }]',
            "in no class",
        ),
        (
            f'classes = [["haze"]]\nuse = [{{ {USE}, per_image = 0 }}]',
            "per_image of a is 0",
        ),
        (
            f'classes = [["haze"]]\nuse = [{{ {USE}, stride = 0 }}]',
            "size and stride of a",
        ),
        (
            'classes = [["haze"]]\nuse = [{ sources = ["a"], splits = ["tain"], degradations = ["haze"] }]',
            "'train', 'val' or 'test'",
        ),
    ],
)
def test_a_subset_that_cannot_be_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "subsets.toml").write_text(f'[[subset]]\nname = "x"\ntitle = "t"\n{text}\n')
    with pytest.raises(ManifestError) as caught:
        load_subsets([tmp_path])
    assert words in str(caught.value)
    assert "subsets.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "source", "hint"),
    [
        ("use", "gopr", "did you mean 'gopro'?"),
        ("use", "qqqqqqqq", "`uir sources` lists"),
        ("no_reference", "dicmm", "did you mean 'dicm'?"),
    ],
)
def test_an_unknown_source_is_refused_in_the_subset_that_is_asked_for(
    tmp_path: Path, key: str, source: str, hint: str
) -> None:
    named = {
        "use": f'use = [{{ sources = ["{source}"], splits = ["train"], degradations = ["haze"] }}]',
        "no_reference": f'no_reference = ["{source}"]',
    }[key]
    (tmp_path / "subsets.toml").write_text(f'[[subset]]\nname = "x"\ntitle = "t"\nclasses = [["haze"]]\n{named}\n')
    for sources in (SOURCES, None):
        with pytest.raises(ManifestError) as caught:
            load_subset("x", sources, [tmp_path])
        for words in (str(tmp_path / "subsets.toml"), "the subset x", repr(source), hint):
            assert words in str(caught.value)
        assert load_subset("5d", sources, [tmp_path]) == SUBSETS["5d"]


def test_two_subsets_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "subsets.toml").write_text('[[subset]]\nname = "5d"\ntitle = "t"\n')
    with pytest.raises(ManifestError, match="5d"):
        load_subsets([tmp_path])


def test_no_source_has_the_name_of_a_subset_but_the_sample() -> None:
    assert set(SUBSETS) & set(SOURCES) == {"sample"}
