"""
Are generated degradations as strong as published ones? PSNR of LQ against GT, for the same GT.

    python -m benchmarks.degradation_psnr FOLDER

FOLDER/<set>/gt and FOLDER/<set>/lq* hold real pairs with equal names. Missing sets are skipped.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np

from uirdata.degradations import degrade, sample_recipe
from uirdata.images import RgbImage, read_image
from uirdata.seeding import rng_for

LEVELS = {
    "rain_streak_Rain100L": (("rain-streak", "light"),),
    "rain_streak_Rain100H": (("rain-streak", "heavy"),),
    "mixed_OutdoorRain": (("rain-streak", "veil-40"),),
    "raindrop_Qian18": (("raindrop", "out-of-focus"), ("raindrop", "mixed-sizes")),
    "snow_CSD": (("snow", "veil-40"),),
    "haze_SOTS_outdoor": (("haze", "a0p8-b0p2"), ("haze", "a0p8-b0p08")),
    "moire_UHDM700": (("moire", "any"),),
    "lowlight_LOLv2_real": (("low-light", "stops-3-phone"), ("low-light", "stops-4-phone")),
    "motion_blur_GoPro": (("motion-blur", "camera-24"), ("motion-blur", "camera-36")),
    "defocus_DPDD": (("defocus-blur", "near-focus-6"),),
}


def main() -> None:
    """Print a table: the published pair, and our levels for its GT, mean of four recipes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    cv2.setNumThreads(1)
    print("| published pair | its PSNR | ours over the same GT |\n|---|---|---|")
    for name, levels in LEVELS.items():
        for path in sorted((folder / name / "gt").glob("*")):
            published = next((folder / name).glob(f"lq*/{path.stem}.*"), None)
            if published is None:
                continue
            gt = read_image(path)
            ours = ", ".join(f"{level} {mean_psnr(gt, kind, level):.1f}" for kind, level in levels)
            print(f"| {name}/{path.stem} | {psnr(gt, read_image(published)):.1f} | {ours} |", flush=True)


def mean_psnr(gt: RgbImage, kind: str, level: str) -> float:
    """Return the mean PSNR over four recipes."""
    recipes = [sample_recipe(kind, rng_for(0, f"{level} {i}", "psnr"), level) for i in range(4)]
    return float(np.mean([psnr(gt, degrade(gt, recipe)) for recipe in recipes]))


def psnr(gt: RgbImage, lq: RgbImage) -> float:
    """Return the PSNR in dB, on RGB with a peak of 255."""
    return 10 * math.log10(255**2 / float(np.mean((gt.astype(np.float64) - lq) ** 2)))


if __name__ == "__main__":
    main()
