"""
Bytes of losslessly encoded images, as a share of raw RGB: GT, and LQ of each type, the mean over its levels.

Crops of photographs in installed packages, 512 x 512 pixels or less if they are smaller. The results are in
`uirdata/pipeline/building/size_estimates.py`.

    python -m benchmarks.codec_sizes [--crops 4]
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from uirdata.degradations import DEGRADATIONS, degrade, sample_recipe
from uirdata.images import CODECS, RgbImage, encode_image
from uirdata.seeding import rng_for


def crops(number: int) -> list[RgbImage]:
    """Return the centres of some photographs."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    images = [np.asarray(getattr(skimage.data, name)()) for name in ("coffee", "astronaut", "chelsea", "rocket")]
    cut = []
    for image in [*load_sample_images().images, *images][:number]:
        height, width = (min(512, side) for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        cut.append(np.ascontiguousarray(image[top : top + height, left : left + width, :3]))
    return cut


def shares(images: list[RgbImage]) -> str:
    """Return the share of raw bytes for each codec, as table cells."""
    raw = sum(image.nbytes for image in images)
    return " | ".join(f"{sum(len(encode_image(p, codec)) for p in images) / raw:.3f}" for codec in CODECS)


def main() -> None:
    """Measure; print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--crops", type=int, default=4)
    cv2.setNumThreads(1)
    photographs = crops(parser.parse_args().crops)
    print(f"| type | {' | '.join(CODECS)} |\n|---|{'---|' * len(CODECS)}\n| GT | {shares(photographs)} |")
    for kind, degradation in DEGRADATIONS.items():
        made = [
            degrade(photograph, sample_recipe(kind, rng_for(0, f"{level.name}/{number}", "size"), level.name))
            for number, photograph in enumerate(photographs)
            for level in degradation.levels
        ]
        print(f"| {kind} | {shares(made)} |")


if __name__ == "__main__":
    main()
