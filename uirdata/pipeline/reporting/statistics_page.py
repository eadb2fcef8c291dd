"""Statistics of a shard folder, as values and as one self-contained HTML page."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uirdata.degradations import DEGRADATIONS
from uirdata.errors import UsageError, nearest
from uirdata.facts.paper_table import RowAccount, account, load_paper_table
from uirdata.html_pages import bars, centre, data_uri, figure, html_table, write_page
from uirdata.pipeline.building.build import REJECTED
from uirdata.pipeline.opening import open_shards
from uirdata.sources import load_sources
from uirdata.statistics import COUNTED_COLUMNS, BesidePaper, Count, beside_paper, count_by, counts_as_rows
from uirdata.storage.manifest_rows import read_manifest
from uirdata.storage.pool_info import read_info
from uirdata.storage.reading import ShardDataset
from uirdata.storage.shard_states import parse_path, read_rejected

_GROUPINGS = ("degradation", "source", "split", "level")


@dataclass(frozen=True)
class Statistics:
    """
    Statistics of a shard folder.

    Attributes:
        table: the columns of its manifest that are counted.
        paper: rows of the paper's table, and the sources that feed them.
        rejected: number of samples that could not be made, by reason.
        left_out: number of samples that could not be made, by degradation, source, split and level.
        made_by: the release that built the folder.
    """

    table: pa.Table
    paper: tuple[RowAccount, ...]
    rejected: Mapping[str, int]
    made_by: str
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.table.num_rows)

    def only(self, degradations: Sequence[str] = (), levels: Sequence[str] = ()) -> Statistics:
        """
        Return the statistics of some degradations, and of the levels whose names fit a pattern; empty means all.

        Raises:
            UsageError: the shards have no such degradation or level; the message suggests one.
        """
        kept = self.table
        for what, asked in (("degradation", degradations), ("level", levels)):
            present = sorted(kept[what].unique().to_pylist())
            for pattern in asked:
                if not any(fnmatchcase(name, pattern) for name in present):
                    raise UsageError(f"these shards have no {what} {pattern!r}: {nearest(pattern, present)}")
            if asked:
                fits = [name for name in present if any(fnmatchcase(name, pattern) for pattern in asked)]
                kept = kept.filter(pc.is_in(kept[what], value_set=pa.array(fits, pa.string())))
        return self if kept is self.table else replace(self, table=kept, left_out={})

    def count(self, what: str) -> list[Count]:
        """Return the counts by degradation, source, split or level."""
        return count_by(self.table, what, self.left_out.get(what, {}))

    def beside_paper(self) -> list[BesidePaper]:
        """Return the training samples compared with the rows of the paper's table."""
        return beside_paper(self.table, self.paper)

    def tables(self) -> dict[str, list[Mapping[str, object]]]:
        """Return the counts as tables by title."""
        return {
            **{f"by {what}": counts_as_rows(self.count(what), what) for what in _GROUPINGS},
            "beside the paper's table": [
                {"row": row.row, "train samples": row.samples, "UIR-2.5M": row.paper, "difference": row.difference}
                for row in self.beside_paper()
            ],
        }


def count_shards(shards: str | Path) -> Statistics:
    """
    Return the statistics of a shard folder, or of remote shards, of which only the manifest is downloaded.

    Raises:
        ShardError: it is not a shard folder, or incomplete.
    """
    # The same checks as a reader makes: shards that cannot be read must not be counted.
    folder = open_shards(shards).folder
    rejected: Counter[str] = Counter()
    left_out: dict[str, Counter[str]] = {name: Counter() for name in _GROUPINGS}
    for row in read_rejected(folder / REJECTED):
        split, degradation, _ = parse_path(row.shard)
        rejected[row.reason] += 1
        values = {"degradation": degradation, "source": row.source, "split": split, "level": row.level}
        for name, value in values.items():
            left_out[name][value] += 1
    return Statistics(
        read_manifest(folder, COUNTED_COLUMNS),
        account(load_paper_table(), load_sources()),
        rejected,
        str(read_info(folder).get("made_by", "an unfinished build")),
        left_out,
    )


