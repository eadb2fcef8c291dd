"""Counting samples: how many of what, beside the paper's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from uirdata.degradations import DEGRADATIONS


@dataclass(frozen=True)
class Count:
    """
    How much there is of one thing.

    Attributes:
        name: of the thing, such as a degradation.
        samples: pairs of crops.
        images: different GT files that they were cut from.
        megapixels: of the GT crops together.
        size_bytes: encoded, LQ and GT together.
        real_share: of the samples that were captured, 0 to 1.
    """

    name: str
    samples: int
    images: int
    megapixels: float
    size_bytes: int
    real_share: float


@dataclass(frozen=True)
class BesidePaper:
    """
    A degradation's samples beside the paper's.

    Attributes:
        degradation: its name.
        abbreviation: the paper's.
        samples: training samples here.
        real: how many of them were captured.
        paper: samples in the paper's table.
        paper_real: how many of them in its real-world rows.
    """

    degradation: str
    abbreviation: str
    samples: int
    real: int
    paper: int
    paper_real: int


@dataclass(frozen=True)
class CountedSample:
    """The fields of a record that are counted."""

    degradation: str
    level: str
    source: str
    split: str
    real: bool
    gt_path: str
    height: int
    width: int
    size_bytes: int


def count_by(samples: Iterable[CountedSample], field: str) -> list[Count]:
    """Count samples by one of their fields, in order of first appearance; degradations in label order."""
    groups: dict[str, list[CountedSample]] = {}
    for sample in samples:
        groups.setdefault(str(getattr(sample, field)), []).append(sample)
    order = [name for name in DEGRADATIONS if name in groups] if field == "degradation" else list(groups)
    return [_count(name, groups[name]) for name in order]


def beside_paper(samples: Iterable[CountedSample]) -> list[BesidePaper]:
    """Set the training samples of each of the nineteen types beside the paper's table."""
    counts: dict[str, int] = {}
    real: dict[str, int] = {}
    for sample in samples:
        if sample.split == "train":
            counts[sample.degradation] = counts.get(sample.degradation, 0) + 1
            real[sample.degradation] = real.get(sample.degradation, 0) + sample.real
    return [
        BesidePaper(
            name,
            degradation.abbreviation,
            counts.get(name, 0),
            real.get(name, 0),
            degradation.paper_pairs + degradation.paper_pairs_real,
            degradation.paper_pairs_real,
        )
        for name, degradation in DEGRADATIONS.items()
    ]


def counts_as_rows(counts: Iterable[Count], what: str) -> list[Mapping[str, object]]:
    """Give counts as rows of a table whose first column is `what`."""
    return [
        {
            what: count.name,
            "samples": count.samples,
            "images": count.images,
            "Mpx": round(count.megapixels, 2),
            "bytes": count.size_bytes,
            "real": f"{count.real_share:.0%}",
        }
        for count in counts
    ]


def _count(name: str, samples: list[CountedSample]) -> Count:
    return Count(
        name=name,
        samples=len(samples),
        images=len({(s.source, s.gt_path) for s in samples}),
        megapixels=sum(s.height * s.width for s in samples) / 1e6,
        size_bytes=sum(s.size_bytes for s in samples),
        real_share=sum(s.real for s in samples) / len(samples),
    )
