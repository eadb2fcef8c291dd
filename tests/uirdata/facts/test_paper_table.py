from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from uirdata.degradations import DEGRADATIONS
from uirdata.errors import ManifestError
from uirdata.facts.paper_table import account, load_paper_table
from uirdata.sources import Feed, load_sources

ROWS = load_paper_table()
SOURCES = load_sources()


def test_the_rows_add_up_to_the_papers_sums() -> None:
    single = sum(row.pairs for row in ROWS if DEGRADATIONS[row.degradation].kind == "single")
    mixed = sum(row.pairs for row in ROWS if DEGRADATIONS[row.degradation].kind == "mixed")
    assert (single, mixed, single + mixed) == (1_774_975, 708_013, 2_482_988)


def test_the_rows_agree_with_what_the_degradations_say() -> None:
    for name, degradation in DEGRADATIONS.items():
        rows = [row.pairs for row in ROWS if row.degradation == name]
        assert sum(rows) == degradation.paper_pairs + degradation.paper_pairs_real, name


def test_our_sources_give_the_printed_numbers_or_the_row_says_why_not() -> None:
    accounts = {entry.row.id: entry for entry in account(ROWS, SOURCES)}
    assert all(entry.parts for entry in accounts.values())
    exact = {name for name, entry in accounts.items() if entry.difference == 0 and not entry.unknown}
    assert exact == {
        "real-noise",
        "motion-blur",
        "motion-blur-real",
        "defocus-blur",
        "rain-streak",
        "raindrop",
        "raindrop-real",
        "rain-streak-raindrop",
        "rain-streak-raindrop-real",
        "snow",
        "low-light-real",
        "moire",
        "low-light-blur-noise",
        "low-light-haze-rain-snow",
    }
    for name in set(accounts) - exact:
        assert accounts[name].row.note, name
    assert accounts["haze"].difference == 105
    assert accounts["low-light"].difference == -3
    assert accounts["downsample-noise-blur-jpeg"].unknown == ("nkusr8k",)


def test_crops_explain_the_counts() -> None:
    # 1280 x 720 at 512 and 256 has 8 windows; 1680 x 1120 at 512 and 204 has 28: int(0.3 * 28) = 8 of them are dropped.
    gopro, dpdd = SOURCES["gopro"], SOURCES["dpdd"]
    assert gopro.crop is not None
    assert dpdd.crop is not None
    published = gopro.published()[("train", "motion-blur", False)]
    assert gopro.feeds[0].pairs == published * windows(1280, 720, gopro.crop.size, gopro.crop.stride)
    each = windows(1680, 1120, dpdd.crop.size, dpdd.crop.stride)
    kept = each - int(dpdd.crop.drop_least_sharp * each)
    assert dpdd.feeds[0].pairs == dpdd.published()[("train", "defocus-blur", True)] * kept
    sidd = SOURCES["sidd"]
    assert sidd.crop is not None
    big = windows(5312, 2988, sidd.crop.size, sidd.crop.stride)
    small = [windows(w, h, sidd.crop.size, sidd.crop.stride) for w, h in ((4032, 3024), (4048, 3044), (4208, 3120))]
    assert (big, small) == (112, [88, 88, 88])
    assert sidd.feeds[0].pairs == 102 * big + 218 * 88 == 30_608


def windows(width: int, height: int, size: int, stride: int) -> int:
    def along(length: int) -> int:
        # Whole steps, and one more window at the border where some of the image is left over.
        return (length - size) // stride + 1 + ((length - size) % stride > 0)

    return along(width) * along(height)


def test_a_feed_of_no_row_is_an_error_that_names_the_nearest() -> None:
    broken = replace(SOURCES["gopro"], feeds=(Feed("motion-blurr", "how"),))
    with pytest.raises(ManifestError, match=r"gopro .*'motion-blurr'.*did you mean 'motion-blur'\?"):
        account(ROWS, {"gopro": broken})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('degradation = "haze"', 'degradation = "hase"'), "did you mean 'haze'"),
        (('id = "b"', 'id = "a"'), "two rows 'a'"),
        (("real =", "reel ="), "did you mean 'real'"),
    ],
)
def test_a_table_that_cannot_be_is_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    row = '[[row]]\nid = "{}"\ndegradation = "haze"\ntype = "t"\ndatasets = "d"\nreal = true\npairs = 1\n'
    path = tmp_path / "paper_table.toml"
    path.write_text((row.format("a") + row.format("b")).replace(*change))
    with pytest.raises(ManifestError, match=words):
        load_paper_table(path)
