"""
The values of presets, group by group, each with its origin.

`paper` is stated in the MaskDCPT paper; `DCPT release` is read from the configurations that DCPT's authors published in
September 2025, where the paper says nothing; `published files` are the test files with the released weights;
`Restormer` is that paper's own recipe, which the MaskDCPT paper refers to; `ours` was chosen here, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PAPER = "paper"
RELEASE = "DCPT release"
FILES = "published files"
RESTORMER = "Restormer"
YOURS = "yours"
DEFAULT = "ours: the default"
UNUSED = frozenset(
    {
        "optimizer.lr_decoders",
        *(f"objective.{name}" for name in ("mask_ratio", "mask_patch", "mask_method", "reconstruction")),
        *(f"objective.{name}" for name in ("classification_weight", "focal_gamma")),
    }
)

Values = dict[str, tuple[Any, str]]
"""Dotted key to a value and its origin."""


BACKBONES: Mapping[str, Values] = MappingProxyType(
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

VARIANTS: Mapping[str, Values] = MappingProxyType(
    {
        f"restormer-{aware}": {
            **BACKBONES["restormer"],
            "model.size.aware": (aware, f"paper; after {source}, the rest as backbones.awareness says"),
        }
        for aware, source in {"instructions": "InstructIR", "frequency": "AdaIR", "experts": "MoCE-IR"}.items()
    }
)
"""The Restormers of Table XI that are aware of the degradation, by the names of their presets."""

PRETRAINING: Values = {
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

FINETUNING_5D: Values = {
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

FINETUNING_12D: Values = {
    **FINETUNING_5D,
    "optimizer.lr": (2.5e-4, "DCPT release, 10D"),
    "optimizer.final_lr": (1e-5, "DCPT release, 10D"),
    "loop.steps": (500_000, "DCPT release, 10D"),
    "data.batch": (128, "DCPT release, 10D: 32 on each of 4 GPUs"),
}

FINETUNING_MIXED: Values = {
    **FINETUNING_5D,
    "optimizer.lr": (3e-4, PAPER),
    "optimizer.final_lr": (1e-6, PAPER),
    "loop.steps": (750_000, PAPER),
    "data.batch": (32, PAPER),
    "data.crop": (128, "DCPT release; the paper does not say"),
}

RESTORMER_STAGES = [
    {"start": 92_000, "crop": 160, "batch": 40},
    {"start": 156_000, "crop": 192, "batch": 32},
    {"start": 204_000, "crop": 256, "batch": 16},
    {"start": 240_000, "crop": 320, "batch": 8},
    {"start": 276_000, "crop": 384, "batch": 8},
]

FINETUNING_SINGLE: Values = {
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
    "data.stages": (RESTORMER_STAGES, RESTORMER),
    "init.parts": ("backbone", PAPER),
}

SAMPLE: Values = {
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
    "loop.threads": (1, "ours: a second thread gains a tenth here, and loses everything where the cores are busy"),
    "loop.log_every": (20, "ours"),
    "loop.checkpoint_every": (1_000, "ours"),
    "loop.sample_every": (1_000, "ours"),
    "loop.tensorboard": (False, "ours"),
}

DCPT: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {"objective__kind": ("dcpt", RELEASE), "data__crop": (128, RELEASE)}
)

RAM: Mapping[str, tuple[Any, str]] = MappingProxyType(
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

SAMPLE_PRETRAINING: Values = {
    "data.batch": (8, "ours: four samples are too few to tell six types apart"),
    "objective.mask_ratio": (0.25, "ours: half of a 64-pixel crop shows too little to learn six types in minutes"),
    "optimizer.lr": (2e-3, "ours: a small network and few steps"),
    "optimizer.lr_decoders": (2e-3, "ours"),
    "optimizer.betas": ([0.9, 0.95], "ours: quick, as the run is"),
    "optimizer.warmup_steps": (50, "ours"),
    "optimizer.schedule": ("cosine", "ours"),
    "init.contrast": (True, "ours: a short run cannot first find out that the brightness tells nothing"),
    "loop.steps": (600, "ours"),
}

SAMPLE_FINETUNING: Values = {
    "objective.kind": ("finetune", PAPER),
    "objective.pixel": ("psnr", "ours: L1 is ruled by the dark images in a short run"),
    "optimizer.lr": (7e-4, "ours: at twice that the blurred images can come out worse than they went in"),
    "optimizer.betas": ([0.9, 0.95], "ours: quick, as the run is"),
    "optimizer.ema_decay": (0.99, "ours: short, as the run is"),
    "optimizer.ema_warmup": (True, "ours"),
    "init.identity": (True, "ours: a short run cannot first unlearn a random last layer"),
    "loop.steps": (1_200, "ours"),
}

SMALL: Values = {
    "data.subset": ("", "ours: all that the shards hold"),
    "loop.log_every": (50, "ours"),
    "loop.sample_every": (500, "ours"),
    "loop.tensorboard": (True, "ours"),
}

MEDIUM: Values = {
    "model.backbone": ("nafnet", "ours"),
    "model.size.width": (32, "NAFNet: its smaller published width"),
    "model.size.enc_blk_nums": ([1, 1, 1, 28], FILES),
    "model.size.middle_blk_num": (1, FILES),
    "model.size.dec_blk_nums": ([1, 1, 1, 1], FILES),
    "data.subset": ("", "ours: all that the shards hold"),
    "data.crop": (128, "ours: fits a small GPU"),
    "data.batch": (16, "ours"),
    "loop.checkpoint_every": (2_000, "ours"),
    "loop.keep": (2, "ours"),
    "loop.precision": ("bfloat16", "ours"),
}
