"""A small source on disk, as it is after a fetch."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from tests.conftest import synthetic_image, write_png
from uirdata.facts.own_sources import local_source
from uirdata.layout import Layout
from uirdata.pairing import Pair
from uirdata.sources import Source
from uirdata.storage.pair_tables import PAIRS_SCHEMA
from uirdata.storage.tables import write_rows
from uirdata.subsets import Subset, Use

CLASSES = (("noise",), ("jpeg",), ("haze",))


def small_source(root: Path, *, photographs: int = 5) -> tuple[Layout, dict[str, Source]]:
    """Write clean photographs for train and test, and two published haze pairs, with their pairs.parquet."""
    layout = Layout(root)
    folder = root / "photos"
    rows = []
    for number in range(photographs):
        split = "test" if number == photographs - 1 else "train"
        write_png(folder / f"clean/p{number}.png", synthetic_image(72, 90, number))
        pair = Pair("here", split, "", False, f"clean/p{number}.png", "", "", f"p{number}")
        rows.append(_row(pair, 72, 90))
    for number in range(2):
        write_png(folder / f"gt/h.{number}.png", synthetic_image(64, 64, 50 + number))
        write_png(folder / f"lq/h.{number}.png", synthetic_image(64, 64, 60 + number))
        pair = Pair("here", "train", "haze", True, f"gt/h.{number}.png", f"lq/h.{number}.png", "beta=0.1", f"h{number}")
        rows.append(_row(pair, 64, 64))
    write_rows(layout.pairs("here"), rows, PAIRS_SCHEMA)
    return layout, {"here": replace(local_source("here", folder / "clean"), local_dir=folder)}


def small_subset(*, per_image: int = 2) -> Subset:
    """Return a subset: noise and JPEG made of the photographs, and the published haze."""
    uses = (
        Use("here", "noise", "train", ("gaussian-15", "gaussian-25", "gaussian-50"), per_image, 48, 32),
        Use("here", "jpeg", "train", ("q10", "q40"), 1, 48, 32),
        Use("here", "haze", "train", (), 1, 48, 32),
        Use("here", "noise", "test", ("gaussian-25",)),
    )
    return Subset("small", "a small one", CLASSES, {}, uses)


def _row(pair: Pair, height: int, width: int) -> dict[str, object]:
    fields = {name: value for name, value in asdict(pair).items() if name in PAIRS_SCHEMA.names}
    return {**fields, "height": height, "width": width, "ok": True, "reason": ""}
