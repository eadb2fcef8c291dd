"""BRISQUE (Mittal et al., "No-reference image quality assessment in the spatial domain", 2012)."""

from __future__ import annotations

from maskdcpt.metrics.base import LearnedMetric, WeightFile

METRIC = LearnedMetric(
    name="brisque",
    engine_name="brisque",
    pinned="the authors' model (LIVE), luma (YIQ) of 8-bit RGB; not MATLAB's brisque; lower is better",
    needs_gt=False,
    rounded=True,
    least_px=32,
    options={"test_y_channel": True, "version": "original"},
    files=(
        WeightFile(
            "pyiqa/brisque_svm_weights.pth",
            "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/brisque_svm_weights.pth",
        ),
    ),
    file_option="pretrained_model_path",
)
