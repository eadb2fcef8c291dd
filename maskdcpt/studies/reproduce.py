"""
The small reproduction as one task: shards, runs and their scores; finished runs are not repeated.

    OUT/settings.json                                what is compared
    OUT/data/                                        the photographs and the shards, a root like any other
    OUT/runs/<backbone>/<arm>/seed-<n>/pretrain      a run as `maskdcpt train` writes it
                                      /finetune      another
                                      /result.json   their scores
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.samples import Samples, open_samples
from maskdcpt.evaluation.evaluate import evaluate
from maskdcpt.evaluation.job import Setting
from maskdcpt.studies.ablation_arms import ARMS, SUBSET, Size, finetuning, pretraining, subset_toml
from maskdcpt.studies.probe import ProbeSettings, probe_features
from maskdcpt.training.logs.metrics_log import read_curves
from maskdcpt.training.loop import train
from maskdcpt.weights.checkpoints import checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import load_state
from uirdata.errors import UirError, UsageError
from uirdata.layout import Layout
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.engines import LocalEngine
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.pipeline.fetching.fetch import add_local_source, fetch_whole
from uirdata.pipeline.parallel import WorkerContext, killed_workers_named, worker_pool
from uirdata.progress import Progress, Silent
from uirdata.sources import load_sources
from uirdata.storage.files import writing
from uirdata.subsets import load_subset
from uirdata.validators import json_object, load_json, load_typed, naming

RESULT = "result.json"
PHOTOS = "photos"
TEST_SHARE = 0.25
"""Share of a folder's photographs that is kept for testing."""


@dataclass(frozen=True)
class Comparison:
    """
    What is compared.

    Attributes:
        out: folder of all that is written.
        size: of networks, data and training.
        size_name: its name in `ablation_arms.SIZES`, for display.
        backbones: of `size.networks`.
        arms: of `ablation_arms.ARMS`.
        seeds: of weights, order, windows and masks; the photographs and their degradations do not change.
        photos: a folder of GT photographs; None takes those of the `sample` source.
        device: as `loop.device`.
    """

    out: Path
    size: Size
    size_name: str
    backbones: tuple[str, ...]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    photos: Path | None = None
    device: str = "auto"

    @property
    def layout(self) -> Layout:
        """The root of the photographs and the shards."""
        return Layout(self.out / "data")

    def tasks(self) -> Iterator[Task]:
        """Yield all tasks: all arms of a seed before the next seed, so that a partial result compares all arms."""
        for backbone in self.backbones:
            for seed in self.seeds:
                for arm in self.arms:
                    yield Task(backbone, arm, seed)


