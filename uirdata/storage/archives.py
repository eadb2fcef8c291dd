"""Unpack archives: as a stream, safe against malicious members, resumable after an interruption."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from uirdata.errors import ArchiveError, StorageError
from uirdata.storage.downloads import hash_file
from uirdata.storage.files import link_or_copy, move, storage_error
from uirdata.storage.formats.members import Limits, Names, Skipped
from uirdata.storage.formats.packed import fault_of, kind_of_name, read_members, reading
from uirdata.storage.formats.streams import Member
from uirdata.storage.journals import (
    Unpacked,
    boot_id,
    entry_line,
    head_line,
    in_order,
    is_unchanged,
    last_line,
    load_journal,
    read_journal,
    rewrite_journal,
    sync_disk,
)
from uirdata.storage.temporary_names import beside

__all__ = [
    "Limits",
    "Unpacked",
    "fault_of",
    "kind_of_name",
    "member_hashes",
    "put_file",
    "read_journal",
    "rewrite_journal",
    "unpack",
]

_BLOCK = 1 << 20


def unpack(
    kind: str,
    parts: Sequence[Path],
    root: Path,
    below: str,
    journal: Path,
    *,
    archive_sha256: str,
    limits: Limits | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
    on_skip: Callable[[str, str], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Unpacked, ...]:
    """
    Unpack an archive into a folder of its source.

    A file gets its final name when it is complete, and then a line in the journal; a later call skips files that the
    journal lists and that still have their size; where the machine was started anew in between, their bytes, too. If
    the archive turns out to be damaged or unsafe, all files unpacked from it are removed. Links become copies of their
    targets. A harmless member that cannot be kept is skipped and named.

    Args:
        kind: zip, tar, 7z, rar, parquet or mat.
        parts: the archive; several parts are joined.
        root: the source's folder.
        below: folder below it; "" is the folder itself.
        journal: file that records what is unpacked.
        archive_sha256: of the archive; the journal of another archive is ignored.
        limits: limits on what the archive may contain.
        on_bytes: called with the number of bytes written or skipped.
        on_skip: called with the name of each member that is skipped, and why.
        stop: called between members; returning True interrupts the unpacking.

    Returns:
        All files of the archive, in the order of their paths.

    Raises:
        ArchiveError: the archive is broken or not safe.
        StorageError: the disk is full or cannot be written.
    """
    limits = limits if limits is not None else Limits()
    known = load_journal(journal)
    held = known.held if known.archive == archive_sha256 else {}
    if known.complete and held and all(_has_size(root / entry.path, entry.size) for entry in held.values()):
        return in_order(held)
    if not (known.complete or (known.boot and known.boot == boot_id())):
        # After a crash a file may have its size and no bytes: the journal was on the disk before it.
        held = {path: entry for path, entry in held.items() if _is_whole(root / path, entry)}
    work = _Work(parts, root, below, journal, limits, held, on_skip)
    try:
        work.start(archive_sha256)
        with reading(parts[0].name):
            for member in read_members(kind, parts, limits):
                if stop():
                    raise InterruptedError
                on_bytes(work.take(member))
        work.make_links()
        work.end()
    except ArchiveError:
        work.undo()
        raise
    except InterruptedError:
        raise StorageError(f"{parts[0].name}: unpacking was interrupted; run the command again to resume") from None
    finally:
        work.close()
    return in_order(work.done)


def member_hashes(kind: str, parts: Sequence[Path], limits: Limits | None = None) -> tuple[str, ...]:
    """
    Return the sha256 of every file in an archive, without writing any.

    Raises:
        ArchiveError: the archive is broken or not safe.
    """
    limits = limits if limits is not None else Limits()
    names = Names(parts[0].name, limits, folds_case=False)
    budget = limits.total(sum(part.stat().st_size for part in parts))
    found: list[str] = []
    with reading(parts[0].name):
        for member in read_members(kind, parts, limits):
            if member.kind != "file" or isinstance(names.safe(member.name), Skipped):
                continue
            digest = hashlib.sha256()
            for block in _blocks(member, parts[0].name):
                budget -= len(block)
                if budget < 0:
                    raise _bomb(parts[0].name, limits)
                digest.update(block)
            found.append(digest.hexdigest())
    return tuple(found)


def put_file(file: Path, root: Path, path: str) -> None:
    """
    Put a file into the source's folder, as a hard link if the file system supports it; a file of equal size is kept.

    Raises:
        StorageError: it cannot be written.
    """
    target = root / path
    try:
        here = target.exists() and target.stat().st_size == file.stat().st_size
    except OSError as error:
        raise storage_error(target, error) from error
    if not here:
        link_or_copy(file, target)


class _Work:
    """One unpacking of one archive."""

    def __init__(
        self,
        parts: Sequence[Path],
        root: Path,
        below: str,
        journal: Path,
        limits: Limits,
        held: dict[str, Unpacked],
        on_skip: Callable[[str, str], None],
    ) -> None:
        self._on_skip = on_skip
        self._skipped: list[str] = []
        self._name = parts[0].name
        self._root = root
        self._below = below.strip("/")
        self._journal = journal
        # In the folder of ours: beside its target it could have the name of another member.
        self._partial = beside(journal, ".part")
        self._limits = limits
        self._held = held
        self.done: dict[str, Unpacked] = {}
        self._links: list[tuple[str, str]] = []
        self._budget = limits.total(sum(part.stat().st_size for part in parts))
        self._names = Names(self._name, limits, folds_case=_folds_case(root))
        self._made: set[Path] = set()
        self._file = contextlib.ExitStack()

    def start(self, archive_sha256: str) -> None:
        """Begin a new journal, with the files of an earlier run that still exist."""
        with _writing(self._journal):
            self._root.mkdir(parents=True, exist_ok=True)
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            fresh = beside(self._journal, ".new")
            with fresh.open("w") as file:
                file.write(head_line(archive_sha256))
                file.writelines(entry_line(entry) for entry in self._held.values())
            fresh.replace(self._journal)
            self._lines = self._file.enter_context(self._journal.open("a"))

    def take(self, member: Member) -> int:
        """Write a member, unless it exists already; return its size."""
        if member.kind == "device":
            self._names.safe(member.name)
            raise self._names.refuse_kind(member.name, "neither a file nor a folder")
        path = self._names.safe(member.name)
        if isinstance(path, Skipped):
            if path.why:
                self._skip(member.name, path.why)
            return 0
        if member.kind != "file":
            target = self._names.link_target(path, member.target, from_root=member.kind == "hardlink")
            self._links.append((path, target))
            return 0
        if member.size is not None and member.size > self._budget:
            raise _bomb(self._name, self._limits)
        whole = f"{self._below}/{path}" if self._below else path
        held = self._held.get(whole)
        if held is not None and member.size in (None, held.size) and _has_size(self._root / whole, held.size):
            self._budget -= held.size
            self.done[whole] = held
            return held.size
        return self._write(member, whole)

    def make_links(self) -> None:
        """Copy the targets of links; all possible targets are unpacked by now."""
        waiting = dict(self._links)
        for path, first in self._links:
            target, hops = first, 0
            while target in waiting and hops < 16:
                target, hops = waiting[target], hops + 1
            whole = f"{self._below}/{target}" if self._below else target
            if whole not in self.done:
                self._skip(path, f"is a link to {first!r}, which is not in the archive")
                continue
            held = self.done[whole]
            member = Member(path, "file", held.size, "", functools.partial(io.FileIO, self._root / whole))
            self._write(member, f"{self._below}/{path}" if self._below else path)

    def end(self) -> None:
        """Close the journal with a line that marks the archive as complete."""
        with _writing(self._journal):
            sync_disk(self._root)
            self._lines.write(last_line(len(self.done), len(self._skipped), self._skipped))
            self._lines.flush()
            os.fsync(self._lines.fileno())

    def undo(self) -> None:
        """Remove all files that were unpacked from the archive, now and by an interrupted call before."""
        self.close()
        root = self._root.resolve()
        for entry in {**self._held, **self.done}.values():
            path = self._root / entry.path
            # A file that has changed since, or is reached through a link, is not what was unpacked.
            if not path.parent.resolve().is_relative_to(root) or not is_unchanged(path, entry):
                continue
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self._root:
                    break
                with contextlib.suppress(OSError):
                    parent.rmdir()
        self._journal.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the journal."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _skip(self, name: str, why: str) -> None:
        self._skipped.append(f"{name[:100]}: {why}")
        self._on_skip(name, why)

    def _write(self, member: Member, path: str) -> int:
        target = self._root / path
        digest = hashlib.sha256()
        size = 0
        with _writing(target):
            self._make_folder(target.parent)
            self._partial.unlink(missing_ok=True)
            with self._partial.open("xb") as file:
                for block in _blocks(member, self._name):
                    size += len(block)
                    self._budget -= len(block)
                    if self._budget < 0 or (member.size is not None and size > member.size):
                        raise _bomb(self._name, self._limits)
                    digest.update(block)
                    file.write(block)
            if member.size is not None and size != member.size:
                raise ArchiveError(f"{self._name} is truncated in {member.name!r}; download it again")
            if target.is_dir():
                raise self._names.refuse_kind(member.name, "a file where another member needs a folder")
            move(self._partial, target)
            entry = Unpacked(path, size, target.stat().st_mtime_ns, digest.hexdigest())
            if path in self.done and self.done[path].sha256 != entry.sha256:
                self._skip(member.name, "is in the archive more than once; the last of them is kept")
            self._lines.write(entry_line(entry))
            self._lines.flush()
        self.done[path] = entry
        return size

    def _make_folder(self, folder: Path) -> None:
        if folder in self._made:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self._names.refuse_kind(str(folder.name), "a folder where another member is a file") from None
        # No component may be a link, not even one from an earlier archive.
        if not folder.resolve().is_relative_to(self._root.resolve()):
            raise self._names.refuse_kind(str(folder.name), "a folder that leads out of the source's folder")
        self._made.add(folder)


def _blocks(member: Member, name: str) -> Iterator[bytes]:
    """Yield the bytes of a member; errors about them are of the archive, not of the disk that is written to."""
    with reading(name), contextlib.closing(member.open()) as stream:
        while block := stream.read(_BLOCK):
            yield block


def _is_whole(path: Path, entry: Unpacked) -> bool:
    try:
        return _has_size(path, entry.size) and hash_file(path)[0] == entry.sha256
    except OSError:
        return False


def _has_size(path: Path, size: int) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_size == size


def _folds_case(folder: Path) -> bool:
    """Return whether the disk treats "a" and "A" as the same file name."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".Case") as file:
            path = Path(file.name)
            return path.with_name(path.name.swapcase()).exists()


def _bomb(name: str, limits: Limits) -> ArchiveError:
    return ArchiveError(
        f"{name} unpacks to more than it declares, or to over {limits.ratio:.0f} times its size; no published source "
        "does. Nothing of it is kept"
    )


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except InterruptedError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
