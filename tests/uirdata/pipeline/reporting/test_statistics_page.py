from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import synthetic_image
from tests.uirdata.pipeline.building.test_build import _run, run
from tests.uirdata.pipeline.trees import small_source
from uirdata import open_shards
from uirdata.degradations import DEGRADATIONS
from uirdata.pipeline.reporting.statistics_page import count_shards, level_images, write_statistics_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

PROBE = """<script>addEventListener("load",()=>{
const images=[...document.images];
document.title=JSON.stringify({images:images.length,shown:images.filter(i=>i.naturalWidth>0).length,
bars:[...document.querySelectorAll("svg rect")].filter(r=>r.getBoundingClientRect().width>0).length,
asked:performance.getEntriesByType("resource").filter(e=>!e.name.startsWith("data:")).length,
wide:document.documentElement.scrollWidth>innerWidth,
cells:[...document.querySelectorAll("tbody tr:first-child td")].slice(0,2).map(c=>c.textContent)})})</script>"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counted")
    run(folder, folder / "shards")
    return folder / "shards"


def test_what_is_counted_is_what_the_shards_hold(shards: Path) -> None:
    statistics = count_shards(shards)
    records = list(open_shards(shards).records)
    for what in ("degradation", "source", "split", "level"):
        for count in statistics.count(what):
            mine = [record for record in records if getattr(record, what) == count.name]
            assert count.samples == len(mine)
            assert count.pairs == len({(record.gt_path, record.lq_path) for record in mine})
            assert count.images == len({record.gt_path for record in mine})
            assert count.megapixels == pytest.approx(sum(record.height * record.width for record in mine) / 1e6)
            assert count.size_bytes == sum(record.gt_size + record.lq_size for record in mine)
            assert count.real_share == pytest.approx(sum(record.real for record in mine) / len(mine))
            assert count.left_out == 0
        assert sum(count.samples for count in statistics.count(what)) == len(records)


def test_samples_that_could_not_be_made_are_counted_where_they_belong(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    (tmp_path / "photos/gt/h.0.png").write_bytes(b"no image")
    (tmp_path / "photos/gt/h.1.png").write_bytes(b"")
    report = _run(layout, sources, tmp_path / "out")
    statistics = count_shards(tmp_path / "out")
    assert sum(statistics.rejected.values()) == len(report.rejected) > 0
    # No haze sample remains, but the type is listed.
    haze = next(count for count in statistics.count("degradation") if count.name == "haze")
    assert (haze.samples, haze.left_out) == (0, len(report.rejected))
    assert {count.left_out for count in statistics.count("degradation")} == {0, len(report.rejected)}
    assert [count.left_out for count in statistics.count("source")] == [len(report.rejected)]
    by_level = {count.name: count.left_out for count in statistics.count("level") if count.left_out}
    assert by_level == Counter(row.level for row in report.rejected) != {}


class Levels:
    """Samples of one type, one for each level."""

    def __init__(self, degradation: str, levels: list[str]) -> None:
        self.levels = levels
        self.degradations = [degradation] * len(levels)

    def __getitem__(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(lq=synthetic_image(8, 8, index))


def test_levels_are_in_the_order_of_their_type_and_unknown_levels_follow() -> None:
    known = [level.name for level in DEGRADATIONS["jpeg"].levels]
    assert known != sorted(known)
    given = Levels("jpeg", ["zz", *reversed(known), "aa"])
    ((name, number, figures),) = level_images(given)  # type: ignore[arg-type]
    assert (name, number) == ("jpeg", len(known) + 2)
    assert re.findall(r"<figcaption>([^<]*)</figcaption>", "".join(figures)) == [*known, "aa", "zz"]


def test_the_bars_of_sources_are_megabytes(shards: Path, tmp_path: Path) -> None:
    write_statistics_page(shards, tmp_path / "page.html")
    bars = (tmp_path / "page.html").read_text().partition("<h2>Megabytes of each source</h2>")[2].partition("</svg>")[0]
    size = sum(record.gt_size + record.lq_size for record in open_shards(shards).records)
    # Decimal megabytes, to one digit.
    assert re.findall(r">([\d.,]+)</text>", bars) == [f"{round(size / 1e6, 1):.10g}"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_is_whole_in_a_browser(shards: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_statistics_page(shards, page)
    text = page.read_text()
    assert "<script" not in text
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = [str(CHROMIUM), *switches.split(), "--disable-component-update", "--disable-sync"]
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    seen = json.loads(title[1].replace("&quot;", '"'))
    # At least two noisy, two JPEG and two hazy pairs; a bar for each degradation and source.
    assert seen["shown"] == seen["images"] >= 6
    assert seen["bars"] >= 4
    assert (seen["asked"], seen["wide"]) == (0, False)
    assert seen["cells"][0] == "noise"
