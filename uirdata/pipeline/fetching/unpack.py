"""From the downloads of a source to its folder: archives are unpacked, plain files are linked or copied."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from uirdata.errors import ArchiveError, SourceError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import (
    archive_name,
    below,
    journal_path,
    listing_path,
    read_listing,
    whole_name,
)
from uirdata.progress import Progress
from uirdata.sources import RemoteFile, Source
from uirdata.storage.archives import Limits, kind_of_name, put_file, unpack
from uirdata.storage.downloads import Pace
from uirdata.storage.files import file_of_uri
from uirdata.storage.formats.members import is_ours
from uirdata.storage.journals import Unpacked, read_journal
from uirdata.storage.transfers.receipts import Receipts
from uirdata.validators import shown

_DEPTH = 3
_NAMED = 5
"""Skipped members that are named; the journal has more of them, and the number of all."""


@dataclass(frozen=True)
class Package:
    """
    An archive or a file to put into the folder of the source.

    Attributes:
        name: name of the archive or the file, below the downloads.
        kind: kind of archive; "" for a plain file.
        parts: its pieces, in order, below the downloads.
        below: target folder, below the folder of the source.
        of_folder: it is one of the files of a folder of a host.
    """

    name: str
    kind: str
    parts: tuple[str, ...]
    below: str
    of_folder: bool = False


def packages(source: Source, files: Sequence[RemoteFile], layout: Layout) -> Iterator[Package]:
    """Yield what is to be unpacked, in the order of the manifest; pieces of one archive together."""
    groups: dict[str, list[RemoteFile]] = {}
    for file in files:
        groups.setdefault(archive_name(file), []).append(file)
    for name, pieces in groups.items():
        first = pieces[0]
        if first.archive == "folder":
            rows = read_listing(listing_path(source.id, layout, name)) or []
            yield from _folder_packages(name, first.unpack_to, [row["path"] for row in rows])
        else:
            kind = first.archive or (kind_of_name(name) if first.part_of else "")
            yield Package(name, kind, tuple(piece.name for piece in pieces), first.unpack_to)


def unpack_all(
    source: Source,
    files: Sequence[RemoteFile],
    layout: Layout,
    *,
    receipts: Receipts,
    pace: Pace,
    progress: Progress,
    prune: bool,
) -> None:
    """
    Unpack all downloaded files into the folder of the source; files that exist there are skipped.

    Archives inside archives are unpacked too, to a depth of three, within the limits of the outer one. What could be
    unpacked is pinned: if no hash of it is published, later downloads must have its bytes.

    Args:
        source: the source.
        files: its downloaded files.
        layout: the folders of the root.
        receipts: receipts of the source.
        pace: its `cancel` stops the work between two files.
        progress: receives progress.
        prune: delete archives after they are unpacked.

    Raises:
        ArchiveError: an archive is damaged or not safe.
        StorageError: the disk is full or cannot be written.
    """
    root = layout.source(source.id)
    downloads = layout.downloads(source.id)
    for package in packages(source, files, layout):
        paths = [downloads / part for part in package.parts]
        placed = package.below if package.kind else below(package.below, PurePosixPath(package.name).name)
        if is_ours(placed):
            # As the listing of a host may say.
            progress.note(f"{source.id}: {shown(package.name)} skipped: this program keeps files of its own there")
            continue
        if not package.kind:
            if paths[0].is_file():
                put_file(paths[0], root, placed)
                _pin(source, layout, package, receipts, progress)
            continue
        signed = [receipts.get(part) for part in package.parts]
        packed = sum(receipt.bytes for receipt in signed if receipt is not None)
        if not all(path.is_file() for path in paths):
            entries, whole = read_journal(journal_path(source.id, layout, package.name))
            if not whole:
                raise SourceError(f"{package.name}: {', '.join(p.name for p in paths if not p.is_file())} is missing")
            _unpack_nested(source, layout, entries, _Room(packed, entries), pace, progress, depth=1)
        else:
            digest = "+".join(receipt.sha256 if receipt is not None else "" for receipt in signed)
            try:
                entries = _unpack(source, layout, package, paths, digest, pace, progress)
                _unpack_nested(source, layout, entries, _Room(packed, entries), pace, progress, depth=1)
            except ArchiveError as error:
                raise ArchiveError(f"{error}. {_given_back(package, paths, receipts)}") from error
            _pin(source, layout, package, receipts, progress)
        if prune:
            _remove(paths)


def inner_folder(path: str, kind: str) -> str:
    """Return the folder that an archive among other files is unpacked to; arrays (.mat) get their own folder."""
    parent = str(PurePosixPath(path).parent)
    folder = "" if parent == "." else parent
    return below(folder, PurePosixPath(path).stem) if kind == "mat" else folder


def _folder_packages(name: str, unpack_to: str, paths: Sequence[str]) -> Iterator[Package]:
    pieces: dict[str, list[str]] = {}
    for path in sorted(paths):
        pieces.setdefault(whole_name(path), []).append(path)
    for path, parts in pieces.items():
        kind = kind_of_name(path)
        inner = inner_folder(path, kind)
        folder = below(unpack_to, inner) if inner else unpack_to
        yield Package(f"{name}/{path}", kind, tuple(f"{name}/{part}" for part in parts), folder, of_folder=True)


def _unpack(
    source: Source,
    layout: Layout,
    package: Package,
    paths: Sequence[Path],
    digest: str,
    pace: Pace,
    progress: Progress,
    limits: Limits | None = None,
) -> tuple[Unpacked, ...]:
    task = f"{source.id}: unpacking {package.name}"
    progress.begin(task, sum(path.stat().st_size for path in paths), "bytes")
    skipped: list[tuple[str, str]] = []
    try:
        return unpack(
            package.kind,
            paths,
            layout.source(source.id),
            package.below,
            journal_path(source.id, layout, package.name),
            archive_sha256=digest,
            limits=limits,
            on_bytes=functools.partial(progress.advance, task),
            on_skip=lambda name, why: skipped.append((name, why)),
            stop=pace.cancel.is_set,
        )
    finally:
        progress.end(task)
        if skipped:
            number = f"{len(skipped):,} member{'s' if len(skipped) > 1 else ''}"
            named = "; ".join(f"{shown(name)}, which {why}" for name, why in skipped[:_NAMED])
            such = "such as " if len(skipped) > _NAMED else ""
            progress.note(f"{source.id}: {package.name}: {number} skipped: {such}{named}")


class _Room:
    """What everything inside an outer archive may unpack to: together no more than the outer one alone."""

    def __init__(self, packed: int, entries: Sequence[Unpacked]) -> None:
        self._bytes = Limits().total(packed)
        self._entries = Limits().entries
        self.use(entries)

    def use(self, entries: Sequence[Unpacked]) -> None:
        self._bytes -= sum(entry.size for entry in entries)
        self._entries -= len(entries)

    def limits(self) -> Limits:
        return Limits(entries=max(0, self._entries), most_bytes=max(0, self._bytes))


def nested_package(path: str) -> Package | None:
    """Return what an archive among the files of an archive is unpacked as; None if a file is no archive."""
    kind = kind_of_name(path)
    return Package(f"nested/{path}", kind, (), inner_folder(path, kind)) if kind else None


def _unpack_nested(
    source: Source,
    layout: Layout,
    entries: Sequence[Unpacked],
    room: _Room,
    pace: Pace,
    progress: Progress,
    *,
    depth: int,
) -> None:
    nested = [(package, entry) for entry in entries if (package := nested_package(entry.path)) is not None]
    if nested and depth > _DEPTH:
        progress.note(
            f"{source.id}: {len(nested)} archives inside of {_DEPTH} others are not unpacked, such as "
            f"{shown(nested[0][1].path)}"
        )
        return
    for package, entry in nested:
        path = layout.source(source.id) / entry.path
        inner = _unpack(source, layout, package, [path], entry.sha256, pace, progress, room.limits())
        room.use(inner)
        _unpack_nested(source, layout, inner, room, pace, progress, depth=depth + 1)


def _pin(source: Source, layout: Layout, package: Package, receipts: Receipts, progress: Progress) -> None:
    """Pin the hashes of what proved whole, and say so, except of each of the thousands of files of a folder."""
    for name, receipt in receipts.pin(package.parts).items():
        if not package.of_folder:
            progress.note(
                f"{source.id}/{name}: no hash of it is published. Its sha256 {receipt.sha256} is stored in "
                f"{layout.receipts(source.id)}, and later downloads are compared with it"
            )


def _given_back(package: Package, paths: Sequence[Path], receipts: Receipts) -> str:
    """Remove the links to files of the user that cannot be unpacked; return where the failed files are."""
    where: list[Path] = []
    for name, path in zip(package.parts, paths, strict=True):
        receipt = receipts.get(name)
        theirs = file_of_uri(receipt.url) if receipt is not None and not receipt.pinned_by else None
        if theirs is not None and theirs != path and theirs.is_file():
            path.unlink(missing_ok=True)
            receipts.drop(name)
            where.append(theirs)
        else:
            where.append(path)
    return f"The file is {', '.join(map(str, where))}"


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
