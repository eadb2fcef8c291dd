"""
The paper's experiments as configurations, and small ones for a CPU. Each value says where it comes from.

`paper` is stated in the MaskDCPT paper; `DCPT release` is read from the configurations that DCPT's authors published in
September 2025, where the paper says nothing; `published files` are the test files with the released weights;
`Restormer` is that paper's own recipe, which the MaskDCPT paper refers to; `ours` was chosen here, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from maskdcpt.config import TrainConfig
from maskdcpt.configuring import config_from_document, keys_of
from uirdata.errors import UsageError, nearest

PAPER = "paper"
RELEASE = "DCPT release"
FILES = "published files"
RESTORMER = "Restormer"
YOURS = "yours"
_DEFAULT = "ours: the default"
_UNUSED = frozenset(
    {
        "optimizer.lr_decoders",
        *(f"objective.{name}" for name in ("mask_ratio", "mask_patch", "mask_method", "reconstruction")),
        *(f"objective.{name}" for name in ("classification_weight", "focal_gamma")),
    }
)

Values = dict[str, tuple[Any, str]]
"""Dotted key to a value and where it comes from."""


@dataclass(frozen=True)
class Preset:
    """
    An experiment.

    Attributes:
        name: such as "pretrain-5d-nafnet".
        summary: what it is, in a sentence.
        config: what `train` takes; shards and out are the user's.
        origin: every dotted key to where its value comes from.
    """

    name: str
    summary: str
    config: TrainConfig
    origin: Mapping[str, str]


def find_preset(name: str) -> Preset:
    """
    Give a preset by name.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]()


_BACKBONES: Mapping[str, Values] = MappingProxyType(
    {
        "nafnet": {
            "model.backbone": ("nafnet", FILES),
            "model.size.width": (64, FILES),
            "model.size.enc_blk_nums": ([1, 1, 1, 28], FILES),
            "model.size.middle_blk_num": (1, FILES),
            "model.size.dec_blk_nums": ([1, 1, 1, 1], FILES),
        },
        "swinir": {
            "model.backbone": ("swinir", FILES),
            "model.size.embed_dim": (180, FILES),
            "model.size.depths": ([6] * 6, FILES),
            "model.size.num_heads": ([6] * 6, FILES),
            "model.size.mlp_ratio": (2.0, FILES),
            "model.size.window_size": (8, FILES),
        },
        "restormer": {"model.backbone": ("restormer", FILES)},
        "promptir": {
            "model.backbone": ("promptir", FILES),
            "model.size.bias": (True, "published files; what pre-training used is not known"),
        },
    }
)

_PRETRAINING: Values = {
    "objective.kind": ("maskdcpt", PAPER),
    "objective.mask_ratio": (0.5, PAPER),
    "objective.mask_patch": (16, PAPER),
    "objective.mask_method": ("random", PAPER),
    "objective.reconstruction": ("decoder", "ours: the paper's decoder is not public, the released code cannot fill"),
    "objective.pixel_weight": (1.0, PAPER),
    "objective.focal_gamma": (2.0, RELEASE),
    "optimizer.lr": (3e-4, PAPER),
    "optimizer.lr_decoders": (1e-4, PAPER),
    "optimizer.weight_decay": (0.0, PAPER),
    "optimizer.schedule": ("constant", PAPER),
    "loop.steps": (100_000, PAPER),
    "data.crop": (256, PAPER),
    "data.batch": (16, "paper; taken as the total, 4 on each of 4 GPUs"),
    "data.augment": (True, RELEASE),
    "data.fresh": (False, "DCPT release: each image keeps its noise"),
    "loop.checkpoint_every": (25_000, "paper: the columns of Table X"),
    "loop.keep": (4, "ours: all of them"),
}

_FINETUNING_5D: Values = {
    "objective.kind": ("finetune", PAPER),
    "objective.pixel": ("l1", RELEASE),
    "optimizer.lr": (3e-4, RELEASE),
    "optimizer.weight_decay": (0.0, RELEASE),
    "optimizer.schedule": ("cosine", RELEASE),
    "optimizer.final_lr": (1e-6, RELEASE),
    "optimizer.clip_norm": (0.01, RELEASE),
    "optimizer.ema_decay": (0.999, RELEASE),
    "loop.steps": (1_000_000, "DCPT release: what its cosine is laid out for"),
    "data.crop": (128, RELEASE),
    "data.batch": (24, "DCPT release: 6 on each of 4 GPUs"),
    "data.augment": (True, RELEASE),
    "data.fresh": (False, "DCPT release: each image keeps its noise"),
    "init.parts": ("backbone", PAPER),
    "init.weights": ("params", RELEASE),
}

_FINETUNING_12D: Values = {
    **_FINETUNING_5D,
    "optimizer.lr": (2.5e-4, "DCPT release, 10D"),
    "optimizer.final_lr": (1e-5, "DCPT release, 10D"),
    "loop.steps": (500_000, "DCPT release, 10D"),
    "data.batch": (128, "DCPT release, 10D: 32 on each of 4 GPUs"),
}

