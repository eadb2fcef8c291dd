"""Is what is here what was published: bytes, archives, pairs, and with `deep` every pixel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from uirdata.errors import SourceError, UirError
from uirdata.layout import Layout
from uirdata.pairing import Pairing
from uirdata.pipeline.fetch_plan import below, is_here, journal_path, tree_journal
from uirdata.pipeline.inspect import Group, Seen, inspect_groups
from uirdata.pipeline.inventory import (
    Inventory,
    PairKind,
    files_root,
    pair_files,
    read_headers,
    write_inventory,
)
from uirdata.progress import Progress
from uirdata.sources import Feed, RemoteFile, Source
from uirdata.storage.archives import Unpacked, read_journal, rewrite_journal
from uirdata.storage.checks import Checks, FileCheck, pair_key
from uirdata.storage.downloads import hash_file
from uirdata.storage.receipts import Receipt, Receipts

_LQS_AT_ONCE = 16
_GROUPS_AT_ONCE = 8


@dataclass(frozen=True)
class Fault:
    """A file that is not as it was, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class SourceVerification:
    """
    What is known of a source now.

    Attributes:
        id: of the source.
        state: good; faulty (something is wrong or missing); absent (nothing of it is here).
        files_ok: downloads and unpacked files that are as they came.
        missing: files that are gone.
        changed: files that are not as they came.
        inventory: pairs found and left out; None where nothing could be paired.
        published: pairs that its authors speak of, by split, degradation and real.
        paper: rows of the paper's table that it feeds.
        warnings: what a deep look found and did not leave out, counted, by the text up to the first colon.
        warning_examples: a pair for each of those.
        known_defects: what the manifest says is wrong with the published data.
        todo: what to do.
    """

    id: str
    state: str
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
    What was verified.

    Attributes:
        sources: in the order that they were asked for.
        deep: every pixel was looked at.
    """

    sources: tuple[SourceVerification, ...]
    deep: bool

    @property
    def is_good(self) -> bool:
        """Nothing is wrong with what is here."""
        return all(source.state != "faulty" for source in self.sources)


def verify(sources: Sequence[Source], layout: Layout, *, deep: bool, jobs: int, progress: Progress) -> VerifyReport:
    """
    Check what is here, and write pairs.parquet anew.

    Without `deep`: sizes of all files, hashes of those that were touched since they came, the pairing, and the size of
    every image from its header. With it: every image is decoded, and every LQ compared with its GT. What has not
    changed since an earlier run is not looked at again, and a run that is stopped goes on where it was.

    Args:
        sources: which ones.
        layout: where they lie.
        deep: look at every pixel.
        jobs: processes.
        progress: hears how far it is.
    """
    return VerifyReport(
        tuple(_verify_source(s, layout, deep=deep, jobs=jobs, progress=progress) for s in sources), deep
    )


def pin_lines(source: Source, layout: Layout) -> tuple[str, ...]:
    """
    Give the lines that pin a source's files in its manifest: name, size and sha256 of what arrived.

    Raises:
        SourceError: the receipts cannot be read.
    """
    receipts = Receipts(layout.receipts(source.id))
    lines: list[str] = []
    for file in _all_files(source):
        receipt = receipts.get(file.name)
        if receipt is None or (file.sha256 == receipt.sha256 and file.size == receipt.bytes):
            continue
        lines += ["[[files]]", f'name = "{file.name}"', f"size = {receipt.bytes}", f'sha256 = "{receipt.sha256}"', ""]
    return tuple(lines[:-1])


def _verify_source(source: Source, layout: Layout, *, deep: bool, jobs: int, progress: Progress) -> SourceVerification:
    problems: list[str] = []
    missing: list[Fault] = []
    changed: list[Fault] = []
    files_ok = 0
    try:
        files_ok = _verify_bytes(source, layout, missing, changed, progress)
    except UirError as error:
        problems.append(str(error))
    inventory = None
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
                inventory = write_inventory(source, layout, pairing, checks)
                _collect_warnings(pairing, checks, warnings, examples)
        except UirError as error:
            problems.append(str(error))
    return SourceVerification(
        id=source.id,
        state="absent" if absent and not files_ok else _state(missing, changed, problems, inventory),
        files_ok=files_ok,
        missing=tuple(missing),
        changed=tuple(changed),
        inventory=inventory,
        published=source.published(),
        paper=source.feeds,
        warnings=dict(sorted(warnings.items())),
        warning_examples=examples,
        known_defects=source.known_defects,
        todo=tuple(problems) + _todo(source, layout, missing, changed, inventory, absent=absent),
    )


def _state(missing: list[Fault], changed: list[Fault], problems: list[str], inventory: Inventory | None) -> str:
    return "faulty" if missing or changed or problems or inventory is None or not inventory.total else "good"


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
    if changed:
        names = ", ".join(fault.path for fault in changed[:3])
        todo.append(
            f"delete what changed ({names}{', ...' if len(changed) > 3 else ''}) and run `uir fetch {source.id}`"
        )
    elif missing:
        todo.append(f"uir fetch {source.id}")
    if inventory is not None:
        if inventory.unknown_count:
            todo.append(
                f"{inventory.unknown_count} images fit no rule, such as {inventory.unknown[0]}: "
                f"compare {files_root(source, layout)} with the layout in the manifest"
            )
        unreadable = sum(n for reason, n in inventory.left_out.items() if reason.endswith("cannot be used"))
        if unreadable:
            todo.append(f"{unreadable} pairs have an image that cannot be used; pairs.parquet says which and why")
    return tuple(todo)


def _verify_bytes(
    source: Source, layout: Layout, missing: list[Fault], changed: list[Fault], progress: Progress
) -> int:
    """Compare sizes, and the hashes of touched files, with the receipts and journals; count the good ones."""
    if source.local_dir is not None:
        return 0
    receipts = Receipts(layout.receipts(source.id))
    good = 0
    for name, receipt in receipts.all().items():
        good += _verify_download(source, layout, name, receipt, receipts, missing, changed)
    receipts.flush()
    for journal in journals(source.id, layout):
        entries, archive = read_journal(journal)
        if not archive:
            missing.append(Fault(journal.stem, "its archive is not wholly unpacked"))
            continue
        task = f"{source.id}: comparing {journal.stem}"
        progress.begin(task, len(entries))
        kept = [_verify_unpacked(source, layout, entry, missing, changed) for entry in entries]
        good += sum(entry is not None for entry in kept)
        updated = [old if new is None else new for old, new in zip(entries, kept, strict=True)]
        if tuple(updated) != entries:
            rewrite_journal(journal, updated, archive)
        progress.advance(task, len(entries))
        progress.end(task)
    tree = bool(read_journal(tree_journal(source.id, layout))[1])
    lacking = [f.name for f in source.files if not tree and not is_here(source, f, layout, receipts)]
    if receipts.all() and not any(all(is_here(source, f, layout, receipts) for f in fs) for fs in _file_sets(source)):
        missing += [Fault(name, "it was not fetched") for name in lacking if name not in {m.path for m in missing}]
    return good


def _verify_download(
    source: Source,
    layout: Layout,
    name: str,
    receipt: Receipt,
    receipts: Receipts,
    missing: list[Fault],
    changed: list[Fault],
) -> int:
    path = layout.downloads(source.id) / name
    try:
        stat = path.stat()
    except OSError:
        file = next((f for f in _all_files(source) if f.name == name), RemoteFile(name, ()))
        placed = layout.source(source.id) / below(file.unpack_to, file.name)
        archive = file.part_of or name
        if read_journal(journal_path(source.id, layout, archive))[1] or placed.is_file():
            return 1
        missing.append(Fault(name, f"it is not in {layout.downloads(source.id)}"))
        return 0
    if stat.st_size != receipt.bytes:
        changed.append(Fault(str(path), f"it has {stat.st_size} bytes; {receipt.bytes} came"))
        return 0
    if stat.st_mtime_ns != receipt.mtime_ns:
        sha256, _ = hash_file(path)
        if sha256 != receipt.sha256:
            changed.append(Fault(str(path), f"its sha256 is {sha256}; that of what came is {receipt.sha256}"))
            return 0
        receipts.put(name, replace(receipt, mtime_ns=stat.st_mtime_ns))
    return 1


def _verify_unpacked(
    source: Source, layout: Layout, entry: Unpacked, missing: list[Fault], changed: list[Fault]
) -> Unpacked | None:
    """Give the entry, with a new time if the file was only touched; None where it is not as it came."""
    path = layout.source(source.id) / entry.path
    try:
        stat = path.stat()
    except OSError:
        missing.append(Fault(str(path), "it came out of an archive and is gone"))
        return None
    if stat.st_size != entry.size:
        changed.append(Fault(str(path), f"it has {stat.st_size} bytes; {entry.size} came out of the archive"))
        return None
    if stat.st_mtime_ns == entry.mtime_ns:
        return entry
    if hash_file(path)[0] != entry.sha256:
        changed.append(Fault(str(path), "its bytes are not those that came out of the archive"))
        return None
    return replace(entry, mtime_ns=stat.st_mtime_ns)


def _inspect(
    source: Source, layout: Layout, pairing: Pairing, checks: Checks, *, jobs: int, progress: Progress
) -> None:
    """Look at every pixel of what is new; at most a few groups a worker are in flight, so memory stays bounded."""
    groups = list(_new_groups(source, layout, pairing, checks))
    task = f"{source.id}: looking at pixels"
    progress.begin(task, sum(max(1, len(group.lqs)) for group in groups))
    batches = (groups[i : i + _GROUPS_AT_ONCE] for i in range(0, len(groups), _GROUPS_AT_ONCE))
    for seen in _spread(batches, jobs):
        for check in seen.files:
            checks.put_file(check)
        for pair in seen.pairs:
            checks.put_pair(pair)
        checks.flush()
        progress.advance(task, max(1, len(seen.files) - 1))
    progress.end(task)


def _spread(batches: Iterator[list[Group]], jobs: int) -> Iterator[Seen]:
    if jobs <= 1:
        for batch in batches:
            yield from inspect_groups(batch, {})
        return
    # A fresh interpreter: a fork of a process with threads may hang.
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn")) as pool:
        waiting: set[Future[list[Seen]]] = set()
        try:
            for batch in batches:
                waiting.add(pool.submit(inspect_groups, batch, {}))
                if len(waiting) >= 3 * jobs:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield from future.result()
            for future in waiting:
                yield from future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _new_groups(source: Source, layout: Layout, pairing: Pairing, checks: Checks) -> Iterator[Group]:
    """Give the pairs that were not looked at since their files changed, by their GT."""
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
        known = checks.pair(pair_key(gt, lq, pair.gt_border))
        if known is None or not known.warning or (known.identical and pair.drop_identical):
            continue
        kind = known.warning.partition(":")[0]
        warnings[kind] += 1
        examples.setdefault(kind, f"{pair.lq}: {known.warning}")


def journals(source: str, layout: Layout) -> list[Path]:
    """Give the files that remember what came out of archives, sorted."""
    found = (layout.source(source) / ".uir").glob("*.jsonl")
    return sorted(path for path in found if path.name != "checks.jsonl")


def _file_sets(source: Source) -> list[tuple[RemoteFile, ...]]:
    return [source.files, *(alternative.files for alternative in source.alternatives)]


def _all_files(source: Source) -> tuple[RemoteFile, ...]:
    return tuple(file for files in _file_sets(source) for file in files)


__all__ = ["Fault", "SourceError", "SourceVerification", "VerifyReport", "pin_lines", "verify"]
