"""Counts of samples, and a comparison with the paper's data set table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from uirdata.degradations import DEGRADATIONS
from uirdata.facts.paper_table import RowAccount

COUNTED_COLUMNS = [
    "degradation",
    "level",
    "source",
    "split",
    "real",
    "gt_path",
    "lq_path",
    "height",
    "width",
    "gt_size",
    "lq_size",
]
"""Columns of manifest.parquet that are counted."""


@dataclass(frozen=True)
class Count:
    """
    The counts for one value of a field.

    Attributes:
        name: the value, such as a degradation.
        samples: number of crop pairs.
        pairs: number of different file pairs that they were cropped from; of clean images, if the LQ is synthesised.
        images: number of different GT files among those.
        megapixels: of all GT crops.
        size_bytes: encoded size of all LQ and GT.
        real_share: share of captured samples, 0 to 1.
        left_out: number of samples that could not be made.
    """

    name: str
    samples: int
    pairs: int
    images: int
    megapixels: float
    size_bytes: int
    real_share: float
    left_out: int = 0


@dataclass(frozen=True)
class BesidePaper:
    """
    A row of the paper's data set table, compared with the training samples of a pool.

    Attributes:
        row: its id.
        type: its type as printed.
        samples: training samples in the pool, from the sources of this row.
        paper: samples in the paper.
        parts: for each source of the row: the count here, the count of a full build, and how that number is computed.
        note: what is not explained about the paper's number.
    """

    row: str
    type: str
    samples: int
    paper: int
    parts: tuple[str, ...]
    note: str

    @property
    def difference(self) -> int:
        """Samples here minus samples in the paper."""
        return self.samples - self.paper


def count_by(table: pa.Table, field: str, left_out: Mapping[str, int] = MappingProxyType({})) -> list[Count]:
    """
    Return counts of samples by one of their fields, sorted by name; degradations in label order.

    Args:
        table: the `COUNTED_COLUMNS` of a manifest.
        field: degradation, level, source or split.
        left_out: number of samples that could not be made, by value of the field.
    """
    image = pc.binary_join_element_wise(table["source"], table["gt_path"], "/")
    pixels = pc.multiply(table["height"], table["width"])
    size = pc.add(table["gt_size"], table["lq_size"])
    real = table["real"].cast(pa.int64())
    pair = pc.binary_join_element_wise(image, table["lq_path"], "|")
    columns = {"name": table[field], "image": image, "pair": pair, "pixels": pixels, "size": size, "real": real}
    grouped = (
        pa.table(columns)
        .group_by("name")
        .aggregate(
            [
                ("image", "count"),
                ("image", "count_distinct"),
                ("pair", "count_distinct"),
                ("pixels", "sum"),
                ("size", "sum"),
                ("real", "sum"),
            ]
        )
    )
    counts = [
        Count(
            name=row["name"],
            samples=row["image_count"],
            pairs=row["pair_count_distinct"],
            images=row["image_count_distinct"],
            megapixels=row["pixels_sum"] / 1e6,
            size_bytes=row["size_sum"],
            real_share=row["real_sum"] / row["image_count"],
            left_out=left_out.get(row["name"], 0),
        )
        for row in grouped.to_pylist()
    ]
    names = {count.name for count in counts}
    counts += [Count(name, 0, 0, 0, 0.0, 0, 0.0, number) for name, number in left_out.items() if name not in names]
    order = list(DEGRADATIONS)
    return sorted(counts, key=lambda c: (order.index(c.name) if c.name in DEGRADATIONS else -1, c.name))


def beside_paper(table: pa.Table, rows: Sequence[RowAccount]) -> list[BesidePaper]:
    """
    Return the rows of the paper's table with the training samples of each.

    If a source belongs to two rows of one degradation, its real samples count for the real row.

    Args:
        table: the `COUNTED_COLUMNS` of a manifest.
        rows: from `paper_table.account`.
    """
    counts = _train_counts(table)
    feeding: dict[tuple[str, str], set[bool]] = {}
    for account in rows:
        for source, _ in account.parts:
            feeding.setdefault((source, account.row.degradation), set()).add(account.row.real)
    found = []
    for account in rows:
        parts, total = [], 0
        for source, feed in account.parts:
            both = feeding[source, account.row.degradation] == {True, False}
            kinds = (account.row.real,) if both else (True, False)
            here = sum(counts.get((account.row.degradation, source, real), 0) for real in kinds)
            total += here
            expected = "an unknown number" if feed.pairs is None else f"{feed.pairs:,}"
            parts.append(f"{source}: {here:,} of {expected} ({feed.how})")
        row = account.row
        found.append(BesidePaper(row.id, row.type, total, row.pairs, tuple(parts), row.note))
    return found


def counts_as_rows(counts: Iterable[Count], what: str) -> list[Mapping[str, object]]:
    """Return counts as rows of a table whose first column is `what`."""
    return [
        {
            what: count.name,
            "samples": count.samples,
            "pairs": count.pairs,
            "images": count.images,
            "Mpx": round(count.megapixels, 2),
            "bytes": count.size_bytes,
            "real": f"{count.real_share:.0%}",
            "left out": count.left_out,
        }
        for count in counts
    ]


def _train_counts(table: pa.Table) -> dict[tuple[str, str, bool], int]:
    train = table.filter(pc.field("split") == "train")
    grouped = train.group_by(["degradation", "source", "real"]).aggregate([("level", "count")])
    return {(row["degradation"], row["source"], row["real"]): row["level_count"] for row in grouped.to_pylist()}
