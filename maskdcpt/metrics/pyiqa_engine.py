"""pyiqa as the engine of learned metrics. It is licensed for non-commercial use, so nothing else imports it."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskdcpt.metrics.base import LearnedMetric
from uirdata.errors import UirError

VERSION = "0.1.16"
"""Another release may compute other values: variants and defaults have changed before."""


class PyiqaEngine:
    """
    Metrics of pyiqa, with weights from a folder and never from the network.

    Args:
        weights: the folder, with the layout of torch's own cache: `pyiqa/` and `checkpoints/`.
        device: to compute on.

    Raises:
        UirError: pyiqa is not installed, is another release, or cannot be imported.
    """

    name = f"pyiqa {VERSION}"

    def __init__(self, weights: Path, device: torch.device) -> None:
        check_installed()
        self._weights = weights
        self._device = device
        try:
            with _quiet():
                # torchvision and pyiqa read the folder of torch's cache, pyiqa at its import.
                torch.hub.set_dir(str(weights))
                import pyiqa
                import pyiqa.utils.download_util as downloads
        except (ImportError, RuntimeError) as error:
            raise UirError(
                f"pyiqa cannot be imported ({error}); torch {torch.__version__} and torchvision must be of one build"
            ) from error
        # In case it was imported before with another folder.
        downloads.DEFAULT_CACHE_DIR = str(weights / "pyiqa")
        self._create: Callable[..., Any] = pyiqa.create_metric

    def of_images(self, metric: LearnedMetric) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return a metric from restored (B, 3, H, W) in 0..1, and the GT where it is needed, to (B,)."""
        options: dict[str, Any] = dict(metric.options)
        if metric.file_option:
            options[metric.file_option] = str(self._weights / metric.files[0].path)
        with _quiet(), tensors_alone(metric.name, self._weights):
            made = self._create(metric.engine_name, device=self._device, **options)

        def score(restored: Tensor, gt: Tensor | None) -> Tensor:
            with _quiet():
                values: Tensor = made(restored.float(), None if gt is None else gt.float())
            return values.detach().reshape(-1).double().cpu()

        return score

    def of_sets(self, metric: LearnedMetric) -> Callable[[Path, Path], float]:
        """Return a metric of two folders of PNG files: restored, GT."""
        with _quiet(), tensors_alone(metric.name, self._weights):
            made = self._create(metric.engine_name, device=self._device)

        def distance(restored: Path, gt: Path) -> float:
            with _quiet():
                return float(made(str(restored), str(gt), verbose=False, num_workers=0, **metric.options))

        return distance


def check_installed() -> None:
    """
    Check that the library is installed, without importing it, which takes ten seconds.

    Raises:
        UirError: it is not installed, or is another release.
    """
    try:
        found = version("pyiqa")
    except PackageNotFoundError:
        raise UirError(
            "LPIPS, FID, PIQE, BRISQUE and NIQE need pyiqa, whose licence allows non-commercial use alone: "
            "pip install 'universal-image-restoration[eval]'; --metric none computes PSNR and SSIM only"
        ) from None
    if found != VERSION:
        raise UirError(
            f"pyiqa {found} is installed, but the protocols are those of {VERSION}: pip install pyiqa=={VERSION}"
        )


@contextlib.contextmanager
def tensors_alone(metric: str, weights: Path) -> Iterator[None]:
    """
    Return a context in which `torch.load` loads tensors alone, even where its caller allows code, as the library does.

    Raises:
        UirError: a weight file of the metric has other objects.
    """
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UirError(
            f"a weight file of {metric} in {weights} contains objects other than tensors, which could run code on "
            "loading, or is damaged; `maskdcpt eval --list-weights` lists where the published files are"
        ) from error
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's output on stdout, which is for data, and its warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
