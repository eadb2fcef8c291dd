"""
Screening of training crops by their GT: scores in a table next to pairs.parquet, which planning reads.

A table belongs to one source and one crop setting, size and stride. Scores are kept by the sha256 of their file, so
that a second run reads files and decodes none; the reasons are computed from the scores each time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uirdata.cropping import Box
from uirdata.decoding import revision
from uirdata.errors import ImageError, ShardError, one_file
from uirdata.images import decode_image, pixel_sha256
from uirdata.layout import Layout
from uirdata.pipeline.building.sample_plan import Left, Plan
from uirdata.pipeline.building.sample_reader import describe_failure, source_folders
from uirdata.pipeline.parallel import in_order
from uirdata.planning import CropSetting, FoundPair, GroupPlan
from uirdata.progress import Progress, Silent
from uirdata.screening import (
    DUPLICATED,
    LEAST_SHARP,
    Limits,
    Quality,
    least_sharp,
    measure,
    sharpness,
    sharpness_energies,
)
from uirdata.sources import Source
from uirdata.storage.tables import read_table, read_typed, write_rows

SCREENING_SCHEMA = pa.schema(
    [
        ("gt", pa.string()),
        ("gt_border", pa.int32()),
        ("top", pa.int32()),
        ("left", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("flatness", pa.float32()),
        ("blur", pa.float32()),
        ("brightness", pa.float32()),
        # Rank among the crops of its image, 0 to 1; null if the source drops no crops for it.
        ("sharpness", pa.float64()),
        # The first crop of the source with the same pixels, as path:top,left; "" where this is the first.
        ("duplicate_of", pa.string()),
        # Why planning leaves out the crop, joined by commas; "" if it does not.
        ("reason", pa.string()),
        ("gt_sha256", pa.string()),
        ("file_sha256", pa.string()),
    ],
    metadata={"uir.screening": "1"},
)
"""Rows of screening-<size>-<stride>.parquet: a training crop of a GT, its scores, and whether planning uses it."""


@dataclass(frozen=True)
class Cut:
    """
    The training images of a source with one crop setting of a plan.

    Attributes:
        source: id of the source.
        setting: size and stride.
        found: its training pairs.
        drop_least_sharp: share of the crops of each image that are dropped.
        screen: also leave out crops that are flat, blurred, dark or duplicated.
    """

    source: str
    setting: CropSetting
    found: Sequence[FoundPair]
    drop_least_sharp: float
    screen: bool

    def images_digest(self) -> str:
        """Return a digest of its images, their sizes, and whether each is clean: all that the reasons depend on."""
        digest = hashlib.sha256()
        for item in self.found:
            name = f"{item.pair.gt} {item.pair.gt_border} {item.height} {item.width} {bool(item.pair.lq)}"
            digest.update(f"{name}\n".encode())
        return digest.hexdigest()

    def table(self, layout: Layout) -> Path:
        """Return the path of its table of scores."""
        return layout.screening(self.source, self.setting.size, self.setting.stride)


@dataclass
class Screened:
    """
    The result of screening a cut.

    Attributes:
        source: id of the source.
        crops: number of crops with scores.
        reasons: number of crops that are left out for each reason; a crop may have several.
        left_out: number of crops that are left out.
        failures: images that could not be read; their crops have no scores, and stay in the plan.
    """

    source: str
    crops: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    left_out: int = 0
    failures: list[Left] = field(default_factory=list)


def screened_plan(
    plan: Plan,
    sources: Mapping[str, Source],
    layout: Layout,
    *,
    screen: bool,
    trust_files: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Plan, tuple[tuple[Cut, Screened], ...]]:
    """
    Compute the missing scores of a plan, and return the plan without the crops that are left out.

    Args:
        plan: from `make_plan`.
        sources: all sources, by id.
        layout: the folders of the sources.
        screen: leave out crops that are flat, blurred, dark or duplicated; without it only the least sharp crops of
            the sources whose published crops drop those.
        trust_files: do not read files again whose crops have scores.
        workers: number of processes.
        progress: receives the images that are done.

    Returns:
        The plan, and each cut with its result.

    Raises:
        StorageError: the scores cannot be written.
    """
    cuts = cuts_to_screen(plan, sources, screen=screen)
    folders = source_folders(sources, layout, plan.sources) if cuts else {}
    reports = tuple(
        (cut, screen_cut(cut, folders[cut.source], layout, trust_files=trust_files, workers=workers, progress=progress))
        for cut in cuts
    )
    return with_screening(plan, cuts, layout), reports


def plan_with_known_scores(
    plan: Plan, sources: Mapping[str, Source], layout: Layout, *, screen: bool
) -> tuple[Plan, tuple[str, ...]]:
    """
    Return a plan without the crops that existing scores leave out; only the scores are read, and nothing is written.

    Returns:
        The plan, and the sources that have no scores yet: none of their crops is left out.
    """
    cuts = cuts_to_screen(plan, sources, screen=screen)
    unknown = tuple(cut.source for cut in cuts if not cut.table(layout).exists())
    return with_screening(plan, cuts, layout), unknown


def cuts_to_screen(plan: Plan, sources: Mapping[str, Source], *, screen: bool) -> tuple[Cut, ...]:
    """
    Return the cuts of a plan that need scores: with `screen` all training cuts, else those that drop the least sharp.

    A source drops crops only with the crop setting of its manifest, not with another one that the user chooses.
    """
    cuts: dict[tuple[str, CropSetting], Cut] = {}
    for group in plan.groups:
        split, _, name = group.group
        if split != "train" or not isinstance(group, GroupPlan):
            continue
        published = sources[name].crop
        its_own = published is not None and (published.size, published.stride) == (group.crop.size, group.crop.stride)
        share = published.drop_least_sharp if published is not None and its_own else 0.0
        if screen or share > 0:
            train = [item for item in group.found if item.pair.split == "train" and item.pair.gt]
            cuts.setdefault((name, group.crop), Cut(name, group.crop, train, share, screen))
    return tuple(cuts[key] for key in sorted(cuts, key=lambda key: (key[0], key[1].size, key[1].stride)))


def screen_cut(
    cut: Cut,
    folder: Path,
    layout: Layout,
    *,
    limits: Limits | None = None,
    trust_files: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> Screened:
    """
    Score the crops of a cut and write its table; images whose file has not changed keep their scores.

    Args:
        cut: from `cuts_to_screen`.
        folder: folder of the source's files.
        layout: the folder of the table.
        limits: limits of the scores; crops outside them are left out.
        trust_files: do not read files whose crops have scores to check whether they have changed.
        workers: number of processes.
        progress: receives the images that are done.

    Raises:
        StorageError: the table cannot be written.
    """
    listener = progress or Silent()
    report = Screened(cut.source)
    asked = limits or Limits()
    schema = SCREENING_SCHEMA.with_metadata(
        {**SCREENING_SCHEMA.metadata, "uir.judged": f"{asked}, {cut.drop_least_sharp}, {cut.images_digest()}"}
    )
    known, is_current = _known_rows(cut.table(layout), schema)
    tasks = list(_tasks(cut, folder, known))
    name = f"screening {cut.source}"
    listener.begin(name, len(tasks))
    rows = _judged(_results(tasks, workers, trust_files), known, cut, asked, report, listener, name)
    if trust_files and is_current and all(task.known_sha256 for task in tasks):
        deque(rows, maxlen=0)  # only for the report; the table is up to date already
    else:
        write_rows(cut.table(layout), rows, schema)
    listener.end(name)
    return report


def with_screening(plan: Plan, cuts: Iterable[Cut], layout: Layout) -> Plan:
    """Return a plan without the crops that the tables of its cuts leave out; cuts without a table keep all crops."""
    left_out: dict[tuple[str, CropSetting], Mapping[tuple[str, Box], str]] = {}
    for cut in cuts:
        if cut.table(layout).exists():
            left_out[(cut.source, cut.setting)] = _read_left_out(cut, layout)
    groups = (
        replace(group, left_out=left_out.get((group.group.source, group.crop), {}))
        if isinstance(group, GroupPlan) and group.group.split == "train"
        else group
        for group in plan.groups
    )
    return replace(plan, groups=tuple(groups))


@dataclass(frozen=True)
class _Task:
    path: Path
    gt: str
    border: int
    boxes: tuple[Box, ...]
    with_sharpness: bool
    clean: bool
    known_sha256: str


@dataclass(frozen=True)
class _Scores:
    box: Box
    quality: Quality
    sharpness: float | None
    gt_sha256: str


@dataclass(frozen=True)
class _Scored:
    """Scores of the crops of an image; `scores` is None if its file has not changed."""

    file_sha256: str
    scores: tuple[_Scores, ...] | None
    failure: str = ""


def _tasks(cut: Cut, folder: Path, known: Mapping[tuple[str, int], list[dict[str, Any]]]) -> Iterator[_Task]:
    images: dict[tuple[str, int], list[FoundPair]] = {}
    for item in cut.found:
        images.setdefault((item.pair.gt, item.pair.gt_border), []).append(item)
    with_sharpness = cut.drop_least_sharp > 0
    for (gt, border), items in images.items():
        rows = known.get((gt, border), [])
        boxes = cut.setting.boxes(items[0])
        usable = [Box(row["top"], row["left"], row["height"], row["width"]) for row in rows] == list(boxes) and not (
            with_sharpness and any(row["sharpness"] is None for row in rows)
        )
        yield _Task(
            path=folder / gt,
            gt=gt,
            border=border,
            boxes=boxes,
            with_sharpness=with_sharpness,
            # Several published LQ of one scene are intended; a clean photograph that occurs twice is a mistake.
            clean=not any(item.pair.lq for item in items),
            known_sha256=rows[0]["file_sha256"] if usable else "",
        )


def _results(tasks: Sequence[_Task], workers: int, trust_files: bool) -> Iterator[tuple[_Task, _Scored]]:
    unknown = [task for task in tasks if not (trust_files and task.known_sha256)]
    scored = in_order(_score_image, unknown, workers if len(unknown) > 1 else 1)
    for task in tasks:
        yield task, _Scored(task.known_sha256, None) if trust_files and task.known_sha256 else next(scored)


def _score_image(task: _Task) -> _Scored:
    try:
        with one_file(task.path):
            return _scored(task)
    except ImageError as error:
        return _Scored("", (), describe_failure(error))


def _scored(task: _Task) -> _Scored:
    try:
        data = task.path.read_bytes()
    except OSError as error:
        return _Scored("", (), f"{task.path}: cannot be read: {error.strerror or error}")
    sha256 = hashlib.sha256(data).hexdigest() + revision(data)
    if sha256 == task.known_sha256:
        return _Scored(sha256, None)
    try:
        image = decode_image(data, name=str(task.path))
    except ImageError as error:
        return _Scored(sha256, (), describe_failure(error))
    if task.border:
        image = image[task.border : -task.border, task.border : -task.border]
    if any(b.top + b.height > image.shape[0] or b.left + b.width > image.shape[1] for b in task.boxes):
        return _Scored(sha256, (), f"{task.path} is smaller than when it was found; run `uir verify`")
    crops = [image[box.top : box.top + box.height, box.left : box.left + box.width] for box in task.boxes]
    ranks: list[float | None] = [None] * len(crops)
    if task.with_sharpness:
        ranks = [float(rank) for rank in sharpness([sharpness_energies(crop) for crop in crops])]
    scores = (
        _Scores(box, measure(crop), rank, pixel_sha256(crop))
        for box, crop, rank in zip(task.boxes, crops, ranks, strict=True)
    )
    return _Scored(sha256, tuple(scores))


def _judged(
    results: Iterable[tuple[_Task, _Scored]],
    known: Mapping[tuple[str, int], list[dict[str, Any]]],
    cut: Cut,
    limits: Limits,
    report: Screened,
    progress: Progress,
    name: str,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table, with the reasons that depend on other crops: duplicates, least sharp."""
    first: dict[bytes, str] = {}
    for task, scored in results:
        progress.advance(name)
        if scored.failure:
            report.failures.append(Left(f"{cut.source}/{task.gt}", scored.failure))
            continue
        rows = (
            known[(task.gt, task.border)] if scored.scores is None else [_row(task, scored, s) for s in scored.scores]
        )
        dropped: tuple[int, ...] = ()
        if cut.drop_least_sharp > 0:
            dropped = least_sharp(np.array([row["sharpness"] for row in rows]), cut.drop_least_sharp)
        for index, row in enumerate(rows):
            here = f"{task.gt}:{row['top']},{row['left']}"
            # Two rules may use one file with two borders; equal pixels of one file are not a duplicate.
            before = first.setdefault(bytes.fromhex(row["gt_sha256"]), here)
            duplicate_of = "" if before == here else before
            reasons = list(limits.reasons(Quality(row["flatness"], row["blur"], row["brightness"])))
            reasons += [DUPLICATED] if duplicate_of and task.clean else []
            reasons += [LEAST_SHARP] if index in dropped else []
            report.crops += 1
            effective = _effective(reasons, screen=cut.screen)
            report.left_out += bool(effective)
            for reason in effective:
                report.reasons[reason] = report.reasons.get(reason, 0) + 1
            yield {**row, "duplicate_of": duplicate_of, "reason": ",".join(reasons)}


