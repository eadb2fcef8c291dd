"""The metrics of a run: writing and reading metrics.jsonl."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uirdata.errors import UirError
from uirdata.storage.files import storage_error, writing
from uirdata.validators import InvalidValue, finite_number, load_json, text, whole_number

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"

_MOST_LINE_BYTES = 1 << 24


class MetricsLog:
    """
    RUN/metrics.jsonl: one JSON object a line, each with "event" (start, train, validation, skipped, stop) and "step".

    Args:
        run: the run's folder.
        from_step: the step that a resumed run continues from; rows of later steps are removed, as those steps are
            repeated. None starts a new file.
        writes: whether this process is the one that writes.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """

    def __init__(self, run: Path, *, from_step: int | None = None, writes: bool = True) -> None:
        self.path = run / METRICS
        self._writes = writes
        if not writes:
            return
        if from_step is not None and self.path.exists():
            rows, faults = _rows(self.path)
            if faults:
                logger.warning("%s: damaged lines are left out: %d; the first is %s", self.path, len(faults), faults[0])
            kept = [row for row in rows if row["step"] <= from_step]
            with writing(self.path) as partial:
                partial.write_text("".join(_line(row) for row in kept), encoding="utf-8")
        elif from_step is None:
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(self.path, error) from error

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
        UirError: there is no such file, or another line is not a row of metrics.
    """
    file = path / METRICS if path.is_dir() else path
    rows, faults = _rows(file)
    if faults:
        raise UirError(f"{file}: {faults[0]}; delete the line, or resume the run, which leaves it out")
    return rows


def _rows(file: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of a file, and what is wrong with which lines; a truncated last line is no fault."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise UirError(f"{file}: cannot be read ({error.strerror}); pass the folder of a run") from error
    rows, faults = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() and number == len(lines):
            break
        try:
            rows.append(_row(line))
        except InvalidValue as fault:
            if number < len(lines):
                faults.append(f"line {number} {fault}")
    return rows, faults


def _row(line: bytes) -> dict[str, Any]:
    row = load_json(line, most_bytes=_MOST_LINE_BYTES)
    if not isinstance(row, dict):
        raise InvalidValue(f"is a {type(row).__name__}, expected an object")
    for name, check in (("event", text), ("step", whole_number)):
        if name not in row:
            raise InvalidValue(f"has no {name!r}")
        try:
            check(row[name])
        except InvalidValue as fault:
            raise InvalidValue(f"has no valid {name!r}: {fault}") from fault
    _check_numbers(row)
    return row


def _check_numbers(row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, dict):
            _check_numbers(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                finite_number(value)
            except InvalidValue as fault:
                raise InvalidValue(f"has no valid {name!r}: {fault}") from fault


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
