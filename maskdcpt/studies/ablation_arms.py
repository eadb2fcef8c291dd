"""
The small reproduction: which arms are compared, at which sizes, on which made degradations.

The question is the paper's main one, whether masked degradation classification pre-training helps fine-tuning, at a
size for a CPU or one GPU. All settings were chosen for this study; mask ratios and patches are those of the paper's
Tables VII and VIII.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskdcpt.config.objective_kinds import ObjectiveKind
from maskdcpt.config.train_config import (
    DataConfig,
    InitConfig,
    LoopConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SizeValue,
    TrainConfig,
)
from uirdata.manifest_syntax.toml_writer import toml_text

SUBSET = "mini-5d"


@dataclass(frozen=True)
class Arm:
    """
    One kind of initial weights for the fine-tuning.

    Attributes:
        name: in folders and tables.
        title: for display.
        objective: of the pre-training; None starts from random weights.
        longer: no pre-training, but fine-tuning on as many more samples as the other arms are pre-trained on.
    """

    name: str
    title: str
    objective: ObjectiveConfig | None = None
    longer: bool = False

    @property
    def head_is_trained(self) -> bool:
        """Whether the pre-training trains the backbone's last layer, so that fine-tuning starts from it."""
        return self.objective is not None and self.objective.traits.whole_backbone


def _pretrained(name: str, title: str, kind: ObjectiveKind, ratio: float = 0.5, patch: int = 16) -> Arm:
    return Arm(name, title, ObjectiveConfig(kind=kind, mask_ratio=ratio, mask_patch=patch))


_ARMS = (
    Arm("scratch", "from scratch"),
    _pretrained("dcpt", "DCPT", "dcpt"),
    _pretrained("ram", "RAM-style, half of the pixels", "ram", patch=1),
    _pretrained("maskdcpt-25-16", "MaskDCPT, 25 %, patch 16", "maskdcpt", ratio=0.25),
    _pretrained("maskdcpt-50-16", "MaskDCPT, 50 %, patch 16", "maskdcpt"),
    _pretrained("maskdcpt-75-16", "MaskDCPT, 75 %, patch 16", "maskdcpt", ratio=0.75),
    _pretrained("maskdcpt-50-4", "MaskDCPT, 50 %, patch 4", "maskdcpt", patch=4),
    _pretrained("maskdcpt-50-32", "MaskDCPT, 50 %, patch 32", "maskdcpt", patch=32),
    _pretrained("reconstruction", "masked reconstruction alone", "reconstruction"),
    _pretrained("classification", "masked classification alone", "classification"),
    Arm("scratch-longer", "from scratch, for the samples of both", longer=True),
)

ARMS: Mapping[str, Arm] = MappingProxyType({arm.name: arm for arm in _ARMS})
"""The arms by name, in the order of the tables."""

DEFAULT_ARMS = tuple(arm.name for arm in _ARMS[:8])
SCRATCH = "scratch"


@dataclass(frozen=True)
class Size:
    """
    The size of a comparison.

    Attributes:
        networks: backbone to its arguments.
        crop: side of the training windows, in pixels.
        pretrain_steps: with `pretrain_batch` samples each.
        pretrain_batch: samples.
        finetune_steps: with `finetune_batch` samples each.
        finetune_batch: samples.
        test_crop: side of the test images, in pixels; 0 takes them whole.
        per_image: number of LQ per degradation and training crop.
        validations: number of points of the PSNR curve.
        probed: images of each degradation at a point of the curve; the probe uses twice as many.
        workers: loader processes of each run.
    """

    networks: Mapping[str, Mapping[str, SizeValue]]
    crop: int
    pretrain_steps: int
    pretrain_batch: int
    finetune_steps: int
    finetune_batch: int
    test_crop: int
    per_image: int
    validations: int
    probed: int
    workers: int = 0


_TINY_NAFNET: Mapping[str, SizeValue] = MappingProxyType(
    {"width": 4, "enc_blk_nums": (1,), "middle_blk_num": 1, "dec_blk_nums": (1,)}
)
_TINY_RESTORMER: Mapping[str, SizeValue] = MappingProxyType(
    {"dim": 4, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "heads": (1, 1, 1, 1)}
)
_CPU_NAFNET: Mapping[str, SizeValue] = MappingProxyType(
    {"width": 8, "enc_blk_nums": (1, 1, 2), "middle_blk_num": 1, "dec_blk_nums": (1, 1, 1)}
)
_CPU_RESTORMER: Mapping[str, SizeValue] = MappingProxyType(
    {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "heads": (1, 2, 4, 8)}
)
_GPU_NAFNET: Mapping[str, SizeValue] = MappingProxyType(
    {"width": 32, "enc_blk_nums": (1, 1, 1, 8), "middle_blk_num": 1, "dec_blk_nums": (1, 1, 1, 1)}
)
_GPU_RESTORMER: Mapping[str, SizeValue] = MappingProxyType(
    {"dim": 24, "num_blocks": (2, 2, 2, 4), "num_refinement_blocks": 2, "heads": (1, 2, 4, 8)}
)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "tiny": Size(
            networks={"nafnet": _TINY_NAFNET, "restormer": _TINY_RESTORMER},
            crop=32,
            pretrain_steps=2,
            pretrain_batch=2,
            finetune_steps=4,
            finetune_batch=2,
            test_crop=256,
            per_image=1,
            validations=2,
            probed=6,
        ),
        "cpu": Size(
            networks={"nafnet": _CPU_NAFNET, "restormer": _CPU_RESTORMER},
            crop=64,
            pretrain_steps=250,
            pretrain_batch=8,
            finetune_steps=400,
            finetune_batch=4,
            test_crop=256,
            per_image=2,
            validations=5,
            probed=8,
        ),
        "gpu": Size(
            networks={"nafnet": _GPU_NAFNET, "restormer": _GPU_RESTORMER},
            crop=128,
            pretrain_steps=10_000,
            pretrain_batch=16,
            finetune_steps=10_000,
            finetune_batch=16,
            test_crop=0,
            per_image=4,
            validations=20,
            probed=100,
            workers=4,
        ),
    }
)