def _row(task: _Task, scored: _Scored, scores: _Scores) -> dict[str, Any]:
    # Rounded to the stored precision, or a score could be judged differently when it is read from the table.
    quality = {name: float(np.float32(value)) for name, value in asdict(scores.quality).items()}
    return {
        "gt": task.gt,
        "gt_border": task.border,
        **scores.box._asdict(),
        **quality,
        "sharpness": scores.sharpness,
        "gt_sha256": scores.gt_sha256,
        "file_sha256": scored.file_sha256,
    }


def _effective(reasons: Iterable[str], *, screen: bool) -> list[str]:
    return [reason for reason in reasons if screen or reason == LEAST_SHARP]


def _known_rows(path: Path, schema: pa.Schema) -> tuple[dict[tuple[str, int], list[dict[str, Any]]], bool]:
    """Return the rows of an earlier table by image, and whether its limits were the same; no rows if it is unusable."""
    if not path.exists():
        return {}, False
    try:
        table = read_table(path)
    except ShardError:
        return {}, False
    metadata = table.schema.metadata or {}
    if not table.schema.equals(schema) or metadata.get(b"uir.screening") != schema.metadata[b"uir.screening"]:
        return {}, False
    known: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            known.setdefault((row["gt"], row["gt_border"]), []).append(row)
    return known, metadata == schema.metadata


def _read_left_out(cut: Cut, layout: Layout) -> dict[tuple[str, Box], str]:
    columns = ["gt", "top", "left", "height", "width", "reason"]
    table = read_typed(cut.table(layout), SCREENING_SCHEMA, columns).filter(pc.field("reason") != "")
    found: dict[tuple[str, Box], str] = {}
    for row in table.to_pylist():
        reasons = _effective(row["reason"].split(","), screen=cut.screen)
        if reasons:
            found[row["gt"], Box(row["top"], row["left"], row["height"], row["width"])] = ",".join(reasons)
    return found
