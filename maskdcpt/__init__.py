"""
Networks, masked degradation classification pre-training (MaskDCPT), fine-tuning, evaluation and restoration.

The names below are the public ones. They are loaded at first use: importing the package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskdcpt.backbones import create_backbone
    from maskdcpt.config.presets import find_preset
    from maskdcpt.config.train_config import ObjectiveConfig, TrainConfig
    from maskdcpt.data.batches import Batch
    from maskdcpt.evaluation.evaluate import evaluate
    from maskdcpt.evaluation.scores import EvalReport, Protocol
    from maskdcpt.masking import PatchMask, random_patch_mask
    from maskdcpt.metrics import psnr, ssim
    from maskdcpt.networks.classifier import classifier_for
    from maskdcpt.networks.decoder import decoder_for
    from maskdcpt.networks.networks import Networks
    from maskdcpt.objectives import pretraining_losses
    from maskdcpt.restoring.restorer import Restorer, restore
    from maskdcpt.training.loop import train
    from maskdcpt.weights.build import load_backbone
    from maskdcpt.weights.checkpoints import Checkpoint
    from maskdcpt.weights.load import load_checkpoint

    __version__: str

_WHERE = {
    "Batch": "maskdcpt.data.batches",
    "Checkpoint": "maskdcpt.weights.checkpoints",
    "EvalReport": "maskdcpt.evaluation.scores",
    "Networks": "maskdcpt.networks.networks",
    "ObjectiveConfig": "maskdcpt.config.train_config",
    "PatchMask": "maskdcpt.masking",
    "Protocol": "maskdcpt.evaluation.scores",
    "Restorer": "maskdcpt.restoring.restorer",
    "TrainConfig": "maskdcpt.config.train_config",
    "__version__": "uirdata",
    "classifier_for": "maskdcpt.networks.classifier",
    "create_backbone": "maskdcpt.backbones",
    "decoder_for": "maskdcpt.networks.decoder",
    "evaluate": "maskdcpt.evaluation.evaluate",
    "find_preset": "maskdcpt.config.presets",
    "load_backbone": "maskdcpt.weights.build",
    "load_checkpoint": "maskdcpt.weights.load",
    "pretraining_losses": "maskdcpt.objectives",
    "psnr": "maskdcpt.metrics",
    "random_patch_mask": "maskdcpt.masking",
    "restore": "maskdcpt.restoring.restorer",
    "ssim": "maskdcpt.metrics",
    "train": "maskdcpt.training.loop",
}

__all__ = [
    "Batch",
    "Checkpoint",
    "EvalReport",
    "Networks",
    "ObjectiveConfig",
    "PatchMask",
    "Protocol",
    "Restorer",
    "TrainConfig",
    "__version__",
    "classifier_for",
    "create_backbone",
    "decoder_for",
    "evaluate",
    "find_preset",
    "load_backbone",
    "load_checkpoint",
    "pretraining_losses",
    "psnr",
    "random_patch_mask",
    "restore",
    "ssim",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'maskdcpt' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
