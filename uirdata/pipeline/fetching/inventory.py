"""The inventory of a source: its files paired by the rules, their sizes compared, and written to pairs.parquet."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uirdata.errors import ImageError, SourceError, one_file
from uirdata.folders import list_files
from uirdata.images import image_size
from uirdata.layout import Layout
from uirdata.manifest_syntax.patterns import is_image_name
from uirdata.pairing import LeftOut, Pair, Pairing, find_pairs
from uirdata.pipeline.fetching.renamed import keep_splits_of_renamed, with_kept_splits
from uirdata.progress import Progress
from uirdata.sources import Source
from uirdata.storage.checks import Checks, FileCheck, PairCheck, pair_key
from uirdata.storage.downloads import hash_file
from uirdata.storage.pair_tables import PAIRS_SCHEMA
from uirdata.storage.tables import write_rows

_MOST_LIST_BYTES = 64 << 20
"""Largest list of pairs in a source; the longest published one has some MiB."""

PairKind = tuple[str, str, bool]
"""Split, degradation, real."""


@dataclass(frozen=True)
class Inventory:
    """
    The pairs and files of a source.

    Attributes:
        found: number of usable pairs and clean images, by split, degradation and real.
        left_out: number of pairs and files that are not used, by the reason up to its first colon.
        examples: a path for each of these reasons.
        unreadable: number of these pairs with an image that cannot be used.
        skipped: number of files that the manifest skips on purpose.
        unknown: images that match no rule; the first hundred.
        unknown_count: number of images that match no rule.
        unread: number of images of kinds that are not read, by suffix, the most frequent first.
    """

    found: Mapping[PairKind, int]
    left_out: Mapping[str, int]
    examples: Mapping[str, str]
    unreadable: int
    skipped: int
    unknown: tuple[str, ...]
    unknown_count: int
    unread: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of all usable pairs."""
        return sum(self.found.values())


def files_root(source: Source, layout: Layout) -> Path:
    """Return the folder that the paths of a source's pairs are relative to."""
    return source.local_dir if source.local_dir is not None else layout.source(source.id)


def pair_files(source: Source, layout: Layout) -> Pairing:
    """
    Return the pairs of a source, by its rules.

    Raises:
        SourceError: its folder does not exist.
    """
    root = files_root(source, layout)

    def read_text(name: str) -> str:
        try:
            with (root / name).open("rb") as file:
                data = file.read(_MOST_LIST_BYTES + 1)
        except OSError as error:
            raise SourceError(f"{root / name}: cannot be read: {error.strerror or error}") from error
        if len(data) > _MOST_LIST_BYTES:
            raise SourceError(f"{root / name}: is over {_MOST_LIST_BYTES >> 20} MiB, expected a list of pairs of names")
        return data.decode("utf-8", "replace")

    names: list[str] = []
    odd: list[str] = []
    for name in list_files(root, without=layout.root if source.local_dir is not None else None):
        (odd if _unwritable(name) else names).append(name)
    found = find_pairs(source, names, read_text)
    left = [LeftOut(_unwritable(name), "its name is not UTF-8: rename the file") for name in odd if is_image_name(name)]
    return with_kept_splits(source, layout, replace(found, left_out=(*found.left_out, *left)))


def _unwritable(name: str) -> str:
    """Return a readable form of a name whose bytes are not UTF-8, which no table can hold; "" for any other name."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()
    return ""


def take_inventory(source: Source, layout: Layout, *, jobs: int, progress: Progress) -> Inventory:
    """
    Pair the files, read the size of each image from its header, and write pairs.parquet.

    Results of a deep verification are kept for files that have not changed since.

    Args:
        source: the source.
        layout: the folders of the root.
        jobs: number of headers that are read in parallel.
        progress: receives progress.

    Raises:
        SourceError: its folder does not exist.
        StorageError: pairs.parquet cannot be written.
    """
    pairing = pair_files(source, layout)
    with Checks(layout.source(source.id)) as checks:
        pairing = keep_splits_of_renamed(source, layout, pairing, files_root(source, layout), checks)
        read_headers(source, layout, pairing, checks, jobs=jobs, progress=progress)
        return write_inventory(source, layout, pairing, checks)


def read_headers(
    source: Source, layout: Layout, pairing: Pairing, checks: Checks, *, jobs: int, progress: Progress
) -> None:
    """Read the size of every image of a pair that is new or has changed."""
    root = files_root(source, layout)
    paths = sorted({path for pair in pairing.pairs for path in (pair.gt, pair.lq) if path})
    task = f"{source.id}: reading sizes"
    progress.begin(task, len(paths))
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        for batch in _batches(paths, 2048):
            for check in pool.map(lambda path: _header(root, path, checks), batch, chunksize=64):
                if check is not None:
                    checks.put_file(check)
            progress.advance(task, len(batch))
    checks.forget_others(paths)
    progress.end(task)


def write_inventory(
    source: Source, layout: Layout, pairing: Pairing, checks: Checks, *, keep: bool = True
) -> Inventory:
    """
    Write pairs.parquet from the known results of checks of files and pairs.

    Args:
        source: the source.
        layout: the folders of the root.
        pairing: the pairing of its files.
        checks: the known results.
        keep: write the file; otherwise only count.

    Raises:
        StorageError: it cannot be written.
    """
    found: Counter[PairKind] = Counter()
    left: Counter[str] = Counter()
    examples: dict[str, str] = {}
    unreadable = 0

    def rows() -> Iterator[Mapping[str, Any]]:
        nonlocal unreadable
        for row, can_be_used in _rows(source, pairing, checks):
            unreadable += not can_be_used
            if row["ok"]:
                found[(row["split"], row["degradation"], row["real"])] += 1
            else:
                reason = str(row["reason"]).partition(":")[0]
                left[reason] += 1
                examples.setdefault(reason, row["lq"] or row["gt"])
            yield row

    if keep:
        write_rows(layout.pairs(source.id), rows(), PAIRS_SCHEMA)
    else:
        for _ in rows():
            pass
    return Inventory(
        found=dict(sorted(found.items())),
        left_out=dict(sorted(left.items())),
        examples=examples,
        unreadable=unreadable,
        skipped=pairing.skipped,
        unknown=pairing.unknown[:100],
        unknown_count=len(pairing.unknown),
        unread=pairing.unread,
    )


def _rows(source: Source, pairing: Pairing, checks: Checks) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield the rows of pairs.parquet, each with whether its images can be used; True for files without a pair."""
    order = {"train": 0, "val": 1, "test": 2}
    pairs = sorted(pairing.pairs, key=lambda p: (order.get(p.split, 3), p.degradation, p.real, p.gt, p.lq))
    for pair in pairs:
        problem = _image_problem(pair, checks)
        height, width, reason = (0, 0, problem) if problem else _judge(pair, checks)
        yield _row(source, pair, height, width, reason), not problem
    for left in sorted(pairing.left_out, key=lambda left: left.path):
        yield _left_row(source, left), True


