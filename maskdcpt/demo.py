"""
The whole method on the `sample` subset: from photographs in installed packages to shards, trained networks and a page.

Every step is the same as in the commands; only the size is smaller.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from maskdcpt.config.presets import find_preset
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.evaluation.evaluate import evaluate
from maskdcpt.evaluation.scores import EvalReport
from maskdcpt.images import to_tensor
from maskdcpt.pages.demo_page import DemoImage, write_demo_page
from maskdcpt.restoring.tiling import restored_image
from maskdcpt.training.logs.metrics_log import read_curves
from maskdcpt.training.loop import TrainResult, train
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.load import load_checkpoint
from uirdata import open_shards
from uirdata.errors import SourceError, UirError
from uirdata.html_pages import centre
from uirdata.images import RgbImage, to_uint8
from uirdata.layout import Layout
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.engines import LocalEngine
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.pipeline.fetching.fetch import fetch_whole
from uirdata.pipeline.parallel import WorkerContext, killed_workers_named, worker_pool
from uirdata.pipeline.reporting.statistics_page import Statistics, count_shards
from uirdata.pipeline.verifying.verify import verify
from uirdata.progress import Progress
from uirdata.sources import load_sources
from uirdata.storage.reading import ShardDataset
from uirdata.subsets import Subset, load_subset

T = TypeVar("T")
P = ParamSpec("P")

SUBSET = "sample"
STEPS = (
    "fetch and verify",
    "crop, degrade, shard",
    "count",
    "pre-train",
    "fine-tune",
    "evaluate",
    "from scratch, beside the others",
    "page",
)
_IMAGE_PX = 200


@dataclass(frozen=True)
class DemoRow:
    """
    One degradation on the held-out photographs; PSNR in dB, SSIM, both on RGB.

    Attributes:
        degradation: its name.
        images: how many.
        lq: PSNR of the LQ itself.
        restored: PSNR after pre-training and fine-tuning.
        scratch: PSNR after the same fine-tuning without pre-training.
        lq_ssim: SSIM of the LQ itself.
        restored_ssim: SSIM after pre-training and fine-tuning.
    """

    degradation: str
    images: int
    lq: float
    restored: float
    scratch: float
    lq_ssim: float
    restored_ssim: float


@dataclass(frozen=True)
class DemoReport:
    """
    The result of the demo.

    Attributes:
        rows: one row per degradation, and their mean.
        accuracy: share of held-out images that the pre-trained classifier classifies correctly, 0 to 1.
        chance: accuracy of guessing, 0 to 1.
        statistics: of the shards.
        seconds: duration of each step, by its name.
        page: the HTML page.
        folder: of shards and runs.
        checkpoint: of the network that was pre-trained and fine-tuned.
    """

    rows: tuple[DemoRow, ...]
    accuracy: float
    chance: float
    statistics: Statistics
    seconds: Mapping[str, float]
    page: Path
    folder: Path
    checkpoint: Path

    @property
    def not_better(self) -> tuple[str, ...]:
        """Degradations whose restored images do not have a higher mean PSNR than the LQ."""
        return tuple(row.degradation for row in self.rows if row.restored <= row.lq)


def run_demo(layout: Layout, *, workers: int, progress: Progress) -> DemoReport:
    """
    Run all steps of the demo.

    Writes ROOT/downloads/sample, ROOT/sources/sample and ROOT/demo; runs of an earlier demo are replaced, its shards
    are kept.

    Args:
        layout: of the root.
        workers: processes that build shards.
        progress: receives the name of each step.

    Raises:
        UirError: a step failed; the message says which one, and what to do.
    """
    # Absolute, as the page of a run and its checkpoints name the shards.
    folder = (layout.root / "demo").absolute()
    clock = _Clock(progress)
    subset = load_subset(SUBSET)
    clock.step(lambda: _fetch(layout, progress))
    shards = folder / "shards"
    clock.step(lambda: _build(layout, subset, shards, workers, progress))
    statistics = clock.step(lambda: count_shards(shards))
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)

    pretraining = _config("pretrain-sample", shards, runs / "pretrain")
    finetuning = _config("finetune-sample", shards, runs / "finetune")
    scratch = replace(finetuning, out=str(runs / "scratch"))
    # A read-only mapping cannot be pickled for another process.
    sent = replace(subset, repeat=dict(subset.repeat))
    with _one_thread(), _beside(_run_from_scratch, scratch, sent) as waited:
        pretrained = clock.step(lambda: train(pretraining, subset=subset, progress=progress))
        finetuning = replace(finetuning, init=replace(finetuning.init, checkpoint=str(pretrained.checkpoint)))
        finetuned = clock.step(lambda: train(finetuning, subset=subset, progress=progress))
        test = open_shards(shards, "test", subset)
        # As `maskdcpt report` evaluates a run, so that it finds this one evaluated.
        judged = clock.step(
            lambda: evaluate(
                finetuned.checkpoint,
                shards,
                subset=subset,
                classifier=pretrained.checkpoint,
                out=runs / "finetune/test",
                progress=progress,
            ),
        )
        from_scratch, compared = clock.step(waited.result)
    report = DemoReport(
        rows=tuple(_rows(judged, compared, subset)),
        accuracy=judged.mean.accuracy or 0.0,
        chance=1 / len(subset.classes),
        statistics=statistics,
        seconds=clock.seconds,
        page=folder / "index.html",
        folder=folder,
        checkpoint=finetuned.checkpoint,
    )
    clock.step(
        lambda: write_demo_page(
            report.page,
            rows=[vars(row) for row in report.rows],
            accuracy=report.accuracy,
            chance=report.chance,
            confusion=judged.confusion(),
            statistics=statistics,
            curves=_curves({"pre-train": pretrained.run, "fine-tune": finetuned.run, "from scratch": from_scratch.run}),
            masked=sorted((runs / "pretrain/samples").glob("*.png"))[-1:],
            images=_images(test, finetuned.checkpoint),
            seconds=clock.seconds,
            settings=_settings(pretraining, finetuning),
        ),
    )
    return report


def _run_from_scratch(config: TrainConfig, subset: Subset) -> tuple[TrainResult, EvalReport]:
    """Train and evaluate the network without pre-training."""
    trained = train(config, subset=subset)
    out = Path(config.out) / "test"
    return trained, evaluate(trained.checkpoint, config.data.shards, subset=subset, out=out)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Evaluate on one thread, as in training: a second one would wait for the core that the other process uses."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _beside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Iterator[Future[T]]:
    """
    Run `work` in a process of its own while the block runs: it needs no result of the other steps.

    Small convolutions are a tenth faster with a second thread; two runs of one thread each use nearly all of two cores.
    """
    context = WorkerContext()
    with killed_workers_named("close other programs and run it again"), worker_pool(1, context=context) as pool:
        future = pool.submit(work, *args, **kwargs)
        try:
            yield future
        except BaseException:
            # Its result is not needed any more: do not wait for it.
            for child in context.started:
                child.terminate()
            raise


class _Clock:
    """Runs the steps in their order, reports their names and records the duration of each."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    def step(self, work: Callable[[], T]) -> T:
        number = len(self.seconds)
        name = STEPS[number]
        self._progress.note(f"{number + 1} of {len(STEPS)}: {name}")
        start = time.monotonic()
        result = work()
        self.seconds[name] = round(time.monotonic() - start, 1)
        return result


