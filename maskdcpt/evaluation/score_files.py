"""The rows of an evaluation in a folder, written one by one, so that an interrupted evaluation can be resumed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskdcpt.evaluation.scores import EvalReport, ImageScore
from uirdata.errors import UsageError
from uirdata.storage.files import storage_error, writing
from uirdata.validators import InvalidValue, load_json, load_typed

logger = logging.getLogger(__name__)

TABLE = "images.parquet"
REPORT = "report.json"

_ROWS = "images*.jsonl"


class ScoreRows:
    """
    The rows of an evaluation by the key of their case.

    Each process writes a file of its own and reads those of all, so an evaluation may be resumed with another number of
    processes.

    Args:
        folder: of the evaluation; None writes nothing.
        identity: what the scores depend on; the folder must not hold an evaluation with another identity.
        rank: of this process.

    Attributes:
        known: the rows that were scored so far.

    Raises:
        UsageError: the folder holds another evaluation.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], rank: int = 0) -> None:
        self.known: dict[str, ImageScore] = {}
        self._folder = folder
        self._file = None if folder is None else folder / f"images-{rank}.jsonl"
        # In the form in which JSON returns it.
        self._identity = json.loads(json.dumps(identity))
        if folder is None or self._file is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            own = self._read(self._file)
            with writing(self._file) as partial:
                # A killed run may leave half a line, so the complete rows are written again.
                kept = [_line(score) for score in own.values()]
                partial.write_text(json.dumps(self._identity) + "\n" + "".join(kept), encoding="utf-8")
            for path in sorted(folder.glob(_ROWS)):
                self.known |= self._read(path)
        except OSError as error:
            raise storage_error(folder, error) from error

    def add(self, score: ImageScore) -> None:
        """Add a row and write it."""
        self.known[score.key] = score
        if self._file is None:
            return
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(_line(score))
        except OSError as error:
            raise storage_error(self._file, error) from error

    def gather(self) -> None:
        """Read the rows of the other processes; all must have finished."""
        if self._folder is not None:
            for path in sorted(self._folder.glob(_ROWS)):
                self.known |= self._read(path)

    def finish(self, report: EvalReport) -> None:
        """Write images.parquet and report.json."""
        if self._folder is None:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        with writing(self._folder / TABLE) as partial:
            pq.write_table(pa.Table.from_pylist([row.flat() for row in report.images]), partial)
        with writing(self._folder / REPORT) as partial:
            partial.write_text(json.dumps(report.to_document(), indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def _read(self, path: Path) -> dict[str, ImageScore]:
        if not path.exists():
            return {}
        first, *lines = path.read_bytes().split(b"\n")
        if not first:
            return {}
        if _identity(first) != self._identity:
            raise UsageError(
                f"{path.parent} holds another evaluation (other weights, samples or protocol); delete it, or name "
                "another folder"
            )
        rows, faults = [], []
        for number, line in enumerate(lines, start=2):
            try:
                rows.append(load_typed(line, ImageScore))
            except InvalidValue as fault:
                # A killed run leaves half of its last line.
                if number <= len(lines):
                    faults.append(f"line {number} {fault}")
        if faults:
            logger.warning(
                "%s: %d rows cannot be read, and their images are scored again; the first is %s",
                path,
                len(faults),
                faults[0],
            )
        return {row.key: row for row in rows}


def _line(score: ImageScore) -> str:
    return json.dumps(asdict(score), allow_nan=False) + "\n"


def _identity(line: bytes) -> object:
    try:
        return load_json(line)
    except InvalidValue:
        return None
