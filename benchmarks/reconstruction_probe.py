"""
Does the reconstruction decoder use context? Train it shortly on photographs and measure it on others.

    python benchmarks/reconstruction_probe.py [--steps 500] [--patch 16] [--threads 1]

A NAFNet of width 16 and its decoder learn to fill hidden patches of photographs of scikit-image, halved in size so that
a crop has more of a scene. The error inside hidden patches, on the two photographs of scikit-learn that were never
trained on, stands beside fillings that know no photographs: one colour for all, the mean of the visible neighbours of
each hidden patch, and the averages that the decoder starts from, taken of pixels. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data
from sklearn.datasets import load_sample_images
from torch import Tensor

from maskdcpt.backbones import create_backbone
from maskdcpt.heads import decoder_for, surroundings
from maskdcpt.masking import GATHER, PatchMask, random_patch_mask

TRAINED_ON = ("astronaut", "chelsea", "coffee", "rocket")
CROP, BATCH, TEST_ROUNDS = 64, 8, 24


def halved(image: np.ndarray) -> Tensor:
    """An (H, W, 3) uint8 picture as (3, H // 2, W // 2) in 0..1, each pixel the mean of four."""
    whole = torch.tensor(image).permute(2, 0, 1).float() / 255
    return F.avg_pool2d(whole, 2)


def crops(images: list[Tensor], generator: torch.Generator, *, mirror: bool = False) -> Tensor:
    """BATCH random crops, (BATCH, 3, CROP, CROP)."""
    found = []
    for _ in range(BATCH):
        image = images[_draw(len(images), generator)]
        top, left = (_draw(size - CROP + 1, generator) for size in image.shape[1:])
        crop = image[:, top : top + CROP, left : left + CROP]
        found.append(crop.flip(2) if mirror and _draw(2, generator) else crop)
    return torch.stack(found)


def neighbour_means(image: Tensor, mask: PatchMask, patch: int) -> Tensor:
    """Each patch gets the mean colour of its visible neighbours (of 8), of all that is visible where it has none."""
    seen = mask.visible.to(image.dtype)
    colours = F.avg_pool2d(image, patch) * seen
    around = torch.ones(3, 1, 3, 3, dtype=image.dtype)
    sums = F.conv2d(colours, around, padding=1, groups=3)
    counts = F.conv2d(seen, around[:1], padding=1)
    anywhere = colours.sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True).clamp(min=1)
    filled = torch.where(counts > 0, sums / counts.clamp(min=1), anywhere)
    return F.interpolate(filled, scale_factor=float(patch), mode="nearest")


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--width", type=int, default=16, help="of the NAFNet")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = create_backbone(
        "nafnet", width=options.width, enc_blk_nums=[1, 1, 1], middle_blk_num=1, dec_blk_nums=[1, 1, 1]
    )
    decoder = decoder_for(network)
    weights = [*network.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=options.lr, betas=(0.9, 0.95), weight_decay=0.0)
    train = [halved(getattr(data, name)()) for name in TRAINED_ON]
    test = [halved(image) for image in load_sample_images().images]
    drawn = torch.Generator().manual_seed(1)
    start, used = time.perf_counter(), time.process_time()
    for step in range(options.steps):
        optimizer.param_groups[0]["lr"] = options.lr * _share(step, options.steps)
        image = crops(train, drawn, mirror=True)
        mask = random_patch_mask(BATCH, CROP, CROP, options.patch, 0.5, drawn)
        found = decoder(network.encode(image, mask, backend=GATHER), mask)
        hidden = ~mask.at(CROP, CROP).expand_as(image)
        loss = (found - image).abs()[hidden].mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    spent, processor = time.perf_counter() - start, time.process_time() - used

    errors: dict[str, list[float]] = {}
    drawn = torch.Generator().manual_seed(2)
    network.eval()
    with torch.no_grad():
        for _ in range(TEST_ROUNDS):
            image = crops(test, drawn)
            mask = random_patch_mask(BATCH, CROP, CROP, options.patch, 0.5, drawn)
            visible = mask.at(CROP, CROP)
            shown = mask.hide(image)
            everywhere = shown.sum((2, 3), keepdim=True) / visible.sum((2, 3), keepdim=True)
            fillings = {
                "one colour, the mean of what is visible": everywhere.expand_as(image),
                "mean of the visible neighbours": neighbour_means(image, mask, options.patch),
                "averages from near to far, of pixels": surroundings(shown, visible),
                "the decoder": decoder(network.encode(image, mask, backend=GATHER), mask),
            }
            for name, found in fillings.items():
                errors.setdefault(name, []).append(float((found - image).abs()[~visible.expand_as(image)].mean()))
    _print(errors, options, spent, processor)


def _share(step: int, steps: int) -> float:
    """Warm up over 50 steps, then half a cosine."""
    return min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def _print(errors: dict[str, list[float]], options: argparse.Namespace, spent: float, processor: float) -> None:
    reference = np.array(errors["mean of the visible neighbours"])
    print(
        f"NAFNet of width {options.width}, {options.steps} steps of {BATCH} crops of {CROP}x{CROP}, half of the "
        f"patches of {options.patch} hidden, float32, {options.threads} thread(s), {spent:.0f} s "
        f"({processor:.0f} s of processor); torch {torch.__version__}\n"
    )
    print(
        "| filling | mean absolute error | against the neighbours' mean | better in so many of the batches |\n"
        "|---|---|---|---|"
    )
    for name, values in errors.items():
        better = int((np.array(values) < reference).sum())
        change = np.mean(values) / reference.mean() - 1
        print(f"| {name} | {np.mean(values):.4f} | {100 * change:+.1f} % | {better} of {len(values)} |")


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))


if __name__ == "__main__":
    main()
