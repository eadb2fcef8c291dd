"""maskdcpt reproduce, on a few images generated from a seed."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from uir_cli.maskdcpt import program

from maskdcpt.studies.ablation_arms import ARMS, DEFAULT_ARMS, SIZES, TEST_LEVELS, TRAIN_LEVELS
from maskdcpt.studies.reproduce import Outcome, Task, plain
from maskdcpt.studies.reproduction_report import summarise
from tests.maskdcpt.tiny import random_image
from uirdata.degradations import DEGRADATIONS

ARGUMENTS = ("--size", "tiny", "--backbones", "nafnet", "--seeds", "1", "--device", "cpu")


def run(*args: object) -> Result:
    return CliRunner().invoke(program, ["reproduce", "mini-5d", *(str(arg) for arg in args)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(16):
        Image.fromarray(random_image(number, 72, 80)).save(folder / f"photo-{number}.png")
    return folder


def test_two_arms_are_compared_and_finished_runs_are_not_repeated(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "mini"
    given = (*ARGUMENTS, "--photos", photos, "--out", out)
    first = run(*given, "--arms", "scratch", "--json")
    assert first.exit_code == 0, first.output
    alone = out / "runs/nafnet/scratch/seed-0/result.json"
    before = alone.stat().st_mtime_ns

    both = run(*given, "--arms", "scratch,maskdcpt-50-16", "--json", "-q")
    assert both.exit_code == 0, both.output
    assert alone.stat().st_mtime_ns == before
    report = json.loads(both.stdout)
    scratch, masked = report["rows"]
    assert scratch["gain"] is None
    assert masked["gain"] == pytest.approx(masked["psnr"] - scratch["psnr"])
    assert set(masked["by_degradation"]) == set(TRAIN_LEVELS)
    assert masked["accuracy"] is not None
    assert (out / "psnr-nafnet.png").stat().st_size > 1000
    table = (out / "report.md").read_text()
    assert re.search(r"\| MaskDCPT, 50 %, patch 16 \| 1 \| [\d.]+ ± 0.00 \| [+-][\d.]+ \|", table)

    other = run(*given[:1], "cpu", *given[2:], "--arms", "scratch")
    assert other.exit_code == 2
    assert "holds another comparison" in other.output


def test_an_unknown_arm_names_the_nearest(tmp_path: Path) -> None:
    result = run("--arms", "scratch,maskdpct-50-16", "--out", tmp_path / "mini")
    assert result.exit_code == 2
    assert "maskdcpt-50-16" in result.output
    assert not (tmp_path / "mini").exists()


def test_a_dry_run_counts_the_runs_and_writes_nothing(tmp_path: Path) -> None:
    result = run("--dry-run", "--seeds", "3", "--out", tmp_path / "mini")
    assert result.exit_code == 0
    assert f"{len(DEFAULT_ARMS) * 2 * 3} runs" in result.output
    assert not (tmp_path / "mini").exists()


def test_every_level_of_the_comparison_exists() -> None:
    assert list(TRAIN_LEVELS) == list(TEST_LEVELS)
    for name, levels in TRAIN_LEVELS.items():
        known = {level.name for level in DEGRADATIONS[name].levels}
        assert {*levels, TEST_LEVELS[name]} <= known


def test_the_paper_s_ratios_and_patches_are_arms_that_every_size_can_crop_to() -> None:
    objectives = [ARMS[name].objective for name in DEFAULT_ARMS]
    masks = {(o.mask_ratio, o.mask_patch) for o in objectives if o is not None and o.kind == "maskdcpt"}
    assert masks == {(0.25, 16), (0.5, 16), (0.75, 16), (0.5, 4), (0.5, 32)}
    assert all(size.crop % 32 == 0 for size in SIZES.values())


def test_differences_are_taken_seed_by_seed() -> None:
    outcomes = [
        Outcome(Task("nafnet", arm, seed), psnr, {"noise": psnr}, 20.0, (psnr,), 0.2, 0.3, 0.2, None, ((1, psnr),))
        for arm, values in (("maskdcpt-50-16", (25.3, 27.4, 20.5)), ("scratch", (25.0, 27.0, 20.0)))
        for seed, psnr in enumerate(values)
    ]
    scratch, masked = summarise(outcomes)
    assert scratch.arm == "scratch"
    assert masked.gain == pytest.approx(0.4)
    assert masked.gain_interval == pytest.approx((0.152, 0.648), abs=1e-3)
    assert masked.better == (3, 3)
    assert masked.beyond_spread
    # The deviation of a sample: sqrt((0.9^2 + 3.0^2 + 3.9^2) / 2).
    assert masked.spread == pytest.approx(3.5369, abs=1e-4)


@pytest.mark.parametrize(
    ("differences", "beyond"), [((0.3, 0.4, 0.5), True), ((-0.3, -0.4, -0.5), True), ((-0.3, 0.4, 0.1), False)]
)
def test_a_difference_is_beyond_the_spread_where_its_interval_leaves_zero_out(
    differences: tuple[float, ...], beyond: bool
) -> None:
    outcomes = [
        Outcome(Task("nafnet", arm, seed), psnr, {"noise": psnr}, 20.0, (psnr,), 0.2, 0.3, 0.2, None, ((1, psnr),))
        for seed, difference in enumerate(differences)
        for arm, psnr in (("scratch", 25.0), ("maskdcpt-50-16", 25.0 + difference))
    ]
    _, masked = summarise(outcomes)
    assert masked.beyond_spread == beyond
    assert masked.better == (sum(difference > 0 for difference in differences), 3)


def test_a_comparison_can_be_sent_to_the_processes_of_jobs() -> None:
    for size in SIZES.values():
        sent = plain(size)
        assert pickle.loads(pickle.dumps(sent)) == sent
        assert {name: dict(values) for name, values in size.networks.items()} == sent.networks
