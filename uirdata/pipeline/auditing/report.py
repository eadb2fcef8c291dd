"""Output of an audit: for programs (parquet), for people (an HTML page), and for planning (overlap lists)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from uirdata.errors import ImageError, one_file
from uirdata.facts.overlaps import parse_overlaps
from uirdata.html_pages import data_uri, html_table, write_page
from uirdata.images import RgbImage
from uirdata.pipeline.auditing.audit import AuditReport, Hit
from uirdata.pipeline.auditing.gt_images import GtImage
from uirdata.similarity.alignment import Part, flip_image
from uirdata.storage.files import writing
from uirdata.storage.tables import write_rows

_IMAGE_FIELDS = [
    ("pool", pa.string()),
    ("source", pa.string()),
    ("split", pa.string()),
    ("scene", pa.string()),
    ("gt_path", pa.string()),
    ("top", pa.int32()),
    ("left", pa.int32()),
    ("height", pa.int32()),
    ("width", pa.int32()),
]
_PART_FIELDS = [(f"part_{name}", pa.int32()) for name in ("top", "left", "height", "width")]

HITS_SCHEMA = pa.schema(
    [
        ("against", pa.bool_()),
        ("kind", pa.string()),
        ("similarity", pa.float32()),
        ("windows", pa.int32()),
        ("distance", pa.float32()),
        ("flip", pa.string()),
        *((f"{side}{name}", kind) for side in ("", "other_") for name, kind in (*_IMAGE_FIELDS, *_PART_FIELDS)),
    ]
)
"""Rows of audit.parquet: the fields of `audit.Hit`, those of the second image after "other_"; is it in a benchmark?"""

_EXAMPLES = 6
_SHOWN_PX = 220
_FRAME = (255, 120, 0)


def write_hits(report: AuditReport, target: Path) -> int:
    """
    Write a row for each hit; return the number of rows.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    pairs = (*((hit, True) for hit in report.against), *((hit, False) for hit in report.within))
    return write_rows(target, (_hit_row(hit, against) for hit, against in pairs), HITS_SCHEMA)


def count_hits(hits: Iterable[Hit]) -> list[dict[str, Any]]:
    """Return the number of hits by the two sources and the kind; scenes are those of the first source."""
    groups: dict[tuple[str, str], list[Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.one.source, hit.other.source), []).append(hit)
    return [
        {
            "source": source,
            "is in": other,
            "scenes": len({hit.one.scene for hit in found}),
            **{kind: sum(hit.kind == kind for hit in found) for kind in ("exact", "near", "crop")},
            "least similar": min(hit.similarity for hit in found),
        }
        for (source, other), found in sorted(groups.items())
    ]


def write_audit_page(report: AuditReport, target: Path) -> None:
    """
    Write an HTML page of the hits: counts, and some example pairs for every two sources, the least similar first.

    Raises:
        StorageError: the page cannot be written.
    """
    body = [
        f"<p>{report.images:,} images of the data set, {report.benchmark_images:,} of benchmarks. "
        "A frame marks the part that both images show; the first image is flipped if it is a flipped copy.</p>"
    ]
    for title, hits in (("Also in a benchmark", report.against), ("Twice in the data set", report.within)):
        body.append(f"<h2>{title}</h2>{html_table(count_hits(hits))}")
        for (source, other, kind), found in _by_sources(hits):
            body.append(f"<h3>{html.escape(f'{source} in {other}: {kind}')} ({len(found):,})</h3>")
            body.append('<div class="row">' + "".join(map(_figure, _examples(found))) + "</div>")
    write_page(target, "Audit", body)


def write_overlaps(hits: Iterable[Hit], folder: Path) -> list[Path]:
    """
    Write, for each benchmark, the list of training scenes that it contains, in the format of `uirdata.facts.overlaps`.

    Scenes of earlier audits are kept; a list states the evidence for each source.

    Args:
        hits: hits of a data set in benchmarks.
        folder: the folder that planning reads.

    Returns:
        The files that were written.

    Raises:
        ManifestError: an existing list cannot be read.
        StorageError: a list cannot be written.
    """
    found: dict[str, dict[str, list[Hit]]] = {}
    for hit in hits:
        found.setdefault(hit.other.source, {}).setdefault(hit.one.source, []).append(hit)
    written = []
    for benchmark, by_source in sorted(found.items()):
        target = folder / f"{benchmark}.txt"
        earlier = _entries(target, benchmark)
        lines: list[str] = []
        for source in sorted({*by_source, *(source for source, _ in earlier)}):
            scenes = {scene_pattern(hit.one.scene) for hit in by_source.get(source, ())}
            evidence = [text for (name, text) in earlier if name == source]
            kept = {scene for text in evidence for scene in earlier[source, text]} - scenes
            for text in evidence:
                old = sorted(kept & set(earlier[source, text]))
                lines += [f"# {text}", *(f"same {source} {scene}" for scene in old), ""] if old else []
            if scenes:
                lines += [
                    f"# {_evidence(by_source[source])}",
                    *(f"same {source} {scene}" for scene in sorted(scenes)),
                    "",
                ]
        with writing(target) as partial:
            partial.write_text("\n".join(lines), encoding="utf-8")
        written.append(target)
    return written


