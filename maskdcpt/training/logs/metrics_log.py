"""The metrics of a run: writing and reading metrics.jsonl."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uirdata.errors import UirError
from uirdata.storage.files import storage_error, writing

METRICS = "metrics.jsonl"


class MetricsLog:
    """
    RUN/metrics.jsonl: one JSON object a line, each with "event" (start, train, validation, skipped, stop) and "step".

    Args:
        run: the run's folder.
        from_step: the step that a resumed run continues from; rows of later steps are removed, as those steps are
            repeated. None starts a new file.
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
        Append a row; NaN and infinite values become null, as JSON has neither.

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
        values: one for each step.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """
    Return the rows of a run; `path` is its folder or its metrics.jsonl.

    A truncated last line, as a killed run leaves it, is ignored.

    Raises:
        UirError: there is no such file, or another line is not JSON.
    """
    file = path / METRICS if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UirError(f"{file}: cannot be read ({error.strerror}); pass the folder of a run") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise UirError(f"{file}: line {number} is not valid JSON ({error})") from error
    return rows


def read_curves(path: Path) -> dict[str, Curve]:
    """
    Return every quantity of a run over its steps, by name; those of a validation are named "validation/psnr" etc.

    Raises the errors of `read_metrics`.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for row in read_metrics(path):
        prefix = "validation/" if row["event"] == "validation" else ""
        if row["event"] not in ("train", "validation"):
            continue
        for name, value in _numbers(row).items():
            points.setdefault(prefix + name, []).append((row["step"], value))
    return {name: Curve(name, *zip(*rows, strict=True)) for name, rows in points.items()}


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
