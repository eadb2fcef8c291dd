"""
What a training run is: one frozen value, read from TOML, strictly, and written next to the weights that came of it.

Defaults are those of the paper's pre-training where it states a value. `presets.py` has the paper's experiments, with
the origin of each value.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from uirdata.errors import UsageError, nearest

Objective = Literal["maskdcpt", "dcpt", "ram", "reconstruction", "classification", "finetune"]
PixelLoss = Literal["l1", "charbonnier", "psnr"]
Sampling = Literal["repeat", "balanced"]
SizeValue = int | float | bool | tuple[int, ...]


@dataclass(frozen=True)
class ModelConfig:
    """
    The network.

    Attributes:
        backbone: name of a backbone: nafnet, swinir, restormer, promptir.
        size: its arguments under their published names, such as width; those not named keep the published value.
        masking: how masked stages are computed: `dense` computes whole maps and hides, `gather` only visible patches;
            the same up to the order of sums.
    """

    backbone: str = "nafnet"
    size: Mapping[str, SizeValue] = field(default_factory=dict)
    masking: Literal["dense", "gather"] = "gather"


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

    kind: Objective = "maskdcpt"
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
        _at_least("objective", self, mask_patch=1, pixel_weight=0, classification_weight=0, focal_gamma=0)
        if not 0 <= self.mask_ratio < 1:
            raise UsageError(f"objective.mask_ratio is {self.mask_ratio}; it is a share, from 0 to below 1")


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
    """

    checkpoint: str = ""
    parts: Literal["backbone", "all"] = "backbone"
    weights: Literal["params", "params_ema"] = "params"
    identity: bool = False


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
        threads: of a CPU; 0 takes the cores that this process may use.
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


FREE_ON_RESUME = frozenset(
    {
        "out",
        "data.shards",
        "data.workers",
        "data.accumulate",
        "init.checkpoint",
        *(f"loop.{f.name}" for f in fields(LoopConfig) if f.name not in ("seed", "precision")),
    }
)
"""What a resumed run may change without becoming another run."""


def config_from_toml(text: str, *, where: str, drop_unknown: bool = False) -> TrainConfig:
    """
    Read a configuration.

    Args:
        text: TOML; tables and keys as in `TrainConfig`, those not named keep their default.
        where: what an error calls the text.
        drop_unknown: pass over keys that this release does not know, as a checkpoint of another one may have.

    Raises:
        UsageError: it is no TOML, has a key that is not known or a value that cannot be.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: no TOML: {error}") from error
    return config_from_document(_without_unknown(document) if drop_unknown else document, where=where)


def config_from_document(document: Mapping[str, Any], *, where: str) -> TrainConfig:
    """Check nested tables and give the configuration that they mean; errors as `config_from_toml`."""
    import pydantic

    try:
        # JSON's strict mode takes a list for a tuple and an integer for a real number, and nothing else for another.
        config: TrainConfig = _adapter().validate_json(json.dumps(document, allow_nan=False), strict=True)
    except pydantic.ValidationError as error:
        raise UsageError(f"{where}: {_explain(error)}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error
    return config


def read_config(path: Path) -> TrainConfig:
    """
    Read a configuration file.

    Raises:
        UsageError: it is missing or not a configuration.
    """
    try:
        return config_from_toml(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def with_settings(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """
    Change single values.

    Args:
        config: stays as it is.
        settings: such as "optimizer.lr=1e-4" or "model.size.width=16". The value is TOML, or else text.

    Raises:
        UsageError: a setting has no "=", names an unknown key, or has a value that cannot be.
    """
    document = to_document(config)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting!r} is not KEY=VALUE, such as optimizer.lr=1e-4")
        *tables, last = key.strip().split(".")
        table = document
        for name in tables:
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {setting!r}: {name} holds one value, not a table")
            table = inner
        table[last] = _toml_value(value.strip())
    return config_from_document(document, where="--set" if settings else "configuration")


def to_document(config: TrainConfig) -> dict[str, Any]:
    """Give nested tables of plain values, as TOML and JSON hold them."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(config), default=dict))
    return document


def to_toml(config: TrainConfig, comments: Mapping[str, str] | None = None) -> str:
    """
    Write a configuration, complete, as `config_from_toml` reads it.

    Args:
        config: what to write.
        comments: dotted key to a remark that follows the value, such as where it comes from.
    """
    remarks = comments or {}
    lines: list[str] = []
    document = to_document(config)
    _write_table(lines, document, "", remarks)
    return "\n".join(lines).strip() + "\n"


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Name the dotted keys whose values differ."""
    a, b = dict(_flat(to_document(one))), dict(_flat(to_document(other)))
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))


def json_schema() -> dict[str, Any]:
    """Give the JSON schema of a configuration, for editors."""
    schema: dict[str, Any] = _adapter().json_schema()
    return schema


def _at_least(table: str, value: object, **bounds: float) -> None:
    for name, bound in bounds.items():
        if getattr(value, name) < bound:
            raise UsageError(f"{table}.{name} is {getattr(value, name)}; at least {bound}")


@cache
def _adapter() -> Any:
    import pydantic

    for kind in (
        ModelConfig, DataConfig, StageConfig, ObjectiveConfig, OptimizerConfig, InitConfig, LoopConfig, TrainConfig
    ):  # fmt: skip
        setattr(kind, "__pydantic_config__", pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))  # noqa: B010
    return pydantic.TypeAdapter(TrainConfig)


def _explain(error: Any) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"unknown key {'.'.join(path)!r}; {nearest(path[-1], _known_keys(path[:-1]))}"
    # A choice between kinds puts their names behind the key; people only want the key.
    known = [part for i, part in enumerate(path) if i < 2 or not part.startswith(("int", "float", "bool", "tuple"))]
    return f"{'.'.join(known)} is {first['input']!r}: {first['msg'].lower()}"


def _without_unknown(document: dict[str, Any]) -> dict[str, Any]:
    known = to_document(TrainConfig())
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict) and isinstance(known.get(name), dict):
            # The tables whose keys are the user's own are empty by default: model.size and data.repeat.
            kept[name] = {k: v for k, v in value.items() if k in known[name]}
        elif name in known:
            kept[name] = value
    return kept


def _known_keys(tables: Sequence[str]) -> list[str]:
    kind: Any = TrainConfig()
    for name in tables:
        if name.isdigit():
            kind = StageConfig(1, 8, 1)
        elif is_dataclass(kind) and hasattr(kind, name):
            kind = getattr(kind, name)
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows


def _write_table(lines: list[str], table: Mapping[str, Any], prefix: str, remarks: Mapping[str, str]) -> None:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in inner:
            remark = remarks.get(prefix + key)
            lines.append(f"{_toml_key(key)} = {_toml_text(value)}" + (f"  # {remark}" if remark else ""))
    for key, value in inner.items():
        lines += ["", f"[{prefix}{_toml_key(key)}]"]
        _write_table(lines, value, f"{prefix}{_toml_key(key)}.", remarks)


def _toml_key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else json.dumps(key)


def _toml_text(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(k)} = {_toml_text(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_text(part) for part in value) + "]"
    # JSON's numbers, truth values and strings are TOML's.
    return json.dumps(value)