TRAIN_LEVELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "haze": ("a0p8-b0p1", "a0p85-b0p16", "a0p9-b0p12", "a0p95-b0p2", "a1-b0p16"),
        "rain-streak": ("light", "moderate", "heavy", "slant-left-20", "slant-right-20"),
        "noise": ("gaussian-15", "gaussian-25", "gaussian-50"),
        "motion-blur": ("linear-9", "linear-15", "camera-16"),
        "low-light": ("stops-2", "stops-3", "stops-4", "stops-3-camera"),
    }
)
"""The five degradations of the paper's 5D, in its label order, and the levels that are made for training."""

TEST_LEVELS: Mapping[str, str] = MappingProxyType(
    {
        "haze": "a0p9-b0p16",
        "rain-streak": "moderate",
        "noise": "gaussian-25",
        "motion-blur": "linear-15",
        "low-light": "stops-3",
    }
)


def subset_toml(source: str, size: Size) -> str:
    """Return the subsets.toml of the comparison, on the GT photographs of one source."""

    def use(split: str, name: str, levels: tuple[str, ...], rest: dict[str, int]) -> dict[str, Any]:
        return {"sources": [source], "splits": [split], "degradations": [name], "levels": levels, **rest}

    cut = {"size": size.test_crop, "stride": size.test_crop} if size.test_crop else {"size": 0}
    tiles = {"per_image": size.per_image, "size": 256, "stride": 128}
    subset = {
        "name": SUBSET,
        "title": "Five made degradations",
        "classes": [[name] for name in TRAIN_LEVELS],
        "use": [
            *(use("train", name, levels, tiles) for name, levels in TRAIN_LEVELS.items()),
            *(use("test", name, (level,), cut) for name, level in TEST_LEVELS.items()),
        ],
    }
    return toml_text({"subset": [subset]}, sections=("subset", "subset.use"))


def pretraining(arm: Arm, backbone: str, size: Size, seed: int, shards: Path, out: Path) -> TrainConfig:
    """
    Return the settings of an arm's pre-training.

    Raises:
        ValueError: the arm has no pre-training.
    """
    if arm.objective is None:
        raise ValueError(f"{arm.name} is not pre-trained")
    steps = size.pretrain_steps
    return TrainConfig(
        name=f"{SUBSET}-{backbone}-{arm.name}-pretrain",
        out=str(out),
        model=ModelConfig(backbone=backbone, size=dict(size.networks[backbone])),
        data=_data(shards, size, size.pretrain_batch),
        objective=arm.objective,
        optimizer=OptimizerConfig(lr=3e-3, lr_decoders=3e-3, schedule="cosine", final_lr=1e-5, clip_norm=1.0),
        init=InitConfig(contrast=True),
        loop=LoopConfig(
            steps=steps, seed=seed, log_every=max(1, steps // 20), checkpoint_every=max(1, steps // 2), keep=1,
            validate_every=0, validate_images=size.probed, sample_every=steps, tensorboard=False,
        ),
    )  # fmt: skip


def finetuning(
    arm: Arm, backbone: str, size: Size, seed: int, shards: Path, out: Path, checkpoint: Path | None
) -> TrainConfig:
    """Return the settings of an arm's fine-tuning: the same for all arms but for the initial weights."""
    steps = size.finetune_steps
    if arm.longer:
        steps += size.pretrain_steps * size.pretrain_batch // size.finetune_batch
    return TrainConfig(
        name=f"{SUBSET}-{backbone}-{arm.name}-finetune",
        out=str(out),
        model=ModelConfig(backbone=backbone, size=dict(size.networks[backbone])),
        data=_data(shards, size, size.finetune_batch),
        objective=ObjectiveConfig(kind="finetune", pixel="psnr"),
        optimizer=OptimizerConfig(
            lr=1.5e-3, betas=(0.9, 0.95), schedule="cosine", final_lr=1e-5, clip_norm=1.0, ema_decay=0.99,
            ema_warmup=True,
        ),
        init=InitConfig(checkpoint="" if checkpoint is None else str(checkpoint), identity=not arm.head_is_trained),
        loop=LoopConfig(
            steps=steps, seed=seed, log_every=max(1, size.finetune_steps // 20), checkpoint_every=max(1, steps // 2),
            keep=1, validate_every=max(1, size.finetune_steps // size.validations), validate_images=size.probed,
            sample_every=0, tensorboard=False,
        ),
    )  # fmt: skip


def changed(size: Size, **values: Any) -> Size:
    """Return a size with other values; a value of None is not changed."""
    return replace(size, **{name: value for name, value in values.items() if value is not None})


def _data(shards: Path, size: Size, batch: int) -> DataConfig:
    # The curve uses the test images, but nothing is chosen by it: the result is that of the last step.
    return DataConfig(
        shards=str(shards), subset=SUBSET, crop=size.crop, batch=batch, workers=size.workers, validation_split="test"
    )
