"""Reports: what a shard folder holds, as values and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from uirdata.degradations import DEGRADATIONS
from uirdata.images import RgbImage, encode_image
from uirdata.paper_table import RowAccount, account, load_paper_table
from uirdata.pipeline.build import REJECTED
from uirdata.pipeline.opening import open_shards
from uirdata.sources import load_sources
from uirdata.statistics import COUNTED_COLUMNS, BesidePaper, Count, beside_paper, count_by, counts_as_rows
from uirdata.storage.reading import ShardDataset
from uirdata.storage.shards import MANIFEST, read_info
from uirdata.storage.tables import read_table, storage_error, writing

_GROUPINGS = ("degradation", "source", "split", "level")


@dataclass(frozen=True)
class Statistics:
    """
    What a shard folder holds.

    Attributes:
        table: of its manifest, the columns that are counted.
        paper: rows of the paper's table, and the sources that feed them.
        rejected: reason to number of samples that could not be made.
        left_out: for degradation, source, split and level, how many samples of each could not be made.
        made_by: the release that built the folder.
    """

    table: pa.Table
    paper: tuple[RowAccount, ...]
    rejected: Mapping[str, int]
    made_by: str
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return int(self.table.num_rows)

    def count(self, what: str) -> list[Count]:
        """Count by degradation, source, split or level."""
        return count_by(self.table, what, self.left_out.get(what, {}))

    def beside_paper(self) -> list[BesidePaper]:
        """Set the training samples beside the paper's table."""
        return beside_paper(self.table, self.paper)

    def tables(self) -> dict[str, list[Mapping[str, object]]]:
        """Give the counts as tables by title."""
        return {
            **{f"by {what}": counts_as_rows(self.count(what), what) for what in _GROUPINGS},
            "beside the paper's table": [
                {"row": row.row, "train samples": row.samples, "UIR-2.5M": row.paper, "difference": row.difference}
                for row in self.beside_paper()
            ],
        }


def count_shards(shards: str | Path) -> Statistics:
    """
    Count a shard folder, or shards that lie elsewhere; of these nothing but the manifest is fetched.

    Raises:
        ShardError: it is none, or not whole.
    """
    # The same checks as a reader makes: a count of what cannot be read would be a lie.
    folder = open_shards(shards).folder
    rejected: Counter[str] = Counter()
    left_out: dict[str, Counter[str]] = {name: Counter() for name in _GROUPINGS}
    if (folder / REJECTED).exists():
        for row in read_table(folder / REJECTED).to_pylist():
            split, degradation, _ = row["shard"].split("/")
            rejected[row["reason"]] += 1
            for name, value in {**row, "degradation": degradation, "split": split}.items():
                if name in left_out:
                    left_out[name][value] += 1
    return Statistics(
        read_table(folder / MANIFEST, columns=COUNTED_COLUMNS),
        account(load_paper_table(), load_sources()),
        rejected,
        str(read_info(folder).get("made_by", "an unfinished build")),
        left_out,
    )


def contact_sheet(dataset: ShardDataset, *, columns: int = 3, side: int = 160) -> Iterable[tuple[str, list[str]]]:
    """
    Show a few pairs of each degradation, LQ and GT side by side.

    Yields:
        A degradation and its pictures as data URIs of at most 2 `side` x `side` pixels.
    """
    by_type: dict[str, list[int]] = {}
    for index, name in enumerate(dataset.degradations):
        by_type.setdefault(name, []).append(index)
    for name in (n for n in DEGRADATIONS if n in by_type):
        # Spread over the samples, so that the pictures are not four crops of one photograph.
        numbers = np.linspace(0, len(by_type[name]) - 1, num=min(columns, len(by_type[name])), dtype=int)
        items = [dataset[by_type[name][int(i)]] for i in numbers]
        yield name, [data_uri(np.hstack([centre(item.lq, side), centre(item.gt, side)])) for item in items]


def level_pictures(dataset: ShardDataset, *, most: int = 60, side: int = 120) -> Iterable[tuple[str, int, list[str]]]:
    """
    Show the first sample of each level.

    Args:
        dataset: what to show.
        most: levels per degradation, spread over all; published names may carry thousands of levels.
        side: of a picture, pixels.

    Yields:
        A degradation, how many levels of it there are, and the pictures as HTML figures.
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
                figure(centre(dataset[first[name][levels[i]]].lq, side), levels[i] or "level not known")
                for i in shown.tolist()
            ],
        )


def write_statistics_page(shards: str | Path, target: Path) -> None:
    """
    Write `uir stats --html`: counts, bars and pictures of a shard folder.

    Raises:
        ShardError: the folder is none, or not whole.
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
        "<h2>Pictures</h2><p>Left the LQ, right its GT: the centre of each crop, pixel for pixel.</p>",
    ]
    for name, pictures in contact_sheet(dataset):
        images = "".join(f'<img alt="{name}" src="{uri}">' for uri in pictures)
        body.append(f'<h3>{html.escape(name)}</h3><div class="row">{images}</div>')
    body.append("<h2>Levels</h2><p>The centre of the first LQ of each level, pixel for pixel.</p>")
    for name, number, figures in level_pictures(dataset):
        body.append(f'<h3>{html.escape(name)}: {number:,}</h3><div class="row">{"".join(figures)}</div>')
    for title, rows in statistics.tables().items():
        body.append(f"<h2>{html.escape(title.capitalize())}</h2>{html_table(rows)}")
    body.append("<h2>How the paper's numbers arise</h2>" + "".join(map(_explained, statistics.beside_paper())))
    if statistics.rejected:
        body.append(
            f"<h2>Left out</h2>{html_table([{'reason': r, 'samples': n} for r, n in statistics.rejected.items()])}"
        )
    write_page(target, f"Shards in {str(shards).rstrip('/').rpartition('/')[2]}", body)