def _fetch(layout: Layout, progress: Progress) -> None:
    source = load_sources()[SUBSET]
    fetch_whole(source, layout, jobs=2, progress=progress)
    checked = verify([source], layout, deep=True, jobs=2, progress=progress)
    if not checked.is_good:
        raise SourceError("the sample photographs are damaged; `uir verify sample --deep` lists the files")


def _build(layout: Layout, subset: Subset, shards: Path, workers: int, progress: Progress) -> None:
    sources = load_sources()
    plan = make_plan(subset, sources, layout)
    build(
        plan_build(shards, plan, BuildSettings(shard_bytes=100_000_000)),
        subsets={subset.name: subset.classes},
        pixels=SourcePixels(source_folders(sources, layout, [SUBSET]), plan.seed),
        engine=LocalEngine(workers),
        discard=True,
        progress=progress,
    )


def _config(name: str, shards: Path, out: Path) -> TrainConfig:
    config = find_preset(name).config
    return replace(config, out=str(out), data=replace(config.data, shards=str(shards), subset=SUBSET))


def _rows(judged: EvalReport, compared: EvalReport, subset: Subset) -> list[DemoRow]:
    rows = []
    pairs = list(zip(judged.by_degradation, compared.by_degradation, strict=True))
    pairs.sort(key=lambda pair: subset.degradations.index(pair[0].name))
    for one, other in (*pairs, (judged.mean, compared.mean)):
        rows.append(
            DemoRow(
                degradation=one.name,
                images=one.images,
                lq=_known(one.lq_psnr),
                restored=_known(one.psnr),
                scratch=_known(other.psnr),
                lq_ssim=_known(one.lq_ssim),
                restored_ssim=_known(one.ssim),
            )
        )
    return rows


def _known(value: float | None) -> float:
    if value is None:
        raise UirError("the demo's networks have outputs that are NaN or infinite, so there is no score to show")
    return value


def _curves(runs: Mapping[str, Path]) -> dict[str, dict[str, Sequence[tuple[float, float]]]]:
    """Return the points of each quantity by run, as the page draws them."""
    drawn: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for run, path in runs.items():
        for name, curve in read_curves(path).items():
            points = list(zip(map(float, curve.steps), curve.values, strict=True))
            drawn.setdefault(name, {})[run] = points
    return drawn


@torch.inference_mode()
def _images(test: ShardDataset, checkpoint: Path) -> list[DemoImage]:
    """Restore one held-out photograph of each degradation, a different one for each."""
    networks = networks_of(load_checkpoint(checkpoint), "params_ema").eval()
    by_type: dict[str, list[int]] = {}
    for index, name in enumerate(test.degradations):
        by_type.setdefault(name, []).append(index)
    images = []
    for number, (name, indices) in enumerate(by_type.items()):
        item = test[indices[number % len(indices)]]
        image = restored_image(networks, to_tensor(item.lq), 0)[0].permute(1, 2, 0).numpy()
        restored = to_uint8(np.clip(image, 0, 1) * 255.0)
        windows: tuple[RgbImage, ...] = tuple(centre(i, _IMAGE_PX) for i in (item.lq, restored, item.gt))
        images.append(DemoImage(name, item.record.level, *windows))
    return images


def _settings(pretraining: TrainConfig, finetuning: TrainConfig) -> list[Mapping[str, object]]:
    return [
        {
            "run": run,
            "steps": config.loop.steps,
            "crop": config.data.crop,
            "batch": config.data.batch,
            "learning rate": f"{config.optimizer.lr:g}",
            "masked": f"{config.objective.mask_ratio:.0%}" if run == "pre-train" else "no",
            "network": f"{config.model.backbone} "
            + ", ".join(f"{name} {value}" for name, value in config.model.size.items()),
        }
        for run, config in (("pre-train", pretraining), ("fine-tune (both)", finetuning))
    ]
