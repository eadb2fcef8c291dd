"""Validation during a run: scores on samples that it is not trained on, and example images of training samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from maskdcpt.compute.distributed import Process
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.batches import Batch, pack
from maskdcpt.data.crops import middle_window
from maskdcpt.data.samples import Samples, open_samples
from maskdcpt.metrics import psnr
from maskdcpt.metrics.base import finite_images, mean_db
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives import OBJECTIVES
from maskdcpt.objectives.step_masks import step_mask
from uirdata.errors import UsageError, nearest
from uirdata.images import RgbImage
from uirdata.manifest_syntax.pair_rules import Split
from uirdata.progress import Progress
from uirdata.subsets import Subset

SPLITS: tuple[str, ...] = get_args(Split)

VALIDATION_CROP = 256
"""Largest side of the windows that validation uses, in pixels: whole images are for `maskdcpt eval`."""


class Validator:
    """
    Scores on held-out samples: the middle window of the first few of each degradation, always the same.

    Args:
        config: of the run.
        subset: of the run; None takes all samples of the shards.
        process: this process; only the leading one opens the shards.
    """

    def __init__(self, config: TrainConfig, subset: Subset | None, process: Process) -> None:
        self._config = config
        self._device = process.device
        found = held_out(config, subset) if process.leads else ""
        self._samples: Samples | None = None if isinstance(found, str) else found
        self._missing = found if isinstance(found, str) else ""
        self._indices = _first_of_each(self._samples, config.loop.validate_images) if self._samples else []

    def remark(self, progress: Progress) -> None:
        """Say that there is no validation, where the configuration wants one and the shards have no samples for it."""
        if self._missing:
            progress.note(f"no validation, and no best checkpoint is kept: {self._missing}")

    def validate(self, networks: Networks) -> dict[str, float]:
        """
        Evaluate the networks of `RunState.evaluation_networks`.

        Returns:
            For fine-tuning: `psnr` and `lq_psnr`, the mean over degradations, and `psnr/<degradation>`, in dB.
            For pre-training: `accuracy` of the classifier on unmasked images, and `pixel`, the mean absolute difference
            of the reconstruction under the masks of step 0.
            Where outputs are NaN or infinite, `broken` counts these images, and the means that they belong to are
            missing: the checkpoint has no score, and is not the best.
            {} without held-out samples.
        """
        if not self._samples or not self._indices:
            return {}
        if self._config.objective.traits.pretrains:
            return self._pretraining(networks, self._samples)
        return self._restoration(networks, self._samples)

    def _restoration(self, networks: Networks, samples: Samples) -> dict[str, float]:
        restored: dict[str, list[float | None]] = {}
        given: dict[str, list[float | None]] = {}
        for index in self._indices:
            item = samples[index]
            batch = _whole(item.lq, item.gt, VALIDATION_CROP, self._device)
            name = str(samples.degradations[index])
            output = networks.backbone.restore(batch.lq)
            # Clipped, an infinity would look like a white pixel.
            value = _db(output.clamp(0, 1), batch.gt) if all(finite_images(output)) else None
            restored.setdefault(name, []).append(value)
            given.setdefault(name, []).append(_db(batch.lq, batch.gt))
        means = {name: _mean(values) for name, values in restored.items()}
        return _without_none(
            {
                "psnr": _mean(list(means.values())),
                "lq_psnr": _mean([_mean(values) for values in given.values()]),
                **{f"psnr/{name}": value for name, value in means.items()},
                "broken": _count(value for values in restored.values() for value in values),
            }
        )

    def _pretraining(self, networks: Networks, samples: Samples) -> dict[str, float]:
        crop = self._config.data.crop
        right: list[float | None] = []
        pixel: list[float | None] = []
        for start in range(0, len(self._indices), 8):
            items = [samples[index] for index in self._indices[start : start + 8]]
            windows = [(middle_window(i.lq, crop), middle_window(i.gt, crop), i.label, 0) for i in items]
            batch = pack(windows).unpack(self._device)
            if networks.classifier is not None:
                logits = networks.classify(networks.encode(batch.lq).features)
                known = torch.isfinite(logits).all(1).tolist()
                hits = (logits.argmax(1) == batch.label).float().tolist()
                right += [hit if finite else None for hit, finite in zip(hits, known, strict=True)]
            mask = step_mask(self._config, 0, len(items), crop)
            if networks.reconstruction is not None and mask is not None:
                seen = mask.to(self._device)
                image = networks.reconstruct(networks.encode(batch.lq, seen), seen)
                errors = (image - batch.gt).abs().mean((1, 2, 3)).tolist()
                pixel += [error if math.isfinite(error) else None for error in errors]
        broken = max(_count(right) or 0.0, _count(pixel) or 0.0) or None
        return _without_none({"accuracy": _mean(right), "pixel": _mean(pixel), "broken": broken})


def example_rows(
    networks: Networks, config: TrainConfig, crops: Sequence[tuple[RgbImage, RgbImage, int, int]], device: torch.device
) -> list[list[Tensor]]:
    """
    Return example images: what the networks of `RunState.evaluation_networks` make of some crops.

    Returns:
        A row of (3, H, W) images for each crop: the LQ, its visible part (masked objectives), the output, the GT.
    """
    batch = pack(crops).unpack(device)
    mask = step_mask(config, 0, len(crops), batch.lq.shape[-1])
    seen = None if mask is None else mask.to(device)
    shown = [] if seen is None else [seen.hide(batch.lq)]
    made = OBJECTIVES[config.objective.kind].example(networks, batch, seen)
    columns = [batch.lq, *shown, made, batch.gt]
    return [list(row) for row in zip(*columns, strict=True)]


def held_out(config: TrainConfig, subset: Subset | None) -> Samples | str:
    """
    Return the samples of the split for validation, or why there are none; "" if none are wanted.

    Raises:
        UsageError: there is no split of that name in any shards.
    """
    split = config.data.validation_split
    if not split:
        return ""
    if split not in SPLITS:
        raise UsageError(f'data.validation_split is {split!r}: {nearest(split, SPLITS)}; "" trains without validation')
    try:
        return open_samples(config.data.shards, split, subset)
    except UsageError as error:
        # Many shard folders have no such split, and the training split of the same folder has been opened before, so
        # this is no error of the folder.
        return str(error)


def _first_of_each(samples: Samples, count: int) -> list[int]:
    taken: dict[str, list[int]] = {}
    for index, name in enumerate(samples.degradations):
        group = taken.setdefault(str(name), [])
        if len(group) < count:
            group.append(index)
    return [index for group in taken.values() for index in group]


def _whole(lq: RgbImage, gt: RgbImage, most: int, device: torch.device) -> Batch:
    """Return a batch of one pair: the middle window of at most `most` pixels a side."""
    height, width = min(most, lq.shape[0]), min(most, lq.shape[1])
    top, left = (lq.shape[0] - height) // 2, (lq.shape[1] - width) // 2
    window = np.s_[top : top + height, left : left + width]
    return pack([(lq[window], gt[window], 0, 0)]).unpack(device)


def _db(image: Tensor, gt: Tensor) -> float | None:
    return mean_db(float(psnr(image, gt)[0]))


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None where a value is missing, as a mean of the others would look better than it is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _count(values: Iterable[float | None]) -> float | None:
    return float(sum(value is None for value in values)) or None


def _without_none(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
