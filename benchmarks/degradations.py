"""
Throughput of the degradations: images per second on one core, per type, compared with the usual implementation.

    python -m benchmarks.degradations [--size 512] [--repeats 5] [--types noise,jpeg]

The value of a type is the mean over its levels, each the median of some repeats. The usual implementation is numpy and
OpenCV as in training code: float64 noise from the legacy generator, `np.random.poisson`, `cv2.filter2D` in float32, and
so on. Both are measured in the same run, one after the other, in processor time of this thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from uirdata.degradations import DEGRADATIONS, degrade, sample_recipe
from uirdata.degradations.kernels import gaussian_kernel, line_kernel, sinc_kernel
from uirdata.images import RgbImage
from uirdata.seeding import rng_for


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--types", default="", help="comma-separated; all of them by default")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    photo = photograph(arguments.size)

    print("| type | levels | images/s | slowest level | its images/s |\n|---|---|---|---|---|")
    for name, degradation in DEGRADATIONS.items():
        if arguments.types and name not in arguments.types.split(","):
            continue
        times = {}
        for level in degradation.levels:
            recipe = sample_recipe(name, rng_for(0, level.name, "benchmark"), level.name)
            times[level.name] = median_seconds(lambda recipe=recipe: degrade(photo, recipe), arguments.repeats)
        slowest = max(times, key=times.__getitem__)
        mean = statistics.mean(times.values())
        print(f"| {name} | {len(times)} | {1 / mean:.0f} | {slowest} | {1 / times[slowest]:.0f} |", flush=True)

    print("\n| operation | usual way, images/s | ours, images/s | ratio |\n|---|---|---|---|")
    for label, (type_name, level_name, usual) in peers(photo).items():
        if arguments.types and type_name not in arguments.types.split(","):
            continue
        recipe = sample_recipe(type_name, rng_for(0, level_name, "benchmark"), level_name)
        theirs = median_seconds(usual, arguments.repeats)
        ours = median_seconds(lambda recipe=recipe: degrade(photo, recipe), arguments.repeats)
        print(f"| {label} | {1 / theirs:.0f} | {1 / ours:.0f} | {theirs / ours:.2f} |", flush=True)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Run once to warm up, then return the median processor time of some runs."""
    work()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def photograph(size: int) -> RgbImage:
    """Return a photograph of scikit-image at a size."""
    from skimage import data

    photo = data.astronaut()
    return np.ascontiguousarray(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA))


def peers(photo: RgbImage) -> dict[str, tuple[str, str, Callable[[], object]]]:
    """Return, by operation, our type and level, and a function of the usual implementation."""

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.clip((values * 255.0).round(), 0, 255).astype(np.uint8)

    def gaussian() -> np.ndarray:
        image = photo.astype(np.float32) / 255.0
        return rounded(np.clip(image + np.random.normal(0, 25 / 255.0, image.shape), 0, 1))  # noqa: NPY002

    def poisson() -> np.ndarray:
        image = np.clip((photo / 255.0 * 255.0).round(), 0, 255) / 255.0
        values = 2 ** np.ceil(np.log2(len(np.unique(image))))
        noise = np.random.poisson(image * values) / float(values) - image  # noqa: NPY002
        return rounded(np.clip(image + 2.0 * noise, 0, 1))

    def filtered(kernel: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: rounded(cv2.filter2D(photo.astype(np.float32) / 255.0, -1, kernel))

    def jpeg() -> np.ndarray:
        bgr = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR).astype(np.float32) / 255.0
        _, data = cv2.imencode(".jpg", (bgr * 255.0).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 50])
        return cv2.cvtColor(cv2.imdecode(data, 1).astype(np.float32) / 255.0, cv2.COLOR_BGR2RGB)

    def mosaic() -> np.ndarray:
        mask = np.zeros_like(photo)
        mask[0::2, 0::2, 0] = mask[0::2, 1::2, 1] = mask[1::2, 0::2, 1] = mask[1::2, 1::2, 2] = 1
        return cv2.cvtColor((photo * mask).sum(axis=2).astype(np.uint8), cv2.COLOR_BayerBG2BGR_EA)

    def haze() -> np.ndarray:
        image, depth = photo / 255.0, np.full((*photo.shape[:2], 1), 3.0)
        transmission = np.exp(-0.2 * depth)
        return rounded(image * transmission + 0.8 * (1 - transmission))

    def rain() -> np.ndarray:
        # The usual streaks: thresholded noise, blurred along a line, added.
        noise = np.random.uniform(0, 256, photo.shape[:2])  # noqa: NPY002
        noise[noise < 256 - 3] = 0
        streaks = cv2.filter2D(cv2.filter2D(noise, -1, np.ones((3, 3)) / 9), -1, line_kernel(40.0, 80.0))
        streaks = cv2.GaussianBlur(streaks * 20, (3, 3), 0)[:, :, None]
        return np.clip(photo + streaks, 0, 255).astype(np.uint8)

    def dark() -> np.ndarray:
        return rounded(np.clip((photo / 255.0) ** 2.2 * 0.125, 0, 1) ** (1 / 2.2))

    elliptic = gaussian_kernel(21, 2.5, 1.0, 0.5).astype(np.float32)
    return {
        "Gaussian noise, sigma 25": ("noise", "gaussian-25", gaussian),
        "Poisson noise, scale 2": ("noise", "poisson-2p0", poisson),
        "anisotropic Gaussian, up to 21 x 21": ("gaussian-blur", "anisotropic", filtered(elliptic)),
        "isotropic Gaussian, sigma 3, 19 x 19": (
            "gaussian-blur",
            "sigma-3p0",
            filtered(gaussian_kernel(19, 3.0, 3.0, 0.0).astype(np.float32)),
        ),
        "sinc, 21 x 21": ("gaussian-blur", "sinc-90", filtered(sinc_kernel(21, 1.57).astype(np.float32))),
        "JPEG, quality 50, 4:2:0": ("jpeg", "q50", jpeg),
        "Bayer mosaic, edge-aware": ("mosaic", "rggb-edge-aware", mosaic),
        "linear motion, 31 pixels": ("motion-blur", "linear-31", filtered(line_kernel(31.0, 40.0).astype(np.float32))),
        "haze (theirs: over a constant depth)": ("haze", "a0p8-b0p2", haze),
        "rain streaks (theirs: one layer)": ("rain-streak", "moderate", rain),
        "low light, 3 stops, without noise": ("low-light", "stops-3", dark),
    }


if __name__ == "__main__":
    main()
