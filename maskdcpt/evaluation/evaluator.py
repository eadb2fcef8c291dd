"""Networks that restore and classify images, and the scores of their results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskdcpt.evaluation.cases import Case, Loaded
from maskdcpt.evaluation.scores import ImageScore, Protocol
from maskdcpt.images import Image, image_tensor, to_rgb, write_image
from maskdcpt.metrics import psnr, ssim
from maskdcpt.metrics.base import finite_images, mean_db, rounded
from maskdcpt.metrics.learned import LearnedScorer
from maskdcpt.networks.classify import named_classes
from maskdcpt.restoring.tiling import check_tile, restored_image
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import Checkpoint
from uirdata.errors import UirError, UsageError


class Evaluator:
    """
    The networks and metrics of an evaluation, on their device.

    Args:
        restoring: the checkpoint that is evaluated.
        naming: the checkpoint of the classifier.
        protocol: of restoration and metrics.
        device: to compute on.
        class_names: labels of the images; the classifier must have the same. None accepts any classifier.
        learned: learned metrics; None for none.

    Attributes:
        class_names: of the classifier; empty without one.
        restores: whether the checkpoint restores.
        learned: the argument.

    Raises:
        UsageError: the labels differ, or the checkpoint neither restores nor classifies.
        CheckpointError: a checkpoint cannot be loaded.
    """

    def __init__(
        self,
        restoring: Checkpoint,
        naming: Checkpoint,
        protocol: Protocol,
        device: torch.device,
        *,
        class_names: tuple[str, ...] | None = None,
        learned: LearnedScorer | None = None,
    ) -> None:
        self._protocol = protocol
        self._device = device
        self.learned = learned
        self._restorer = networks_of(restoring, protocol.weights).to(device).eval() if restoring.restores else None
        if self._restorer is not None:
            check_tile(protocol.tile_px, self._restorer.backbone)
        named = networks_of(naming, protocol.weights).to(device).eval()
        if named.classifier is None and naming is not restoring:
            raise UsageError(f"{naming.path}: has no classifier; name a pre-trained checkpoint")
        self._namer = named if named.classifier is not None else None
        self.restores = restoring.restores
        self.class_names = naming.class_names if self._namer else ()
        if self._namer and class_names is not None and self.class_names != class_names:
            raise UsageError(
                f"{naming.path}: its labels are {', '.join(self.class_names)}, those of the shards are "
                f"{', '.join(class_names)}; evaluate on the subset that it was trained on"
            )
        if self._restorer is None and self._namer is None:
            raise UsageError(
                f"{restoring.path}: was pre-trained without a classifier and does not restore; fine-tune it first"
            )
        if self._restorer is None and learned is not None:
            raise UsageError(
                f"{restoring.path}: was pre-trained and does not restore, so there are no images for "
                f"{', '.join(protocol.learned)}; omit --metric, or fine-tune it first"
            )

    @torch.inference_mode()
    def score(
        self, cases: Sequence[Case], loaded: Sequence[Loaded], image_files: Sequence[tuple[Path, Path]] = ()
    ) -> list[ImageScore]:
        """
        Restore and score images of one size, all with a GT or all without.

        Args:
            cases: the images.
            loaded: their pixels.
            image_files: paths of PNG files for the restored image and the GT, for metrics of sets; empty writes none.
        """
        lq = self._batch([item.lq for item in loaded])
        gts = [item.gt for item in loaded if item.gt is not None]
        gt = self._batch(gts) if gts else None
        output = self._restored(lq)
        finite = [True] * len(cases) if output is None else finite_images(output)
        # Black in place of what is no image, so that the metrics of the others can be computed; it gets no score.
        restored = None if output is None else torch.where(_by_image(finite, output), output, 0.0).clamp(0, 1)
        values: dict[str, list[float | None]] = {}
        for prefix, image in (("", restored), ("lq_", lq)):
            values |= {prefix + name: scores for name, scores in self._compared(image, gt, len(cases)).items()}
        learned: dict[str, list[float | None]] = {}
        if self.learned is not None and restored is not None:
            for prefix, image in (("", restored), ("lq_", lq.clamp(0, 1))):
                learned |= {prefix + name: scores for name, scores in self.learned.score(image, gt).items()}
        for index, (restored_file, gt_file) in enumerate(image_files):
            if restored is not None and gt is not None and finite[index]:
                write_image(restored_file, to_rgb(restored[index]))
                write_image(gt_file, to_rgb(gt[index]))
        names = self._names(lq)
        found = []
        for index, case in enumerate(cases):
            own = {name: scores[index] for name, scores in (values | learned).items()}
            broken = [name for name, value in own.items() if value is not None and not math.isfinite(value)]
            if not finite[index]:
                broken = ["output", *(name for name in broken if name.startswith("lq_"))]
            broken += ["class"] if names[index] is None else []
            for name in own:
                if name in broken or (not finite[index] and not name.startswith("lq_")):
                    own[name] = None
            found.append(
                ImageScore(
                    key=case.key,
                    degradation=case.degradation,
                    level=case.level,
                    source=case.source,
                    height=lq.shape[-2],
                    width=lq.shape[-1],
                    psnr=own["psnr"],
                    ssim=own["ssim"],
                    lq_psnr=own["lq_psnr"],
                    lq_ssim=own["lq_ssim"],
                    named=names[index] or "",
                    test_set=case.test_set,
                    scene=case.scene,
                    learned={name: own[name] for name in learned},
                    broken=", ".join(broken),
                )
            )
        return found

    @torch.inference_mode()
    def restore(self, lq: Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """
        Restore one image as it is scored: (H, W, 3) to RGB uint8 of the same size; the LQ if nothing restores.

        Raises:
            UirError: the output of the network is not finite.
        """
        batch = self._batch([lq])
        output = self._restored(batch)
        if output is not None and not all(finite_images(output)):
            raise UirError("the output of the network is NaN or infinite; it is no image")
        return to_rgb((batch if output is None else output.clamp(0, 1))[0])

    def _batch(self, images: Sequence[Image]) -> Tensor:
        batch = torch.cat([image_tensor(image) for image in images]).to(self._device)
        return rounded(batch) if self._protocol.quantise else batch

    def _restored(self, lq: Tensor) -> Tensor | None:
        if self._restorer is None:
            return None
        return restored_image(self._restorer, lq, self._protocol.tile_px)

    def _compared(self, image: Tensor | None, gt: Tensor | None, count: int) -> dict[str, list[float | None]]:
        if image is None or gt is None:
            return {"psnr": [None] * count, "ssim": [None] * count}
        p = self._protocol
        how: Mapping[str, Any] = {"quantise": p.quantise, "y_channel": p.y_channel, "crop_border": p.crop_border}
        height, width = image.shape[-2:]
        if 2 * p.crop_border >= min(height, width):
            raise UsageError(
                f"a crop border of {p.crop_border} leaves no pixels of a {height} x {width} image; "
                f"use at most {(min(height, width) - 1) // 2}"
            )
        fits = min(height, width) - 2 * p.crop_border >= 11
        return {
            "psnr": [mean_db(value) for value in psnr(image, gt, **how).tolist()],
            "ssim": ssim(image, gt, **how).tolist() if fits else [None] * count,
        }

    def _names(self, lq: Tensor) -> list[str | None]:
        """Return the class of each image; "" without a classifier, None where its logits are not finite."""
        if self._namer is None:
            return [""] * len(lq)
        return [None if label is None else self.class_names[label] for label in named_classes(self._namer, lq)]


def _by_image(values: Sequence[bool], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None, None]