_FINETUNING_MIXED: Values = {
    **_FINETUNING_5D,
    "optimizer.lr": (3e-4, PAPER),
    "optimizer.final_lr": (1e-6, PAPER),
    "loop.steps": (750_000, PAPER),
    "data.batch": (32, PAPER),
    "data.crop": (128, "DCPT release; the paper does not say"),
}

_RESTORMER_STAGES = [
    {"start": 92_000, "crop": 160, "batch": 40},
    {"start": 156_000, "crop": 192, "batch": 32},
    {"start": 204_000, "crop": 256, "batch": 16},
    {"start": 240_000, "crop": 320, "batch": 8},
    {"start": 276_000, "crop": 384, "batch": 8},
]

_FINETUNING_SINGLE: Values = {
    "objective.kind": ("finetune", PAPER),
    "objective.pixel": ("l1", RESTORMER),
    "optimizer.lr": (3e-4, RESTORMER),
    "optimizer.weight_decay": (1e-4, RESTORMER),
    "optimizer.schedule": ("cosine", RESTORMER),
    "optimizer.constant_steps": (92_000, RESTORMER),
    "optimizer.final_lr": (1e-6, RESTORMER),
    "optimizer.clip_norm": (0.01, RESTORMER),
    "loop.steps": (300_000, RESTORMER),
    "data.crop": (128, RESTORMER),
    "data.batch": (64, "Restormer: 8 on each of 8 GPUs"),
    "data.stages": (_RESTORMER_STAGES, RESTORMER),
    "init.parts": ("backbone", PAPER),
}

_SAMPLE: Values = {
    "model.backbone": ("nafnet", "ours: small enough for two cores"),
    "model.size.width": (12, "ours"),
    "model.size.enc_blk_nums": ([1, 1, 2], "ours"),
    "model.size.middle_blk_num": (1, "ours"),
    "model.size.dec_blk_nums": ([1, 1, 1], "ours"),
    "data.subset": ("sample", "ours"),
    "data.crop": (64, "ours"),
    "data.batch": (4, "ours: more steps for the same time"),
    "data.workers": (0, "ours: reading is cheap beside a step on a CPU"),
    "data.validation_split": ("", "ours: the run is judged at its end, once"),
    "optimizer.schedule": ("cosine", "ours"),
    "optimizer.final_lr": (1e-5, "ours"),
    "optimizer.clip_norm": (1.0, "ours"),
    "loop.log_every": (20, "ours"),
    "loop.checkpoint_every": (1_000, "ours"),
    "loop.sample_every": (1_000, "ours"),
    "loop.tensorboard": (False, "ours"),
}


def _lr_of(backbone: str) -> Values:
    """Give the learning rates that DCPT's release uses for the backbones that the paper does not name."""
    if backbone == "nafnet":
        return {}
    return {
        "optimizer.lr": (3e-4, "paper; DCPT's release has 2e-4 for this backbone"),
        "optimizer.lr_decoders": (1e-4, "paper; DCPT's release has 5e-5 for this backbone"),
    }


def _pretraining(subset: str, backbone: str, **changes: tuple[Any, str]) -> Values:
    values = {**_BACKBONES[backbone], **_PRETRAINING, **_lr_of(backbone), "data.subset": (subset, PAPER)}
    return values | {key.replace("__", "."): value for key, value in changes.items()}


def _finetuning(subset: str, backbone: str) -> Values:
    recipe = {"5d": _FINETUNING_5D, "12d": _FINETUNING_12D, "mixed": _FINETUNING_MIXED}[subset]
    values = {**_BACKBONES[backbone], **recipe, "data.subset": (subset, PAPER)}
    if backbone == "swinir":
        values |= {
            "optimizer.lr": (1.5e-4, RELEASE),
            "optimizer.clip_norm": (0.0, RELEASE),
            "data.batch": (16, "DCPT release: 4 on each of 4 GPUs"),
        }
    return values


def _make(name: str, summary: str, values: Values) -> Callable[[], Preset]:
    def preset() -> Preset:
        document: dict[str, Any] = {"name": name}
        for key, (value, _) in values.items():
            *tables, last = key.split(".")
            table = document
            for part in tables:
                table = table.setdefault(part, {})
            table[last] = value
        config = config_from_document(document, where=f"preset {name}")
        unused = _UNUSED if config.objective.kind == "finetune" else frozenset()
        origin = {key: "not used in fine-tuning" if key in unused else _DEFAULT for key in keys_of(config)}
        origin |= dict.fromkeys(("name", "out", "data.shards"), YOURS)
        origin |= {key: where for key, (_, where) in values.items()}
        return Preset(name, summary, config, MappingProxyType(origin))

    return preset


