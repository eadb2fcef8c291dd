"""The paper's data set table, and the number of pairs of each row in our sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from uirdata.errors import ManifestError, nearest
from uirdata.manifest_syntax.pair_rules import TYPES
from uirdata.manifest_syntax.typed_toml import STRICT, read_toml, typed
from uirdata.sources import MANIFESTS, Feed, Source


@dataclass(frozen=True)
class PaperRow:
    """
    A row of the table, as printed.

    Attributes:
        id: such as "motion-blur-real".
        degradation: one of the nineteen types.
        type: the type as printed.
        datasets: the data sets that it names.
        real: whether it is marked as real-world.
        pairs: its number of samples.
        note: what disagrees with that number; "" if all of it is explained.
        cropped: whether it has an asterisk.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    id: str
    degradation: str
    type: str
    datasets: str
    real: bool
    pairs: int
    note: str = ""
    cropped: bool = False


@dataclass(frozen=True)
class RowAccount:
    """
    A row, and the number of its pairs in our sources.

    Attributes:
        row: of the paper's table.
        parts: id of each source, and its part of the row.
        ours: sum of the parts whose number is known.
        unknown: sources whose number is not published.
    """

    row: PaperRow
    parts: tuple[tuple[str, Feed], ...]
    ours: int
    unknown: tuple[str, ...]

    @property
    def difference(self) -> int:
        """Our number minus the paper's, without the sources whose number is unknown."""
        return self.ours - self.row.pairs


@dataclass(frozen=True)
class _Table:
    """A paper_table.toml."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    row: tuple[PaperRow, ...]


def load_paper_table(path: Path = MANIFESTS / "paper_table.toml") -> tuple[PaperRow, ...]:
    """
    Return the rows of the table.

    Raises:
        ManifestError: the file is invalid.
    """
    rows = typed(read_toml(path), _Table, name=str(path)).row
    ids = [row.id for row in rows]
    for row in rows:
        if row.degradation not in TYPES:
            raise ManifestError(
                f"{path}: {row.id}: there is no degradation {row.degradation!r}: {nearest(row.degradation, TYPES)}"
            )
        if ids.count(row.id) > 1:
            raise ManifestError(f"{path}: there are two rows {row.id!r}")
    return rows


def account(rows: Sequence[PaperRow], sources: Mapping[str, Source]) -> tuple[RowAccount, ...]:
    """
    Return each row with the parts that the sources contribute to it.

    Raises:
        ManifestError: a source names a row that is not in the table.
    """
    parts: dict[str, list[tuple[str, Feed]]] = {row.id: [] for row in rows}
    for source in sources.values():
        for feed in source.feeds:
            if feed.row not in parts:
                raise ManifestError(
                    f"{source.id} feeds the row {feed.row!r}, not in the paper's table: {nearest(feed.row, parts)}"
                )
            parts[feed.row].append((source.id, feed))
    return tuple(
        RowAccount(
            row,
            tuple(parts[row.id]),
            sum(feed.pairs or 0 for _, feed in parts[row.id]),
            tuple(name for name, feed in parts[row.id] if feed.pairs is None),
        )
        for row in rows
    )
