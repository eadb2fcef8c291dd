"""Checks of the bytes of a source: downloads against their receipts, unpacked files against their journals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from uirdata.errors import StorageError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import below, journal_path, tree_journal
from uirdata.pipeline.fetching.plan import is_here
from uirdata.progress import Progress
from uirdata.sources import RemoteFile, Source
from uirdata.storage.checks import Checks
from uirdata.storage.downloads import hash_file
from uirdata.storage.journals import Journal, Unpacked, in_order, load_journal, read_journal, rewrite_journal
from uirdata.storage.transfers.receipts import Receipt, Receipts
from uirdata.validators import shown


@dataclass(frozen=True)
class Fault:
    """A file that is missing or has changed, and the reason."""

    path: str
    reason: str


class _Memory:
    """Stores results for the next run; if the disk cannot be written, this is noted once, and the check continues."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._works = True

    def keep(self, write: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            write()
        except StorageError as error:
            self._works = False
            self._progress.note(f"{error}. Results are not stored: the next run hashes these files again")


def verify_bytes(source: Source, layout: Layout, missing: list[Fault], changed: list[Fault], progress: Progress) -> int:
    """Compare sizes, and hashes of touched files, with receipts and journals; return the number of good files."""
    if source.local_dir is not None:
        return 0
    receipts = Receipts(layout.receipts(source.id))
    good = 0
    memory = _Memory(progress)
    for name, receipt in receipts.all().items():
        touched = _verify_download(source, layout, name, receipt, missing, changed)
        good += touched is not None
        if touched is not None and touched != receipt:
            memory.keep(functools.partial(receipts.put, name, touched))
    memory.keep(receipts.flush)
    for journal in journals(source.id, layout):
        known = load_journal(journal)
        entries = in_order(known.held)
        if not known.complete:
            missing.append(Fault(journal.stem, "its archive is not completely unpacked"))
            continue
        if known.skipped:
            number = f"{known.skipped:,} member{'s' if known.skipped > 1 else ''}"
            progress.note(f"{source.id}: {journal.stem}: {number} skipped when it was unpacked: {_named(known)}")
        task = f"{source.id}: comparing {journal.stem}"
        progress.begin(task, len(entries))
        kept = [_verify_unpacked(source, layout, entry, missing, changed) for entry in entries]
        good += sum(entry is not None for entry in kept)
        updated = [old if new is None else new for old, new in zip(entries, kept, strict=True)]
        if tuple(updated) != entries:
            memory.keep(functools.partial(rewrite_journal, journal, updated, known.archive, before=known))
        progress.advance(task, len(entries))
        progress.end(task)
    tree = bool(read_journal(tree_journal(source.id, layout))[1])
    lacking = [f.name for f in source.files if not tree and not is_here(source, f, layout, receipts)]
    if receipts.all() and not any(all(is_here(source, f, layout, receipts) for f in fs) for fs in file_sets(source)):
        missing += [Fault(name, "it was not downloaded") for name in lacking if name not in {m.path for m in missing}]
    return good


def _verify_download(
    source: Source,
    layout: Layout,
    name: str,
    receipt: Receipt,
    missing: list[Fault],
    changed: list[Fault],
) -> Receipt | None:
    """Return the receipt, with the new time if the file was only touched; None if it is missing or has changed."""
    path = layout.downloads(source.id) / name
    try:
        stat = path.stat()
    except OSError:
        file = next((f for f in all_files(source) if f.name == name), RemoteFile(name, ()))
        placed = layout.source(source.id) / below(file.unpack_to, file.name)
        archive = file.part_of or name
        if read_journal(journal_path(source.id, layout, archive))[1] or placed.is_file():
            return receipt
        missing.append(Fault(name, f"it is not in {layout.downloads(source.id)}"))
        return None
    if stat.st_size != receipt.bytes:
        changed.append(Fault(str(path), f"it has {stat.st_size} bytes; {receipt.bytes} were downloaded"))
        return None
    if stat.st_mtime_ns != receipt.mtime_ns:
        try:
            sha256, _ = hash_file(path)
        except OSError as error:
            changed.append(Fault(str(path), f"it cannot be read ({error.strerror or error})"))
            return None
        if sha256 != receipt.sha256:
            changed.append(Fault(str(path), f"its sha256 is {sha256}; that of the download was {receipt.sha256}"))
            return None
        return replace(receipt, mtime_ns=stat.st_mtime_ns)
    return receipt


def _verify_unpacked(
    source: Source, layout: Layout, entry: Unpacked, missing: list[Fault], changed: list[Fault]
) -> Unpacked | None:
    """Return the entry, with the new time if the file was only touched; None if it is missing or has changed."""
    path = layout.source(source.id) / entry.path
    try:
        stat = path.stat()
    except OSError:
        missing.append(Fault(str(path), "it was unpacked from an archive and is missing"))
        return None
    if stat.st_size != entry.size:
        changed.append(Fault(str(path), f"it has {stat.st_size} bytes; {entry.size} were unpacked from the archive"))
        return None
    if stat.st_mtime_ns == entry.mtime_ns:
        return entry
    try:
        sha256, _ = hash_file(path)
    except OSError as error:
        changed.append(Fault(str(path), f"it cannot be read ({error.strerror or error})"))
        return None
    if sha256 != entry.sha256:
        changed.append(Fault(str(path), "its bytes differ from those that were unpacked from the archive"))
        return None
    return replace(entry, mtime_ns=stat.st_mtime_ns)


def compare_hashes(source: Source, layout: Layout, checks: Checks, changed: list[Fault]) -> None:
    """Compare the hashes of files that were read with the journals: bytes may decay at the same size and time."""
    named = {fault.path for fault in changed}
    for journal in journals(source.id, layout):
        for entry in read_journal(journal)[0]:
            check = checks.file(entry.path)
            path = str(layout.source(source.id) / entry.path)
            if check is not None and check.sha256 not in ("", entry.sha256) and path not in named:
                changed.append(Fault(path, "its bytes differ from those that were unpacked from the archive"))


def _named(journal: Journal) -> str:
    more = journal.skipped - len(journal.such_as[:3])
    return "; ".join(shown(name) for name in journal.such_as[:3]) + (f"; and {more:,} more" if more > 0 else "")


def journals(source: str, layout: Layout) -> list[Path]:
    """Return the journals of unpacked archives, sorted."""
    found = (layout.source(source) / ".uir").glob("*.jsonl")
    return sorted(path for path in found if path.name != "checks.jsonl")


def file_sets(source: Source) -> list[tuple[RemoteFile, ...]]:
    """Return the files of a source, and those of each of its alternatives."""
    return [source.files, *(alternative.files for alternative in source.alternatives)]


def all_files(source: Source) -> tuple[RemoteFile, ...]:
    """Return the files of a source, and those of all its alternatives."""
    return tuple(file for files in file_sets(source) for file in files)
