"""From a source's downloads to its folder: archives unpacked, plain files given their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from uirdata.errors import SourceError
from uirdata.layout import Layout
from uirdata.pipeline.fetch_plan import archive_name, below, journal_path, listing_path, read_listing
from uirdata.progress import Progress
from uirdata.sources import RemoteFile, Source
from uirdata.storage.archives import kind_of_name, put_file, read_journal, unpack
from uirdata.storage.downloads import Pace
from uirdata.storage.receipts import Receipts


@dataclass(frozen=True)
class Package:
    """
    Something to be put into the source's folder.

    Attributes:
        name: of the archive or the file, below the downloads.
        kind: how it is packed; "" for a plain file.
        parts: names of its pieces, in order.
        below: folder below the source's folder where it goes.
    """

    name: str
    kind: str
    parts: tuple[str, ...]
    below: str


def packages(source: Source, files: Sequence[RemoteFile], layout: Layout) -> Iterator[Package]:
    """Give what there is to unpack, in the order of the manifest; pieces of one archive together."""
    groups: dict[str, list[RemoteFile]] = {}
    for file in files:
        groups.setdefault(archive_name(file), []).append(file)
    for name, pieces in groups.items():
        first = pieces[0]
        if first.archive != "folder":
            kind = first.archive or (kind_of_name(name) if first.part_of else "")
            yield Package(name, kind, tuple(piece.name for piece in pieces), first.unpack_to)
            continue
        for row in read_listing(listing_path(source.id, layout, name)) or []:
            child = f"{name}/{row['path']}"
            kind = kind_of_name(child)
            parent = str(PurePosixPath(row["path"]).parent)
            folder = below(first.unpack_to, parent) if parent != "." else first.unpack_to
            yield Package(child, kind, (child,), folder)


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
    Put everything that is here into the source's folder; what is there already is passed over.

    Args:
        source: whose files.
        files: those that are here.
        layout: where they lie.
        receipts: of the source.
        pace: its `cancel` stops the work between two files.
        progress: hears how far it is.
        prune: remove archives once they are unpacked.

    Raises:
        ArchiveError: an archive is broken or not safe.
        StorageError: the disk is full or cannot be written.
    """
    root = layout.source(source.id)
    downloads = layout.downloads(source.id)
    for package in packages(source, files, layout):
        paths = [downloads / part for part in package.parts]
        if not package.kind:
            if paths[0].is_file():
                put_file(paths[0], root, below(package.below, PurePosixPath(package.name).name))
            continue
        journal = journal_path(source.id, layout, package.name)
        if not all(path.is_file() for path in paths):
            if read_journal(journal)[1]:
                continue
            raise SourceError(f"{package.name}: {', '.join(p.name for p in paths if not p.is_file())} is missing")
        signed = [receipts.get(part) for part in package.parts]
        task = f"{source.id}: unpacking {package.name}"
        progress.begin(task, sum(path.stat().st_size for path in paths), "bytes")
        unpack(
            package.kind,
            paths,
            root,
            package.below,
            journal,
            archive_sha256="+".join(receipt.sha256 if receipt is not None else "" for receipt in signed),
            on_bytes=lambda size, task=task: progress.advance(task, size),  # type: ignore[misc]
            stop=pace.cancel.is_set,
        )
        progress.end(task)
        if prune:
            _remove(paths)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
