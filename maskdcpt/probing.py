"""
How far features tell degradations apart before and after training: the paper's preliminary study (Fig. 2).

Nearest neighbours on flattened features, no training of their own. The paper leaves k, the images and the split open;
the protocol here is: the middle window of the first images of each class, the last feature before restoration, its
visible places only, k = 5, Euclidean, two thirds of each class to know and one third to tell, five seeds (those of
DCPT's script).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from maskdcpt.backbones import Backbone
from maskdcpt.checkpoints import load_checkpoint
from maskdcpt.config import DataConfig
from maskdcpt.distributed import chosen_device
from maskdcpt.loading import Samples, middle_window, open_samples
from maskdcpt.masking import PatchMask, random_patch_mask
from maskdcpt.networks import build_backbone, networks_of
from maskdcpt.validation import to_tensor
from uirdata.errors import UsageError
from uirdata.progress import Progress, Silent
from uirdata.seeding import rng_for, seed_for

SEEDS = (0, 223, 929, 1234, 10086)
NEIGHBOURS = 5


@dataclass(frozen=True)
class ProbeSettings:
    """
    What is probed.

    Attributes:
        backbone: name, for fresh weights.
        split: of the shards.
        subset: of the shards; "" takes all.
        per_class: images of each class, at most.
        crop: side of the middle window, in pixels.
        ratios: hidden shares to try.
        patch: side of the masks' patches, in pixels.
    """

    backbone: str = "nafnet"
    split: str = "test"
    subset: str = ""
    per_class: int = 100
    crop: int = 128
    ratios: tuple[float, ...] = (0.0,)
    patch: int = 16


@dataclass(frozen=True)
class ProbeResult:
    """
    Accuracy at one mask ratio.

    Attributes:
        ratio: hidden share.
        accuracy: mean over the seeds, 0 to 1.
        spread: standard deviation over the seeds.
        chance: what guessing the most frequent class would give.
        images: how many.
    """

    ratio: float
    accuracy: float
    spread: float
    chance: float
    images: int


def probe_features(
    checkpoint: str | Path | None,
    shards: str | Path | Samples,
    settings: ProbeSettings | None = None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[ProbeResult]:
    """
    Measure how well the neighbours of a feature name its degradation.

    Args:
        checkpoint: whose backbone is probed; None probes fresh weights of `settings.backbone`, of the published size.
        shards: a folder, or samples that are open already.
        settings: the protocol.
        device: auto, cpu, cuda, ...
        progress: told about images.

    Raises:
        UsageError: there are fewer than three images of a class.
    """
    chosen = settings or ProbeSettings()
    if isinstance(shards, (str, Path)):
        samples = open_samples(DataConfig(shards=str(shards), subset=chosen.subset), chosen.split)
    else:
        samples = shards
    if checkpoint is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = build_backbone(chosen.backbone, {})
    else:
        backbone = networks_of(load_checkpoint(checkpoint), "params").backbone
    place = chosen_device(device)
    backbone = backbone.to(place).eval()
    indices, labels = _chosen(samples, chosen.per_class)
    results = []
    listener = progress or Silent()
    for ratio in chosen.ratios:
        listener.begin(f"features, {ratio:.0%} hidden", len(indices))
        features = np.stack([_feature(backbone, samples, index, ratio, chosen, place, listener) for index in indices])
        listener.end(f"features, {ratio:.0%} hidden")
        accuracies = [neighbour_accuracy(features, labels, seed) for seed in SEEDS]
        chance = float(np.bincount(labels).max() / len(labels))
        results.append(ProbeResult(ratio, float(np.mean(accuracies)), float(np.std(accuracies)), chance, len(indices)))
    return results


def neighbour_accuracy(features: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> float:
    """
    Tell a third of each class by the five nearest of the other two thirds.

    A tie goes to the class that is first in the label order, as in scikit-learn.

    Args:
        features: (N, D).
        labels: (N,), at least three of each class that there is.
        seed: of the split.
    """
    told = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        group = np.flatnonzero(labels == label)
        shuffled = rng_for(seed, str(label), "probe split").permutation(group)
        told[shuffled[: len(group) // 3]] = True
    known, wanted = features[~told].astype(np.float64), features[told].astype(np.float64)
    # |a - b|^2 without |a|^2, which is the same for all neighbours of a.
    distance = (known**2).sum(axis=1)[None] - 2.0 * wanted @ known.T
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
    votes = labels[~told][nearest]
    named = np.array([np.bincount(row).argmax() for row in votes])
    return float((named == labels[told]).mean())


@torch.inference_mode()
def _feature(
    backbone: Backbone,
    samples: Samples,
    index: int,
    ratio: float,
    settings: ProbeSettings,
    device: torch.device,
    progress: Progress,
) -> NDArray[np.float32]:
    image = to_tensor(middle_window(samples[index].lq, settings.crop)).to(device)
    mask: PatchMask | None = None
    if ratio:
        generator = torch.Generator().manual_seed(seed_for(0, str(index), "probe mask"))
        mask = random_patch_mask(1, settings.crop, settings.crop, settings.patch, ratio, generator).to(device)
    last = backbone.encode(image, mask).last
    if mask is not None:
        visible = mask.at(last.shape[-2], last.shape[-1])[0, 0]
        last = last[:, :, visible]
    progress.advance(f"features, {ratio:.0%} hidden")
    flat: NDArray[np.float32] = last.flatten().to("cpu", torch.float32).numpy()
    return flat


def _chosen(samples: Samples, per_class: int) -> tuple[list[int], NDArray[np.int64]]:
    places = {name: label for label, names in enumerate(samples.class_names) for name in names.split("+")}
    labels = [places[str(name)] for name in samples.degradations]
    indices: list[int] = []
    for label in range(len(samples.class_names)):
        group = [index for index, own in enumerate(labels) if own == label]
        if 0 < len(group) < 3:
            raise UsageError(f"there are {len(group)} images of {samples.class_names[label]}; a probe needs three")
        indices += group[:per_class]
    return indices, np.array(_at(labels, indices), dtype=np.int64)


def _at(values: Sequence[int], indices: Sequence[int]) -> list[int]:
    return [values[index] for index in indices]
