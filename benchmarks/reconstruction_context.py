"""
Does the reconstruction decoder use what is around a hidden patch? A short training, then other pictures.

    python benchmarks/reconstruction_context.py FOLDER [--patch 8] [--steps 600]

FOLDER holds photographs; every sixth is kept for the test. A small NAFNet encodes what is visible, the decoder paints
the whole, and both learn from the absolute error inside hidden patches. Printed is that error on the kept pictures,
beside what costs no learning: the mean of the visible neighbours of each hidden patch, and the pull-push average of
pixels that the decoder starts from. All draws are seeded.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones import create_backbone
from maskdcpt.heads import decoder_for, surroundings
from maskdcpt.masking import GATHER, PatchMask, random_patch_mask

CROP = 64
BATCH = 8
RATE = 3e-3
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".bmp"}


def main() -> None:
    """Train, test, print a row of Markdown for each patch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patch", type=int, nargs="+", default=[8])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    pictures = [_read(path) for path in files]
    kept = pictures[::6]
    training = [picture for i, picture in enumerate(pictures) if i % 6]
    print(f"{len(training)} photographs to learn from, {len(kept)} kept; {arguments.steps} steps of {BATCH} crops")
    print(f"of {CROP}x{CROP}, half of the patches hidden; torch {torch.__version__}, 1 thread\n")
    print(
        "| patch | mean of visible neighbours | pull-push of pixels | decoder | below the mean | seconds (processor) |"
    )
    print("|---|---|---|---|---|---|")
    for patch in arguments.patch:
        print(row(training, kept, patch, arguments.steps, arguments.width), flush=True)


def row(training: list[Tensor], kept: list[Tensor], patch: int, steps: int, width: int) -> str:
    """Train with patches of one size and give the row of the table."""
    start = time.process_time()
    torch.manual_seed(0)
    network = create_backbone("nafnet", width=width, enc_blk_nums=[1, 1, 1], middle_blk_num=1, dec_blk_nums=[1, 1, 1])
    decoder = decoder_for(network, 2 * width)
    both = nn.ModuleList([network, decoder])
    optimizer = torch.optim.AdamW(both.parameters(), RATE, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        images, mask = _batch(training, patch, BATCH, generator)
        painted = decoder(network.encode(images, mask, backend=GATHER), mask)
        loss = _error(painted, images, mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    seconds = time.process_time() - start
    both.eval()
    generator = torch.Generator().manual_seed(1)
    sums = torch.zeros(3)
    rounds = 40
    with torch.no_grad():
        for _ in range(rounds):
            images, mask = _batch(kept, patch, BATCH, generator)
            visible = mask.at(CROP, CROP)
            painted = decoder(network.encode(images, mask, backend=GATHER), mask)
            pulled = surroundings(images * visible, visible)
            sums += torch.stack([_error(x, images, mask) for x in (neighbours(images, mask), pulled, painted)])
    mean, pulled_error, own = (sums / rounds).tolist()
    return f"| {patch} | {mean:.4f} | {pulled_error:.4f} | {own:.4f} | {1 - own / mean:.0%} | {seconds:.0f} |"


def neighbours(images: Tensor, mask: PatchMask) -> Tensor:
    """Fill each hidden patch with the mean colour of its visible neighbours among eight, else of all visible."""
    grid = mask.visible.to(images.dtype)
    cells = F.avg_pool2d(images, CROP // grid.shape[3]) * grid
    around = torch.ones(3, 1, 3, 3)
    total = F.conv2d(cells, around, padding=1, groups=3)
    count = F.conv2d(grid, around[:1], padding=1)
    everywhere = cells.sum((2, 3), keepdim=True) / grid.sum((2, 3), keepdim=True)
    colour = torch.where(count > 0, total / count.clamp(min=1), everywhere)
    return F.interpolate(colour, images.shape[2:], mode="nearest")


def _batch(pictures: list[Tensor], patch: int, count: int, generator: torch.Generator) -> tuple[Tensor, PatchMask]:
    crops = []
    for _ in range(count):
        picture = pictures[int(torch.randint(len(pictures), (1,), generator=generator))]
        top, left = (int(torch.randint(size - CROP + 1, (1,), generator=generator)) for size in picture.shape[1:])
        crop = picture[:, top : top + CROP, left : left + CROP]
        crops.append(crop.flip(2) if int(torch.randint(2, (1,), generator=generator)) else crop)
    return torch.stack(crops), random_patch_mask(count, CROP, CROP, patch, 0.5, generator)


def _error(painted: Tensor, images: Tensor, mask: PatchMask) -> Tensor:
    hidden = ~mask.at(CROP, CROP).expand_as(images)
    return (painted - images)[hidden].abs().mean()


def _read(path: Path) -> Tensor:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise SystemExit(f"{path}: no picture")
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    main()
