"""How well an image was restored: one file per metric, the list here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskdcpt.metrics.base import Metric
from maskdcpt.metrics.psnr import psnr
from maskdcpt.metrics.ssim import ssim

METRICS: Mapping[str, Metric] = MappingProxyType({"psnr": psnr, "ssim": ssim})
"""By name. They compare two (B, 3, H, W) batches and give one value per image; larger is better."""

__all__ = ["METRICS", "Metric", "psnr", "ssim"]
