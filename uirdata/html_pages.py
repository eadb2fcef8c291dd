"""Self-contained HTML pages: tables, bars, line charts and images."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from uirdata.images import RgbImage, encode_image
from uirdata.storage.files import storage_error, writing


def write_page(target: Path, title: str, body: Sequence[str]) -> None:
    """
    Write a self-contained HTML page, which loads nothing from elsewhere.

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
    """Return rows as an HTML table; numbers are aligned right."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(name.strip())}</th>" for name in rows[0])
    lines = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def bars(values: Mapping[str, float]) -> str:
    """Return horizontal bars, one line per value, as SVG."""
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
    Return curves as SVG.

    Args:
        curves: points (x, y) by name.
        x: label of the horizontal axis.
        y: label of the vertical axis.
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
    """Return an image as a data URI, encoded without loss."""
    return "data:image/webp;base64," + base64.b64encode(encode_image(image, "webp")).decode()


def figure(image: RgbImage, caption: str, note: str = "") -> str:
    """Return an image with a caption below, as HTML; `note` is shown when the pointer is over the image."""
    title = f' title="{html.escape(note)}"' if note else ""
    width = max(image.shape[1], 64)
    return (
        f'<figure style="width:{width}px"{title}><img alt="{html.escape(caption)}" src="{data_uri(image)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def centre(image: RgbImage, side: int) -> RgbImage:
    """Return the centre of an image, at most `side` x `side` pixels."""
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
