"""Networks that restore and classify images, and the scores of their results."""

from __future__ import annotations

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
from maskdcpt.metrics.base import MOST_DB, rounded
from maskdcpt.metrics.learned import LearnedScorer
from maskdcpt.networks.classify import named_classes
from maskdcpt.restoring.tiling import check_tile, restored_image
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import Checkpoint
from uirdata.errors import UsageError


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
        restored = self._restored(lq)
        values: dict[str, list[float | None]] = {}
        for prefix, image in (("", restored), ("lq_", lq)):
            values |= {prefix + name: scores for name, scores in self._compared(image, gt, len(cases)).items()}
        learned: dict[str, list[float | None]] = {}
        if self.learned is not None and restored is not None:
            for prefix, image in (("", restored), ("lq_", lq.clamp(0, 1))):
                learned |= {prefix + name: scores for name, scores in self.learned.score(image, gt).items()}
        for index, (restored_file, gt_file) in enumerate(image_files):
            if restored is not None and gt is not None:
                write_image(restored_file, to_rgb(restored[index]))
                write_image(gt_file, to_rgb(gt[index]))
        names = self._names(lq)
        return [
            ImageScore(
                key=case.key,
                degradation=case.degradation,
                level=case.level,
                source=case.source,
                height=lq.shape[-2],
                width=lq.shape[-1],
                psnr=values["psnr"][index],
                ssim=values["ssim"][index],
                lq_psnr=values["lq_psnr"][index],
                lq_ssim=values["lq_ssim"][index],
                named=names[index],
                test_set=case.test_set,
                scene=case.scene,
                learned={name: scores[index] for name, scores in learned.items()},
            )
            for index, case in enumerate(cases)
        ]

    @torch.inference_mode()
    def restore(self, lq: Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Restore one image as it is scored: (H, W, 3) to RGB uint8 of the same size; the LQ if nothing restores."""
        batch = self._batch([lq])
        restored = self._restored(batch)
        return to_rgb((batch if restored is None else restored)[0])

    def _batch(self, images: Sequence[Image]) -> Tensor:
        batch = torch.cat([image_tensor(image) for image in images]).to(self._device)
        return rounded(batch) if self._protocol.quantise else batch

    def _restored(self, lq: Tensor) -> Tensor | None:
        if self._restorer is None:
            return None
        return restored_image(self._restorer, lq, self._protocol.tile_px).clamp(0, 1)

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
            "psnr": [min(MOST_DB, value) for value in psnr(image, gt, **how).tolist()],
            "ssim": ssim(image, gt, **how).tolist() if fits else [None] * count,
        }

    def _names(self, lq: Tensor) -> list[str]:
        if self._namer is None:
            return [""] * len(lq)
        return [self.class_names[label] for label in named_classes(self._namer, lq)]
