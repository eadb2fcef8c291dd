"""TensorBoard, wandb and trackio."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Protocol

from uirdata.errors import UsageError
from uirdata.images import RgbImage
from uirdata.storage.files import writing

TRACKER_KEY = "tracker-key.txt"


logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """A place that curves and pictures are sent to."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take some values of a step."""
        ...

    def picture(self, step: int, name: str, image: RgbImage) -> None:
        """Take a picture of a step."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def open_trackers(
    run: Path, *, name: str, tensorboard: bool, tracker: str, config: Mapping[str, Any], resume: bool = False
) -> list[Tracker]:
    """
    Open the places that curves go to, besides metrics.jsonl.

    Args:
        run: the run's folder.
        name: of the run, for people.
        tensorboard: write RUN/tensorboard, where the package is installed.
        tracker: "", wandb or trackio.
        config: of the run.
        resume: go on with the curve that an earlier part of the run began.

    Raises:
        UsageError: the package of `tracker` is not installed, or does not start.
    """
    trackers: list[Tracker] = []
    if tensorboard:
        # The default asks for it where it is installed; metrics.jsonl holds the same values.
        with suppress(ImportError):
            trackers.append(_TensorBoard(run / "tensorboard"))
    if tracker:
        trackers.append(_Service(tracker, name=name, key=_key(run, resume), config=config))
    return trackers


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: RgbImage) -> None:
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _Service:
    """
    wandb, and trackio, which has the same functions.

    A service that fails on the way is told once and left alone: a run does not end for its curves, which metrics.jsonl
    has anyway.
    """

    def __init__(self, package: str, *, name: str, key: str, config: Mapping[str, Any]) -> None:
        from importlib import import_module

        try:
            self._service: Any = import_module(package)
        except ImportError as error:
            raise UsageError(f"loop.tracker is {package}, which is not installed: pip install {package}") from error
        self._package, self._works = package, True
        # trackio knows runs by their names alone.
        identity = {"id": key} if package == "wandb" else {}
        try:
            with _off_stdout():
                self._service.init(
                    project="maskdcpt", name=f"{name}-{key}", config=dict(config), resume="allow", **identity
                )
        except Exception as error:  # each service has errors of its own
            raise UsageError(
                f"loop.tracker is {package}, which does not start ({error}); mend that, or leave loop.tracker empty"
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._send(lambda: self._service.log({**values}, step=step))

    def picture(self, step: int, name: str, image: RgbImage) -> None:
        self._send(lambda: self._service.log({name: self._service.Image(image)}, step=step))

    def close(self) -> None:
        self._send(lambda: self._service.finish())

    def _send(self, send: Callable[[], object]) -> None:
        if not self._works:
            return
        try:
            with _off_stdout():
                send()
        except Exception as error:  # each service has errors of its own
            self._works = False
            logger.warning("%s fails (%s); the run goes on without it", self._package, error)


def _key(run: Path, resume: bool) -> str:
    """Give what services know a run by: the same for all its parts, another for each run, whatever its name."""
    file = run / TRACKER_KEY
    if resume and file.exists():
        return file.read_text(encoding="utf-8").strip()
    key = secrets.token_hex(4)
    with writing(file) as partial:
        partial.write_text(key + "\n", encoding="utf-8")
    return key


def _off_stdout() -> AbstractContextManager[Any]:
    """Send what services print to stderr: stdout is for data."""
    return redirect_stdout(sys.stderr)
