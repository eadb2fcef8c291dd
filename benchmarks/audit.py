"""
Time and peak memory of an audit of 2.5 million images, the time for one image, and precision and recall.

- whole: 2.5 million generated hashes against each other, with planted copies that differ in up to 5 bits and are
  flipped;
- windows: 60 million generated windows, as 600,000 crops of 512 pixels have, against a million of benchmarks;
- looking: decode a 512 crop from lossless WebP, fingerprint it, score it;
- copies: photographs of scikit-image and generated images, changed in thirteen ways, searched for among the originals.

    python -m benchmarks.audit [--pictures 2500000]
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.uirdata.pipeline.auditing.test_audit import COPIES, generated, gt_images
from uirdata.images import RgbImage, decode_image, encode_image
from uirdata.pipeline.auditing.audit import audit
from uirdata.screening import measure, sharpness_energies
from uirdata.similarity.fingerprints import (
    FLIPS,
    WHOLE_DISTANCE,
    WINDOW_DISTANCE,
    Hashes,
    HashIndex,
    fingerprint,
    flipped,
)
from uirdata.storage.fingerprint_cache import FingerprintCache

_PLANTED = 10_000


def random_hashes(rng: np.random.Generator, number: int) -> Hashes:
    """Return hashes of images that have nothing in common."""
    return rng.integers(0, 1 << 64, number, dtype=np.uint64)


def compare_wholes(number: int) -> None:
    """Search for planted near-duplicates among hashes of whole images, and print the result."""
    rng = np.random.default_rng(0)
    hashes = random_hashes(rng, number)
    planted: set[tuple[int, int]] = set()
    for copy in range(_PLANTED):
        changed = hashes[copy : copy + 1].copy()
        for bit in rng.choice(64, copy % 6, replace=False):
            changed ^= np.uint64(1 << int(bit))
        hashes[number - 1 - copy] = flipped(changed, FLIPS[copy % 4])[0]
        planted.add((copy, number - 1 - copy))
    start = time.perf_counter()
    index = HashIndex(hashes)
    found: set[tuple[int, int]] = set()
    for flip in FLIPS:
        for match in index.near(flipped(hashes, flip), WHOLE_DISTANCE, probe=True):
            first = match.queries < match.found
            found.update(zip(match.queries[first].tolist(), match.found[first].tolist(), strict=True))
    took = time.perf_counter() - start
    print(
        f"whole: {number:,} hashes against each other, 4 flips, up to {WHOLE_DISTANCE} bits: {took:.0f} s; "
        f"planted found {len(planted & found):,} of {len(planted):,}; by chance {len(found - planted):,}; {peak()}"
    )


def compare_windows(number: int, benchmark: int = 1_000_000) -> None:
    """Search for windows in an index of the windows of benchmarks, and print the result."""
    rng = np.random.default_rng(1)
    start = time.perf_counter()
    index = HashIndex(random_hashes(rng, benchmark))
    made = matches = 0
    while made < number:
        some = random_hashes(rng, min(2_000_000, number - made))
        made += len(some)
        for flip in FLIPS:
            matches += sum(len(match.queries) for match in index.near(flipped(some, flip), WINDOW_DISTANCE))
    took = time.perf_counter() - start
    print(
        f"windows: {number:,} against {benchmark:,}, 4 flips, up to {WINDOW_DISTANCE} bits: {took:.0f} s; "
        f"single matches by chance {matches:,}; {peak()}"
    )


def look() -> None:
    """Print the time of the operations that are done once for each crop."""
    photograph = next(image for name, image in generated().items() if name.startswith("coffee"))
    crop = np.asarray(Image.fromarray(photograph).resize((512, 512), Image.Resampling.BICUBIC))
    data = encode_image(crop, "webp")
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_image(data, name="crop"),
        "fingerprint": lambda: fingerprint(crop),
        "flat, blurred, dark": lambda: measure(crop),
        "sharpness energies": lambda: sharpness_energies(crop),
    }
    cv2.setNumThreads(1)
    for name, step in steps.items():
        step()
        start = time.process_time()
        for _ in range(20):
            step()
        print(f"looking: {name}: {(time.process_time() - start) * 50:.1f} ms a crop of 512 pixels, one core")
    windows = len(fingerprint(crop).windows)
    print(f"looking: {windows} windows, {13 * windows:,} bytes")


def find_copies() -> None:
    """Plant copies of half of the images, search for them among all, and print the result."""
    images = generated()
    held, others = list(images)[::2], list(images)[1::2]
    more: dict[str, Callable[[RgbImage], RgbImage]] = {
        **COPIES,
        "resized to 0.7": lambda image: cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
        "cropped and halved": lambda image: cv2.resize(COPIES["cropped"](image), None, fx=0.5, fy=0.5),
        "cropped to 128": lambda image: image[51:179, 83:211],
        "noise of 25": lambda image: np.clip(
            image + np.random.default_rng(0).normal(0, 25, image.shape), 0, 255
        ).astype(np.uint8),
        "JPEG of quality 10": lambda image: np.array(Image.open(_jpeg(image, 10))),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        benchmark = gt_images(folder, "bench", {key: images[key] for key in held}, "test")
        train = gt_images(folder, "others", {key: images[key] for key in others})
        for copy, change in more.items():
            copies = gt_images(folder / copy, "copies", {key: change(images[key]) for key in held})
            train += [replace(image, gt_path=copy) for image in copies]
        report = audit(train, benchmark, FingerprintCache(folder / "cache"))
    wrong = [hit for hit in report.hits if hit.one.scene != hit.other.scene]
    for copy in more:
        found = {hit.one.scene for hit in report.against if hit.one.gt_path == copy}
        print(f"copies: {copy}: {len(found)} of {len(held)} found")
    print(f"copies: {len(wrong)} of {len(report.hits)} hits are wrong")


def peak() -> str:
    """Return the peak memory so far, as text."""
    return f"peak memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"


def _jpeg(image: RgbImage, quality: int) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer


def main() -> None:
    """Run all four measurements."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2_500_000)
    number = parser.parse_args().pictures
    compare_wholes(number)
    compare_windows(24 * number)
    look()
    find_copies()


if __name__ == "__main__":
    main()
