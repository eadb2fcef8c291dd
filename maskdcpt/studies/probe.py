"""
How well features separate degradations before and after training: the paper's preliminary study (Fig. 2).

Nearest neighbours on flattened features, without training. The paper does not state k, the images and the split. The
protocol here: the middle window of the first images of each class, the last feature before restoration, its visible
sites only, k = 5, Euclidean distance, two thirds of each class as reference, one third for testing, five seeds (those
of DCPT's script). The other protocol is that of DCPT's script: channels in the order blue, green, red, a third of all
images for testing whatever their classes, and fresh weights from its own distribution. The script reads a feature of a
network that was never released; the same last feature is used in its place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from maskdcpt.backbones import Backbone
from maskdcpt.compute.devices import chosen_device
from maskdcpt.config.toml import read_config
from maskdcpt.data.crops import middle_window
from maskdcpt.data.samples import Samples, open_samples
from maskdcpt.images import to_tensor
from maskdcpt.masking import PatchMask, random_patch_mask
from maskdcpt.networks.networks import Networks, build_backbone
from maskdcpt.training.run_folder import CONFIG
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import Checkpoint, checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from uirdata.errors import UirError, UsageError
from uirdata.progress import Progress, Silent
from uirdata.seeding import rng_for, seed_for
from uirdata.subsets import Subset

SEEDS = (0, 223, 929, 1234, 10086)
NEIGHBOURS = 5
IN_MEMORY_BYTES = 2**30
"""Features of more bytes than this are kept in a file while they are compared."""

ProbeProtocol = Literal["paper", "released"]


@dataclass(frozen=True)
class ProbeSettings:
    """
    The settings of a probe.

    Attributes:
        backbone: name, for fresh weights.
        split: of the shards.
        subset: of the shards; None takes all.
        per_class: images of each class, at most.
        crop: side of the middle window, in pixels.
        ratios: mask ratios to probe.
        patch: side of the masks' patches, in pixels.
        protocol: "paper", with our choices for what the paper does not state, or "released", that of DCPT's script.
        everywhere: use features of hidden sites too; else of visible sites alone.
    """

    backbone: str = "nafnet"
    split: str = "test"
    subset: Subset | None = None
    per_class: int = 100
    crop: int = 128
    ratios: tuple[float, ...] = (0.0,)
    patch: int = 16
    protocol: ProbeProtocol = "paper"
    everywhere: bool = False


@dataclass(frozen=True)
class ProbeResult:
    """
    Accuracy at one mask ratio and one step of a training.

    Attributes:
        ratio: mask ratio.
        accuracy: mean over the seeds, 0 to 1.
        spread: standard deviation over the seeds.
        chance: accuracy of guessing the most frequent class.
        images: number of images.
        step: of the training; 0 for fresh weights.
    """

    ratio: float
    accuracy: float
    spread: float
    chance: float
    images: int
    step: int = 0


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """
    Features laid out in the plane by t-SNE.

    Attributes:
        points: (N, 2).
        labels: (N,), positions in `class_names`.
        class_names: the classes.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