def _all() -> dict[str, Callable[[], Preset]]:
    found: dict[str, Callable[[], Preset]] = {}

    def add(name: str, summary: str, values: Values) -> None:
        found[name] = _make(name, summary, values)

    add(
        "pretrain-sample",
        "MaskDCPT on the sample photographs, about a minute on two cores.",
        {**_PRETRAINING, **_SAMPLE, **_SAMPLE_PRETRAINING},
    )
    add(
        "finetune-sample",
        "Fine-tuning on the sample photographs, about a minute on two cores; from scratch without init.checkpoint.",
        {**_SAMPLE, **_SAMPLE_FINETUNING},
    )
    for backbone in _BACKBONES:
        add(
            f"pretrain-5d-{backbone}",
            f"Table I: MaskDCPT of {backbone} on five degradations.",
            _pretraining("5d", backbone),
        )
        add(
            f"pretrain-5d-{backbone}-dcpt",
            f"Table I: DCPT of {backbone} on five degradations.",
            _pretraining("5d", backbone, **_DCPT),
        )
        add(
            f"finetune-5d-{backbone}",
            f"Table I: {backbone} on five degradations, from init.checkpoint or from scratch.",
            _finetuning("5d", backbone),
        )
    for backbone in ("swinir", "promptir"):
        add(
            f"pretrain-5d-{backbone}-ram",
            f"Table I: RAM of {backbone} on five degradations.",
            _pretraining("5d", backbone, **_RAM),
        )
    add("pretrain-12d-nafnet", "Table II: MaskDCPT of nafnet on twelve degradations.", _pretraining("12d", "nafnet"))
    add(
        "pretrain-12d-nafnet-dcpt",
        "Table II: DCPT of nafnet on twelve degradations.",
        _pretraining("12d", "nafnet", **_DCPT),
    )
    add("finetune-12d-nafnet", "Tables II and IV: nafnet on twelve degradations.", _finetuning("12d", "nafnet"))
    add(
        "pretrain-12d-restormer",
        "Table XI: MaskDCPT of restormer on twelve degradations.",
        _pretraining("12d", "restormer"),
    )
    add("finetune-12d-restormer", "Table XI: restormer on twelve degradations.", _finetuning("12d", "restormer"))
    add(
        "finetune-mixed-nafnet",
        "Table VI: nafnet on mixed degradations, from the 5D pre-training.",
        _finetuning("mixed", "nafnet"),
    )
    for task, subset, title in (("gopro", "gopro", "GoPro"), ("rain13k", "rain13k", "Rain13K")):
        add(
            f"finetune-{task}-restormer",
            f"Table V: restormer on {title} alone, with Restormer's progressive schedule.",
            {**_BACKBONES["restormer"], **_FINETUNING_SINGLE, "data.subset": (subset, PAPER)},
        )
    for ratio in (25, 75):
        add(
            f"pretrain-5d-promptir-ratio-{ratio}",
            f"Table VII: {ratio} % of the patches hidden. Its rows for 0 and 50 are the dcpt and the plain preset.",
            _pretraining("5d", "promptir", objective__mask_ratio=(ratio / 100, PAPER)),
        )
    for patch in (1, 4, 32):
        add(
            f"pretrain-5d-promptir-patch-{patch}",
            f"Table VIII: patches of {patch} pixels. Its row for 16 is the plain preset.",
            _pretraining("5d", "promptir", objective__mask_patch=(patch, PAPER)),
        )
    for method in ("square", "block-wise"):
        add(
            f"pretrain-5d-promptir-{method}",
            f"Table IX: {method} masks. Its row for random ones is the plain preset.",
            _pretraining("5d", "promptir", objective__mask_method=(method, PAPER)),
        )
    return found


_DCPT: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {"objective__kind": ("dcpt", RELEASE), "data__crop": (128, RELEASE)}
)

_RAM: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "objective__kind": ("ram", "RAM release"),
        "objective__mask_patch": (1, "RAM release"),
        "objective__mask_ratio": (0.5, "RAM release"),
        "optimizer__lr": (2e-4, "RAM release"),
        "optimizer__warmup_steps": (40_000, "RAM release"),
        "optimizer__schedule": ("cosine", "RAM release"),
        "optimizer__ema_decay": (0.995, "RAM release"),
        "data__crop": (128, "RAM release"),
        "loop__steps": (1_200_000, "RAM release"),
    }
)

_SAMPLE_PRETRAINING: Values = {
    "data.batch": (8, "ours: four samples are too few to tell six types apart"),
    "optimizer.lr": (3e-3, "ours: a small network and few steps"),
    "optimizer.lr_decoders": (3e-3, "ours"),
    "optimizer.schedule": ("cosine", "ours"),
    "init.contrast": (True, "ours: a short run cannot first find out that the brightness tells nothing"),
    "loop.steps": (500, "ours"),
}

_SAMPLE_FINETUNING: Values = {
    "objective.kind": ("finetune", PAPER),
    "objective.pixel": ("psnr", "ours: L1 is ruled by the dark images in a short run"),
    "optimizer.lr": (1.5e-3, "ours: at 3e-3 the blurred images come out worse than they went in"),
    "optimizer.betas": ([0.9, 0.95], "ours: quick, as the run is"),
    "optimizer.ema_decay": (0.99, "ours: short, as the run is"),
    "optimizer.ema_warmup": (True, "ours"),
    "init.identity": (True, "ours: a short run cannot first unlearn a random last layer"),
    "loop.steps": (1_200, "ours"),
}

PRESETS: Mapping[str, Callable[[], Preset]] = MappingProxyType(_all())
"""Name to a function that gives the preset."""
