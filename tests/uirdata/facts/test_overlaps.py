from __future__ import annotations

from pathlib import Path

import pytest

from uirdata.errors import ManifestError
from uirdata.facts.overlaps import Overlap, load_overlaps, overlapping_scenes, parse_overlaps
from uirdata.pairing import find_pairs
from uirdata.sources import load_sources

SOURCES = load_sources()
OVERLAPS = load_overlaps(known_sources=SOURCES)


def test_every_list_parses_with_its_evidence() -> None:
    assert {overlap.benchmark for overlap in OVERLAPS} >= {"sots-outdoor", "cbsd68", "reds4", "lol-v1", "rain100h"}
    assert all(len(overlap.evidence) > 30 for overlap in OVERLAPS)


def test_a_list_is_read_with_evidence_for_each_entry() -> None:
    text = "# one,\n# two\nsame reds train-{c:000|011}\n\n# three\nsome reds *\nequal-scene gopro\n"
    assert parse_overlaps(text, "b", name="b.txt") == (
        Overlap("b", "reds", "same", "train-{c:000|011}", "one, two"),
        Overlap("b", "reds", "some", "*", "three"),
        Overlap("b", "gopro", "equal-scene", "", "three"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("same reds *", "line 1: there is no evidence"),
        ("# e\nsam reds *", "line 2: the line begins with 'sam': did you mean 'same'?"),
        ("# e\nsame reds", "expected a source and a pattern"),
        ("# e\nequal-scene reds *", "expected a source"),
        ("# e\nsame redz *", "no source 'redz': did you mean 'reds'?"),
        ("# e\nsame reds {", "does not close"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_its_number(text: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_overlaps(text, "b", name="b.txt", known_sources=SOURCES)
    assert words in str(caught.value)
    assert "b.txt" in str(caught.value)


def test_scenes_that_are_known_to_be_in_a_benchmark_are_marked() -> None:
    scenes = ["train-000", "train-001", "train-015", "val-000"]
    assert overlapping_scenes(OVERLAPS, "reds", scenes) == {"train-000": "reds4", "train-015": "reds4"}


def test_what_is_known_of_some_scenes_only_marks_none() -> None:
    assert overlapping_scenes(OVERLAPS, "lol-v2", ["real-00001"]) == {}


def test_equal_names_are_marked_where_the_benchmark_is_here() -> None:
    assert overlapping_scenes(OVERLAPS, "reside-ots", ["0001", "0005"], {"sots-outdoor": {"0001", "0002"}}) == {
        "0001": "sots-outdoor"
    }
    assert overlapping_scenes(OVERLAPS, "reside-ots", ["0001", "0005"]) == {}


def test_several_benchmarks_are_joined_by_commas() -> None:
    overlaps = [Overlap(name, "x", "same", "a*", "e") for name in ("second", "first")]
    assert overlapping_scenes(overlaps, "x", ["ab", "b"]) == {"ab": "first,second"}


def test_scenes_of_both_sides_are_written_alike() -> None:
    def scenes(source: str, *names: str) -> set[str]:
        return {pair.scene for pair in find_pairs(SOURCES[source], names, lambda _: "").pairs}

    bsd = scenes("bsds500", "BSR/BSDS500/data/images/val/101085.jpg")
    assert bsd == scenes("cbsd68", "x/testsets/CBSD68/101085.png") == {"101085"}
    ots = scenes("reside-ots", "OTS/hazy/0001_0.8_0.04.jpg", "OTS/clear/0001.jpg")
    assert ots == scenes("sots-outdoor", "SOTS/outdoor/hazy/0001_0.8_0.2.jpg", "SOTS/outdoor/gt/0001.png")
    lq, gt = "train/train_blur/011/00000000.png", "train/train_sharp/011/00000000.png"
    assert overlapping_scenes(OVERLAPS, "reds", scenes("reds", lq, gt)) == {"train-011": "reds4"}
    lq, gt = "t/in/im_0301_s80_a04.png", "t/gt/im_0301.png"
    assert overlapping_scenes(OVERLAPS, "outdoor-rain", scenes("outdoor-rain", lq, gt)) == {
        "im_0301": "outdoor-rain-test1"
    }
    assert overlapping_scenes(OVERLAPS, "outdoor-rain", ["im_0300", "im_0351"]) == {}


def test_a_folder_of_ones_own_is_read_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("# e\nsame reds *\n")
    assert load_overlaps([tmp_path, tmp_path / "nowhere"]) == (Overlap("mine", "reds", "same", "*", "e"),)