def _image_problem(pair: Pair, checks: Checks) -> str:
    """Return which image of a pair cannot be used, and why; "" if no problem is known."""
    for role, path in (("GT", pair.gt), ("LQ", pair.lq)):
        check = checks.file(path) if path else None
        if check is not None and check.problem:
            return f"the {role} cannot be used: {check.problem}"
    return ""


def _judge(pair: Pair, checks: Checks) -> tuple[int, int, str]:
    """Return height, width and the reason to leave out a pair of usable images; "" if there is none."""
    gt = checks.file(pair.gt) if pair.gt else None
    lq = checks.file(pair.lq) if pair.lq else None
    if gt is None or lq is None:
        only = gt or lq
        return (only.height, only.width, "") if only is not None else (0, 0, "there is no file")
    border = 2 * pair.gt_border
    if (gt.height - border, gt.width - border) != (lq.height, lq.width):
        cut = f" less {pair.gt_border} at each side" if pair.gt_border else ""
        return 0, 0, f"sizes differ: LQ {lq.width}x{lq.height}, GT {gt.width}x{gt.height}{cut}"
    known = checks.pair(pair_key(gt, lq, pair.gt_border)) if gt.sha256 and lq.sha256 else None
    return lq.height, lq.width, _content_reason(pair, gt, lq, known)


def _content_reason(pair: Pair, gt: FileCheck, lq: FileCheck, known: PairCheck | None) -> str:
    if known is None:
        if gt.sha256 and gt.sha256 == lq.sha256 and pair.drop_identical:
            return "identical: the LQ is the GT, bit for bit"
        return ""
    if known.identical and pair.drop_identical:
        return "identical: the LQ is the GT, pixel for pixel"
    return known.problem


def _row(source: Source, pair: Pair, height: int, width: int, reason: str) -> Mapping[str, Any]:
    return {
        "source": source.id,
        "split": pair.split,
        "degradation": pair.degradation,
        "real": pair.real,
        "gt": pair.gt,
        "lq": pair.lq,
        "level": pair.level,
        "scene": pair.scene,
        "gt_border": pair.gt_border,
        "cut": pair.cut,
        "height": height,
        "width": width,
        "ok": not reason,
        "reason": reason,
    }


def _left_row(source: Source, left: LeftOut) -> Mapping[str, Any]:
    return {
        "source": source.id,
        "split": "",
        "degradation": "",
        "real": False,
        "gt": left.path,
        "lq": "",
        "level": "",
        "scene": "",
        "gt_border": 0,
        "cut": False,
        "height": 0,
        "width": 0,
        "ok": False,
        "reason": left.reason,
    }


def _header(root: Path, path: str, checks: Checks) -> FileCheck | None:
    """Return the result of reading an image's header; None if the file has not changed since the last time."""
    try:
        stat = (root / path).stat()
    except OSError as error:
        return FileCheck(path=path, size=0, mtime_ns=0, problem=f"it cannot be read ({error.strerror})")
    before = checks.file(path)
    if before is not None and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return None
    if before is not None and before.sha256 and before.size == stat.st_size:
        # Touched, copied or restored: the same bytes need no second check.
        with contextlib.suppress(OSError):
            if hash_file(root / path)[0] == before.sha256:
                return replace(before, mtime_ns=stat.st_mtime_ns)
    try:
        with one_file(root / path):
            height, width = image_size(root / path)
    except ImageError as error:
        problem = str(error).removeprefix(f"{root / path}: ").removesuffix("; fetch or copy it again")
        return FileCheck(path=path, size=stat.st_size, mtime_ns=stat.st_mtime_ns, problem=problem)
    return FileCheck(path=path, size=stat.st_size, mtime_ns=stat.st_mtime_ns, height=height, width=width)


def _batches(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
