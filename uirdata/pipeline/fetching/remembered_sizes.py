"""Sizes of files that no page states: as servers have answered, and as estimated from the number of images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from uirdata.layout import Layout
from uirdata.manifest_syntax.patterns import PREFIX, compile_pattern
from uirdata.pipeline.fetching.mirror_checks import MirrorCheck
from uirdata.sources import RemoteFile, Source
from uirdata.storage.shards import write_json
from uirdata.validators import InvalidValue, json_object, load_json, text, whole_number

_DEFAULT_PIXELS = 1_000_000
_BYTES_PER_PIXEL: Mapping[str, float] = {"jpg": 0.4, "jpeg": 0.4, "webp": 0.4, "png": 1.6, "bmp": 2.0, "tif": 2.0}
"""Packed bytes per pixel of photographs: of the sets whose size and count are both published, rounded up."""


def sizes_path(layout: Layout) -> Path:
    """Return the path of the sizes that servers have answered."""
    return layout.root / "cache" / "sizes.json"


def remembered_sizes(layout: Layout) -> Mapping[tuple[str, str], int]:
    """Return the remembered sizes in bytes, by source and file; those that cannot be read are left out."""
    found: dict[tuple[str, str], int] = {}
    try:
        rows = json_object(load_json(sizes_path(layout).read_bytes()))
        for source, files in rows.items():
            for name, size in json_object(files).items():
                found[(text(source), text(name))] = whole_number(size)
    except (OSError, InvalidValue):
        return found
    return found


def remember_sizes(layout: Layout, checks: Sequence[MirrorCheck]) -> None:
    """
    Add the sizes that mirrors have answered to those that are remembered.

    Raises:
        StorageError: they cannot be written.
    """
    known = dict(remembered_sizes(layout))
    for check in checks:
        if check.state in ("alive", "moved") and check.size:
            known.setdefault((check.source, check.file), check.size)
    document: dict[str, dict[str, int]] = {}
    for (source, name), size in sorted(known.items()):
        document.setdefault(source, {})[name] = size
    if document:
        write_json(sizes_path(layout), document)


def estimated_bytes(source: Source, files: Sequence[RemoteFile]) -> int:
    """
    Return about how many bytes the files of unknown size have: published images times pixels, less the known files.

    0 where its authors state no number of images. It is an estimate for the space on a disk, good to a factor of two.
    """
    if all(file.expected_size is not None for file in files):
        return 0
    match = re.search(r"(\d{2,5}) x (\d{2,5})", source.resolution)
    pixels = int(match[1]) * int(match[2]) if match else _DEFAULT_PIXELS
    total = 0.0
    for rule in source.pairs:
        shared = bool(rule.lq and rule.gt) and _holes(rule.gt) < _holes(rule.lq)
        for pattern in (rule.lq, "" if shared else rule.gt):
            # A GT that several LQ share is counted with them: it is one of many.
            if pattern and rule.published:
                suffix = re.search(r"\.([A-Za-z]+)$", pattern)
                example = rule.example.pairs[0] if rule.example and rule.example.pairs else None
                name = (example.lq or example.gt) if example else ""
                kind = (suffix[1] if suffix else name.rpartition(".")[2]).lower()
                total += rule.published * pixels * _BYTES_PER_PIXEL.get(kind, 1.6)
    known = sum(file.expected_size or 0 for file in files)
    return max(0, int(total) - known)


def _holes(pattern: str) -> set[str]:
    return set(compile_pattern(pattern).holes) - {PREFIX}
