"""
The training loop: it updates the weights from batches, and saves what a killed run needs to resume exactly.

Nothing here draws from a shared generator: samples, windows and masks are keyed by seed, epoch and step, so the state
of a run is its weights, its optimiser state, and the number of samples it has seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskdcpt.compute.distributed import Process, joined
from maskdcpt.config.toml import checked, to_document
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.batches import PackedBatch
from maskdcpt.data.crops import Crops
from maskdcpt.data.loader import crop_loader, pieces_of
from maskdcpt.data.samples import TO_TRAIN, Samples, open_samples, repeat_ratios
from maskdcpt.data.sampling import Share, StepSampler, Stream, epoch_slots
from maskdcpt.images import image_grid, write_image
from maskdcpt.masking import PatchMask
from maskdcpt.objectives.losses import Losses
from maskdcpt.objectives.step_masks import step_mask
from maskdcpt.training.claim import claimed
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.learner import Learner, autocast, compile_step
from maskdcpt.training.logs.metrics_log import MetricsLog
from maskdcpt.training.logs.step_log import StepTimer, sentence
from maskdcpt.training.logs.trackers import Tracker, open_trackers
from maskdcpt.training.lr_schedule import rate_at, set_rate
from maskdcpt.training.memory_check import shortage
from maskdcpt.training.nan_steps import NanSteps, sample_numbers
from maskdcpt.training.optim import gradient_norm
from maskdcpt.training.parallel import divides, quiet, together
from maskdcpt.training.resuming import Resumed, put_aside, remarks, resume_state
from maskdcpt.training.run_folder import environment, with_absolute_paths, write_config
from maskdcpt.training.run_state import RunState, prepare_state
from maskdcpt.training.saving import Saver
from maskdcpt.training.stages import Stage, share_of, stages_of
from maskdcpt.training.validation import Validator, example_rows
from maskdcpt.weights.checkpoints import checkpoint_folders
from uirdata.errors import UirError, UsageError
from uirdata.pipeline.choosing import subset_of_shards
from uirdata.progress import Progress, Silent
from uirdata.subsets import Subset

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """
    The result of a run.

    Attributes:
        run: its folder.
        step: the number of completed steps, skipped ones included.
        finished: whether all steps are done; False when the run was stopped, and `resume` continues it.
        metrics: path of metrics.jsonl.
        checkpoint: folder of the newest checkpoint.
        skipped: the number of steps that were skipped because a loss or gradient was NaN or infinite.
    """

    run: Path
    step: int
    finished: bool
    metrics: Path
    checkpoint: Path
    skipped: int


def train(
    config: TrainConfig,
    *,
    subset: Subset | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """
    Train, from the start or from the newest checkpoint of `config.out`.

    >>> from maskdcpt.config.train_config import DataConfig, LoopConfig, ModelConfig
    >>> config = TrainConfig(
    ...     out=f"{root}/run",
    ...     model=ModelConfig(size={"width": 4, "enc_blk_nums": (1,), "middle_blk_num": 1, "dec_blk_nums": (1,)}),
    ...     data=DataConfig(shards=str(shards), crop=32, batch=2, workers=0, validation_split=""),
    ...     loop=LoopConfig(steps=2, device="cpu", tensorboard=False),
    ... )
    >>> train(config).step
    2

    Args:
        config: the run; `config.out` and `config.data.shards` must be set.
        subset: the one that `config.data.subset` names; None looks the name up.
        resume: continue the run in `config.out`.
        progress: receives steps and results.
        stop: called after each step; when it returns True the run writes a checkpoint and ends.

    Raises:
        UsageError: the configuration does not match the networks, the shards, or the run to resume.
        UirError: shards, checkpoints or the disk fail, losses are NaN in too many steps in a row, or another training
            writes into the folder. Completed steps are saved first where that is possible.
    """
    config = with_absolute_paths(checked(config))
    chosen = subset_of_shards(config.data.shards, config.data.subset if subset is None else subset)
    if chosen is not None and chosen.name != config.data.subset:
        # The configuration is written next to the weights, and must be enough to repeat the run.
        raise UsageError(
            f"the subset is {chosen.name!r}, and data.subset of the configuration is {config.data.subset!r}; set both"
        )
    with joined(config.loop.device, config.loop.threads) as process:
        samples = open_samples(config.data.shards, config.data.split, chosen, otherwise=TO_TRAIN)
        with claimed(config, process, resume=resume) as claim:
            run = claim.run
            state = prepare_state(config, samples.class_names, process.device, resume=resume, data=samples.digest)
            resumed = resume_state(state, run, process) if resume else None
            loop = _Loop(config, chosen, run, samples, state, process, progress or Silent(), resumed)
            try:
                loop.start()
                claim.started = True
                finished = loop.run_all(stop or (lambda: False))
            finally:
                loop.close()
        return TrainResult(run, state.step, finished, loop.log.path, checkpoint_folders(run)[-1], state.skipped)


class _Loop:
    """One process's part of a run."""

    def __init__(
        self,
        config: TrainConfig,
        subset: Subset | None,
        run: Path,
        samples: Samples,
        state: RunState,
        process: Process,
        progress: Progress,
        resumed: Resumed | None,
    ) -> None:
        self.config, self.run, self.state, self.process, self.progress = config, run, state, process, progress
        self.samples, self.resumed = samples, resumed
        self.stages = {stage: share_of(stage, process.rank, process.ranks) for stage in stages_of(config)}
        slots = epoch_slots(
            samples.degradations, repeat_ratios(config.data.repeat, subset, samples), config.data.sampling
        )
        self.stream = Stream(slots, config.loop.seed)
        # Drawn here: returning to the first epoch in the middle of a run would shuffle that epoch and the current one
        # again.
        self.shown = [self.stream[number] for number in range(min(4, config.data.batch))]
        self.validator = Validator(config, subset, process) if config.loop.validate_images else None
        self.learner: nn.Module = Learner(state.networks, config)
        self._check_memory()
        self.learner = _wrapped(self.learner, state, config, process)
        self.task = f"train {config.name or config.objective.kind}"
        self.trackers: list[Tracker] = []
        self.nan_steps = NanSteps(run, config.loop.nan_limit, process)
        self.saver = Saver(config, run, state, process, saved=state.step)

    def start(self) -> None:
        """Write the configuration and open the logs: a run that is refused before has changed nothing."""
        config, resumed = self.config, self.resumed
        if self.process.leads:
            self.trackers = open_trackers(
                self.run,
                name=config.name or self.run.name,
                tensorboard=config.loop.tensorboard,
                tracker=config.loop.tracker,
                config=to_document(config),
                resume=resumed is not None,
            )
            if self.validator:
                self.validator.remark(self.progress)
            if resumed is not None:
                for remark in remarks(resumed, config):
                    self.progress.note(remark)
                put_aside(resumed)
            write_config(config, self.run)
        from_step = self.state.step if resumed else None
        self.log = MetricsLog(self.run, from_step=from_step, writes=self.process.leads)

    def run_all(self, stop: Callable[[], bool]) -> bool:
        """Train to the last step, or until `stop` returns True; return whether the run is finished."""
        self.log.write("start", self.state.step, **environment(self.config, self.process))
        self.progress.begin(self.task, self.config.loop.steps)
        self.progress.advance(self.task, self.state.step)
        with closing(self._steps()) as steps:
            if self._run_steps(steps, stop):
                self.log.write("stop", self.state.step)
                return False
        if not checkpoint_folders(self.run):
            self.saver.save()
        self.nan_steps.check_end(self.state)
        return True

    def _run_steps(self, steps: Iterator[tuple[Stage, _Pieces]], stop: Callable[[], bool]) -> bool:
        """Run the steps; return whether they were stopped before the last one."""
        timer = StepTimer(self.process)
        with self.saver.kept(self.progress):
            for stage, pieces in steps:
                self._step(stage, pieces, timer)
                self.progress.advance(self.task)
                last = self.state.step == self.config.loop.steps
                stopped = self.process.any(stop()) and not last
                self._report(timer, last=last or stopped)
                if stopped:
                    return True
        return False

    def close(self) -> None:
        """Close the progress and the trackers."""
        self.progress.end(self.task)
        for tracker in self.trackers:
            tracker.close()

    def _check_memory(self) -> None:
        """Refuse a run whose largest step does not fit into memory, before the first step."""

        def forward(lq: Tensor, gt: Tensor, label: Tensor, visible: Tensor | None) -> Tensor:
            with autocast(self.config, self.process.device):
                loss: Tensor = self.learner(lq, gt, label, visible)[0]
            return loss

        process = self.process
        problem = shortage(
            self.config, self.state.networks, forward, process.device, ranks=process.ranks, local=process.local_ranks
        )
        if process.any(bool(problem)):
            raise TrainingError(
                problem or "another process of this run does not have enough memory; see its message for the amounts"
            )

    def _steps(self) -> Generator[tuple[Stage, _Pieces]]:
        """Yield the stage and the pieces of each step that remains."""
        for stage, share in self.stages.items():
            steps = stage.end - max(stage.start, self.state.step)
            if steps <= 0:
                continue
            load = partial(self._loader, stage, share, self.state.samples, steps)
            with pieces_of(load(0), again=load) as arriving:
                for _ in range(steps):
                    yield stage, _Pieces(share, arriving)

    def _loader(self, stage: Stage, share: Share, start: int, steps: int, skip: int) -> DataLoader[Any]:
        data = self.config.data
        sampler = StepSampler(self.stream, share, start=start, steps=steps, skip=skip)
        crops = Crops(self.samples, stage.crop, self.config.loop.seed, data.augment, data.fresh)
        return crop_loader(crops, sampler, workers=data.workers, pin_memory=self.process.device.type == "cuda")

    def _step(self, stage: Stage, pieces: _Pieces, timer: StepTimer) -> None:
        """Update the weights once."""
        config, state = self.config, self.state
        seen = self._next_pieces(stage, pieces, timer)
        mask = step_mask(config, state.step, stage.batch, stage.crop)
        set_rate(state.optimizer, rate_at(state.step, config.loop.steps, config.optimizer))
        parts = [self._backward(packed, mask, pieces.share, piece) for piece, packed in enumerate(seen)]
        norm = gradient_norm(state.optimizer, config.optimizer.clip_norm)
        finite = self.nan_steps.is_finite(norm, [part.total for part in parts])
        if finite:
            self.saver.updating = True
            state.optimizer.step()
            timer.add(parts, norm, stage.batch)
        state.optimizer.zero_grad(set_to_none=True)
        timer.count()
        state.step += 1
        state.samples += stage.batch
        if finite and state.ema is not None:
            state.ema.update(state.networks.named_weights(), state.step - 1)
        self.saver.updating = False
        if not finite:
            self._skip_nan_step(seen)

    def _next_pieces(self, stage: Stage, pieces: _Pieces, timer: StepTimer) -> list[PackedBatch]:
        """
        Return a step's pieces.

        If one process cannot read its own, all processes save what is done and end; otherwise they would wait forever.
        """
        seen: list[PackedBatch] = []
        failure: UirError | None = None
        try:
            seen = [timer.next_piece(pieces.arriving) for _ in range(stage.accumulate)]
        except UirError as error:
            failure = error
        if self.process.any(failure is not None):
            self.saver.save_completed()
            raise failure or TrainingError("another process of this run cannot continue; see its message")
        return seen

    def _backward(self, packed: PackedBatch, mask: PatchMask | None, share: Share, piece: int) -> Losses:
        device = self.process.device
        batch = packed.unpack(device, channels_last=self.config.loop.channels_last)
        visible = None if mask is None else mask.visible[share.slice(piece)].to(device)
        try:
            with quiet(self.learner, piece + 1 < share.pieces):
                with autocast(self.config, device):
                    losses = Losses(*self.learner(batch.lq, batch.gt, batch.label, visible))
                (losses.total / share.pieces).backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"out of memory: the device has not enough memory for {share.piece} crops of {batch.lq.shape[-1]} at "
                "once; set data.accumulate to 2 or more, or loop.checkpointing to true. Existing checkpoints are kept"
            ) from error
        return losses

    def _skip_nan_step(self, seen: list[PackedBatch]) -> None:
        self.state.skipped += 1
        self.log.write("skipped", self.state.step, samples=sample_numbers(seen))
        error = self.nan_steps.skip(seen, self.state.step)
        if error is not None:
            self.saver.save()
            raise error

    def _report(self, timer: StepTimer, *, last: bool) -> None:
        """Write whatever is due after a step: metrics, validation, example images, a checkpoint."""
        loop, step = self.config.loop, self.state.step
        if last or step % loop.log_every == 0:
            values = timer.close(self.state, self.stream.epoch_length)
            self.log.write("train", step, **values)
            self._track(values)
            if self.process.leads:
                left = timer.seconds_a_step * (loop.steps - step)
                self.progress.note(sentence(step, loop.steps, values, left))
        with timer.exclude():
            if self.validator and (last or (loop.validate_every and step % loop.validate_every == 0)):
                self._validate(self.validator)
            if loop.sample_every and (last or step % loop.sample_every == 0):
                self._write_examples()
            if last or step % loop.checkpoint_every == 0:
                self.saver.save()

    def _validate(self, validator: Validator) -> None:
        with self.state.evaluation_networks() as networks:
            values = validator.validate(networks) if self.process.leads else {}
        if self.process.leads:
            self.saver.score = values.get("psnr")
            if values:
                self.log.write("validation", self.state.step, **values)
                self._track({f"validation/{name}": value for name, value in values.items()})
                scores = [
                    f"{name} {values[name]:.4g}" for name in ("psnr", "lq_psnr", "accuracy", "pixel") if name in values
                ]
                self.progress.note(f"step {self.state.step:,}, held-out samples: {', '.join(scores)}")
            if values.get("broken"):
                logger.warning(
                    "step %s: the outputs for %.0f held-out samples are NaN or infinite; there is no mean, and this "
                    "checkpoint is not the best",
                    self.state.step,
                    values["broken"],
                )
        self.process.wait()

    def _track(self, values: dict[str, Any]) -> None:
        for tracker in self.trackers:
            tracker.scalars(self.state.step, {k: v for k, v in values.items() if isinstance(v, float)})

    def _write_examples(self) -> None:
        """Write an image of the first samples of the run: LQ, its visible part, the network's output, GT."""
        with self.state.evaluation_networks() as networks:
            if not self.process.leads:
                return
            crops = Crops(self.samples, next(iter(self.stages)).crop, self.config.loop.seed, augment=False)
            rows = example_rows(networks, self.config, [crops[draw] for draw in self.shown], self.process.device)
        image = image_grid(rows)
        write_image(self.run / "samples" / f"step-{self.state.step:06d}.png", image)
        for tracker in self.trackers:
            tracker.image(self.state.step, "samples", image)


@dataclass(frozen=True)
class _Pieces:
    """The pieces of one step, not loaded yet."""

    share: Share
    arriving: Iterator[PackedBatch]


def _wrapped(learner: Learner, state: RunState, config: TrainConfig, process: Process) -> nn.Module:
    """Return the module that computes a step, compiled, in its memory format and distributed as configured."""
    divided = divides(config, process)
    if config.loop.compile:
        compile_step(learner, state.networks, in_blocks=divided)
    if divided:
        state.divide(learner, process)
        return learner
    if config.loop.channels_last:
        learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return together(learner, process)