@dataclass(frozen=True)
class Task:
    """One arm on one backbone from one seed."""

    backbone: str
    arm: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Return its folder."""
        return out / "runs" / self.backbone / self.arm / f"seed-{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """
    The result of a task.

    Attributes:
        task: the task.
        psnr: mean over the degradations of the restored test images, in dB.
        by_degradation: the same of each.
        lq_psnr: of the LQ themselves.
        images: PSNR of each test image, in the order of the shards.
        probe_start: share of test images that nearest neighbours classify correctly, on the weights that fine-tuning
            starts from.
        probe_end: the same after fine-tuning.
        chance: accuracy of guessing.
        accuracy: of the pre-trained classifier on the test images; None without one.
        curve: steps of fine-tuning and mean PSNR of the validation windows there.
    """

    task: Task
    psnr: float
    by_degradation: dict[str, float]
    lq_psnr: float
    images: tuple[float, ...]
    probe_start: float
    probe_end: float
    chance: float
    accuracy: float | None
    curve: tuple[tuple[int, float], ...]


def reproduce(
    comparison: Comparison,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """
    Train every run that is not finished, and return the outcomes of those that are.

    Args:
        comparison: what is compared.
        jobs: runs at a time; their scores do not depend on it where each has its own thread or GPU share.
        progress: receives the name of each run.
        stop: called after each step; when it returns True, runs write a checkpoint and end, and fewer outcomes are
            returned.

    Raises:
        UsageError: `out` holds another comparison, or a name is not known.
        UirError: photographs, shards or runs fail; the same call resumes afterwards.
    """
    listener, ended = progress or Silent(), stop or (lambda: False)
    _check_folder(comparison)
    _prepare(comparison, jobs, listener)
    left = [task for task in comparison.tasks() if not (task.folder(comparison.out) / RESULT).exists()]
    total = sum(1 for _ in comparison.tasks())
    listener.note(f"{total - len(left)} of {total} runs are finished")
    if jobs == 1:
        for number, task in enumerate(left, start=total - len(left) + 1):
            listener.note(f"run {number} of {total}: {task.backbone}, {task.arm}, seed {task.seed}")
            if not run_task(comparison, task, progress=listener, stop=ended):
                break
    elif left:
        _run_together(comparison, left, jobs, listener, ended)
    return read_outcomes(comparison)


def run_task(
    comparison: Comparison, task: Task, *, progress: Progress | None = None, stop: Callable[[], bool] | None = None
) -> bool:
    """Pre-train, fine-tune and evaluate one arm; return whether it is finished. Raises as `train`."""
    arm, size, folder = ARMS[task.arm], comparison.size, task.folder(comparison.out)
    shards = comparison.layout.shards
    checkpoint: Path | None = None
    if arm.objective is not None:
        config = pretraining(arm, task.backbone, size, task.seed, shards, folder / "pretrain")
        if not _run(config, comparison.device, progress, stop):
            return False
        checkpoint = folder / "pretrain"
    config = finetuning(arm, task.backbone, size, task.seed, shards, folder / "finetune", checkpoint)
    if not _run(config, comparison.device, progress, stop):
        return False
    outcome = _evaluate(comparison, task, config, checkpoint)
    document = asdict(outcome)
    del document["task"]
    with writing(folder / RESULT) as partial:
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return True


def read_outcomes(comparison: Comparison) -> list[Outcome]:
    """
    Return the outcomes of the finished tasks of a comparison, in the order of its tasks.

    Raises:
        UirError: a result is damaged.
    """
    found = []
    for task in comparison.tasks():
        path = task.folder(comparison.out) / RESULT
        if not path.exists():
            continue
        with naming(UirError, str(path), "delete it, and the same command writes it again"):
            document = json_object(load_json(_bytes(path)))
            found.append(load_typed(json.dumps({**document, "task": asdict(task)}), Outcome))
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UirError(f"{path}: cannot be read: {error.strerror or error}") from error


def _run(config: TrainConfig, device: str, progress: Progress | None, stop: Callable[[], bool] | None) -> bool:
    config = replace(config, loop=replace(config.loop, device=device))
    folders = checkpoint_folders(Path(config.out))
    if folders and folders[-1].name == f"step-{config.loop.steps:06d}" and _is_sound(folders[-1]):
        return True
    return train(config, resume=bool(folders), progress=progress, stop=stop).finished


def _is_sound(checkpoint: Path) -> bool:
    try:
        load_state(checkpoint)
        load_checkpoint(checkpoint)
    except UirError:
        # The run is resumed from the one before.
        return False
    return True


def _evaluate(comparison: Comparison, task: Task, config: TrainConfig, checkpoint: Path | None) -> Outcome:
    test = _test_samples(comparison)
    run = Path(config.out)
    report = evaluate(run, test, setting=Setting(device=comparison.device, grids=False))
    settings = ProbeSettings(backbone=task.backbone, per_class=2 * comparison.size.probed, crop=comparison.size.crop)
    # The first result is that of the initial weights of fine-tuning, the last that of the final ones.
    start, *_, end = probe_features(run, test, settings, every_step=True, device=comparison.device)
    accuracy: float | None = None
    if checkpoint is not None and load_checkpoint(checkpoint).weights("classifier", "params"):
        accuracy = read_curves(checkpoint)["validation/accuracy"].values[-1]
    curve = read_curves(run).get("validation/psnr")
    if curve is None:
        raise UirError(f"{run}: no validation has a PSNR; the outputs of the network are NaN or infinite")
    return Outcome(
        task=task,
        psnr=_number(report.mean.psnr),
        by_degradation={one.name: _number(one.psnr) for one in report.by_degradation},
        lq_psnr=_number(report.mean.lq_psnr),
        images=tuple(_number(image.psnr) for image in report.images),
        probe_start=start.accuracy,
        probe_end=end.accuracy,
        chance=start.chance,
        accuracy=accuracy,
        curve=tuple(zip(curve.steps, curve.values, strict=True)),
    )


def _number(value: float | None) -> float:
    if value is None:
        raise UirError(
            "a run could not be evaluated: its checkpoint does not restore, or has outputs that are NaN or infinite"
        )
    return value


def _test_samples(comparison: Comparison) -> Samples:
    layout = comparison.layout
    return open_samples(layout.shards, "test", load_subset(SUBSET, extra=[layout.manifests]))


def _check_folder(comparison: Comparison) -> None:
    """Write what is compared to settings.json, or raise an error for a folder that holds another comparison."""
    unknown = [name for name in comparison.backbones if name not in comparison.size.networks]
    if unknown:
        raise UsageError(
            f"the size {comparison.size_name} has no network {unknown[0]!r}: {', '.join(comparison.size.networks)}"
        )
    path = comparison.out / "settings.json"
    wanted = json.loads(
        json.dumps({"size": asdict(plain(comparison.size)), "photos": str(comparison.photos or "sample")})
    )
    if path.exists():
        with naming(UirError, str(path), "delete it to compare what the command names"):
            found = load_json(_bytes(path))
        if found != wanted:
            raise UsageError(
                f"{comparison.out} holds another comparison (its settings.json differs); name another --out, or give "
                "the same --size and --photos"
            )
        return
    with writing(path) as partial:
        partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def plain(size: Size) -> Size:
    """Return a size of plain dicts, which JSON and pickle support."""
    return replace(size, networks={name: dict(values) for name, values in size.networks.items()})


def _prepare(comparison: Comparison, jobs: int, progress: Progress) -> None:
    """Fetch the photographs and build the shards; what exists already is kept."""
    layout = comparison.layout
    name = PHOTOS if comparison.photos else "sample"
    with writing(layout.manifests / "subsets.toml") as partial:
        partial.write_text(subset_toml(name, comparison.size), encoding="utf-8")
    if comparison.photos:
        add_local_source(name, comparison.photos, layout, test_share=TEST_SHARE)
    sources = load_sources([layout.manifests])
    fetch_whole(sources[name], layout, jobs=jobs, progress=progress)
    subset = load_subset(SUBSET, sources, [layout.manifests])
    plan = make_plan(subset, sources, layout)
    build(
        plan_build(layout.shards, plan, BuildSettings(shard_bytes=200_000_000)),
        subsets={subset.name: subset.classes},
        pixels=SourcePixels(source_folders(sources, layout, [name]), plan.seed),
        engine=LocalEngine(jobs),
        discard=True,
        progress=progress,
    )


def _run_together(
    comparison: Comparison, tasks: Sequence[Task], jobs: int, progress: Progress, stop: Callable[[], bool]
) -> None:
    """Run several tasks at a time, each in a process of its own."""
    context = WorkerContext()
    stopping = context.Event()
    label = f"runs, {jobs} at a time"
    progress.begin(label, len(tasks))
    advice = "run the command again with fewer --jobs; finished runs are kept"
    with killed_workers_named(advice), worker_pool(jobs, _start, stopping, context=context) as pool:
        sent = replace(comparison, size=plain(comparison.size))
        waiting = {pool.submit(_run_in_process, sent, task): task for task in tasks}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    task = waiting.pop(future)
                    if future.result():
                        progress.note(f"{task.backbone}, {task.arm}, seed {task.seed}: finished")
                        progress.advance(label)
                if stop() and not stopping.is_set():
                    stopping.set()
        except BaseException:
            # One run failed: the others write a checkpoint and end after their step.
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            progress.end(label)


_stopping: Any = None


def _start(event: Any) -> None:
    import signal

    global _stopping
    _stopping = event
    # Ctrl-C is sent to all processes; the parent sets the event, so that a step is finished and saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_in_process(comparison: Comparison, task: Task) -> bool:
    if _stopping.is_set():
        return False
    return run_task(comparison, task, stop=_stopping.is_set)
