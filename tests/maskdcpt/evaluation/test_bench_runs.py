"""Benches on small trees in the layouts in which the test sets are published."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from uir_cli.maskdcpt import program
from uir_cli.uir import program as uir

from maskdcpt.backbones import create_backbone
from maskdcpt.evaluation.cases import set_cases
from maskdcpt.evaluation.compare import compare_runs
from maskdcpt.evaluation.contamination import contamination
from maskdcpt.evaluation.evaluate import Setting, bench_protocol, evaluate_bench
from maskdcpt.evaluation.image_grids import extremes
from maskdcpt.evaluation.paper_tables import beside_paper, load_table, own_row
from maskdcpt.evaluation.scores import ImageScore, Protocol
from maskdcpt.evaluation.test_sets import BENCHES, find_bench
from maskdcpt.metrics import LearnedMetric, psnr
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.training_data import training_data
from tests.conftest import synthetic_image, write_png
from tests.maskdcpt.metrics.test_learned_metrics import weights
from uirdata.errors import SourceError, UirError, UsageError
from uirdata.images import read_image
from uirdata.layout import Layout

# Two images of each test set, as they are named where they are published.
TREES = {
    "sots-outdoor": [("SOTS/outdoor/hazy/{n}_0.8_0.2.png", "SOTS/outdoor/gt/{n}.png")],
    "rain100l": [("Rain100L/input/{n}.png", "Rain100L/target/{n}.png")],
    "cbsd68": [("", "CBSD68/{n}.png")],
    "gopro": [
        ("GOPRO_Large/test/GOPR0384_11_00/blur/{n}.png", "GOPRO_Large/test/GOPR0384_11_00/sharp/{n}.png"),
        ("GOPRO_Large/test/GOPR0385_11_01/blur/{n}.png", "GOPRO_Large/test/GOPR0385_11_01/sharp/{n}.png"),
    ],
    "lol-v1": [("lol_dataset/eval15/low/{n}.png", "lol_dataset/eval15/high/{n}.png")],
    "rain13k-test": [
        (f"test/{name}/input/{{n}}.png", f"test/{name}/target/{{n}}.png") for name in ("Rain100H", "Test100")
    ],
    "synrain-13k": [("SynRain-13k/test/input/{n}.png", "SynRain-13k/test/target/{n}.png")],
    "urban100": [("", "Urban100_HR/img_{n}.png")],
    "dicm": [("low-light-test/DICM/{n}.png", "")],
    "reds": [("val/val_blur/000/0000000{n}.png", "val/val_sharp/000/0000000{n}.png")],
    "lol-blur": [("LOLBlur/test/low_blur_noise/0017/{n}.png", "LOLBlur/test/high_sharp_scaled/0017/{n}.png")],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trees = tmp_path_factory.mktemp("trees")
    seed = 0
    for source, kinds in TREES.items():
        for lq, gt in kinds:
            for n in "12":
                seed += 1
                image = synthetic_image(37, 53 if n == "1" else 48, seed)
                if gt:
                    write_png(trees / source / gt.format(n=n), image)
                if lq:
                    write_png(trees / source / lq.format(n=n), np.asarray(image * 0.7, dtype=np.uint8))
    made = tmp_path_factory.mktemp("root")
    result = CliRunner().invoke(uir, ["fetch", *TREES, "--from", str(trees), "--root", str(made), "-q"])
    # Two or four images of each test set: parts, which is said and ends with 3.
    assert result.exit_code == 3, result.output
    return made


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published layout, whose network changes images a little."""
    torch.manual_seed(0)
    network = create_backbone("nafnet", width=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
    state = {key: tensor * 0.3 for key, tensor in network.state_dict().items()}
    path = tmp_path_factory.mktemp("published") / "nafnet_maskdcpt_5d.pth"
    torch.save({"params": state, "params_ema": state}, path)
    return path


def run(root: Path, published: Path, bench: str, **changes: object) -> object:
    chosen = find_bench(bench)
    protocol = bench_protocol(chosen, [], **changes)
    return evaluate_bench(published, chosen, root, protocol=protocol)


def test_table_1_runs_on_its_five_test_sets(root: Path, published: Path, tmp_path: Path) -> None:
    bench = find_bench("5d")
    out = tmp_path / "results"
    report = evaluate_bench(published, bench, root, out=out, protocol=bench_protocol(bench, []))
    assert [means.name for means in report.by_set] == [test_set.name for test_set in bench.sets]
    assert [means.images for means in report.by_set] == [2, 2, 2, 4, 2]
    assert [cell.name for cell in report.cells] == ["dehazing", "deraining", "denoising", "deblurring", "low_light"]
    assert all(cell.values["psnr"] == means.psnr for cell, means in zip(report.cells, report.by_set, strict=True))
    assert report.mean.psnr == pytest.approx(np.mean([means.psnr for means in report.by_set]))
    # Published files are detected by name, and what is known of their training data is reported.
    assert "Its name says 5d" in report.training[0]
    assert any("reside-ots" in text for text in report.by_set[0].contamination)
    assert report.by_set[1].contamination == ()
    table = pq.read_table(out / "images.parquet").to_pylist()
    assert {row["test_set"] for row in table} == {test_set.name for test_set in bench.sets}
    grid = read_image(out / "grids" / "gopro.png")
    assert grid.shape == (3 * 324 - 4, 3 * 324 - 4, 3)
    # Twelve images are not those of the paper, and the table says so.
    beside = beside_paper(report, bench)
    assert beside[0]["here"].endswith("*")
    assert beside[0]["NAFNet+MaskDCPT"] == "31.40"
    own = own_row(load_table(1), "mine", out)
    assert own.cells.keys() == {f"{cell.name}.{metric}" for cell in report.cells for metric in ("psnr", "ssim")}
    assert own.partial == own.cells.keys() | {f"{cell.name}.{m}" for cell in report.cells for m in ("lpips", "fid")}


def test_noise_is_compared_as_published_and_in_eight_bits(root: Path, published: Path) -> None:
    bench = find_bench("denoise")
    plain = evaluate_bench(published, bench, root, protocol=bench_protocol(bench))
    strict = evaluate_bench(published, bench, root, protocol=bench_protocol(bench, quantise=True))
    assert set(plain.missing) == {f"kodak24-gaussian-{sigma}" for sigma in (15, 25, 50, 60, 75)}
    by_name = {means.name: means for means in plain.by_set}
    gt = read_image(next((root / "sources/cbsd68").rglob("1.png")))
    draws = np.random.RandomState(0).normal(0, 25 / 255, gt.shape)
    lq = np.clip(gt / np.float32(255) + draws, 0, 1)
    tensors = [torch.from_numpy(np.asarray(x, np.float64)).permute(2, 0, 1)[None] for x in (lq, gt / 255)]
    row = next(row for row in plain.images if row.test_set == "cbsd68-gaussian-25")
    assert row.lq_psnr == pytest.approx(psnr(*tensors).item(), abs=1e-4)
    assert row.level == "gaussian-25"
    assert by_name["cbsd68-gaussian-15"].lq_psnr > by_name["cbsd68-gaussian-75"].lq_psnr  # type: ignore[operator]
    # With `quantise` the network gets the values of a saved LQ.
    saved = (tensors[0] * 255).round().float() / 255
    with torch.no_grad():
        restored = networks_of(load_checkpoint(published)).backbone.restore(saved).clamp(0, 1)
    expected = psnr((restored.double() * 255).round() / 255, tensors[1]).item()
    same = next(other for other in strict.images if other.key == row.key)
    assert same.psnr == pytest.approx(expected, abs=1e-6)
    for one, other in zip(plain.by_set, strict.by_set, strict=True):
        assert one.psnr != other.psnr
        assert one.psnr == pytest.approx(other.psnr, abs=0.05)


def test_a_cell_of_several_sets_is_their_mean_and_says_what_is_missing(root: Path, published: Path) -> None:
    report = run(root, published, "12d")
    cell = next(cell for cell in report.cells if cell.name == "deraining")  # type: ignore[attr-defined]
    parts = {means.name: means for means in report.by_set}  # type: ignore[attr-defined]
    present = ["rain13k-rain100h", "rain13k-test100", "synrain-13k"]
    assert cell.values["psnr"] == pytest.approx(np.mean([parts[name].psnr for name in present]))
    assert cell.missing == ("rain13k-rain100l", "rain13k-test1200", "rain13k-test2800")
    assert "mean of the sets" in cell.note


def test_a_mosaic_can_have_red_and_blue_exchanged_as_the_published_test(root: Path) -> None:
    mosaic = next(test_set for test_set in BENCHES["12d"].sets if test_set.name == "urban100-mosaic")
    plain, swapped = (set_cases(mosaic, Layout(root), swapped_mosaic=flag)[0].load() for flag in (False, True))
    assert np.array_equal(plain.lq[:, :, ::-1], swapped.lq)
    assert np.abs(np.asarray(plain.lq, float) - np.asarray(plain.gt, float)).mean() < 12


def test_what_is_made_depends_on_the_image_alone(root: Path) -> None:
    blur = next(test_set for test_set in BENCHES["12d"].sets if test_set.name == "urban100-blur")
    first, second = set_cases(blur, Layout(root)), set_cases(blur, Layout(root))
    assert all(np.array_equal(a.load().lq, b.load().lq) for a, b in zip(first, second, strict=True))
    kernels = {np.abs(np.asarray(case.load().lq, float) - np.asarray(case.load().gt, float)).mean() for case in first}
    assert len(kernels) == 2


def test_sets_without_references_have_blind_metrics_alone(root: Path, published: Path, tmp_path: Path) -> None:
    class Blind:
        name = "fake"

        def of_images(self, metric: LearnedMetric) -> Callable[[Tensor, Tensor | None], Tensor]:
            return lambda restored, _: restored.mean((1, 2, 3)).double() * 100

        def of_sets(self, metric: LearnedMetric) -> Callable[[Path, Path], float]:
            return lambda restored, _: float(len(list(restored.iterdir())))

    bench = find_bench("real")
    setting = Setting(weights=weights(tmp_path / "weights"), engine=Blind(), batch=2)
    report = evaluate_bench(published, bench, root, out=tmp_path / "out", setting=setting)
    (means,) = report.by_set
    assert means.name == "dicm"
    assert means.psnr is None
    assert means.learned["piqe"] == pytest.approx(np.mean([row.learned["piqe"] for row in report.images]))
    assert means.learned["lpips"] is None
    cell = next(cell for cell in report.cells if cell.name == "low_light")
    assert cell.values.keys() == {"piqe", "brisque"}
    assert cell.missing == ("lime", "mef", "npe", "vv")
    assert report.variants["piqe"].startswith("as MATLAB's piqe")
    assert set(report.digests) > {"weights", "pyiqa/brisque_svm_weights.pth"}
    five = find_bench("5d")
    full = evaluate_bench(published, five, root, out=tmp_path / "five", setting=setting)
    # The distance of a set comes from its saved images.
    assert [means.learned["fid"] for means in full.by_set] == [2.0, 2.0, 2.0, 4.0, 2.0]
    assert full.cells[3].values["fid"] == 4.0


def test_batches_change_nothing_but_rounding(root: Path, published: Path) -> None:
    bench = find_bench("single")
    one, four = (
        evaluate_bench(published, bench, root, protocol=bench_protocol(bench), setting=Setting(batch=batch))
        for batch in (1, 4)
    )
    for a, b in zip(one.images, four.images, strict=True):
        assert a.key == b.key
        assert a.psnr == pytest.approx(b.psnr, abs=1e-4)


def test_what_is_not_there_is_named_with_the_command_that_brings_it(published: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"uir fetch --subset 5d --root"):
        run(tmp_path, published, "5d")


def test_the_command_shows_the_paper_beside_and_ends_with_3_where_sets_are_missing(
    root: Path, published: Path, tmp_path: Path
) -> None:
    args = ["eval", "--checkpoint", str(published), "--root", str(root), "--metric", "none"]
    result = CliRunner().invoke(program, [*args, "--bench", "5d", "--out", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    assert "Beside table 1 of the paper" in result.stdout
    assert "protocol: RGB, unrounded floats, whole images" in result.stdout
    assert "known overlap" in result.stdout
    partly = CliRunner().invoke(program, [*args, "--bench", "single", "--json", "-q"])
    assert partly.exit_code == 3
    assert "hide" in json.loads(partly.stdout)["missing"]
    assert CliRunner().invoke(program, args).exit_code == 2
    assert "did you mean 'mixed'" in CliRunner().invoke(program, [*args, "--bench", "mix"]).output
    dry = CliRunner().invoke(program, ["eval", "--bench", "single", "--root", str(root), "--dry-run", "--json"])
    planned = {row["name"]: row for row in json.loads(dry.stdout)}
    assert (planned["gopro"]["images"], planned["gopro"]["expected"]) == (4, 1111)
    assert "uir fetch hide" in planned["hide"]["problem"]
    needs = CliRunner().invoke(program, [*args[:-2], "--bench", "5d", "--weights", str(tmp_path), "--metric", "lpips"])
    assert needs.exit_code == 1
    # Which of the two depends on whether pyiqa is installed.
    assert "need pyiqa" in needs.output or "weights of metrics are missing" in needs.output
    listed = CliRunner().invoke(program, ["eval", "--list-weights", "--weights", str(tmp_path), "--json"])
    assert {row["metric"] for row in json.loads(listed.stdout)} == {"lpips", "fid", "brisque", "niqe"}


def one_rank(rank: int, ranks: int, port: int, root: Path, published: Path, out: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    bench = find_bench("5d")
    evaluate_bench(published, bench, root, out=out, protocol=bench_protocol(bench, []), setting=Setting(grids=False))


def test_two_processes_share_the_images_and_give_one_report(root: Path, published: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=one_rank, args=(rank, 2, port, root, published, tmp_path / "two")) for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    shares = [len((tmp_path / f"two/images-{rank}.jsonl").read_text().splitlines()) - 1 for rank in range(2)]
    assert shares == [6, 6]
    bench = find_bench("5d")
    alone = evaluate_bench(published, bench, root, out=tmp_path / "one", protocol=bench_protocol(bench, []))
    assert json.loads((tmp_path / "two/report.json").read_text())["mean"]["psnr"] == pytest.approx(alone.mean.psnr)
    # The rows of both are found again by one process, whatever their number was.
    again = evaluate_bench(published, bench, root, out=tmp_path / "two", protocol=bench_protocol(bench, []))
    assert [row.psnr for row in again.images] == pytest.approx([row.psnr for row in alone.images])


def test_two_evaluations_are_compared_image_by_image(root: Path, published: Path, tmp_path: Path) -> None:
    bench = find_bench("5d")
    for name, quantise in (("a", False), ("b", True)):
        protocol = bench_protocol(bench, [], quantise=quantise)
        evaluate_bench(published, bench, root, out=tmp_path / name, protocol=protocol)
    found = compare_runs([tmp_path / "a", f"strict={tmp_path / 'b'}"])
    assert [row.group for row in found] == [*(test_set.name for test_set in bench.sets), "all"]
    assert {(row.first, row.second) for row in found} == {("a", "strict")}
    rows = [pq.read_table(tmp_path / name / "images.parquet").to_pylist() for name in "ab"]
    differences = [b["psnr"] - a["psnr"] for a, b in zip(*rows, strict=True)]
    assert found[-1].test.difference == pytest.approx(np.mean(differences))
    assert found[-1].p_mean >= found[-1].test.p_mean
    result = CliRunner().invoke(program, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--metric", "ssim"])
    assert result.exit_code == 0, result.output
    assert "b minus a" in result.stdout
    with pytest.raises(UsageError, match="two evaluations at least"):
        compare_runs([tmp_path / "a"])
    with pytest.raises(UsageError, match="did you mean 'psnr'"):
        compare_runs([tmp_path / "a", tmp_path / "b"], "psn")
    with pytest.raises(UirError, match=r"images\.parquet: no such file"):
        compare_runs([tmp_path / "a", tmp_path])


def test_training_data_that_lie_in_a_test_set_are_counted_where_both_are_there(published: Path, tmp_path: Path) -> None:
    sots = find_bench("5d").sets[0]
    sources = training_data(load_checkpoint(published)).sources
    assert sources == {"reside-ots", "rain100l", "bsds500", "wed", "gopro", "lol-v1"}
    (told,) = contamination(sots, sources, Layout(tmp_path))
    assert "reside-ots may have scenes of equal names" in told
    assert contamination(sots, frozenset(["gopro"]), Layout(tmp_path)) == []


def test_the_best_the_median_and_the_worst_are_shown() -> None:
    def row(psnr: float | None, piqe: float | None = None) -> ImageScore:
        return ImageScore("k", "haze", "", "s", 9, 9, psnr, None, 20.0, None, "", learned={"piqe": piqe, "lq_piqe": 1})

    assert extremes([row(21.0), row(30.0), row(19.0), row(25.0), row(24.0)]) == {"best": 1, "median": 4, "worst": 2}
    assert extremes([row(None, 50.0), row(None, 20.0)]) == {"best": 1, "median": 0}
    assert extremes([row(None)]) == {}
    assert Protocol() == Protocol(learned=())
