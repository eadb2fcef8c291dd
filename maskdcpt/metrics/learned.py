"""Learned metrics in an evaluation: their weights are checked before the first image; images are scored in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from maskdcpt.metrics import LEARNED, LearnedMetric, WeightFile
from maskdcpt.metrics.base import rounded
from maskdcpt.metrics.pyiqa_engine import PyiqaEngine, check_installed
from uirdata.errors import UirError, UsageError, nearest


class Engine(Protocol):
    """A library that computes metrics."""

    @property
    def name(self) -> str:
        """The name of the library, with its release."""
        ...

    def of_images(self, metric: LearnedMetric) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return a metric of images: from restored and GT, (B, 3, H, W) in 0..1, to (B,)."""
        ...

    def of_sets(self, metric: LearnedMetric) -> Callable[[Path, Path], float]:
        """Return a metric of two folders of PNG files."""
        ...


class LearnedScorer:
    """
    The learned metrics of an evaluation.

    Args:
        metrics: from `LEARNED`.
        weights: folder of weight files; torch's own cache when None.
        device: to compute on.
        engine: the library; pyiqa when None.

    Raises:
        UirError: a weight file is missing, or pyiqa is not installed.
    """

    def __init__(
        self,
        metrics: Sequence[LearnedMetric],
        weights: Path | None,
        device: torch.device,
        engine: Engine | None = None,
    ) -> None:
        folder = weights_folder(weights)
        # Checked before the weights, which are not worth a download without the library.
        if engine is None:
            check_installed()
        _check_files(metrics, folder)
        chosen: Engine = engine or PyiqaEngine(folder, device)
        self.engine = chosen.name
        self.of_images = tuple(metric for metric in metrics if not metric.of_a_set)
        self.of_sets = tuple(metric for metric in metrics if metric.of_a_set)
        self._scores = {metric.name: chosen.of_images(metric) for metric in self.of_images}
        self._distances = {metric.name: chosen.of_sets(metric) for metric in self.of_sets}
        self.digests = {file.path: digest(folder / file.path) for metric in metrics for file in metric.files}
        """sha256 of each weight file."""

    def score(self, restored: Tensor, gt: Tensor | None) -> dict[str, list[float | None]]:
        """
        Score a batch.

        Args:
            restored: (B, 3, H, W), clipped to 0..1.
            gt: the same; None where there is none.

        Returns:
            One value per image, by metric; None where there is no GT to compare with, or the image is too small; NaN or
            an infinity where the metric computed that.
        """
        found: dict[str, list[float | None]] = {}
        for metric in self.of_images:
            if (metric.needs_gt and gt is None) or min(restored.shape[-2:]) < metric.least_px:
                found[metric.name] = [None] * len(restored)
                continue
            images = (restored, gt if metric.needs_gt else None)
            a, b = (rounded(x) if metric.rounded and x is not None else x for x in images)
            assert a is not None
            found[metric.name] = self._scores[metric.name](a, b).tolist()
        return found

    def distances(self, restored: Path, gt: Path) -> dict[str, float | None]:
        """Compare two folders of PNG files; None for fewer than two images, which have no covariance. May be NaN."""
        few = len(list(restored.glob("*.png"))) < 2
        return {name: None if few else distance(restored, gt) for name, distance in self._distances.items()}


def learned_metrics(names: Sequence[str]) -> tuple[LearnedMetric, ...]:
    """
    Return learned metrics by name, each once.

    Raises:
        UsageError: there is no metric of that name.
    """
    for name in names:
        if name not in LEARNED:
            raise UsageError(f"there is no metric {name!r}: {nearest(name, ['psnr', 'ssim', *LEARNED])}")
    return tuple(LEARNED[name] for name in dict.fromkeys(names))


def weights_folder(weights: Path | None) -> Path:
    """Return the folder of weight files: torch's own cache when None."""
    return Path(torch.hub.get_dir()) if weights is None else weights


def missing_files(metrics: Sequence[LearnedMetric], folder: Path) -> list[tuple[LearnedMetric, WeightFile]]:
    """Return the weight files that are not in a folder."""
    return [(m, file) for m in metrics for file in m.files if not (folder / file.path).is_file()]


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unlike_published(digests: Mapping[str, str]) -> list[str]:
    """Return files whose sha256 does not begin with the digits in their published name: repacked, or other files."""
    known = {file.path: file.sha256 for metric in LEARNED.values() for file in metric.files if file.sha256}
    return [path for path, found in digests.items() if path in known and not found.startswith(known[path])]


def _check_files(metrics: Sequence[LearnedMetric], folder: Path) -> None:
    missing = missing_files(metrics, folder)
    if missing:
        lines = "".join(f"\n  {metric.name}: {folder / file.path}\n    from {file.url}" for metric, file in missing)
        raise UirError(
            f"weights of metrics are missing:{lines}\nDownload them to these paths, name another folder with --weights "
            "DIR, or choose other metrics (--metric none, --metric lpips)"
        )
