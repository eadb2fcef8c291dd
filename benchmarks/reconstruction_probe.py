"""
Does the reconstruction decoder use context? Train it briefly on photographs, and measure it on others.

    python benchmarks/reconstruction_probe.py [--steps 4000] [--patch 8] [--threads 1]
    python benchmarks/reconstruction_probe.py --train FOLDER... --test FOLDER...

A NAFNet of width 16 and its decoder learn to reconstruct hidden patches: of photographs of scikit-image, or of those in
the folders. The error inside hidden patches, on held-out photographs (the two of scikit-learn, or those of the other
folders), is compared with fillings that need no training: one colour for all, the mean of the visible neighbours of
each hidden patch, the averages that the decoder starts from, computed on pixels, and a membrane, in which each hidden
pixel is the mean of its four neighbours. The decoder with the features of another photograph shows its error without
context. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images
from torch import Tensor

from maskdcpt.backbones import create_backbone
from maskdcpt.masking import GATHER, PatchMask, random_patch_mask
from maskdcpt.networks.decoder import decoder_for, surroundings

TRAINED_ON = ("astronaut", "chelsea", "coffee", "rocket")
BATCH, TEST_ROUNDS = 8, 24

NEIGHBOURS = "mean of the visible neighbours"

MEMBRANE_STEPS = 300
"""Enough that a patch of 16 no longer changes visibly."""


def as_tensor(image: np.ndarray) -> Tensor:
    """Return an (H, W, 3) uint8 image as (3, H, W) in 0..1."""
    return torch.tensor(image).permute(2, 0, 1).float() / 255


def photographs(folders: list[Path], crop: int) -> list[Tensor]:
    """Return all images below the folders that are at least as large as a crop, in the order of their names."""
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.suffix in (".png", ".jpg", ".tif"))
    images = [as_tensor(np.array(Image.open(file).convert("RGB"))) for file in files]
    return [image for image in images if min(image.shape[1:]) >= crop]


def crops(images: list[Tensor], crop: int, generator: torch.Generator, *, turn: bool = False) -> Tensor:
    """Return BATCH random crops, (BATCH, 3, crop, crop)."""
    found = []
    for _ in range(BATCH):
        image = images[_draw(len(images), generator)]
        top, left = (_draw(size - crop + 1, generator) for size in image.shape[1:])
        part = image[:, top : top + crop, left : left + crop]
        if turn and _draw(2, generator):
            part = part.flip(2)
        if turn and _draw(2, generator):
            part = part.transpose(1, 2)
        found.append(part)
    return torch.stack(found)


def neighbour_means(image: Tensor, mask: PatchMask, patch: int) -> Tensor:
    """Return the mean colour of the visible neighbours (of 8) of each patch; of all visible patches if it has none."""
    seen = mask.visible.to(image.dtype)
    colours = F.avg_pool2d(image, patch) * seen
    around = torch.ones(3, 1, 3, 3, dtype=image.dtype)
    sums = F.conv2d(colours, around, padding=1, groups=3)
    counts = F.conv2d(seen, around[:1], padding=1)
    anywhere = colours.sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True).clamp(min=1)
    filled = torch.where(counts > 0, sums / counts.clamp(min=1), anywhere)
    return F.interpolate(filled, scale_factor=float(patch), mode="nearest")


def membrane(start: Tensor, visible: Tensor) -> Tensor:
    """Fill each hidden pixel with the mean of its four neighbours (Laplace's equation, by Jacobi's method)."""
    cross = torch.tensor([[0.0, 0.25, 0.0], [0.25, 0.0, 0.25], [0.0, 0.25, 0.0]]).repeat(3, 1, 1, 1)
    image = start
    for _ in range(MEMBRANE_STEPS):
        image = torch.where(visible, start, F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), cross, groups=3))
    return image


def main() -> None:
    """Train, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--width", type=int, default=16, help="width of the NAFNet")
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", type=Path, nargs="+", default=[], help="folders of photographs")
    parser.add_argument("--test", type=Path, nargs="+", default=[], help="folders of other photographs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = create_backbone(
        "nafnet", width=options.width, enc_blk_nums=[1, 1, 1], middle_blk_num=1, dec_blk_nums=[1, 1, 1]
    )
    decoder = decoder_for(network)
    weights = [*network.parameters(), *decoder.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=options.lr, betas=(0.9, 0.95), weight_decay=0.0)
    crop, patch = options.crop, options.patch
    train = photographs(options.train, crop) or [as_tensor(getattr(data, name)()) for name in TRAINED_ON]
    test = photographs(options.test, crop) or [as_tensor(image) for image in load_sample_images().images]
    drawn = torch.Generator().manual_seed(1)
    start, used = time.perf_counter(), time.process_time()
    for step in range(options.steps):
        optimizer.param_groups[0]["lr"] = options.lr * _share(step, options.steps)
        image = crops(train, crop, drawn, turn=True)
        mask = random_patch_mask(BATCH, crop, crop, patch, 0.5, drawn)
        found = decoder(network.encode(image, mask, backend=GATHER), mask)
        hidden = ~mask.at(crop, crop).expand_as(image)
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
            image = crops(test, crop, drawn)
            mask = random_patch_mask(BATCH, crop, crop, patch, 0.5, drawn)
            visible = mask.at(crop, crop)
            shown = mask.hide(image)
            everywhere = shown.sum((2, 3), keepdim=True) / visible.sum((2, 3), keepdim=True)
            fillings = {
                "one colour, the mean of what is visible": everywhere.expand_as(image),
                NEIGHBOURS: neighbour_means(image, mask, patch),
                "averages from near to far, of pixels": surroundings(shown, visible),
                "a membrane between the visible pixels": membrane(surroundings(shown, visible), visible),
                "the decoder, shown another photograph": decoder(network.encode(image.roll(1, 0), mask), mask),
                "the decoder": decoder(network.encode(image, mask, backend=GATHER), mask),
            }
            for name, found in fillings.items():
                errors.setdefault(name, []).append(float((found - image).abs()[~visible.expand_as(image)].mean()))
    _print(errors, options, len(train), len(test), spent, processor)


def _share(step: int, steps: int) -> float:
    """Return the share of the learning rate: warm-up over 50 steps, then half a cosine."""
    return min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def _print(
    errors: dict[str, list[float]], options: argparse.Namespace, train: int, test: int, spent: float, processor: float
) -> None:
    reference = np.array(errors[NEIGHBOURS])
    print(
        f"NAFNet of width {options.width}, {options.steps} steps of {BATCH} crops of {options.crop}x{options.crop} of "
        f"{train} photographs, half of the patches of {options.patch} hidden, float32, {options.threads} thread(s), "
        f"{spent:.0f} s ({processor:.0f} s of processor), tried on {test} others; torch {torch.__version__}\n"
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