def probe_features(
    checkpoint: str | Path | None,
    shards: str | Path | Samples,
    settings: ProbeSettings | None = None,
    *,
    every_step: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[ProbeResult]:
    """
    Return the accuracy of nearest neighbours on the features of a network.

    Args:
        checkpoint: whose backbone is probed; None probes fresh weights of `settings.backbone`, of the published size.
        shards: a folder, or samples that are open already.
        settings: the protocol.
        every_step: probe each checkpoint of a run, and the weights that it began with: the left half of Fig. 2.
        device: auto, cpu, cuda, ...
        progress: receives the number of images done.

    Raises:
        UsageError: there are fewer than three images of a class, or `every_step` is set and `checkpoint` is not a run.
        CheckpointError: a checkpoint cannot be loaded.
    """
    chosen = settings or ProbeSettings()
    place = chosen_device(device)
    samples = _opened(shards, chosen)
    indices, labels = _chosen(samples, chosen.per_class)
    listener = progress or Silent()
    results = []
    for step, backbone in _backbones(checkpoint, chosen, every_step, len(samples.class_names)):
        moved = backbone.to(place).eval()
        for ratio in chosen.ratios:
            task = f"features, step {step}, {ratio:.0%} hidden"
            with _features(moved, samples, indices, replace(chosen, ratios=(ratio,)), task, listener) as features:
                distances = squared_distances(features)
            split = _split_script if chosen.protocol == "released" else _split_stratified
            accuracies = [accuracy_of(distances, labels, split(labels, seed)) for seed in SEEDS]
            results.append(
                ProbeResult(
                    ratio=ratio,
                    accuracy=float(np.mean(accuracies)),
                    spread=float(np.std(accuracies)),
                    chance=float(np.bincount(labels).max() / len(labels)),
                    images=len(indices),
                    step=step,
                )
            )
    return results


def map_features(
    checkpoint: str | Path | None,
    shards: str | Path | Samples,
    settings: ProbeSettings | None = None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> FeatureMap:
    """
    Return the features of images in the plane, as in DCPT's script: unit length, t-SNE of perplexity 30, 2,000 steps.

    Args:
        checkpoint: as in `probe_features`.
        shards: as in `probe_features`.
        settings: the first ratio counts.
        device: auto, cpu, cuda, ...
        progress: receives the number of images done.

    Raises:
        UirError: scikit-learn is not installed.
        UsageError: there are too few images.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise UirError("t-SNE needs scikit-learn: pip install 'universal-image-restoration[demo]'") from error
    chosen = settings or ProbeSettings()
    samples = _opened(shards, chosen)
    indices, labels = _chosen(samples, chosen.per_class)
    ((_, backbone),) = _backbones(checkpoint, chosen, False, len(samples.class_names))
    moved = backbone.to(chosen_device(device)).eval()
    with _features(moved, samples, indices, chosen, "features for t-SNE", progress or Silent()) as features:
        # t-SNE needs distances only: |a - b|^2 = 2 - 2 a b for vectors of length 1.
        distances = squared_distances(features, normalise=True)
    points = TSNE(
        2,
        perplexity=min(30.0, (len(indices) - 1) / 3),
        max_iter=2000,
        metric="precomputed",
        init="random",
        random_state=0,
    ).fit_transform(np.sqrt(distances))
    return FeatureMap(np.asarray(points, dtype=np.float64), labels, samples.class_names)


def squared_distances(features: NDArray[np.float32], *, normalise: bool = False) -> NDArray[np.float64]:
    """
    Return the squared Euclidean distance of each pair, (N, N), summed in float64 over slices, for features in a file.

    Args:
        features: (N, D).
        normalise: scale the vectors to length 1 first.

    Raises:
        UirError: features are NaN or infinite.
    """
    products = np.zeros((len(features), len(features)))
    for start in range(0, features.shape[1], 1 << 16):
        part = np.asarray(features[:, start : start + (1 << 16)], dtype=np.float64)
        products += part @ part.T
    if not np.isfinite(products).all():
        broken = int((~np.isfinite(np.diag(products))).sum())
        raise UirError(f"the features of {broken} of {len(features)} images are NaN or infinite; check the weights")
    lengths = np.diag(products).copy()
    if normalise:
        scale = np.sqrt(np.maximum(lengths, 1e-30))
        products /= scale[:, None] * scale[None]
        lengths = np.diag(products).copy()
    return np.maximum(lengths[:, None] + lengths[None] - 2 * products, 0.0)


def accuracy_of(distances: NDArray[np.float64], labels: NDArray[np.int64], tested: NDArray[np.bool_]) -> float:
    """
    Return the accuracy of classifying some images by the five nearest of the others, 0 to 1.

    A tie goes to the class that is first in the label order, as in scikit-learn.

    Args:
        distances: (N, N), of each pair.
        labels: (N,).
        tested: (N,), the images that are classified; the others are the reference.
    """
    known = labels[~tested]
    nearest = np.argsort(distances[tested][:, ~tested], axis=1, kind="stable")[:, :NEIGHBOURS]
    named = np.array([np.bincount(row).argmax() for row in known[nearest]])
    return float((named == labels[tested]).mean())


def _split_stratified(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which images are classified: a third of each class."""
    tested = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        group = np.flatnonzero(labels == label)
        shuffled = rng_for(seed, str(label), "probe split").permutation(group)
        tested[shuffled[: len(group) // 3]] = True
    return tested


def _split_script(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which images are classified: 33 % of all, as scikit-learn's train_test_split draws them (RandomState)."""
    tested = np.zeros(len(labels), dtype=bool)
    order = np.random.RandomState(seed).permutation(len(labels))
    tested[order[: int(np.ceil(0.33 * len(labels)))]] = True
    return tested


def _backbones(
    checkpoint: str | Path | None, settings: ProbeSettings, every_step: bool, classes: int
) -> Iterator[tuple[int, Backbone]]:
    if checkpoint is None:
        if every_step:
            raise UsageError("probing each step of a training needs a run, and no run is named: --checkpoint RUN")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = build_backbone(settings.backbone, {})
            if settings.protocol == "released":
                _script_weights(backbone)
        yield 0, backbone
        return
    if not every_step:
        loaded = load_checkpoint(checkpoint)
        yield loaded.step, networks_of(loaded, "params").backbone
        return
    folders = checkpoint_folders(Path(checkpoint))
    if not folders:
        raise UsageError(f"{checkpoint} is not a run with checkpoints; name the folder of a run")
    # The weights that the run began with come from its seed, or from the checkpoint that it started from.
    config = read_config(Path(checkpoint) / CONFIG)
    if config.init.checkpoint:
        before: Checkpoint = load_checkpoint(config.init.checkpoint)
        yield 0, networks_of(before, config.init.weights).backbone
    else:
        yield 0, Networks.create(config, classes).backbone
    for folder in folders:
        loaded = load_checkpoint(folder)
        yield loaded.step, networks_of(loaded, "params").backbone


def _script_weights(backbone: Backbone) -> None:
    """Draw weights as DCPT's script does: Kaiming uniform with a = 2, biases zero."""
    for module in backbone.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@contextmanager
def _features(
    backbone: Backbone,
    samples: Samples,
    indices: Sequence[int],
    settings: ProbeSettings,
    task: str,
    progress: Progress,
) -> Iterator[NDArray[np.float32]]:
    """Compute the features of images, (N, D); in a file while the block runs where they are many."""
    progress.begin(task, len(indices))
    first = _feature(backbone, samples, indices[0], settings)
    shape = (len(indices), first.size)
    with tempfile.TemporaryDirectory() as folder:
        features: NDArray[np.float32]
        if first.nbytes * len(indices) > IN_MEMORY_BYTES:
            features = np.memmap(Path(folder) / "features", dtype=np.float32, mode="w+", shape=shape)
        else:
            features = np.empty(shape, dtype=np.float32)
        for row, index in enumerate(indices):
            features[row] = first if row == 0 else _feature(backbone, samples, index, settings)
            progress.advance(task)
        progress.end(task)
        yield features


@torch.inference_mode()
def _feature(backbone: Backbone, samples: Samples, index: int, settings: ProbeSettings) -> NDArray[np.float32]:
    device = next(backbone.parameters()).device
    window = middle_window(samples[index].lq, settings.crop)
    if settings.protocol == "released":
        window = window[:, :, ::-1]
    image = to_tensor(np.ascontiguousarray(window)).to(device)
    (ratio, *_) = settings.ratios
    mask: PatchMask | None = None
    if ratio:
        generator = torch.Generator().manual_seed(seed_for(0, str(index), "probe mask"))
        mask = random_patch_mask(1, settings.crop, settings.crop, settings.patch, ratio, generator).to(device)
    last = backbone.encode(image, mask).last
    if mask is not None and not settings.everywhere:
        visible = mask.at(last.shape[-2], last.shape[-1])[0, 0]
        last = last[:, :, visible]
    flat: NDArray[np.float32] = last.flatten().to("cpu", torch.float32).numpy()
    return flat


def _opened(shards: str | Path | Samples, settings: ProbeSettings) -> Samples:
    if isinstance(shards, (str, Path)):
        return open_samples(shards, settings.split, settings.subset)
    return shards


def _chosen(samples: Samples, per_class: int) -> tuple[list[int], NDArray[np.int64]]:
    places = {name: label for label, names in enumerate(samples.class_names) for name in names.split("+")}
    labels = [places[str(name)] for name in samples.degradations]
    indices: list[int] = []
    for label in range(len(samples.class_names)):
        group = [index for index, own in enumerate(labels) if own == label]
        if 0 < len(group) < 3:
            raise UsageError(f"there are {len(group)} images of {samples.class_names[label]}; a probe needs three")
        indices += group[:per_class]
    if len(indices) < NEIGHBOURS + 1:
        raise UsageError(f"there are {len(indices)} images; a probe needs {NEIGHBOURS + 1} at least")
    return indices, np.array([labels[index] for index in indices], dtype=np.int64)
