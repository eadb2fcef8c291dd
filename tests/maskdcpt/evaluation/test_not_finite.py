"""An output that is NaN or infinite is named and counted, is in no mean, and is never the best."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from uir_cli.console import Console
from uir_cli.maskdcpt import program

import maskdcpt.evaluation.evaluator as evaluator
from maskdcpt.evaluation.compare import compare_runs
from maskdcpt.evaluation.evaluate import Setting, evaluate
from maskdcpt.evaluation.image_grids import extremes
from maskdcpt.evaluation.paper_tables import load_table, own_row
from maskdcpt.evaluation.scores import ImageScore, mean_of_means, means_of
from maskdcpt.evaluation.significance import confidence_interval, mean_interval, paired_test
from maskdcpt.metrics.base import mean_db
from maskdcpt.training.loop import train
from maskdcpt.weights.model_card import write_model_folder
from tests.maskdcpt.tiny import tiny_config, write_shards
from uirdata.errors import UirError

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), train=2, test=3)


@pytest.fixture(scope="module")
def fine(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "fine"
    return train(tiny_config(shards, out, "objective.kind=finetune", "loop.steps=1")).run


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine images, one output has a NaN, and one of another degradation an infinity, which clipping would hide."""
    real, calls = evaluator.restored_image, iter(range(100))

    def restored(*args: Any) -> Tensor:
        output = real(*args).clone()
        number = next(calls)
        if number in (0, 4):
            output[0, 1, 2, 3] = NAN if number == 0 else INF
        return output

    monkeypatch.setattr(evaluator, "restored_image", restored)


