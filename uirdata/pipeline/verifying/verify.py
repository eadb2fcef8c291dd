"""Verification of sources: bytes, archives, pairs, and with `deep` every pixel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from uirdata.errors import SourceError, StorageError, UirError
from uirdata.layout import Layout
from uirdata.pairing import Pairing
from uirdata.pipeline.fetching.completeness import adopted_state, completeness
from uirdata.pipeline.fetching.inventory import (
    Inventory,
    PairKind,
    files_root,
    pair_files,
    read_headers,
    write_inventory,
)
from uirdata.pipeline.verifying.archive_checks import verify_old_tars
from uirdata.pipeline.verifying.byte_checks import Fault, all_files, compare_hashes, verify_bytes
from uirdata.pipeline.verifying.limited_workers import inspect_limited
from uirdata.pipeline.verifying.pixel_checks import Group
from uirdata.progress import Progress
from uirdata.sources import Feed, Source
from uirdata.storage.checks import Checks, FileCheck, pair_key
from uirdata.storage.transfers.receipts import Receipts

VerifyState = Literal["good", "partly", "faulty", "absent"]

_BROKEN = ("no GT", "no LQ belongs to this GT", "sizes differ")
"""Reasons to leave out a pair that an archive may have, and a folder of unpacked files should not."""

_LQS_AT_ONCE = 16
_METADATA = "damaged metadata"
FEW_GROUPS = 16
"""Up to so many groups are checked faster by one process than others start."""


@dataclass(frozen=True)
class SourceVerification:
    """
    The result of verifying a source.

    Attributes:
        id: id of the source.
        state: good; partly (taken from a folder that holds a part of it); faulty (something is wrong or missing);
            absent (nothing of it has been fetched).
        files_ok: number of downloads and unpacked files that have not changed.
        missing: files that are missing.
        changed: files that have changed.
        inventory: pairs found and left out; None if nothing could be paired.
        published: number of pairs that its authors state, by split, degradation and real.
        paper: rows of the paper's table that it feeds.
        warnings: number of warnings of a deep verification for pairs that are used, by the text up to the first colon.
        warning_examples: a pair for each of these warnings.
        known_defects: known defects of the published data, from the manifest.
        todo: what the user has to do.
    """

    id: str
    state: VerifyState
    files_ok: int
    missing: tuple[Fault, ...]
    changed: tuple[Fault, ...]
    inventory: Inventory | None
    published: Mapping[PairKind, int]
    paper: tuple[Feed, ...]
    warnings: Mapping[str, int]
    warning_examples: Mapping[str, str]
    known_defects: tuple[str, ...]
    todo: tuple[str, ...]


@dataclass(frozen=True)
class VerifyReport:
    """
    The result of a verification.

    Attributes:
        sources: in the requested order.
        deep: every pixel was checked.
    """

    sources: tuple[SourceVerification, ...]
    deep: bool

    @property
    def is_good(self) -> bool:
        """Whether no source has a problem."""
        return all(source.state != "faulty" for source in self.sources)


def verify(sources: Sequence[Source], layout: Layout, *, deep: bool, jobs: int, progress: Progress) -> VerifyReport:
    """
    Check sources, and rewrite their pairs.parquet.

    Without `deep`: sizes of all files, hashes of files with a new modification time, the pairing, and the size of every
    image from its header. With it: every image is decoded, and every LQ is compared with its GT. Files that have not
    changed since an earlier run are not checked again, and a run that was stopped is resumed.

    Args:
        sources: the sources to verify.
        layout: the folders of the root.
        deep: check every pixel.
        jobs: number of processes.
        progress: receives progress.
    """
    return VerifyReport(
        tuple(_verify_source(s, layout, deep=deep, jobs=jobs, progress=progress) for s in sources), deep
    )


def pin_lines(source: Source, layout: Layout) -> tuple[str, ...]:
    """
    Return the manifest lines that pin a source's files: name, size and sha256 of the downloads.

    Raises:
        SourceError: the receipts cannot be read.
    """
    receipts = Receipts(layout.receipts(source.id))
    lines: list[str] = []
    for file in all_files(source):
        receipt = receipts.get(file.name)
        # What was never unpacked is not known to be whole.
        if receipt is None or not receipt.pinned_by or (file.sha256 == receipt.sha256 and file.size == receipt.bytes):
            continue
        lines += ["[[files]]", f'name = "{file.name}"', f"size = {receipt.bytes}", f'sha256 = "{receipt.sha256}"', ""]
    return tuple(lines[:-1])


def _verify_source(source: Source, layout: Layout, *, deep: bool, jobs: int, progress: Progress) -> SourceVerification:
    problems: list[str] = []
    missing: list[Fault] = []
    changed: list[Fault] = []
    files_ok = 0
    try:
        files_ok = verify_bytes(source, layout, missing, changed, progress)
    except UirError as error:
        problems.append(str(error))
    inventory = None
    unkept: tuple[str, ...] = ()
    warnings: Counter[str] = Counter()
    examples: dict[str, str] = {}
    absent = source.local_dir is None and not layout.source(source.id).is_dir()
    if not absent:
        try:
            pairing = pair_files(source, layout)
            with Checks(layout.source(source.id)) as checks:
                read_headers(source, layout, pairing, checks, jobs=jobs, progress=progress)
                if deep:
                    _inspect(source, layout, pairing, checks, jobs=jobs, progress=progress)
                    compare_hashes(source, layout, checks, changed)
                    verify_old_tars(source, layout, changed, progress)
                try:
                    inventory = write_inventory(source, layout, pairing, checks)
                except StorageError as error:
                    # On a read-only disk the result is still valid; it only cannot be stored.
                    inventory = write_inventory(source, layout, pairing, checks, keep=False)
                    unkept = (f"{error}. The results shown are valid, but were not stored",)
                _collect_warnings(pairing, checks, warnings, examples)
        except UirError as error:
            problems.append(str(error))
    return SourceVerification(
        id=source.id,
        state="absent" if absent and not files_ok else _state(source, layout, missing, changed, problems, inventory),
        files_ok=files_ok,
        missing=tuple(missing),
        changed=tuple(changed),
        inventory=inventory,
        published=source.published(),
        paper=source.feeds,
        warnings=dict(sorted(warnings.items())),
        warning_examples=examples,
        known_defects=source.known_defects,
        todo=tuple(problems) + unkept + _todo(source, layout, missing, changed, inventory, absent=absent),
    )


def _state(
    source: Source,
    layout: Layout,
    missing: list[Fault],
    changed: list[Fault],
    problems: list[str],
    inventory: Inventory | None,
) -> VerifyState:
    if missing or changed or problems or inventory is None or not inventory.total:
        return "faulty"
    adopted = adopted_state(source, layout)
    # An unreadable image in an archive was published so: its bytes are unchanged. In a user's folder it is new.
    if (source.local_dir is not None or adopted) and inventory.unreadable:
        return "faulty"
    if adopted and any(reason.startswith(_BROKEN) for reason in inventory.left_out):
        return "faulty"
    return "partly" if adopted == "part" else "good"


def _todo(
    source: Source,
    layout: Layout,
    missing: list[Fault],
    changed: list[Fault],
    inventory: Inventory | None,
    *,
    absent: bool,
) -> tuple[str, ...]:
    todo: list[str] = []
    if absent:
        return (f"uir fetch {source.id}",)
    if adopted_state(source, layout) == "part":
        found = completeness(source, layout)
        todo.append(f"{found}: `uir fetch {source.id} --from DIR` adds to them, `uir fetch {source.id}` downloads all")
    if changed:
        names = ", ".join(fault.path for fault in changed[:3])
        todo.append(
            f"delete the changed files ({names}{', ...' if len(changed) > 3 else ''}) and run `uir fetch {source.id}`"
        )
    elif missing:
        todo.append(f"uir fetch {source.id}")
    if inventory is not None:
        if inventory.unknown_count:
            todo.append(
                f"{inventory.unknown_count} images match no rule, such as {inventory.unknown[0]}: "
                f"compare {files_root(source, layout)} with the layout in the manifest"
            )
        if inventory.unreadable:
            todo.append(
                f"{inventory.unreadable} pairs have an image that cannot be used; pairs.parquet gives the reasons"
            )
    return tuple(todo)


def _inspect(
    source: Source, layout: Layout, pairing: Pairing, checks: Checks, *, jobs: int, progress: Progress
) -> None:
    """Check every pixel of new files, in processes that can be lost without the rest."""
    groups = list(_new_groups(source, layout, pairing, checks))
    task = f"{source.id}: checking pixels"
    progress.begin(task, sum(max(1, len(group.lqs)) for group in groups))
    # Closed at once when something fails, so that no worker is left.
    with closing(inspect_limited(groups, jobs if len(groups) > FEW_GROUPS else 1)) as results:
        for seen in results:
            for check in seen.files:
                checks.put_file(check)
            for pair in seen.pairs:
                checks.put_pair(pair)
            checks.flush()
            progress.advance(task, max(1, len(seen.files) - 1))
    progress.end(task)


def _new_groups(source: Source, layout: Layout, pairing: Pairing, checks: Checks) -> Iterator[Group]:
    """Yield the pairs that were not checked since their files changed, grouped by their GT."""
    root = files_root(source, layout)
    groups: dict[tuple[str, int], list[str]] = {}
    for pair in pairing.pairs:
        key = (pair.gt or pair.lq, pair.gt_border if pair.gt else 0)
        lqs = groups.setdefault(key, [])
        if pair.gt and pair.lq:
            lqs.append(pair.lq)
    for (first, border), lqs in groups.items():
        gt = checks.file(first)
        new = [lq for lq in lqs if not _is_known(gt, checks.file(lq), border, checks)]
        if not new and gt is not None and gt.mode:
            continue
        if lqs and not new:
            continue
        for start in range(0, max(1, len(new)), _LQS_AT_ONCE):
            yield Group(root, first, tuple(new[start : start + _LQS_AT_ONCE]), border)


def _is_known(gt: FileCheck | None, lq: FileCheck | None, border: int, checks: Checks) -> bool:
    if gt is None or lq is None or not gt.mode or not lq.mode:
        return False
    if gt.problem or lq.problem or (gt.height - 2 * border, gt.width - 2 * border) != (lq.height, lq.width):
        return True
    return checks.pair(pair_key(gt, lq, border)) is not None


def _collect_warnings(pairing: Pairing, checks: Checks, warnings: Counter[str], examples: dict[str, str]) -> None:
    for pair in pairing.pairs:
        gt, lq = checks.file(pair.gt), checks.file(pair.lq)
        if gt is None or lq is None or not gt.sha256 or not lq.sha256:
            continue
        for check in (gt, lq):
            if check.remark:
                warnings[_METADATA] += 1
                examples.setdefault(_METADATA, f"{check.path}: {check.remark}")
        known = checks.pair(pair_key(gt, lq, pair.gt_border))
        if known is None or not known.warning or (known.identical and pair.drop_identical):
            continue
        kind = known.warning.partition(":")[0]
        warnings[kind] += 1
        examples.setdefault(kind, f"{pair.lq}: {known.warning}")


__all__ = ["Fault", "SourceError", "SourceVerification", "VerifyReport", "pin_lines", "verify"]
