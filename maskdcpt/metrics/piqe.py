"""PIQE (Venkatanath et al., "Blind image quality evaluation using perception based features", 2015)."""

from __future__ import annotations

from maskdcpt.metrics.base import LearnedMetric

METRIC = LearnedMetric(
    name="piqe",
    engine_name="piqe",
    pinned="as MATLAB's piqe: luma of 8-bit RGB, blocks of 16; lower is better",
    needs_gt=False,
    rounded=True,
    least_px=32,
)