@pytest.mark.usefixtures("broken")
def test_means_over_broken_outputs_are_refused(shards: Path, fine: Path, tmp_path: Path) -> None:
    report = evaluate(fine, shards, out=tmp_path / "r", setting=Setting(grids=False))
    bad = [row for row in report.images if row.broken]
    assert [report.images.index(row) for row in bad] == [0, 4]
    assert all((row.broken, row.psnr, row.ssim) == ("output", None, None) for row in bad)
    assert all(row.lq_psnr is not None for row in bad)
    assert [means.broken for means in report.by_degradation] == [1, 1, 0]
    assert [means.psnr is None for means in report.by_degradation] == [True, True, False]
    assert report.by_degradation[0].intervals.keys() == set()
    assert (report.mean.psnr, report.mean.ssim, report.mean.gain, report.mean.broken) == (None, None, None, 2)
    assert report.broken == {row.key: "output" for row in bad}
    text = (tmp_path / "r" / "report.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["mean"]["psnr"] is None
    assert pq.read_table(tmp_path / "r" / "images.parquet")["broken"].to_pylist().count("output") == 2


@pytest.mark.usefixtures("broken")
def test_broken_outputs_are_skipped_where_that_is_asked_for(shards: Path, fine: Path, tmp_path: Path) -> None:
    report = evaluate(fine, shards, setting=Setting(skip_broken=True))
    for means in report.by_degradation:
        good = [row for row in report.images if row.degradation == means.name and not row.broken]
        assert means.images == len(good)
        assert means.psnr == pytest.approx(sum(row.psnr or NAN for row in good) / len(good))
        # The LQ is averaged over the same images, or the gain would be of others.
        assert means.lq_psnr == pytest.approx(sum(row.lq_psnr or NAN for row in good) / len(good))
    assert (report.mean.images, report.mean.broken) == (7, 2)
    assert report.mean.psnr is not None


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(("options", "code"), [([], 1), (["--skip-broken"], 3)])
def test_the_command_ends_with_an_error_and_shows_the_count(
    shards: Path, fine: Path, options: list[str], code: int
) -> None:
    args = ["eval", "--checkpoint", str(fine), "--shards", str(shards), *options]
    result = CliRunner().invoke(program, args)
    assert result.exit_code == code
    assert "2 images have outputs or scores that are NaN or infinite" in result.output
    assert "output; it has no score" in result.output
    assert ("--skip-broken averages" in result.output) == (not options)


def test_a_checkpoint_of_nan_weights_has_no_score_in_eval_and_validation(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from maskdcpt.backbones.nafnet import NAFNet

    real = NAFNet.head
    monkeypatch.setattr(NAFNet, "head", lambda self, last: real(self, last) * (1.0 if torch.is_grad_enabled() else NAN))
    config = tiny_config(
        shards, tmp_path / "run", "objective.kind=finetune", "loop.steps=2", 'data.validation_split="test"'
    )
    run = train(config).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validations = [row for row in rows if row["event"] == "validation"]
    assert validations
    for row in validations:
        assert "psnr" not in row
        assert row["broken"] > 0
        assert row["lq_psnr"] < 100
    assert "NaN or infinite" in caplog.text
    report = evaluate(run, shards)
    assert {row.psnr for row in report.images} == {None}
    assert report.mean.psnr is None


def score(key: str, psnr: float | None, broken: str = "", degradation: str = "haze", **learned: float) -> ImageScore:
    return ImageScore(key, degradation, "", "s", 8, 8, psnr, psnr, 20.0, 0.5, "", learned=learned, broken=broken)


def test_one_metric_that_is_not_finite_refuses_its_own_mean_alone() -> None:
    rows = [score("a", 30.0, niqe=4.0), score("b", 31.0, "niqe")]
    means = means_of(rows, "haze")
    assert (means.psnr, means.learned["niqe"], means.broken) == (30.5, None, 1)
    assert means_of(rows, "haze", skip_broken=True).learned["niqe"] == 4.0
    assert mean_of_means([means, means_of([score("c", 30.0, niqe=5.0)], "snow")]).learned["niqe"] is None


def test_a_class_of_nan_logits_is_in_no_accuracy() -> None:
    assert means_of([score("a", 30.0), score("b", 31.0, "class")], "haze").accuracy is None


def test_broken_images_are_neither_best_nor_worst() -> None:
    rows = [score("a", 30.0), score("b", None, "output", niqe=1.0), score("c", 31.0)]
    assert set(extremes(rows).values()) == {0, 2}


def test_infinity_of_equal_images_is_100_db_and_nan_is_not() -> None:
    assert [mean_db(value) for value in (INF, 120.0, 31.0, NAN, -INF)] == [100.0, 100.0, 31.0, None, None]


@pytest.mark.parametrize("value", [NAN, INF])
def test_statistics_of_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="1 of 2 values are NaN or infinite"):
        confidence_interval([1.0, value], ["a", "b"])
    with pytest.raises(ValueError, match="1 of 4 values are NaN or infinite"):
        paired_test([1.0, 2.0], [1.0, value], ["a", "b"])
    with pytest.raises(ValueError, match="1 of 2 values are NaN or infinite"):
        mean_interval([1.0, value])


def compared(folder: Path, values: dict[str, float | None], broken: dict[str, str] | None = None) -> Path:
    rows: list[dict[str, Any]] = [
        {"key": key, "degradation": "haze", "test_set": "", "scene": "", "psnr": value} for key, value in values.items()
    ]
    for row in rows if broken is not None else []:
        row["broken"] = (broken or {}).get(row["key"], "")
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "images.parquet")
    return folder


def test_compare_refuses_or_skips_and_counts(tmp_path: Path) -> None:
    first = compared(tmp_path / "a", {"x": 20.0, "y": 25.0, "z": 25.0})
    second = compared(tmp_path / "b", {"x": 21.0, "y": None, "z": NAN}, {"y": "output"})
    with pytest.raises(UirError, match="2 images have no psnr"):
        compare_runs([first, second])
    (found,) = compare_runs([first, second], skip_broken=True)
    assert (found.test.images, found.test.difference, found.broken) == (1, pytest.approx(1.0), 2)
    args = ["compare", str(first), str(second)]
    assert CliRunner().invoke(program, args).exit_code == 1
    result = CliRunner().invoke(program, [*args, "--skip-broken"])
    assert result.exit_code == 3
    assert "1, 2 skipped" in result.output


def test_where_everything_is_nan_there_is_nothing_to_skip_to(
    shards: Path, fine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = evaluator.restored_image
    monkeypatch.setattr(evaluator, "restored_image", lambda *args: real(*args) * NAN)
    args = ["eval", "--checkpoint", str(fine), "--shards", str(shards), "--skip-broken"]
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 1
    assert "these are all, so there is no mean" in result.output
    one = compared(tmp_path / "a", {"x": 20.0}, {})
    other = compared(tmp_path / "b", {"x": None}, {"x": "output"})
    with pytest.raises(UirError, match="all 1 images that both have are NaN"):
        compare_runs([one, other], skip_broken=True)


def test_the_100_db_of_nan_in_a_table_of_an_earlier_release_are_no_score(tmp_path: Path) -> None:
    for name, ssim in (("a", [0.9, 0.9]), ("b", [0.9, NAN])):
        rows = {"key": ["x", "y"], "degradation": ["haze"] * 2, "test_set": [""] * 2, "scene": [""] * 2}
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(rows | {"psnr": [20.0, 100.0], "ssim": ssim}), tmp_path / name / "images.parquet")
    with pytest.raises(UirError, match="1 images have no psnr because it is NaN"):
        compare_runs([tmp_path / "a", tmp_path / "b"])
    (found,) = compare_runs([tmp_path / "a", tmp_path / "a"])
    assert found.test.images == 2


