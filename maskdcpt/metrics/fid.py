"""FID (Heusel et al., 2017) as clean-fid computes it (Parmar et al., 2022); of a set, not of an image."""

from __future__ import annotations

from maskdcpt.metrics.base import LearnedMetric, WeightFile

METRIC = LearnedMetric(
    name="fid",
    engine_name="fid",
    pinned="clean-fid resizing, InceptionV3 of 2015-12-05, 2048 features, 8-bit RGB",
    needs_gt=True,
    rounded=True,
    least_px=1,
    options={"mode": "clean", "batch_size": 8},
    of_a_set=True,
    files=(
        WeightFile(
            "pyiqa/pt_inception-2015-12-05-6726825d.pth",
            "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/pt_inception-2015-12-05-6726825d.pth",
            "6726825d",
        ),
    ),
)
