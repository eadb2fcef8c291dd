"""LPIPS (Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018)."""

from __future__ import annotations

from maskdcpt.metrics.base import LearnedMetric, WeightFile

METRIC = LearnedMetric(
    name="lpips",
    engine_name="lpips",
    pinned="AlexNet, version 0.1, clipped RGB floats",
    needs_gt=True,
    rounded=False,
    least_px=64,
    options={"net": "alex", "version": "0.1"},
    files=(
        WeightFile(
            "pyiqa/LPIPS_v0.1_alex-df73285e.pth",
            "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/LPIPS_v0.1_alex-df73285e.pth",
            "df73285e",
        ),
        WeightFile(
            "checkpoints/alexnet-owt-7be5be79.pth",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "7be5be79",
        ),
    ),
    file_option="pretrained_model_path",
)
