"""
The learning side: networks, masked degradation classification pre-training, fine-tuning, evaluation, restoration.

The names below are the public ones. They are loaded when first used: importing the package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskdcpt.backbones import create_backbone
    from maskdcpt.evaluation.evaluate import evaluate
    from maskdcpt.masking import PatchMask, random_patch_mask
    from maskdcpt.metrics import psnr, ssim
    from maskdcpt.objectives import pretraining_losses
    from maskdcpt.restoring.restorer import restore
    from maskdcpt.training.loop import train
    from maskdcpt.weights.checkpoints import Checkpoint, load_checkpoint

_WHERE = {
    "Checkpoint": "maskdcpt.weights.checkpoints",
    "PatchMask": "maskdcpt.masking",
    "create_backbone": "maskdcpt.backbones",
    "evaluate": "maskdcpt.evaluation.evaluate",
    "load_checkpoint": "maskdcpt.weights.checkpoints",
    "pretraining_losses": "maskdcpt.objectives",
    "psnr": "maskdcpt.metrics",
    "random_patch_mask": "maskdcpt.masking",
    "restore": "maskdcpt.restoring.restorer",
    "ssim": "maskdcpt.metrics",
    "train": "maskdcpt.training.loop",
}

__all__ = [
    "Checkpoint",
    "PatchMask",
    "create_backbone",
    "evaluate",
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
