"""Comparison of evaluations, image by image."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from maskdcpt.evaluation.score_files import REPORT, TABLE
from maskdcpt.evaluation.scores import LARGEST_SCORE
from maskdcpt.evaluation.significance import PairedTest, holm, paired_test
from uirdata.errors import UirError, UsageError, nearest
from uirdata.validators import InvalidValue, finite_number, json_object, load_json, naming, shown, text

logger = logging.getLogger(__name__)

_OF_IMAGES = ("key", "degradation", "level", "source", "height", "width", "named", "test_set", "scene", "broken")
_TEXTS = ("key", "degradation", "test_set", "scene")

_PROTOCOL = ("quantise", "y_channel", "crop_border", "swapped_mosaic")
"""Settings of a protocol of which scores with another value are another quantity."""


@dataclass(frozen=True)
class Compared:
    """
    The comparison of a second run with the first, in one group of images.

    Attributes:
        group: a degradation or test set, or "all".
        first: name of the reference run.
        second: name of the run that is compared with it.
        test: the result.
        p_mean: `test.p_mean`, adjusted for the number of comparisons (Holm).
        p_ranks: `test.p_ranks`, adjusted likewise.
        broken: how many images are left out because one of the two is NaN or infinite.
    """

    group: str
    first: str
    second: str
    test: PairedTest
    p_mean: float
    p_ranks: float
    broken: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return plain values; p values adjusted."""
        row = asdict(self)
        return {**row.pop("test"), **row}


@dataclass(frozen=True)
class _Run:
    name: str
    rows: dict[str, dict[str, Any]]
    protocol: dict[str, Any]


def compare_runs(runs: Sequence[str | Path], metric: str = "psnr", *, skip_broken: bool = False) -> list[Compared]:
    """
    Compare evaluations with the first of them, on the images for which both have a score.

    Images that only one of the two has are left out with a warning; so is a difference of their protocols.

    Args:
        runs: folders that `maskdcpt eval --out` wrote, two at least, or NAME=FOLDER.
        metric: a column of images.parquet.
        skip_broken: leave out images for which one of the two is NaN or infinite.

    Returns:
        One comparison for each run and each group of images, and one for all images.

    Raises:
        UsageError: fewer than two runs, no such metric, or no image in common.
        UirError: a run cannot be read, or a value is NaN or infinite and `skip_broken` is not set.
    """
    if len(runs) < 2:
        raise UsageError("name two evaluations at least: the folders that `maskdcpt eval --out` wrote")
    first, *others = (_read(str(run), metric) for run in runs)
    found = []
    for other in others:
        keys = [key for key, row in first.rows.items() if _known(row, other.rows.get(key), metric)]
        broken = [key for key in first.rows if key in other.rows and _is_broken(key, metric, first, other)]
        if broken and not skip_broken:
            raise UirError(
                f"{first.name} and {other.name}: {len(broken)} images have no {metric} because it is NaN or infinite "
                f"in one of them, such as {broken[0]}; --skip-broken compares the others, and counts these"
            )
        if not keys and broken:
            raise UirError(
                f"{first.name} and {other.name}: all {len(broken)} images that both have are NaN or infinite in one of "
                f"them: there is no {metric} to compare"
            )
        if not keys:
            raise UsageError(f"{first.name} and {other.name} have no image in common with a {metric} in both")
        _warn(first, other, metric, {*keys, *broken})
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(_group(first.rows[key]), []).append(key)
        if len(groups) > 1:
            groups["all"] = keys
        for group, members in groups.items():
            test = paired_test(
                [first.rows[key][metric] for key in members],
                [other.rows[key][metric] for key in members],
                [first.rows[key]["scene"] or key for key in members],
            )
            lost = sum(group in ("all", _group(first.rows[key])) for key in broken)
            found.append(Compared(group, first.name, other.name, test, test.p_mean, test.p_ranks, lost))
    means, ranks = holm([row.p_mean for row in found]), holm([row.p_ranks for row in found])
    return [replace(row, p_mean=m, p_ranks=r) for row, m, r in zip(found, means, ranks, strict=True)]