def scene_pattern(scene: str) -> str:
    """
    Return a pattern that matches exactly one scene.

    >>> scene_pattern("train-011"), scene_pattern("a b*")
    ('train-011', 'a{:\\\\x20}b{:\\\\x2a}')
    """
    return re.sub(r"[{}*\s]", lambda match: f"{{:\\x{ord(match[0]):02x}}}" if ord(match[0]) < 256 else "{:\\s}", scene)


def _entries(path: Path, benchmark: str) -> dict[tuple[str, str], list[str]]:
    if not path.exists():
        return {}
    entries: dict[tuple[str, str], list[str]] = {}
    for overlap in parse_overlaps(path.read_text(encoding="utf-8"), benchmark, name=str(path)):
        entries.setdefault((overlap.source, overlap.evidence), []).append(overlap.scenes)
    return entries


def _evidence(hits: Sequence[Hit]) -> str:
    images = len({(hit.other.scene, hit.other.gt_path) for hit in hits})
    kinds = ", ".join(f"{sum(h.kind == kind for h in hits):,} {kind}" for kind in ("exact", "near", "crop"))
    least = min(hit.similarity for hit in hits)
    return f"uir audit: {images:,} pictures of the benchmark ({kinds}); similarity {least:.2f} to 1"


def _hit_row(hit: Hit, against: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "against": against,
        **{name: getattr(hit, name) for name in ("kind", "similarity", "windows", "distance", "flip")},
    }
    for side, gt, part in (("", hit.one, hit.one_part), ("other_", hit.other, hit.other_part)):
        row |= {side + name: getattr(gt, name) for name, _ in _IMAGE_FIELDS}
        row |= {side + name: value for (name, _), value in zip(_PART_FIELDS, part, strict=True)}
    return row


def _by_sources(hits: Iterable[Hit]) -> list[tuple[tuple[str, str, str], list[Hit]]]:
    groups: dict[tuple[str, str, str], list[Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.one.source, hit.other.source, hit.kind), []).append(hit)
    return sorted(groups.items())


def _examples(hits: Sequence[Hit]) -> list[Hit]:
    """Return some pairs of different scenes, from the least similar to the most similar."""
    ordered = list({hit.one.scene: hit for hit in sorted(hits, key=lambda hit: -hit.similarity)}.values())[::-1]
    numbers = np.linspace(0, len(ordered) - 1, num=min(_EXAMPLES, len(ordered)), dtype=int)
    return [ordered[int(number)] for number in numbers]


def _figure(hit: Hit) -> str:
    try:
        with one_file(f"{_name(hit.one)} and {_name(hit.other)}"):
            shown = [_shown(hit.one, hit.one_part, hit), _shown(hit.other, hit.other_part, None)]
    except ImageError as error:
        return f"<p>{html.escape(str(error))}</p>"
    images = "".join(f'<img alt="" src="{data_uri(image)}">' for image in shown)
    where = f"{_name(hit.one)} in {_name(hit.other)}"
    facts = [
        f"{hit.similarity:.3f}",
        f"{hit.windows} windows" if hit.windows else "",
        f"{hit.flip} flip" if hit.flip else "",
    ]
    return f"<figure>{images}<figcaption>{html.escape(where)}<br>{', '.join(filter(None, facts))}</figcaption></figure>"


def _name(gt: GtImage) -> str:
    return f"{gt.source}/{gt.gt_path}" + (f" ({gt.top}, {gt.left})" if gt.pool else "")


def _shown(gt: GtImage, part: Part, hit: Hit | None) -> RgbImage:
    image = gt.place.pixels()
    image = flip_image(image, hit.flip) if hit is not None else image
    factor = min(1.0, _SHOWN_PX / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = np.ascontiguousarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA), np.uint8)
    top, left, height, width = (round(value * factor) for value in part)
    cv2.rectangle(small, (left, top), (left + width - 1, top + height - 1), _FRAME, 2)
    return small
