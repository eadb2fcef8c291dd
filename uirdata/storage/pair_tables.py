"""pairs.parquet: the pairs of a source and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from uirdata.errors import ShardError
from uirdata.layout import Layout
from uirdata.pairing import Pair
from uirdata.planning import FoundPair
from uirdata.storage.manifest_rows import check_paths
from uirdata.storage.tables import open_parquet, read_typed
from uirdata.validators import InvalidValue, naming


def read_found(layout: Layout, source: str) -> list[FoundPair] | None:
    """Return the usable pairs of a source from its pairs.parquet; None if the source was not fetched."""
    path = layout.pairs(source)
    if not path.exists():
        return None
    return [
        FoundPair(
            Pair(
                source=row["source"],
                split=row["split"],
                degradation=row["degradation"],
                real=row["real"],
                gt=row["gt"],
                lq=row["lq"],
                level=row["level"],
                scene=row["scene"],
                gt_border=row["gt_border"],
                cut=bool(row.get("cut")),
            ),
            row["height"],
            row["width"],
        )
        for batch in _checked(path).to_batches(max_chunksize=10_000)
        for row in batch.to_pylist()
        if row["ok"]
    ]


def read_pairs(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """
    Return columns of a pairs.parquet; all of them by default. Tables of earlier releases lack `cut`.

    Raises:
        ShardError: it is missing or damaged, or a column is not as expected.
    """
    with open_parquet(path) as parquet:
        has_cut = "cut" in parquet.schema_arrow.names
    names = [name for name in columns or PAIRS_SCHEMA.names if has_cut or name != "cut"]
    return read_typed(path, PAIRS_SCHEMA, names)


def _checked(path: Path) -> pa.Table:
    table = read_pairs(path)
    with naming(ShardError, str(path), "run `uir verify` to write it again"):
        for name in ("gt", "lq"):
            for chunk in table[name].chunks:
                check_paths(name, chunk)
        if table.num_rows and min(pc.min(table[name]).as_py() for name in ("gt_border", "height", "width")) < 0:
            raise InvalidValue("a size is negative")
    return table


PAIRS_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("split", pa.string()),
        ("degradation", pa.string()),
        ("real", pa.bool_()),
        ("gt", pa.string()),
        ("lq", pa.string()),
        ("level", pa.string()),
        ("scene", pa.string()),
        ("gt_border", pa.int32()),
        ("cut", pa.bool_()),
        # Of the LQ and of the GT after its border is cut: they are equal wherever `ok`. 0 if it could not be read.
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("ok", pa.bool_()),
        # Why the pair is left out; "" if `ok`.
        ("reason", pa.string()),
    ]
)
"""Columns of pairs.parquet: the fields of `pairing.Pair`, the size, and whether the pair is used."""