def _warn(first: _Run, other: _Run, metric: str, compared: set[str]) -> None:
    left = sorted((first.rows.keys() | other.rows.keys()) - compared)
    if left:
        logger.warning(
            "%s and %s: %d images are left out, because one of the two has no %s of them; the first is %s",
            first.name,
            other.name,
            len(left),
            metric,
            left[0],
        )
    unlike = [name for name in _PROTOCOL if first.protocol.get(name, 0) != other.protocol.get(name, 0)]
    if unlike and first.protocol and other.protocol:
        logger.warning(
            "%s and %s: their protocols differ (%s), so differences of their scores are not those of the networks",
            first.name,
            other.name,
            ", ".join(unlike),
        )


def _known(row: dict[str, Any], other: dict[str, Any] | None, metric: str) -> bool:
    return other is not None and all(
        value is not None and math.isfinite(value) for value in (row[metric], other[metric])
    )


def _group(row: dict[str, Any]) -> str:
    group: str = row["test_set"] or row["degradation"]
    return group


def _is_broken(key: str, metric: str, *runs: _Run) -> bool:
    return any(_is_broken_row(run.rows[key], metric) for run in runs)


def _is_broken_row(row: dict[str, Any], metric: str) -> bool:
    if row[metric] is not None:
        return not math.isfinite(row[metric])
    # The tables of earlier releases have no such column.
    what = (row.get("broken") or "").split(", ")
    return metric in what or ("output" in what and not metric.startswith("lq_"))


def _read(place: str, metric: str) -> _Run:
    name, equals, named = place.partition("=")
    folder = Path(named if equals else place)
    file = folder / TABLE if folder.is_dir() else folder
    if not file.is_file():
        raise UirError(f"{file}: no such file; name a folder that `maskdcpt eval --out` wrote")
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UirError(f"{file}: cannot be read as {TABLE} of `maskdcpt eval --out` ({error})") from error
    known = [column for column in table.column_names if column not in _OF_IMAGES]
    if metric not in known:
        raise UsageError(f"{file} has no {metric!r}: {nearest(metric, known)}")
    with naming(UirError, str(file), "evaluate again with `maskdcpt eval --out`"):
        rows = _rows(table, metric)
    return _Run(name if equals else folder.name, rows, _protocol(file.with_name(REPORT)))


def _rows(table: pa.Table, metric: str) -> dict[str, dict[str, Any]]:
    """Return the rows by key, with the columns that are compared."""
    names = table.column_names
    texts = [*_TEXTS, *(["broken"] if "broken" in names else [])]
    # Earlier releases had no word for outputs that are NaN, and counted their PSNR as 100 dB; their SSIM was NaN.
    tells = [] if "broken" in names or "ssim" not in names else ["ssim"]
    for column in (*texts, metric):
        if names.count(column) != 1:
            raise InvalidValue(f"has no column {column!r}, or several")
    rows = {}
    for row in table.select(list(dict.fromkeys([*texts, metric, *tells]))).to_pylist():
        for column in texts:
            row[column] = text(row[column] or "")
        if not row["key"] or row["key"] in rows:
            raise InvalidValue(f"has the image {shown(row['key'])} twice, or one without a key")
        value = row[metric]
        if any(isinstance(row[name], float) and math.isnan(row[name]) for name in tells) and metric == "psnr":
            row[metric] = value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            pass  # an evaluation of an earlier release; it counts as broken
        elif value is not None:
            finite_number(value, -LARGEST_SCORE, LARGEST_SCORE)
        rows[row["key"]] = row
    return rows


def _protocol(report: Path) -> dict[str, Any]:
    """Return the protocol of an evaluation; {} where its report is not there."""
    try:
        return json_object(json_object(load_json(report.read_bytes())).get("protocol", {}))
    except (OSError, InvalidValue):
        return {}