def _explained(row: BesidePaper) -> str:
    parts = "".join(f"<li>{html.escape(part)}</li>" for part in row.parts)
    note = f"<p>{html.escape(row.note)}</p>" if row.note else ""
    return f"<h3>{html.escape(row.row)}: {row.samples:,} of {row.paper:,}</h3><ul>{parts}</ul>{note}"


def write_page(target: Path, title: str, body: Sequence[str]) -> None:
    """
    Write a self-contained HTML page: nothing is loaded from elsewhere.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1>{''.join(body)}</main></body></html>"
    )
    try:
        with writing(target) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise storage_error(target, error) from error


def html_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows as an HTML table; numbers align right."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(name.strip())}</th>" for name in rows[0])
    lines = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def bars(values: Mapping[str, float]) -> str:
    """Draw horizontal bars, a line per value, as SVG."""
    largest = max(values.values(), default=0) or 1
    lines = []
    for index, (name, value) in enumerate(values.items()):
        y = index * 24
        lines.append(
            f'<text x="0" y="{y + 16}">{html.escape(name)}</text>'
            f'<rect x="210" y="{y + 4}" width="{value / largest * 400:.1f}" height="16" rx="2"></rect>'
            f'<text x="{216 + value / largest * 400:.1f}" y="{y + 16}">{value:,.10g}</text>'
        )
    return f'<svg class="bars" viewBox="0 0 720 {24 * len(values)}" role="img">{"".join(lines)}</svg>'


def lines_chart(curves: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> str:
    """
    Draw curves as SVG.

    Args:
        curves: points (x, y) by name.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
    """
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return "<p>nothing was recorded</p>"
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    width, height = (right - left) or 1.0, (high - low) or 1.0
    drawn = []
    for index, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " ".join(
            f"{60 + (px - left) / width * 520:.1f},{230 - (py - low) / height * 210:.1f}" for px, py in curve
        )
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"></polyline>')
        drawn.append(f'<text x="595" y="{30 + 20 * index}" style="fill:{colour}">{html.escape(name)}</text>')
    axes = (
        '<path class="axis" d="M60 20V230H580"></path>'
        f'<text x="56" y="30" text-anchor="end">{high:.4g}</text>'
        f'<text x="56" y="230" text-anchor="end">{low:.4g}</text>'
        f'<text x="60" y="248">{left:.4g}</text><text x="580" y="248" text-anchor="end">{right:.4g}</text>'
        f'<text x="320" y="248" text-anchor="middle">{html.escape(x)}</text><text x="60" y="12">{html.escape(y)}</text>'
    )
    return f'<svg class="chart" viewBox="0 0 800 256" role="img">{axes}{"".join(drawn)}</svg>'


def data_uri(image: RgbImage) -> str:
    """Put an image into a page, without loss."""
    return "data:image/webp;base64," + base64.b64encode(encode_image(image, "webp")).decode()


def figure(image: RgbImage, caption: str, note: str = "") -> str:
    """Write a picture with its name below; the note shows where the pointer rests."""
    title = f' title="{html.escape(note)}"' if note else ""
    width = max(image.shape[1], 64)
    return (
        f'<figure style="width:{width}px"{title}><img alt="{html.escape(caption)}" src="{data_uri(image)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def centre(image: RgbImage, side: int) -> RgbImage:
    """Cut the centre of at most `side` x `side` pixels."""
    top = max(0, (image.shape[0] - side) // 2)
    left = max(0, (image.shape[1] - side) // 2)
    return image[top : top + side, left : left + side]


def _cell(value: object) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)
    return f'<td class="n">{text}</td>' if number else f"<td>{html.escape(text)}</td>"


_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b8860b", "#555555")

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1c;--paper:#fff;--line:#ccc;--bar:#1b6ca8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#161616;--line:#444;--bar:#5aa9e6}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px}
h1{font-size:26px}h2{font-size:19px;margin-top:36px}h3{font-size:15px;margin:18px 0 6px}
table{border-collapse:collapse}th,td{padding:4px 12px 4px 0;border-bottom:1px solid var(--line);text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}
.row{display:flex;flex-wrap:wrap;gap:8px}.row img,figure img{max-width:100%;height:auto;image-rendering:auto}
figure{margin:0}figcaption{font-size:13px;line-height:1.3;overflow-wrap:anywhere}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg rect{fill:var(--bar)}svg .axis{stroke:var(--line);fill:none}
svg.bars,svg.chart{width:100%;max-width:800px;height:auto}
"""
