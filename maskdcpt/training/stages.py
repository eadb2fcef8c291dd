"""The stages of a run: crop, batch and accumulation of each step, computed from the configuration alone."""

from __future__ import annotations

from dataclasses import dataclass

from maskdcpt.backbones import Backbone
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.sampling import Share
from uirdata.errors import UsageError


@dataclass(frozen=True)
class Stage:
    """
    Consecutive steps with the same crop and batch size.

    Attributes:
        start: its first step.
        end: the step after its last.
        crop: side of the windows, in pixels.
        batch: samples in a step, over all processes.
        accumulate: forward passes that a process splits its part of a batch into.
    """

    start: int
    end: int
    crop: int
    batch: int
    accumulate: int


def stages_of(config: TrainConfig) -> list[Stage]:
    """Return a run's stages in order; one unless the configuration has `data.stages`."""
    data = config.data
    sizes = [(0, data.crop, data.batch, data.accumulate)]
    sizes += [(s.start, s.crop, s.batch, s.accumulate) for s in data.stages if s.start < config.loop.steps]
    ends = [start for start, *_ in sizes[1:]] + [config.loop.steps]
    return [Stage(start, end, *rest) for (start, *rest), end in zip(sizes, ends, strict=True)]


def share_of(stage: Stage, rank: int = 0, ranks: int = 1) -> Share:
    """Return a process's part of each batch of a stage; raises UsageError if the batch does not divide into them."""
    return Share(stage.batch, stage.accumulate, rank, ranks)


def check_sizes(config: TrainConfig, backbone: Backbone) -> None:
    """
    Refuse crops and batches that cannot be computed, before the first step.

    Raises:
        UsageError: a crop is not a multiple of what the backbone or the mask needs, or a batch not of its pieces.
    """
    needs = {f"the backbone {config.model.backbone}": backbone.divisor}
    if config.objective.traits.masked:
        needs["objective.mask_patch"] = config.objective.mask_patch
    for stage in stages_of(config):
        share_of(stage)
        for what, multiple in needs.items():
            if stage.crop % multiple:
                raise UsageError(f"a crop of {stage.crop} is not a multiple of {multiple}, which {what} needs")