@pytest.mark.usefixtures("broken")
def test_tables_and_cards_say_how_many_are_missing(shards: Path, fine: Path, tmp_path: Path) -> None:
    evaluate(fine, shards, out=tmp_path / "r", setting=Setting(grids=False, skip_broken=True))
    write_model_folder(fine, tmp_path / "card", name="x", results=[tmp_path / "r"])
    assert "2 images have outputs or scores that are NaN" in (tmp_path / "card" / "README.md").read_text()
    document = json.loads((tmp_path / "r" / "report.json").read_text())
    names = {means["name"] for means in document["by_degradation"] if means["broken"]}
    for number in range(1, 12):
        table = load_table(number)
        columns = [column for column in table.columns if column.degradation in names and column.metric == "psnr"]
        if columns:
            row = own_row(table, "mine", tmp_path / "r")
            assert {column.id for column in columns} <= row.partial
    text = (tmp_path / "r" / "report.json").read_text()
    (tmp_path / "r" / "report.json").write_text(text.replace('"psnr": ', '"psnr": NaN, "old": ', 1))
    with pytest.raises(UirError, match="holds NaN"):
        own_row(load_table(1), "mine", tmp_path / "r")
    with pytest.raises(UirError, match="holds NaN"):
        write_model_folder(fine, tmp_path / "card", name="x", results=[tmp_path / "r"])


def test_json_of_commands_has_null_for_nan(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).data({"a": NAN, "b": [1.0, INF], "c": asdict(score("x", NAN))})
    document = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert (document["a"], document["b"], document["c"]["psnr"]) == (None, [1.0, None], None)


def test_pre_training_with_nan_features_has_no_accuracy(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskdcpt.networks.classifier import DegradationClassifier

    real = DegradationClassifier.forward

    def forward(self: DegradationClassifier, features: Any) -> Tensor:
        logits = real(self, features)
        return logits if torch.is_grad_enabled() else logits * NAN

    monkeypatch.setattr(DegradationClassifier, "forward", forward)
    run = train(tiny_config(shards, tmp_path / "pre", "loop.steps=1", 'data.validation_split="test"')).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (validation,) = (row for row in rows if row["event"] == "validation")
    assert "accuracy" not in validation
    assert validation["broken"] == 9.0


def test_a_mean_over_fewer_images_says_so(shards: Path, fine: Path, tmp_path: Path) -> None:
    # One image of each three is 20 rows high: without a border of 5 it is smaller than the window of SSIM.
    args = ["eval", "--checkpoint", str(fine), "--shards", str(shards), "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(program, [*args, "--crop-border", "5"])
    assert result.exit_code == 3
    assert "not all images have a value of ssim" in result.output
    assert "ssim: over fewer images than the table says: 2 of 3 in" in result.output
    # The first of each has 40 rows: without 15 on each side all are too small.
    result = CliRunner().invoke(program, [*args[:-2], "--crop-border", "15", "--limit", "1"])
    assert result.exit_code == 3
    assert "no image has a value of ssim" in result.output
    document = json.loads((tmp_path / "r" / "report.json").read_text())
    assert document["mean"]["fewer"] == {"ssim": 6, "lq_ssim": 6}
    write_model_folder(fine, tmp_path / "card", name="x", results=[tmp_path / "r"])
    assert "is over 2 of 3 images; the others are too small" in (tmp_path / "card" / "README.md").read_text()
    haze = means_of([score("a", 30.0, niqe=4.0), score("b", 31.0)], "haze")
    snow = means_of([score("c", 30.0, niqe=5.0)], "snow")
    assert (haze.fewer, mean_of_means([haze, snow]).fewer) == ({"niqe": 1}, {"niqe": 2})
