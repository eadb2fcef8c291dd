"""Trackers of metrics and images: TensorBoard, wandb and trackio."""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from uirdata.errors import UsageError
from uirdata.images import RgbImage
from uirdata.storage.files import storage_error, writing

TRACKER_KEY = "tracker-key.txt"
TENSORBOARD = "tensorboard"
WANDB = "wandb"
"""What is written in the folder of a run."""

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """A service that curves and images are sent to."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log values of a step."""
        ...

    def image(self, step: int, name: str, image: RgbImage) -> None:
        """Log an image of a step."""
        ...

    def close(self) -> None:
        """Write what has not been written yet, and end."""
        ...


def open_trackers(
    run: Path, *, name: str, tensorboard: bool, tracker: str, config: Mapping[str, Any], resume: bool = False
) -> list[Tracker]:
    """
    Open the trackers that curves are sent to, besides metrics.jsonl.

    Args:
        run: the run's folder.
        name: of the run, as the trackers display it.
        tensorboard: write RUN/tensorboard, if the package is installed.
        tracker: "", wandb or trackio.
        config: of the run.
        resume: continue the curve of the run's earlier part.

    Raises:
        UsageError: the package of `tracker` is not installed, or does not start.
    """
    trackers: list[Tracker] = []
    if tensorboard:
        # On by default and not required: without the package, metrics.jsonl holds the same values.
        with suppress(ImportError):
            trackers.append(_TensorBoard(run / TENSORBOARD))
    if tracker:
        try:
            trackers.append(_Service(tracker, run, name=name, key=_key(run, resume), config=config))
        except BaseException:
            for opened in trackers:
                opened.close()
            raise
    return trackers


class _Guarded:
    """
    A service that is reported once when it fails, and not used again.

    A run does not end because of its curves, which are in metrics.jsonl as well.
    """

    def __init__(self, name: str) -> None:
        self._name, self._works = name, True

    def _send(self, send: Callable[[], object]) -> None:
        if not self._works:
            return
        try:
            with _off_stdout():
                send()
        except Exception as error:  # each service has errors of its own
            self._works = False
            logger.warning("%s fails (%s); the run continues without it", self._name, error)


class _TensorBoard(_Guarded):
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super().__init__("TensorBoard")
        try:
            self._writer: Any = SummaryWriter(str(folder))
        except OSError as error:
            raise storage_error(folder, error) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._send(partial(self._writer.add_scalar, name, value, step))

    def image(self, step: int, name: str, image: RgbImage) -> None:
        self._send(lambda: self._writer.add_image(name, image, step, dataformats="HWC"))

    def close(self) -> None:
        self._send(lambda: self._writer.close())


class _Service(_Guarded):
    """wandb, and trackio, which has the same functions."""

    def __init__(self, package: str, run: Path, *, name: str, key: str, config: Mapping[str, Any]) -> None:
        from importlib import import_module

        super().__init__(package)
        try:
            self._service: Any = import_module(package)
        except ImportError as error:
            raise UsageError(f"loop.tracker is {package}, which is not installed: pip install {package}") from error
        # trackio identifies runs by their names alone, and writes into a folder of its own.
        own = {"id": key, "dir": str(run)} if package == "wandb" else {}
        try:
            with _off_stdout():
                self._service.init(project="maskdcpt", name=f"{name}-{key}", config=dict(config), resume="allow", **own)
        except Exception as error:  # each service has errors of its own
            raise UsageError(
                f"loop.tracker is {package}, which does not start ({error}); fix that, or leave loop.tracker empty"
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._send(lambda: self._service.log({**values}, step=step))

    def image(self, step: int, name: str, image: RgbImage) -> None:
        self._send(lambda: self._service.log({name: self._service.Image(image)}, step=step))

    def close(self) -> None:
        self._send(lambda: self._service.finish())


def _key(run: Path, resume: bool) -> str:
    """Return the id of a run for services: the same when it is resumed, different for each run, whatever its name."""
    file = run / TRACKER_KEY
    if resume and file.exists():
        written = file.read_bytes().strip()
        if re.fullmatch(rb"[0-9a-f]{8}", written):
            return written.decode()
        logger.warning("%s: holds no key of 8 hexadecimal digits; the curves continue under a new one", file)
    key = secrets.token_hex(4)
    with writing(file) as partial:
        partial.write_text(key + "\n", encoding="utf-8")
    return key


def _off_stdout() -> AbstractContextManager[Any]:
    """Return a context that redirects what services print to stderr: stdout is for data."""
    return redirect_stdout(sys.stderr)
