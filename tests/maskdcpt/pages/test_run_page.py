from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from uir_cli.maskdcpt import program

from maskdcpt.pages.run_page import confusion_table, scatter, write_report
from maskdcpt.pages.slider import SLIDER_STYLE, image_uri, slider
from maskdcpt.restoring.restorer import Restorer
from maskdcpt.studies.timing import TimingSettings, measure
from maskdcpt.training.loop import train
from tests.maskdcpt.tiny import TYPES, random_image, tiny_config, write_shards
from uirdata.errors import UirError
from uirdata.html_pages import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned run with its page; the classifier is that of the pre-training before it."""
    folder = tmp_path_factory.mktemp("runs")
    shards = write_shards(folder / "shards", train=2, test=4)
    pre = train(tiny_config(shards, folder / "pre", "loop.steps=2")).run
    fine = train(
        tiny_config(shards, folder / "fine", "objective.kind=finetune", "loop.steps=4", f"init.checkpoint={pre}")
    ).run
    result = CliRunner().invoke(program, ["report", str(fine), "--shards", str(shards), "-q"])
    assert result.exit_code == 0, result.output
    return fine


def test_a_page_holds_everything_and_loads_nothing(run: Path) -> None:
    text = (run / "report.html").read_text()
    assert text.count('class="slider"') == 9
    for title in ("Evaluation test", "Named degradations", "Curves", "Features in the plane"):
        assert f"<h2>{title}</h2>" in text
    assert len(re.findall(r"<circle", text)) == 12 + 3
    assert text.count("<polyline") >= 2
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in text
    rows = json.loads((run / "test" / "report.json").read_text())["by_degradation"]
    assert all(f"{row['psnr']:.2f}" in text for row in rows)


def test_the_page_of_an_evaluation_alone_and_of_nothing(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(program, ["report", str(run / "test"), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 0, result.output
    assert 'class="slider"' in (tmp_path / "page.html").read_text()
    (tmp_path / "empty").mkdir()
    nothing = CliRunner().invoke(program, ["report", str(tmp_path / "empty")])
    assert nothing.exit_code == 2
    assert "holds neither a run nor an evaluation" in nothing.output


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_handle_moves_in_a_browser(tmp_path: Path) -> None:
    # A person drags the handle, which is a range input; the script does to it what the browser does then.
    probe = """<script>addEventListener("load",()=>{const box=document.querySelector(".slider");
    const input=box.querySelector("input"),over=box.querySelector(".over");
    const at=()=>getComputedStyle(over).clipPath;const before=at();
    const r=input.getBoundingClientRect();
    const hit=document.elementFromPoint(r.left+r.width/2,Math.min(r.top+r.height/2,innerHeight-1));
    input.value=20;input.dispatchEvent(new Event("input",{bubbles:true}));
    document.title=[before,at(),box.querySelectorAll("img")[1].naturalWidth,hit?hit.tagName:""].join("|")})</script>"""
    page = tmp_path / "page.html"
    write_page(page, "a slider", [SLIDER_STYLE, slider(random_image(1), random_image(2)), probe])
    assert CHROMIUM is not None
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = [CHROMIUM, *switches.split(), "--disable-component-update", "--disable-sync"]
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stdout[:500]
    before, after, width, hit = title[1].split("|")
    assert before == "inset(0px 0px 0px 50%)"
    assert after == "inset(0px 0px 0px 20%)"
    assert width == str(48 * 6)
    assert hit == "INPUT"


def test_a_restorer_names_with_the_classifier_of_the_pre_training_before(run: Path) -> None:
    assert Restorer(run).name(random_image(1)) in TYPES


def test_sliders_refuse_images_of_two_sizes() -> None:
    with pytest.raises(ValueError, match="one size"):
        slider(random_image(1), random_image(1)[:20])


def in_page(text: str) -> list[np.ndarray[Any, Any]]:
    found = re.findall(r"data:image/webp;base64,([^\"]+)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def test_small_pictures_are_enlarged_without_loss_and_large_ones_made_smaller() -> None:
    small = random_image(1, 32, 40)
    before, after = in_page(slider(small, small[::-1].copy()))
    # 7 x 40 = 280 is the largest multiple that is no longer than 300.
    assert np.array_equal(before, small.repeat(7, axis=0).repeat(7, axis=1))
    assert np.array_equal(after[::-1], before)
    (large,) = in_page(image_uri(random_image(1, 500, 1000), most_px=450))
    assert large.shape == (225, 450, 3)


def test_counts_are_the_darker_the_more_they_are() -> None:
    text = confusion_table({"haze": {"haze": 3, "jpeg": 1}, "jpeg": {"haze": 0, "jpeg": 4}})
    assert [float(x) for x in re.findall(r"168,([\d.]+)\)", text)] == pytest.approx([0.56, 0.19, 0.0, 0.75])


def test_what_is_right_lies_on_the_diagonal_where_types_share_a_label() -> None:
    text = confusion_table(
        {"haze": {"noise+real-noise": 1, "haze": 3}, "real-noise": {"noise+real-noise": 4, "haze": 0}}
    )
    assert re.findall(r"<tr><th>([^<]*)</th>", text)[1:] == ["real-noise", "haze"]
    assert [float(x) for x in re.findall(r"168,([\d.]+)\)", text)] == pytest.approx([0.75, 0.0, 0.19, 0.56])


def test_the_page_says_how_was_measured_and_rounds_as_tables_do(tmp_path: Path) -> None:
    group = {
        "name": "haze",
        "images": 2,
        "psnr": 31.234,
        "lq_psnr": 20.0,
        "ssim": 0.91234,
        "lq_ssim": 0.5,
        "learned": {"lpips": 0.12345, "lq_lpips": 0.5, "niqe": 3.456, "lq_niqe": None},
        "accuracy": 0.75,
    }
    protocol = {"y_channel": True, "quantise": False, "tile_px": 0}
    report = {"by_degradation": [group], "mean": group, "protocol": protocol}
    (tmp_path / "report.json").write_text(json.dumps(report))
    write_report(tmp_path, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<li>luma, unrounded floats, whole images</li>" in page
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells[: len(cells) // 2] == [
        "haze",
        "2",
        "20.00",
        "31.23",
        "0.500",
        "0.912",
        "0.500",
        "0.123",
        "",
        "3.46",
        "75%",
    ]
    report["protocol"] = {"y_channel": False, "quantise": True, "tile_px": 512}
    (tmp_path / "report.json").write_text(json.dumps(report))
    write_report(tmp_path, tmp_path / "page.html")
    assert "<li>RGB, rounded to 8 bits, tiles of 512</li>" in (tmp_path / "page.html").read_text()


def test_points_fill_the_plane_whatever_their_range() -> None:
    text = scatter(np.array([[10.0, 10.0], [20.0, 30.0], [15.0, 20.0]]), [0, 0, 0], ["haze"])
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4"', text) == [
        ("20.0", "20.0"),
        ("540.0", "420.0"),
        ("280.0", "220.0"),
    ]


def test_points_are_drawn_with_their_names() -> None:
    text = scatter(np.array([[0.0, 0.0], [1.0, 2.0]]), [0, 2], ["haze", "rain", "snow"])
    assert text.count("<title>") == 2
    assert "rain" not in text


def test_every_way_to_compute_is_timed(run: Path) -> None:
    measured = measure(TimingSettings(checkpoint=run, side=40, patch=8, repeats=2), device="cpu")
    ways = {row.way: row for row in measured.rows}
    assert {"plain", "masked, dense", "masked, gather"} <= ways.keys()
    assert ways["plain"].over_plain == 1.0
    assert ways["plain"].peak_bytes is not None
    assert ways["plain"].peak_bytes > 40 * 40 * 4 * 4
    assert ways["plain"].images_per_second == pytest.approx(1000 / ways["plain"].milliseconds)  # type: ignore[operator]
    assert all(ways[way].milliseconds and not ways[way].problem for way in ("plain", "masked, dense", "masked, gather"))
    assert all(bool(row.problem) != bool(row.milliseconds) for row in measured.rows)
    assert "1 x 3 x 40 x 40" in measured.title
    training = measure(TimingSettings(checkpoint=run, side=32, patch=8, repeats=1, training=True), device="cpu")
    assert "forward and backward" in training.title
    with pytest.raises(UirError, match="do not fit a network"):
        measure(TimingSettings(checkpoint=run, side=32, patch=6), device="cpu")


def test_bench_and_probe_are_commands(run: Path, tmp_path: Path) -> None:
    timed = CliRunner().invoke(
        program, ["bench", "--checkpoint", str(run), "--size", "32", "--patch", "8", "--repeats", "1", "--json", "-q"]
    )
    assert timed.exit_code == 0, timed.output
    assert json.loads(timed.stdout)["rows"][0]["way"] == "plain"
    shards = run.parent / "shards"
    args = ["probe", "--shards", str(shards), "--checkpoint", str(run), "--crop", "32", "--patch", "8", "-q"]
    probed = CliRunner().invoke(
        program, [*args, "--tsne", str(tmp_path / "t.png"), "--figure", str(tmp_path / "f.pdf")]
    )
    assert probed.exit_code == 0, probed.output
    assert (tmp_path / "t.png").stat().st_size > 1000
    assert (tmp_path / "f.pdf").stat().st_size > 1000
    assert len(TYPES) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.json", b"{"),
        ("report.json", b"[]"),
        ("report.json", b"{}"),
        ("report.json", b"\xff"),
        ("report.json", b'{"by_degradation": [5], "mean": {}, "protocol": {}}'),
        ("report.json", b'{"by_degradation": [{"name": "a", "images": 1, "psnr": "x"}], "mean": {}, "protocol": {}}'),
        ("features.json", b'{"accuracy": "x"}'),
        ("features.json", b'{"accuracy": 1, "images": 2, "chance": 0.5, "points": [[1]], "labels": [0]}'),
        ("features.json", b"[" * 100_000),
    ],
)
def test_a_damaged_document_is_named_with_what_to_do(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UirError, match=rf"{re.escape(name)}: .*delete it and write it again"):
        write_report(tmp_path, tmp_path / "page.html")
