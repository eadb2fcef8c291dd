"""NIQE (Mittal et al., "Making a 'completely blind' image quality analyzer", 2013)."""

from __future__ import annotations

from maskdcpt.metrics.base import LearnedMetric, WeightFile

METRIC = LearnedMetric(
    name="niqe",
    engine_name="niqe",
    pinned="the authors' model, luma (YIQ, MATLAB's rgb2gray) of 8-bit RGB; lower is better",
    needs_gt=False,
    rounded=True,
    least_px=192,
    options={"test_y_channel": True, "color_space": "yiq", "version": "original"},
    files=(
        WeightFile(
            "pyiqa/niqe_modelparameters.mat",
            "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/niqe_modelparameters.mat",
        ),
    ),
    file_option="pretrained_model_path",
)
