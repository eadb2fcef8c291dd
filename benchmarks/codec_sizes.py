"""
Bytes of lossless pictures, as a share of raw RGB: GT, and LQ of each type, the mean over its levels.

Crops of photographs that ship inside packages, 512 pixels wide or as much as they have.
`uirdata/pipeline/building/size_estimates.py` holds what this printed.

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
    """Cut the middle of photographs."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    pictures = [np.asarray(getattr(skimage.data, name)()) for name in ("coffee", "astronaut", "chelsea", "rocket")]
    cut = []
    for picture in [*load_sample_images().images, *pictures][:number]:
        height, width = (min(512, side) for side in picture.shape[:2])
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        cut.append(np.ascontiguousarray(picture[top : top + height, left : left + width, :3]))
    return cut


def shares(pictures: list[RgbImage]) -> str:
    """Give the share of raw bytes for each codec, as cells."""
    raw = sum(picture.nbytes for picture in pictures)
    return " | ".join(f"{sum(len(encode_image(p, codec)) for p in pictures) / raw:.3f}" for codec in CODECS)


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
