"""
What a training run is: one frozen value. `configuring.py` reads it from TOML and writes it next to the weights.

Defaults are those of the paper's pre-training where it states a value. `presets.py` has the paper's experiments, with
the origin of each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from maskdcpt.config.objective_kinds import OBJECTIVE_TRAITS, ObjectiveKind, ObjectiveTraits
from uirdata.errors import UsageError, nearest

PixelLoss = Literal["l1", "charbonnier", "psnr"]
Sampling = Literal["repeat", "balanced"]
Aware = Literal["none", "instructions", "frequency", "experts"]
"""What tells a Restormer of the degradation (`backbones.awareness`)."""

WeightKind = Literal["params", "params_ema"]
"""The weights themselves, or their running average, as checkpoints name them."""

WEIGHT_KINDS: tuple[WeightKind, ...] = ("params", "params_ema")

SizeValue = int | float | bool | Aware | tuple[int, ...]


@dataclass(frozen=True)
class ModelConfig:
    """
    The network.

    Attributes:
        backbone: name of a backbone: nafnet, swinir, restormer, promptir.
        size: its arguments under their published names, such as width; those not named keep the published value.
        masking: how masked stages are computed: `dense` computes whole maps and hides, `gather` only visible patches,
            `spconv` by that package, `auto` as is fastest; the same up to the order of sums.
    """

    backbone: str = "nafnet"
    size: Mapping[str, SizeValue] = field(default_factory=dict)
    masking: Literal["dense", "gather", "spconv", "auto"] = "gather"


@dataclass(frozen=True)
class DataConfig:
    """
    The samples.

    Attributes:
        shards: folder that `uir build-shards` wrote.
        subset: choice of degradations whose order is the label order; "" takes all that the shards hold.
        split: train, val or test.
        crop: side of the windows, in pixels. Paper: 256.
        batch: samples in a step, over all processes. Paper: 16.
        accumulate: pieces that a process cuts its part of the batch into, one after the other, to fit its memory.
        stages: later changes of crop and batch (Restormer's progressive learning); none by default.
        workers: processes that read; 0 reads between the steps.
        repeat: how often a degradation's samples stand in an epoch; empty takes the subset's own ratios.
        sampling: `repeat` uses these ratios; `balanced` gives each degradation the same share.
        augment: turn and flip, all eight ways equally often.
        fresh: make LQs that are made here anew each time they are drawn, with other noise; else each has one LQ for
            good, as in DCPT's release. Published pairs stay as they are. It takes the time of the degradations.
        validation_split: split that validations look at; "" has none. Where the shards have no such split there is no
            validation. Choosing by `test` spoils the test.
    """

    shards: str = ""
    subset: str = ""
    split: str = "train"
    crop: int = 256
    batch: int = 16
    accumulate: int = 1
    stages: tuple[StageConfig, ...] = ()
    workers: int = 4
    repeat: Mapping[str, int] = field(default_factory=dict)
    sampling: Sampling = "repeat"
    augment: bool = True
    fresh: bool = False
    validation_split: str = "val"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _at_least("data", self, crop=8, batch=1, accumulate=1, workers=0)
        starts = [stage.start for stage in self.stages]
        if starts != sorted(set(starts)) or (starts and starts[0] < 1):
            raise UsageError(f"data.stages start at {starts}; they must rise, from 1 on")


@dataclass(frozen=True)
class StageConfig:
    """
    A change of size on the way.

    Attributes:
        start: the first step with it, counted from 0.
        crop: side of the windows, in pixels.
        batch: samples in a step, over all processes.
        accumulate: pieces, as in `DataConfig`.
    """

    start: int
    crop: int
    batch: int
    accumulate: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _at_least("data.stages", self, crop=8, batch=1, accumulate=1)


@dataclass(frozen=True)
class ObjectiveConfig:
    """
    What is learned.

    >>> objective = ObjectiveConfig(mask_ratio=0.75)
    >>> objective.kind, objective.mask_patch
    ('maskdcpt', 16)

    Attributes:
        kind: maskdcpt (the paper), dcpt, ram, reconstruction, classification, or finetune (restoration itself).
        mask_ratio: share of the patches that are hidden. Paper: 0.5.
        mask_patch: side of a patch, in pixels. Paper: 16.
        mask_method: random, square or block-wise, as in the paper's Table IX.
        reconstruction: `decoder` fills hidden patches by a light decoder with mask tokens; `head` is the backbone's own
            last layer on the masked features, which cannot (reference: the released code).
        pixel: l1 (paper), charbonnier or psnr.
        pixel_weight: lambda in the paper's Eq. 5. Paper: 1.
        classification_weight: of the focal loss. Paper: 1.
        focal_gamma: DCPT's configurations: 2; the paper does not say.
    """

    kind: ObjectiveKind = "maskdcpt"
    mask_ratio: float = 0.5
    mask_patch: int = 16
    mask_method: Literal["random", "square", "block-wise"] = "random"
    reconstruction: Literal["decoder", "head"] = "decoder"
    pixel: PixelLoss = "l1"
    pixel_weight: float = 1.0
    classification_weight: float = 1.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.kind not in OBJECTIVE_TRAITS:
            raise UsageError(f"objective.kind is {self.kind!r}: {nearest(self.kind, OBJECTIVE_TRAITS)}")
        _at_least("objective", self, mask_patch=1, pixel_weight=0, classification_weight=0, focal_gamma=0)
        if not 0 <= self.mask_ratio < 1:
            raise UsageError(f"objective.mask_ratio is {self.mask_ratio}; it is a share, from 0 to below 1")

    @property
    def traits(self) -> ObjectiveTraits:
        """What follows from the kind alone: heads, mask, what the weights are good for."""
        return OBJECTIVE_TRAITS[self.kind]


@dataclass(frozen=True)
class OptimizerConfig:
    """
    How weights move: AdamW.

    Attributes:
        lr: of the backbone. Paper: 3e-4.
        lr_decoders: of the classifier and the reconstruction decoder. Paper: 1e-4.
        betas: of AdamW.
        weight_decay: of all weights. Paper: 0.
        schedule: `constant`, or `cosine` down to `final_lr`.
        final_lr: where the cosine ends, for the backbone; the decoders' ends at the same share of theirs.
        constant_steps: steps at the full rate before the cosine starts.
        warmup_steps: steps over which the rate rises from 0 at the start.
        clip_norm: largest norm of all gradients together; 0 does not clip.
        ema_decay: of the running average of the weights; 0 keeps none.
        ema_warmup: let the average forget faster at the start: decay min(ema_decay, (1 + t) / (10 + t)) at step t.
    """

    lr: float = 3e-4
    lr_decoders: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    final_lr: float = 1e-6
    constant_steps: int = 0
    warmup_steps: int = 0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    ema_warmup: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _at_least("optimizer", self, lr=0, lr_decoders=0, weight_decay=0, final_lr=0, constant_steps=0, warmup_steps=0)
        _at_least("optimizer", self, clip_norm=0, ema_decay=0)
        if self.ema_decay >= 1:
            raise UsageError(f"optimizer.ema_decay is {self.ema_decay}; from 0 to below 1")


@dataclass(frozen=True)
class InitConfig:
    """
    Where the weights come from.

    Attributes:
        checkpoint: a run, a checkpoint folder, a .safetensors or a published .pth; "" starts from scratch.
        parts: `backbone` alone, as the paper fine-tunes, or `all`: the heads too.
        weights: `params`, the weights themselves (DCPT's release), or `params_ema`, their running average.
        identity: set the backbone's last layer to zero, so that restoration starts by giving the image back. For short
            runs; the published ones start from a random or a pre-trained layer.
        contrast: let the first convolution see differences rather than brightness at the start: for short runs, where
            layers that normalise each pixel would first have to learn to look past it. The published ones start from
            random filters. Without effect where weights come from a checkpoint.
    """

    checkpoint: str = ""
    parts: Literal["backbone", "all"] = "backbone"
    weights: WeightKind = "params"
    identity: bool = False
    contrast: bool = False


@dataclass(frozen=True)
class LoopConfig:
    """
    How the run goes.

    Attributes:
        steps: how many times the weights move. Paper: 100,000 for pre-training.
        seed: of everything that is drawn.
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, or bfloat16 for products and convolutions (autocast).
        compile: hand the networks to torch.compile.
        channels_last: lay pixels out channel by channel at each place, which convolutions on a GPU like.
        checkpointing: forget inner results of the backbone and compute them again on the way back: less memory.
        parallel: how several processes share a step: with `ddp` each holds all weights, with `fsdp` (FSDP2) each has a
            part of weights, moments and average. Checkpoints are the same, and one goes on with the other.
        threads: of a CPU; 0 takes what OMP_NUM_THREADS says, else the cores that this process may use.
        log_every: steps between rows of metrics.jsonl.
        checkpoint_every: steps between checkpoints; the last step always gets one.
        keep: newest checkpoints that are kept, besides the best one.
        validate_every: steps between validations; 0 has none but the last.
        validate_images: images for each degradation in a validation; 0 validates nothing.
        sample_every: steps between pictures; 0 makes none.
        nan_limit: steps in a row with a loss or gradient that is no number before the run stops.
        tensorboard: write curves for TensorBoard too, where it is installed.
        tracker: also send them to `wandb` or `trackio`; "" does not.
    """

    steps: int = 100_000
    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    channels_last: bool = False
    checkpointing: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    threads: int = 0
    log_every: int = 50
    checkpoint_every: int = 5_000
    keep: int = 2
    validate_every: int = 5_000
    validate_images: int = 16
    sample_every: int = 1_000
    nan_limit: int = 10
    tensorboard: bool = True
    tracker: Literal["", "wandb", "trackio"] = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _at_least("loop", self, steps=1, seed=0, threads=0, log_every=1, checkpoint_every=1, keep=1)
        _at_least("loop", self, validate_every=0, validate_images=0, sample_every=0, nan_limit=1)


@dataclass(frozen=True)
class TrainConfig:
    """
    A run.

    >>> config = TrainConfig(out="runs/first", data=DataConfig(shards="uir-data/shards"), loop=LoopConfig(steps=500))
    >>> config.model.backbone, config.loop.steps
    ('nafnet', 500)

    Attributes:
        name: of the preset or experiment, for people.
        out: the run's folder.
    """

    name: str = ""
    out: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    init: InitConfig = field(default_factory=InitConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


def _at_least(table: str, value: object, **bounds: float) -> None:
    for name, bound in bounds.items():
        if getattr(value, name) < bound:
            raise UsageError(f"{table}.{name} is {getattr(value, name)}; at least {bound}")
