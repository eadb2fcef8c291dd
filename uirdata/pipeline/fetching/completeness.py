"""How many of the pairs that its authors state a fetched source has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import tree_journal
from uirdata.sources import Source
from uirdata.storage.journals import read_journal
from uirdata.storage.pair_tables import read_pairs

Kind = tuple[str, str, bool]
"""Split, degradation, real."""

_COUNTED = ("split", "degradation", "real", "reason")


@dataclass(frozen=True)
class Completeness:
    """
    The pairs of a source beside the numbers that its authors state.

    Attributes:
        here: number of pairs, by split, degradation and real; those that are left out for what they show, too.
        published: the same numbers as its authors state them; unknown ones are absent.
        cut: some of them are crops that somebody has cut, which no published number counts.
    """

    here: Mapping[Kind, int]
    published: Mapping[Kind, int]
    cut: bool = False

    @property
    def missing(self) -> int:
        """Number of published pairs that are not here."""
        if self.cut:
            return 0
        return sum(max(0, number - self.here.get(kind, 0)) for kind, number in self.published.items())

    @property
    def total(self) -> int:
        """Number of pairs that are here."""
        return sum(self.here.values())

    def __str__(self) -> str:
        """Return it as "2 of 3,214 pairs"."""
        if self.cut:
            return f"{self.total:,} crops that were cut elsewhere"
        published = sum(self.published.values())
        return f"{self.total:,} of {published:,} pairs" if published else f"{self.total:,} pairs"


def completeness(source: Source, layout: Layout) -> Completeness:
    """
    Return how many of the published pairs of a source its pairs.parquet has.

    Raises:
        ShardError: pairs.parquet is broken.
    """
    path = layout.pairs(source.id)
    here: Counter[Kind] = Counter()
    if not path.exists():
        return Completeness({}, source.published())
    table = read_pairs(path, [*_COUNTED, "cut"])
    excluded: Counter[Kind] = Counter()
    reasons: dict[str, tuple[Kind, int]] = {
        item.reason: ((rule.split, rule.degradation, rule.real), 2 if rule.lq and rule.gt else 1)
        for rule in source.pairs
        # Only where the published number counts them, too.
        if rule.published
        for item in rule.exclude
    }
    for batch in table.to_batches(max_chunksize=100_000):
        columns = (batch.column(name).to_pylist() for name in _COUNTED)
        for split, degradation, real, reason in zip(*columns, strict=True):
            if split:
                here[(split, degradation, real)] += 1
            elif reason in reasons:
                excluded[reasons[reason][0]] += 1
    # What a rule excludes is here, too. Such a pair has a row for each of its files.
    files = dict(reasons.values())
    here.update({kind: number // files[kind] for kind, number in excluded.items()})
    cut = "cut" in table.column_names and any(table["cut"].to_pylist())
    return Completeness(here, source.published(), cut)


def adopted_state(source: Source, layout: Layout) -> Literal["", "part", "whole"]:
    """Return whether a source was taken from a folder of the user, and whether all of it was there."""
    if not read_journal(tree_journal(source.id, layout))[1]:
        return ""
    return "part" if completeness(source, layout).missing else "whole"
