"""What a run tells while it goes: rows of metrics.jsonl, curves for TensorBoard and its kin, pictures."""

from __future__ import annotations

import json
import logging
import math
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from uirdata.errors import UirError, UsageError
from uirdata.images import RgbImage, encode_image, to_uint8
from uirdata.storage.tables import storage_error, writing

METRICS = "metrics.jsonl"
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


class MetricsLog:
    """
    RUN/metrics.jsonl: one JSON object a line, each with "event" (start, train, validation, skipped, stop) and "step".

    Args:
        run: the run's folder.
        from_step: of a resumed run; rows of later steps are dropped, as those steps are made again.
        writes: whether this process is the one that writes.
    """

    def __init__(self, run: Path, *, from_step: int | None = None, writes: bool = True) -> None:
        self.path = run / METRICS
        self._writes = writes
        if not writes:
            return
        if from_step is not None and self.path.exists():
            kept = [row for row in read_metrics(self.path) if row["step"] <= from_step]
            with writing(self.path) as partial:
                partial.write_text("".join(_line(row) for row in kept), encoding="utf-8")
        elif from_step is None and self.path.exists():
            self.path.unlink()

    def write(self, event: str, step: int, **values: Any) -> None:
        """
        Add a row; a value that is no number becomes null, as JSON has no NaN.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if not self._writes:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line({"event": event, "step": step, **values}))
        except OSError as error:
            raise storage_error(self.path, error) from error


@dataclass(frozen=True)
class Curve:
    """
    One quantity over the steps.

    Attributes:
        name: such as "loss".
        steps: ascending.
        values: one a step.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """
    Read the rows of a run, or of its metrics.jsonl.

    A last line that is cut short, as a killed run leaves it, is passed over.

    Raises:
        UirError: there is no such file, or another line is no JSON.
    """
    file = path / METRICS if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UirError(f"{file}: cannot be read ({error.strerror}); give the folder of a run") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise UirError(f"{file}: line {number} is no JSON ({error})") from error
    return rows


def read_curves(path: Path) -> dict[str, Curve]:
    """
    Give every quantity of a run over its steps; those of a validation are named "validation/psnr" and so on.

    Errors as `read_metrics`.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for row in read_metrics(path):
        prefix = "validation/" if row["event"] == "validation" else ""
        if row["event"] not in ("train", "validation"):
            continue
        for name, value in _numbers(row).items():
            points.setdefault(prefix + name, []).append((row["step"], value))
    return {name: Curve(name, *zip(*rows, strict=True)) for name, rows in points.items()}


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


def picture_grid(rows: Sequence[Sequence[Tensor]], gap: int = 4) -> RgbImage:
    """
    Lay images out in rows, white between them.

    Args:
        rows: each of images (3, H, W) in 0..1, all of one size; values outside are clipped.
        gap: pixels between them.
    """
    height, width = rows[0][0].shape[-2:]
    canvas = np.full((len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = to_rgb(image)
    return canvas


def to_rgb(image: Tensor) -> RgbImage:
    """(3, H, W) in 0..1 to (H, W, 3) uint8: clipped, rounded to the nearest level."""
    pixels = image.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()
    return to_uint8(pixels * 255.0)


def write_picture(path: Path, image: RgbImage) -> None:
    """
    Write a PNG under its name only when it is whole.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with writing(path) as partial:
        partial.write_bytes(encode_image(image, "png"))


def _line(row: Mapping[str, Any]) -> str:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, ensure_ascii=False) + "\n"


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat.update({f"{name}/{inner}": number for inner, number in _numbers(value).items()})
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and name != "step":
            flat[name] = float(value)
    return flat
