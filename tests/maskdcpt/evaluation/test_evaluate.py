from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from maskdcpt.evaluation.evaluate import Setting, evaluate, plan_shards
from maskdcpt.evaluation.evaluator import Evaluator
from maskdcpt.evaluation.scores import Protocol
from maskdcpt.images import to_tensor
from maskdcpt.metrics import psnr, ssim
from maskdcpt.training.loop import train
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import Checkpoint
from maskdcpt.weights.load import load_checkpoint
from tests.maskdcpt.metrics.test_learned_metrics import FakeEngine
from tests.maskdcpt.tiny import TYPES, tiny_config, write_shards
from uirdata import open_shards
from uirdata.errors import UirError, UsageError


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), train=3, test=3)


@pytest.fixture(scope="module")
def fine(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "fine"
    return train(tiny_config(shards, out, "objective.kind=finetune", "loop.steps=2")).run


@pytest.fixture(scope="module")
def pre(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_config(shards, tmp_path_factory.mktemp("runs") / "pre", "loop.steps=2")).run


def test_every_image_is_compared_whole_and_beside_its_lq(shards: Path, fine: Path) -> None:
    report = evaluate(fine, shards)
    samples = open_shards(shards, "test")
    assert [row.key for row in report.images] == [record.key for record in samples.records]
    networks = networks_of(load_checkpoint(fine))
    for row, item in zip(report.images, samples, strict=True):
        lq, gt = to_tensor(item.lq), to_tensor(item.gt)
        with torch.no_grad():
            restored = networks.backbone.restore(lq).clamp(0, 1)
        assert row.psnr == pytest.approx(float(psnr(restored, gt)), abs=1e-6)
        assert row.lq_psnr == pytest.approx(float(psnr(lq, gt)), abs=1e-9)
        assert row.ssim == pytest.approx(float(ssim(restored, gt)), abs=1e-6)
        assert (row.height, row.width) == item.lq.shape[:2]
        assert row.named == ""


def test_means_are_over_images_then_over_degradations(shards: Path, fine: Path) -> None:
    report = evaluate(fine, shards)
    assert [means.name for means in report.by_degradation] == sorted(TYPES)
    for means in report.by_degradation:
        rows = [row for row in report.images if row.degradation == means.name]
        assert means.images == len(rows) == 3
        assert means.psnr == pytest.approx(np.mean([row.psnr for row in rows]))
        assert means.gain == pytest.approx(means.psnr - np.mean([row.lq_psnr for row in rows]))
    assert report.mean.psnr == pytest.approx(np.mean([means.psnr for means in report.by_degradation]))
    assert report.mean.accuracy is None


def test_a_pre_trained_checkpoint_is_judged_by_its_classifier(shards: Path, pre: Path, fine: Path) -> None:
    report = evaluate(pre, shards)
    assert report.mean.psnr is None
    assert report.mean.accuracy is not None
    right = [row.named == row.degradation for row in report.images]
    assert report.mean.accuracy == pytest.approx(np.mean(right))
    counts = report.confusion()
    assert sum(sum(row.values()) for row in counts.values()) == len(report.images)
    assert sum(counts[kind][kind] for kind in TYPES) == sum(right)
    both = evaluate(fine, shards, classifier=pre)
    assert [row.named for row in both.images] == [row.named for row in report.images]
    assert both.mean.psnr is not None
    with pytest.raises(UsageError, match="no images for piqe; omit --metric"):
        evaluate(pre, shards, protocol=Protocol(learned=("piqe",)), setting=Setting(engine=FakeEngine()))


def test_an_interrupted_evaluation_goes_on_and_another_one_is_not_mixed_in(
    shards: Path, fine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results"
    whole = evaluate(fine, shards, out=out)
    table = pq.read_table(out / "images.parquet")
    assert table.num_rows == 9
    assert json.loads((out / "report.json").read_text())["mean"]["psnr"] == whole.mean.psnr
    lines = (out / "images-0.jsonl").read_text().splitlines()
    (out / "images-0.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])

    judged = []
    real = Evaluator.score
    monkeypatch.setattr(
        Evaluator, "score", lambda self, cases, *rest: judged.extend(c.key for c in cases) or real(self, cases, *rest)
    )
    assert evaluate(fine, shards, out=out) == whole
    assert len(judged) == 5
    assert sorted(path.name for path in (out / "grids").iterdir()) == [f"{kind}.png" for kind in sorted(TYPES)]
    with pytest.raises(UsageError, match="holds another evaluation"):
        evaluate(fine, shards, out=out, protocol=Protocol(quantise=True))


def test_what_would_be_judged_is_counted(shards: Path) -> None:
    assert [(plan.name, plan.images) for plan in plan_shards(shards, split="test", limit=2)] == [
        (kind, 2) for kind in sorted(TYPES)
    ]


def test_a_limit_takes_the_first_of_each_degradation(shards: Path, fine: Path) -> None:
    report = evaluate(fine, shards, protocol=Protocol(limit=1))
    assert [means.images for means in report.by_degradation] == [1, 1, 1]


def test_the_protocol_changes_the_numbers_as_it_says(shards: Path, fine: Path) -> None:
    plain = evaluate(fine, shards)
    for protocol in (Protocol(quantise=True), Protocol(y_channel=True), Protocol(crop_border=4), Protocol(tile_px=24)):
        other = evaluate(fine, shards, protocol=protocol)
        assert other.protocol == protocol
        assert other.mean.psnr is not None
        assert plain.mean.psnr is not None
        assert 0 < abs(other.mean.psnr - plain.mean.psnr) < 6


def test_an_image_that_equals_its_gt_counts_as_100_db(shards: Path, fine: Path) -> None:
    item = open_shards(shards, "test")[0]

    class Same:
        class_names = TYPES
        degradations = (TYPES[0],)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> object:
            return replace(item, lq=item.gt)

    report = evaluate(fine, Same())  # type: ignore[arg-type]
    assert report.images[0].lq_psnr == 100.0


def test_a_broken_sample_is_left_out_and_named(fine: Path, tmp_path: Path) -> None:
    own = write_shards(tmp_path, train=1, test=3)
    samples = open_shards(own, "test")
    record = samples.records[0]
    tar = own / record.shard
    data = bytearray(tar.read_bytes())
    data[record.lq_offset + 40 : record.lq_offset + record.lq_size] = b"x" * (record.lq_size - 40)
    tar.write_bytes(bytes(data))
    report = evaluate(fine, own)
    assert len(report.images) == 8
    assert len(report.unreadable) == 1
    assert record.key in next(iter(report.unreadable.values()))


def test_labels_of_another_subset_are_refused(pre: Path, tmp_path: Path) -> None:
    other = write_shards(tmp_path, train=1, test=1, types=TYPES[:2])
    with pytest.raises(UsageError, match="its labels are noise, gaussian-blur, low-light, those of the shards are"):
        evaluate(pre, other)


def test_networks_without_anything_to_judge_are_refused(shards: Path, tmp_path: Path) -> None:
    run = train(tiny_config(shards, tmp_path / "run", "objective.kind=reconstruction", "loop.steps=1")).run
    with pytest.raises(UirError, match="does not restore; fine-tune it first"):
        evaluate(run, shards)


def test_a_checkpoint_in_memory_is_as_good_as_one_on_disk(shards: Path, fine: Path) -> None:
    loaded = load_checkpoint(fine)
    assert isinstance(loaded, Checkpoint)
    assert evaluate(loaded, shards).mean == evaluate(fine, shards).mean


def test_an_image_that_fails_in_a_way_that_nobody_foresaw_is_reported_and_the_others_are_scored(
    shards: Path, fine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskdcpt.evaluation.cases import Loaded, _SampleLoader

    real = _SampleLoader.__call__

    def failing(self: _SampleLoader) -> Loaded:
        if self.index == 0:
            raise KeyError("a bug")
        return real(self)

    whole = evaluate(fine, shards)
    monkeypatch.setattr(_SampleLoader, "__call__", failing)
    report = evaluate(fine, shards)
    assert len(report.unreadable) == 1
    assert "KeyError" in next(iter(report.unreadable.values()))
    assert len(report.images) == len(whole.images) - 1
