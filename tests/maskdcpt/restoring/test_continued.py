"""A restoration can be run again until it is complete: what is done is skipped, and nothing else is taken for done."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor
from uir_cli.maskdcpt import program

import maskdcpt.restoring.restorer as module
from maskdcpt.backbones.nafnet import NAFNet
from maskdcpt.restoring.files import Restored, plan_files, restore_bytes, restore_files
from maskdcpt.restoring.record import RECORD
from maskdcpt.restoring.restorer import Restorer
from maskdcpt.training.loop import train
from tests.maskdcpt.tiny import random_image, tiny_config, write_shards
from uirdata.errors import ImageError, UirError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    shards = write_shards(folder / "shards", train=2, test=1)
    return train(tiny_config(shards, folder / "fine", "objective.kind=finetune", "loop.steps=1")).run


@pytest.fixture(scope="module")
def restorer(run: Path) -> Restorer:
    return Restorer(run)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "deeper/b.png", "c.png")):
        draw(tmp_path / "photos" / name, number)
    return tmp_path / "photos"


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_image(seed, 16, 24)).save(path)


def outcome(results: list[Restored]) -> list[str]:
    return ["skipped" if r.skipped else r.problem.partition(": ")[2] for r in results]


def test_what_is_done_is_skipped_and_ends_well(run: Path, photos: Path, tmp_path: Path) -> None:
    args = ["restore", str(photos), "--checkpoint", str(run), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(program, args).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    (tmp_path / "out" / "c.png").unlink()
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 0, result.output
    assert result.output.count("was restored before, skipped") == 2
    assert {p: p.stat().st_mtime_ns for p in before if p.name != "c.png"} == {
        p: t for p, t in before.items() if p.name != "c.png"
    }
    assert (tmp_path / "out" / "c.png").exists()
    document = json.loads(CliRunner().invoke(program, [*args, "--json"]).stdout)
    assert [row["skipped"] for row in document] == [True, True, True]


def test_a_changed_source_other_weights_and_a_changed_result_are_told_and_not_taken_for_done(
    run: Path, restorer: Restorer, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    restore_files([photos], out, restorer)
    draw(photos / "a.png", 9)
    (out / "c.png").write_bytes(b"mine")
    found = outcome(restore_files([photos], out, restorer))
    assert "from another file than" in found[0]
    assert "changed after it was restored" in found[1]
    assert found[2] == "skipped"
    assert (out / "c.png").read_bytes() == b"mine"
    for other in (Restorer(run, self_ensemble=True), Restorer(run, tile_px=64)):
        assert "other weights or settings" in outcome(restore_files([photos], out, other))[2]
    assert outcome(restore_files([photos], out, restorer, overwrite=True)) == ["", "", ""]
    assert outcome(restore_files([photos], out, restorer)) == ["skipped"] * 3


def test_the_identity_is_of_the_weights_and_not_of_their_place(run: Path, restorer: Restorer, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "moved")
    assert Restorer(tmp_path / "moved").identity == restorer.identity
    other = Restorer(run)
    with torch.no_grad():
        next(iter(other._networks.parameters())).add_(1e-3)
    assert other.identity != restorer.identity


def test_a_damaged_record_is_told_of_and_results_are_kept(
    restorer: Restorer, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    restore_files([photos], out, restorer)
    lines = (out / RECORD).read_text().splitlines(keepends=True)
    (out / RECORD).write_text(lines[0] + '{"target": 5}\n' + lines[2][:30])
    with caplog.at_level(logging.WARNING):
        found = outcome(restore_files([photos], out, restorer))
    assert "2 lines cannot be read" in caplog.text
    assert found[0] == "skipped"
    assert all("file exists" in problem for problem in found[1:])


def test_results_inside_the_input_are_not_restored_again(restorer: Restorer, photos: Path) -> None:
    for out in (photos / "restored", photos / "deeper" / "x"):
        results = restore_files([photos], out, restorer)
        assert len(results) == 3
        assert outcome(restore_files([photos], out, restorer)) == ["skipped"] * 3
        shutil.rmtree(out)


def test_results_of_other_restorations_below_are_left_out_by_name(
    restorer: Restorer, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    restore_files([photos], photos / "deeper" / "first", restorer)
    with caplog.at_level(logging.WARNING):
        results = restore_files([photos], tmp_path / "second", restorer)
    assert [result.source.name for result in results] == ["a.png", "c.png", "b.png"]
    assert f"{photos}: 3 results of earlier restorations are left out; the first is deeper/first/a.png" in caplog.text
    # Named itself, the folder is restored further; so is a result that the user has changed since.
    assert len(restore_files([photos / "deeper" / "first"], tmp_path / "third", restorer)) == 3
    draw(photos / "deeper" / "first" / "a.png", 7)
    assert len(plan_files([photos], tmp_path / "fourth")) == 4


def test_results_beside_their_sources_are_not_restored_again(restorer: Restorer, tmp_path: Path) -> None:
    draw(tmp_path / "x.jpg", 1)
    assert outcome(restore_files([tmp_path], tmp_path, restorer)) == [""]
    assert outcome(restore_files([tmp_path], tmp_path, restorer)) == ["skipped"]
    # A picture of the user's under the name of a result is no result.
    draw(tmp_path / "x.png", 2)
    assert [r.source.name for r in restore_files([tmp_path], tmp_path, restorer)] == ["x.jpg", "x.png"]


def test_half_a_line_of_a_killed_run_spoils_no_other(restorer: Restorer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore_files([photos / "a.png"], out, restorer)
    with (out / RECORD).open("a") as file:
        file.write('{"target": "c.p')
    assert outcome(restore_files([photos], out, restorer)) == ["skipped", "", ""]
    assert outcome(restore_files([photos], out, restorer)) == ["skipped"] * 3


def test_an_argument_that_cannot_be_looked_at_is_one_problem(
    restorer: Restorer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    real = os.scandir

    def scandir(path: Path) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    results = restore_files([tmp_path / f"{'x' * 300}.png", closed, photos / "a.png"], tmp_path / "out", restorer)
    assert "File name too long" in results[0].problem
    assert "Permission denied" in results[1].problem
    assert results[2].problem == ""


def test_what_systems_leave_is_no_picture(photos: Path, tmp_path: Path) -> None:
    for name in ("._a.png", "@eaDir/a.png", "__MACOSX/a.png", "Thumbs.db", ".DS_Store"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"junk")
    expected = ["a.png", "c.png", "b.png"]
    assert [plan.source.name for plan in plan_files([photos], tmp_path / "out")] == expected
    # As a shell follows photos/*.
    followed = sorted(path for path in photos.iterdir() if not path.name.startswith("."))
    assert [plan.source.name for plan in plan_files(followed, tmp_path / "out")] == expected
    assert [plan.source.name for plan in plan_files([photos / "*"], tmp_path / "out")] == expected[:2]


def test_the_largest_image_is_the_users_choice(run: Path, restorer: Restorer, photos: Path, tmp_path: Path) -> None:
    (large,) = restore_files([photos / "a.png"], tmp_path / "out", restorer, most_pixels=16 * 24 - 1)
    assert "24 x 16 pixels" in large.problem
    assert "--max-pixels" in large.problem
    with pytest.raises(ImageError, match="--max-pixels"):
        restore_bytes((photos / "a.png").read_bytes(), "stdin", restorer, most_pixels=10)
    args = ["restore", str(photos / "a.png"), "--checkpoint", str(run), "--out", str(tmp_path / "out")]
    assert CliRunner().invoke(program, [*args, "--max-pixels", "100"]).exit_code == 1
    assert CliRunner().invoke(program, [*args, "--max-pixels", "384"]).exit_code == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_not_finite_fails_its_picture_alone(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    real, calls = module.restored_image, iter(range(9))

    def restored(*args: Any) -> Tensor:
        output = real(*args).clone()
        if next(calls) == 1:
            output[0, :, 3, 4] = value
        return output

    monkeypatch.setattr(module, "restored_image", restored)
    results = restore_files([photos], tmp_path / "out", Restorer(run, tile_px=0))
    assert [bool(result.problem) for result in results] == [False, True, False]
    assert "NaN or infinite in 1 of 16 x 24 pixels" in results[1].problem
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["a.png", "b.png"]


def test_an_output_in_memory_that_is_not_finite_is_an_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NAFNet, "head", lambda _self, last: last[:, :3] * math.nan)
    for ensemble in (False, True):
        with pytest.raises(UirError, match="NaN or infinite"):
            Restorer(run, self_ensemble=ensemble).restore(np.zeros((16, 16, 3), np.uint8))
