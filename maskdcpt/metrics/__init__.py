"""How well an image was restored: one file per metric, the lists here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskdcpt.metrics import brisque, fid, lpips, niqe, piqe
from maskdcpt.metrics.base import LearnedMetric, Metric, WeightFile
from maskdcpt.metrics.psnr import psnr
from maskdcpt.metrics.ssim import ssim

METRICS: Mapping[str, Metric] = MappingProxyType({"psnr": psnr, "ssim": ssim})
"""By name. They compare two (B, 3, H, W) batches and give one value per image; larger is better."""

LEARNED: Mapping[str, LearnedMetric] = MappingProxyType(
    {module.METRIC.name: module.METRIC for module in (lpips, fid, piqe, brisque, niqe)}
)
"""By name. They are computed by pyiqa (the `eval` extra); smaller is better for all of them."""

__all__ = ["LEARNED", "METRICS", "LearnedMetric", "Metric", "WeightFile", "psnr", "ssim"]
