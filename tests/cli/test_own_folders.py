"""`uir fetch ID --from DIR` as a user types it: what a refusal says to type, works."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import uir
from tests.conftest import synthetic_image


def pairs(folder: Path, lq: str, gt: str) -> Path:
    for number in range(3):
        clean = synthetic_image(48, 56, number)
        noise = np.random.Generator(np.random.PCG64(number)).normal(0, 25, clean.shape)
        dirty = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
        for name, image in ((lq, dirty), (gt, clean)):
            path = folder / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder


def test_pairs_are_said_in_one_sentence_and_in_json(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "mine", "noisy/{}_N.png", "gt/{}_GT.png")
    result = uir("fetch", "mine", "--from", folder, "--root", tmp_path / "root")
    assert result.exit_code == 0, result.output
    assert "mine: taken as 3 pairs (noise) from noisy/gt" in result.output
    result = uir("fetch", "mine", "--from", folder, "--root", tmp_path / "root", "--json")
    assert json.loads(result.stdout)[0]["taken"] == "taken as 3 pairs (noise) from noisy/gt"


@pytest.mark.parametrize(
    ("lq", "gt"), [("a/{}.png", "b/{}.png"), ("A/low{}.png", "B/normal{}.png"), ("low/l{}.png", "high/{}n.png")]
)
def test_what_a_refusal_says_to_type_works(tmp_path: Path, lq: str, gt: str) -> None:
    folder = pairs(tmp_path / "mine", lq, gt)
    command = ["fetch", "mine", "--from", str(folder), "--root", str(tmp_path / "root")]
    result = uir(*command)
    if "--pair" in result.output:
        assert result.exit_code == 2
        offered = result.output[result.output.index("--pair") :].partition(", or ")[0].partition(";")[0]
        result = uir(*command, *shlex.split(offered)[:3], "--degradation", "noise")
    assert result.exit_code == 0, result.output
    assert "taken as 3 pairs" in result.output


def test_pair_may_be_given_more_than_once_and_clean_takes_all(tmp_path: Path) -> None:
    folder = pairs(pairs(tmp_path / "mine", "x/{}a.png", "x/{}b.png"), "y/{}c.png", "y/{}d.png")
    command = ["fetch", "mine", "--from", folder, "--root", tmp_path / "root"]
    both = ["--pair", "x/{n}a.png", "x/{n}b.png", "--pair", "y/{n}c.{image}", "y/{n}d.{image}"]
    result = uir(*command, *both, "--degradation", "noise")
    assert "taken as 6 pairs (noise) from " in result.output, result.output
    assert "taken as 12 clean photographs" in uir(*command, "--clean").output
    assert uir(*command, "--clean", *both).exit_code == 2


def test_a_misspelt_type_and_a_misspelt_source_get_a_suggestion(tmp_path: Path) -> None:
    folder = pairs(tmp_path / "mine", "noisy/{}.png", "gt/{}.png")
    for args in (["fetch", "--degradation", "haez"], ["fetch", "x", "--from", folder, "--degradation", "haez"]):
        result = uir(*args, "--root", tmp_path / "root")
        assert (result.exit_code, "did you mean 'haze'?" in result.output) == (2, True), result.output
    result = uir("fetch", "gorpo", "--from", folder, "--root", tmp_path / "root")
    assert (result.exit_code, "did you mean 'gopro'?" in result.output) == (2, True), result.output
    assert not (tmp_path / "root").exists()