def contact_sheet(dataset: ShardDataset, *, columns: int = 3, side: int = 160) -> Iterable[tuple[str, list[str]]]:
    """
    Yield a few pairs of each degradation, LQ and GT side by side.

    Yields:
        A degradation and its images as data URIs of at most 2 `side` x `side` pixels.
    """
    by_type: dict[str, list[int]] = {}
    for index, name in enumerate(dataset.degradations):
        by_type.setdefault(name, []).append(index)
    for name in (n for n in DEGRADATIONS if n in by_type):
        # Spread over the samples, so that the images are not all crops of one photograph.
        numbers = np.linspace(0, len(by_type[name]) - 1, num=min(columns, len(by_type[name])), dtype=int)
        items = [dataset[by_type[name][int(i)]] for i in numbers]
        yield name, [data_uri(np.hstack([centre(item.lq, side), centre(item.gt, side)])) for item in items]


def level_images(dataset: ShardDataset, *, most: int = 60, side: int = 120) -> Iterable[tuple[str, int, list[str]]]:
    """
    Yield the first sample of each level.

    Args:
        dataset: the samples.
        most: largest number of levels per degradation, spread over all; published sets may have thousands of levels.
        side: side of an image in pixels.

    Yields:
        A degradation, the number of its levels, and the images as HTML figures.
    """
    first: dict[str, dict[str, int]] = {}
    for index, (name, level) in enumerate(zip(dataset.degradations, dataset.levels, strict=True)):
        first.setdefault(name, {}).setdefault(level, index)
    for name in (n for n in DEGRADATIONS if n in first):
        known = [level.name for level in DEGRADATIONS[name].levels]
        levels = sorted(first[name], key=lambda level: (known.index(level) if level in known else len(known), level))
        shown = np.linspace(0, len(levels) - 1, num=min(most, len(levels)), dtype=int)
        yield (
            name,
            len(levels),
            [
                figure(centre(dataset[first[name][levels[i]]].lq, side), levels[i] or "level unknown")
                for i in shown.tolist()
            ],
        )


def write_statistics_page(shards: str | Path, target: Path) -> None:
    """
    Write the page of `uir stats --html`: counts, bars and images of a shard folder.

    Raises:
        ShardError: it is not a shard folder, or incomplete.
        StorageError: the page cannot be written.
    """
    dataset = open_shards(shards)
    statistics = count_shards(shards)
    counts = statistics.count("degradation")
    body = [
        f"<p>{statistics.samples:,} samples; built by {html.escape(statistics.made_by)}.</p>",
        "<h2>Samples of each degradation</h2>",
        bars({count.name: count.samples for count in counts}),
        "<h2>Megabytes of each source</h2>",
        bars({count.name: round(count.size_bytes / 1e6, 1) for count in statistics.count("source")}),
        "<h2>Images</h2><p>LQ on the left, GT on the right: the centre of each crop, without scaling.</p>",
    ]
    for name, uris in contact_sheet(dataset):
        images = "".join(f'<img alt="{name}" src="{uri}">' for uri in uris)
        body.append(f'<h3>{html.escape(name)}</h3><div class="row">{images}</div>')
    body.append("<h2>Levels</h2><p>The centre of the first LQ of each level, without scaling.</p>")
    for name, number, figures in level_images(dataset):
        body.append(f'<h3>{html.escape(name)}: {number:,}</h3><div class="row">{"".join(figures)}</div>')
    for title, rows in statistics.tables().items():
        body.append(f"<h2>{html.escape(title.capitalize())}</h2>{html_table(rows)}")
    if any(row.samples for row in statistics.beside_paper()):
        body.append("<h2>Sources of the paper's numbers</h2>" + "".join(map(_explained, statistics.beside_paper())))
    if statistics.rejected:
        body.append(
            f"<h2>Left out</h2>{html_table([{'reason': r, 'samples': n} for r, n in statistics.rejected.items()])}"
        )
    write_page(target, f"Shards in {str(shards).rstrip('/').rpartition('/')[2]}", body)


def _explained(row: BesidePaper) -> str:
    parts = "".join(f"<li>{html.escape(part)}</li>" for part in row.parts)
    note = f"<p>{html.escape(row.note)}</p>" if row.note else ""
    return f"<h3>{html.escape(row.row)}: {row.samples:,} of {row.paper:,}</h3><ul>{parts}</ul>{note}"
