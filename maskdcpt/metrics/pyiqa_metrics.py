"""
The learned metrics that pyiqa computes, each with variant, options and weight files pinned.

- LPIPS: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", 2018.
- FID: Heusel et al., 2017, as clean-fid computes it (Parmar et al., 2022); of a set, not of an image.
- PIQE: Venkatanath et al., "Blind image quality evaluation using perception based features", 2015.
- BRISQUE: Mittal et al., "No-reference image quality assessment in the spatial domain", 2012.
- NIQE: Mittal et al., "Making a 'completely blind' image quality analyzer", 2013.
"""

from __future__ import annotations

from maskdcpt.metrics.base import LearnedMetric, WeightFile

_PYIQA_WEIGHTS = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"

PYIQA_METRICS = (
    LearnedMetric(
        name="lpips",
        engine_name="lpips",
        pinned="AlexNet, version 0.1, clipped RGB floats",
        needs_gt=True,
        rounded=False,
        least_px=64,
        options={"net": "alex", "version": "0.1"},
        files=(
            WeightFile(
                "pyiqa/LPIPS_v0.1_alex-df73285e.pth", f"{_PYIQA_WEIGHTS}/LPIPS_v0.1_alex-df73285e.pth", "df73285e"
            ),
            WeightFile(
                "checkpoints/alexnet-owt-7be5be79.pth",
                "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
                "7be5be79",
            ),
        ),
        file_option="pretrained_model_path",
    ),
    LearnedMetric(
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
                f"{_PYIQA_WEIGHTS}/pt_inception-2015-12-05-6726825d.pth",
                "6726825d",
            ),
        ),
    ),
    LearnedMetric(
        name="piqe",
        engine_name="piqe",
        pinned="as MATLAB's piqe: luma of 8-bit RGB, blocks of 16; lower is better",
        needs_gt=False,
        rounded=True,
        least_px=32,
    ),
    LearnedMetric(
        name="brisque",
        engine_name="brisque",
        pinned="the authors' model (LIVE), luma (YIQ) of 8-bit RGB; not MATLAB's brisque; lower is better",
        needs_gt=False,
        rounded=True,
        least_px=32,
        options={"test_y_channel": True, "version": "original"},
        files=(WeightFile("pyiqa/brisque_svm_weights.pth", f"{_PYIQA_WEIGHTS}/brisque_svm_weights.pth"),),
        file_option="pretrained_model_path",
    ),
    LearnedMetric(
        name="niqe",
        engine_name="niqe",
        pinned="the authors' model, luma (YIQ, MATLAB's rgb2gray) of 8-bit RGB; lower is better",
        needs_gt=False,
        rounded=True,
        least_px=192,
        options={"test_y_channel": True, "color_space": "yiq", "version": "original"},
        files=(WeightFile("pyiqa/niqe_modelparameters.mat", f"{_PYIQA_WEIGHTS}/niqe_modelparameters.mat"),),
        file_option="pretrained_model_path",
    ),
)
