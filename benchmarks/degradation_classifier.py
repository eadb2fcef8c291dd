"""
Can a classifier distinguish the nineteen types, and do generated images look like real ones?

    python -m benchmarks.degradation_classifier [--photos FOLDER...] [--real FOLDER] [--steps 1200]

Trains a small network on generated samples of photographs of scikit-image and scikit-learn, and of those in further
folders, and tests it on other photographs of scikit-image, scikit-learn and matplotlib. With `--real`, it also
classifies real images: FOLDER/MANIFEST.tsv lists them (path, role), and the predicted types are printed by the folder
of the images.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from uirdata.degradations import DEGRADATIONS, degrade, sample_recipe
from uirdata.degradations.jpeg import jpeg
from uirdata.images import IMAGE_SUFFIXES, RgbImage, read_image
from uirdata.seeding import rng_for

NAMES = list(DEGRADATIONS)
CROP = 128
# Parts of folder names in the manifest, and the type that each means. The first that occurs in a folder's name counts.
GROUPS = {
    "rain_streak": "rain-streak",
    "raindrop": "raindrop",
    "haze_night": "",
    "haze": "haze",
    "snow": "snow",
    "moire": "moire",
    "lowlight": "low-light",
    "real_noise": "real-noise",
    "gaussian_noise": "noise",
    "motion_blur": "motion-blur",
    "defocus": "defocus-blur",
    "jpeg": "jpeg",
    "mixed_OneRestore": "low-light-haze-rain-snow",
}


def main() -> None:
    """Train, test on held-out photographs, and classify real images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder with MANIFEST.tsv")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of more photographs to train on")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=38)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=4e-3, help="the highest learning rate")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--load", type=Path, help="weights to start from; with --steps 0 they are only tested")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    train, test = photographs()
    for folder in arguments.photos:
        train += [read_image(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    print(f"{len(train)} photographs to train on, {len(test)} held out", flush=True)
    network = Classifier(arguments.width)
    if arguments.load:
        network.load_state_dict(torch.load(arguments.load, weights_only=True))
    if arguments.steps:
        fit(network, train, steps=arguments.steps, batch=arguments.batch, seed=arguments.seed, rate=arguments.rate)
    if arguments.save:
        torch.save(network.state_dict(), arguments.save)
    network.eval()
    print_held_out(network, test)
    if arguments.real:
        print_real(network, arguments.real)


def photographs() -> tuple[list[RgbImage], list[RgbImage]]:
    """Return the photographs to train on and those to test on, none of them in both."""
    import matplotlib
    import skimage
    import sklearn

    at_skimage = Path(skimage.__file__).parent / "data"
    at_sklearn = Path(sklearn.__file__).parent / "datasets" / "images"
    at_matplotlib = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data"
    train = ["astronaut.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "hubble_deep_field.jpg"]
    test = ["chelsea.png", "retina.jpg"]
    train_paths = [at_skimage / name for name in train] + [at_sklearn / "china.jpg"]
    test_paths = [at_skimage / name for name in test] + [at_sklearn / "flower.jpg", at_matplotlib / "grace_hopper.jpg"]
    return [read_image(p) for p in train_paths if p.exists()], [read_image(p) for p in test_paths if p.exists()]


class Classifier(nn.Module):
    """Convolutions on 2 x 2 cells, which keep every pixel, then mean, deviation and maximum of every feature."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU())

        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            block(24, 2 * width, 1),
            block(2 * width, 3 * width, 2),
            block(3 * width, 4 * width, 2),
            block(4 * width, 6 * width, 1),
        )
        self.head = nn.Sequential(nn.Linear(18 * width, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, len(NAMES)))

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 19) logits of (B, 3, H, W) images in 0..1."""
        # The amplified difference from the mean of the neighbours: noise, blocks and lattices are faint.
        fine = image - nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
        features = self.body(torch.cat([image - 0.5, 8 * fine], dim=1))
        pooled = [features.mean(dim=(2, 3)), features.std(dim=(2, 3)), features.amax(dim=(2, 3)) / 4]
        return self.head(torch.cat(pooled, dim=1))


def sample(photos: list[RgbImage], label: int, rng: np.random.Generator) -> RgbImage:
    """Return a degraded crop, varied in size, brightness, tint and direction so that the photographs give no hint."""
    photo = photos[int(rng.integers(len(photos)))]
    # Reduced, because some of the photographs are JPEG or soft at their own size and would count as degraded; by
    # different factors, because real images differ in sharpness.
    shrink = rng.uniform(0.35, 0.9)
    side = min(int(CROP / shrink), *photo.shape[:2])
    top, left = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
    crop = cv2.resize(photo[top : top + side, left : left + side], (CROP, CROP), interpolation=cv2.INTER_AREA)
    crop = np.rot90(crop, int(rng.integers(2)) * 2) if rng.random() < 0.2 else crop
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    gamma, tint = rng.uniform(0.75, 1.3), rng.uniform(0.85, 1.0, 3)
    varied = np.clip(255 * (crop / 255.0) ** gamma * tint, 0, 255).round().astype(np.uint8)
    lq = degrade(np.ascontiguousarray(varied), sample_recipe(NAMES[label], rng))
    # Published images are often stored as JPEG of high quality, whatever their degradation.
    return jpeg(lq, rng, quality=int(rng.integers(90, 99))) if rng.random() < 0.3 else lq


def batches(photos: list[RgbImage], *, batch: int, seed: int, purpose: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches without end, every type equally often."""
    step = 0
    while True:
        rng = rng_for(seed, str(step), purpose)
        labels = [(step * batch + i) % len(NAMES) for i in range(batch)]
        images = np.stack([sample(photos, label, rng) for label in labels])
        yield torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.tensor(labels)
        step += 1


def fit(network: Classifier, photos: list[RgbImage], *, steps: int, batch: int, seed: int, rate: float = 4e-3) -> None:
    """Train with AdamW and one cycle of the learning rate."""
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.15)
    start, right = time.monotonic(), 0.0
    for step, (images, labels) in enumerate(batches(photos, batch=batch, seed=seed, purpose="train")):
        if step == steps:
            break
        logits = network(images)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        right += 0.02 * ((logits.argmax(dim=1) == labels).float().mean().item() - right)
        if step % 100 == 99:
            print(
                f"step {step + 1}: {right:.3f} of the last batches right, {time.monotonic() - start:.0f} s", flush=True
            )


@torch.no_grad()
def print_held_out(network: Classifier, photos: list[RgbImage], *, rounds: int = 30) -> None:
    """Print the accuracy on held-out photographs, and the confusion matrix."""
    confusion = np.zeros((len(NAMES), len(NAMES)), dtype=int)
    source = batches(photos, batch=2 * len(NAMES), seed=1, purpose="test")
    for _ in range(rounds):
        images, labels = next(source)
        for label, guess in zip(labels.tolist(), network(images).argmax(dim=1).tolist(), strict=True):
            confusion[label, guess] += 1
    accuracy = np.trace(confusion) / confusion.sum()
    print(f"\nheld-out photographs: {accuracy:.3f} of {confusion.sum()} correct; chance is {1 / len(NAMES):.3f}")
    print("rows: true type; columns, in the same order: predicted type")
    for label, row in enumerate(confusion):
        print(f"  {NAMES[label]:28s}" + "".join(f"{count or '.':>4}" for count in row.tolist()))
    print("share of correct predictions, and the most frequent wrong ones")
    for label, row in enumerate(confusion):
        others = [(NAMES[i], int(row[i])) for i in np.argsort(-row) if i != label and row[i]][:3]
        missed = ", ".join(f"{name} {count}" for name, count in others)
        print(f"  {NAMES[label]:28s} {row[label] / row.sum():.2f}   {missed}")


@torch.no_grad()
def print_real(network: Classifier, folder: Path) -> None:
    """Print the predicted types of real images, by their folder: the mean over crops decides."""
    rows = list(csv.DictReader((folder / "MANIFEST.tsv").open(encoding="utf-8"), delimiter="\t"))
    print("\nreal images")
    total, hits = 0, 0
    for group in sorted({row["path"].split("/")[0] for row in rows if row["role"] in ("lq", "lq_only")}):
        expected = next((name for part, name in GROUPS.items() if part in group), "")
        if not expected:
            continue
        guesses: Counter[str] = Counter()
        for row in rows:
            if row["path"].split("/")[0] == group and row["role"] in ("lq", "lq_only"):
                guesses[guess(network, read_image(folder / row["path"]))] += 1
        total, hits = total + guesses.total(), hits + guesses[expected]
        print(f"  {group:28s} {guesses[expected]}/{guesses.total()} {expected:26s} {dict(guesses.most_common())}")
    print(f"  together {hits}/{total}")


def guess(network: Classifier, image: RgbImage) -> str:
    """Return the type of the highest mean probability over up to 25 crops; large images are reduced to 720 rows."""
    scale = min(1.0, 720 / min(image.shape[:2]))
    if scale < 0.75:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    side = min(CROP, height, width)
    tops, lefts = (np.unique(np.linspace(0, length - side, 5).astype(int)) for length in (height, width))
    crops = np.stack([image[top : top + side, left : left + side] for top in tops for left in lefts])
    chances = network(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255).softmax(dim=1).mean(dim=0)
    return NAMES[int(chances.argmax())]


if __name__ == "__main__":
    main()
