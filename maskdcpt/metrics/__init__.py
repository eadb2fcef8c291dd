"""Metrics of restored images, and the lists of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskdcpt.metrics.base import LearnedMetric, Metric, WeightFile
from maskdcpt.metrics.psnr import psnr
from maskdcpt.metrics.pyiqa_metrics import PYIQA_METRICS
from maskdcpt.metrics.ssim import ssim

METRICS: Mapping[str, Metric] = MappingProxyType({"psnr": psnr, "ssim": ssim})
"""Metrics by name. They compare two (B, 3, H, W) batches and return one value per image; larger is better."""

LEARNED: Mapping[str, LearnedMetric] = MappingProxyType({metric.name: metric for metric in PYIQA_METRICS})
"""Learned metrics by name, computed by pyiqa (the `eval` extra); smaller is better for all of them."""

__all__ = ["LEARNED", "METRICS", "LearnedMetric", "Metric", "WeightFile", "psnr", "ssim"]
