"""
The configuration of a training run: one frozen value. `toml.py` reads it from TOML and writes it next to the weights.

Defaults are those of the paper's pre-training where it states a value. `presets.py` has the paper's experiments, with
the origin of each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maskdcpt.config.objective_kinds import OBJECTIVE_TRAITS, ObjectiveKind, ObjectiveTraits
from uirdata.errors import UsageError, nearest

PixelLoss = Literal["l1", "charbonnier", "psnr"]
Sampling = Literal["repeat", "balanced"]
Aware = Literal["none", "instructions", "frequency", "experts"]
"""How a Restormer is made aware of the degradation (`backbones.awareness`)."""

WeightKind = Literal["params", "params_ema"]
"""The raw weights (params) or their EMA (params_ema), by their names in checkpoints."""

WEIGHT_KINDS: tuple[WeightKind, ...] = ("params", "params_ema")

SizeValue = int | float | bool | Aware | tuple[int, ...]


@dataclass(frozen=True)
class ModelConfig:
    """
    The network.

    Attributes:
        backbone: name of a backbone: nafnet, swinir, restormer, promptir.
        size: its arguments under their published names, such as width; missing ones keep the published value.
        masking: how masked stages are computed: `dense` computes whole maps and hides patches, `gather` computes only
            visible patches, `spconv` uses that package, `auto` the fastest; results differ only by the order of sums.
    """

    backbone: str = "nafnet"
    size: Mapping[str, SizeValue] = field(default_factory=dict)
    masking: Literal["dense", "gather", "spconv", "auto"] = "gather"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _one_of_its_choices("model", self)


@dataclass(frozen=True)
class DataConfig:
    """
    The samples.

    Attributes:
        shards: folder that `uir build-shards` wrote.
        subset: choice of degradations whose order is the label order; "" uses all samples of the shards.
        split: train, val or test.
        crop: side of the windows, in pixels. Paper: 256.
        batch: samples in a step, over all processes. Paper: 16.
        accumulate: forward passes that a process splits its part of the batch into, to fit into its memory.
        stages: later changes of crop and batch (Restormer's progressive learning); none by default.
        workers: processes that read samples; 0 reads them in the training process, between the steps.
        repeat: how often a degradation's samples occur in an epoch; empty uses the subset's own ratios.
        sampling: `repeat` uses these ratios; `balanced` gives each degradation the same share.
        augment: turn and flip; all eight combinations are equally likely.
        fresh: degrade a GT again each time it is drawn, with other noise; otherwise each GT keeps one LQ, as in DCPT's
            release. Published pairs do not change. This costs the time of the degradations.
        validation_split: train, val or test: the split for validation; "" has none. Where the shards have no such split
            there is no validation, which the run says.
            A checkpoint chosen on `test` makes the test results invalid.
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
        _one_of_its_choices("data", self)
        _at_least("data", self, crop=8, batch=1, accumulate=1, workers=0)
        starts = [stage.start for stage in self.stages]
        if starts != sorted(set(starts)) or (starts and starts[0] < 1):
            raise UsageError(f"data.stages start at {starts}; they must increase, and start from 1 or later")


@dataclass(frozen=True)
class StageConfig:
    """
    A change of crop and batch during a run.

    Attributes:
        start: the first step with it, counted from 0.
        crop: side of the windows, in pixels.
        batch: samples in a step, over all processes.
        accumulate: as in `DataConfig`.
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
    The objective and its weights.

    >>> objective = ObjectiveConfig(mask_ratio=0.75)
    >>> objective.kind, objective.mask_patch
    ('maskdcpt', 16)

    Attributes:
        kind: maskdcpt (the paper), dcpt, ram, reconstruction, classification, or finetune (restoration itself).
        mask_ratio: share of the patches that are hidden. Paper: 0.5.
        mask_patch: side of a patch, in pixels. Paper: 16.
        mask_method: random, square or block-wise, as in the paper's Table IX.
        reconstruction: `decoder` fills hidden patches with a light decoder with mask tokens; `head` is the backbone's
            own last layer on the masked features, which cannot fill them (reference: the released code).
        pixel: l1 (paper), charbonnier or psnr.
        pixel_weight: lambda in the paper's Eq. 5. Paper: 1.
        classification_weight: of the focal loss. Paper: 1.
        focal_gamma: of the focal loss. 2 in DCPT's configurations; the paper does not state it.
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
        _one_of_its_choices("objective", self)
        _at_least("objective", self, mask_patch=1, pixel_weight=0, classification_weight=0, focal_gamma=0)
        if not 0 <= self.mask_ratio < 1:
            raise UsageError(f"objective.mask_ratio is {self.mask_ratio}; expected a share from 0 to below 1")

    @property
    def traits(self) -> ObjectiveTraits:
        """What follows from the kind alone: heads, mask, and the use of the weights."""
        return OBJECTIVE_TRAITS[self.kind]


@dataclass(frozen=True)
class OptimizerConfig:
    """
    The optimiser, AdamW, and the schedule.

    Attributes:
        lr: learning rate of the backbone. Paper: 3e-4.
        lr_decoders: learning rate of the classifier and the reconstruction decoder. Paper: 1e-4.
        betas: of AdamW.
        weight_decay: of all weights. Paper: 0.
        schedule: `constant`, or `cosine` down to `final_lr`.
        final_lr: learning rate of the backbone at the end of the cosine; that of the decoders ends at the same share.
        constant_steps: the step at which the cosine starts; until then, after the warm-up, the rate is the full one.
        warmup_steps: steps of the warm-up, in which the rate rises from 0 to the full one; a cosine starts after it at
            the earliest, so the rate does not drop where the warm-up ends.
        clip_norm: largest norm of all gradients together; 0 does not clip.
        ema_decay: decay of the EMA of the weights; 0 has no EMA.
        ema_warmup: use a smaller decay at the start: min(ema_decay, (1 + t) / (10 + t)) at step t.
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
        _one_of_its_choices("optimizer", self)
        _at_least("optimizer", self, lr=0, lr_decoders=0, weight_decay=0, final_lr=0, constant_steps=0, warmup_steps=0)
        _at_least("optimizer", self, clip_norm=0, ema_decay=0)
        if self.ema_decay >= 1:
            raise UsageError(f"optimizer.ema_decay is {self.ema_decay}; expected a value from 0 to below 1")


@dataclass(frozen=True)
class InitConfig:
    """
    The initial weights.

    Attributes:
        checkpoint: a run, a checkpoint folder, a .safetensors or a published .pth; "" starts from scratch.
        parts: `backbone` alone, as the paper fine-tunes, or `all`: the heads too.
        weights: `params`, the raw weights (DCPT's release), or `params_ema`, their EMA.
        identity: set the backbone's last layer to zero, so that restoration starts as the identity. For short runs;
            the published ones start from a random or a pre-trained layer.
        contrast: start with a first convolution that responds to differences rather than to brightness. For short
            runs, in which layers that normalise each pixel would first have to learn to ignore brightness. The
            published ones start from random filters. No effect where weights come from a checkpoint.
    """

    checkpoint: str = ""
    parts: Literal["backbone", "all"] = "backbone"
    weights: WeightKind = "params"
    identity: bool = False
    contrast: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _one_of_its_choices("init", self)


@dataclass(frozen=True)
class LoopConfig:
    """
    The training loop: length, device, precision, logging.

    Attributes:
        steps: the number of steps. Paper: 100,000 for pre-training.
        seed: of everything that is random.
        device: auto, cpu, cuda, cuda:1, ...
        precision: float32, or bfloat16 for matrix products and convolutions (autocast).
        compile: compile the networks with torch.compile.
        channels_last: use torch's channels-last memory format, in which convolutions on a GPU are faster.
        checkpointing: gradient checkpointing: recompute inner results of the backbone in the backward pass, which takes
            less memory.
        parallel: how several processes share a step: with `ddp` each holds all weights, with `fsdp` (FSDP2) each has a
            part of weights, moments and EMA. Checkpoints are the same, and a run can be resumed with the other one.
        threads: of a CPU; 0 uses OMP_NUM_THREADS if it is set, else the cores that this process may use.
        log_every: steps between rows of metrics.jsonl.
        checkpoint_every: steps between checkpoints; the last step always gets one.
        keep: the number of newest checkpoints that are kept, besides the best one.
        validate_every: steps between validations; 0 validates only at the end.
        validate_images: images of each degradation in a validation; 0 has no validation.
        sample_every: steps between example images; 0 writes none.
        nan_limit: the run stops after this number of steps in a row with a NaN or infinite loss or gradient.
        tensorboard: write curves for TensorBoard too, if it is installed.
        tracker: also send curves to `wandb` or `trackio`; "" does not.
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
        _one_of_its_choices("loop", self)
        _at_least("loop", self, steps=1, seed=0, threads=0, log_every=1, checkpoint_every=1, keep=1)
        _at_least("loop", self, validate_every=0, validate_images=0, sample_every=0, nan_limit=1)


@dataclass(frozen=True)
class TrainConfig:
    """
    The configuration of a run.

    >>> config = TrainConfig(out="runs/first", data=DataConfig(shards="uir-data/shards"), loop=LoopConfig(steps=500))
    >>> config.model.backbone, config.loop.steps
    ('nafnet', 500)

    Attributes:
        name: of the preset or experiment, for display.
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
            raise UsageError(f"{table}.{name} is {getattr(value, name)}; expected at least {bound}")


def _one_of_its_choices(table: str, value: object) -> None:
    """Refuse a misspelt choice: configurations that are made in Python pass no other check before a run."""
    cls: Any = type(value)
    for name, choices in _choices(cls).items():
        chosen = getattr(value, name)
        if chosen not in choices:
            raise UsageError(f"{table}.{name} is {chosen!r}: {nearest(chosen, choices)}")


@cache
def _choices(cls: type) -> Mapping[str, tuple[str, ...]]:
    return {name: get_args(hint) for name, hint in get_type_hints(cls).items() if get_origin(hint) is Literal}
