"""
Checks of tars that an earlier release unpacked, which did not read them to their end mark and their sums.

Of a damaged tar that release took the part before the damage for all of it. The journal of a sound one is marked, so
that each is read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from uirdata.errors import ArchiveError, StorageError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import journal_path
from uirdata.pipeline.fetching.unpack import Package, nested_package, packages
from uirdata.pipeline.verifying.byte_checks import Fault, file_sets
from uirdata.progress import Progress
from uirdata.sources import Source
from uirdata.storage.archives import member_hashes
from uirdata.storage.journals import FORMAT, in_order, load_journal, rewrite_journal

_DEPTH = 3


def verify_old_tars(source: Source, layout: Layout, changed: list[Fault], progress: Progress) -> None:
    """Read the tars whose journal does not say that they were read to the end; add those that are damaged."""
    if source.local_dir is not None:
        return
    for package, paths in _archives(source, layout):
        journal = journal_path(source.id, layout, package.name)
        known = load_journal(journal)
        if package.kind != "tar" or not known.complete or known.format >= FORMAT:
            continue
        if not all(path.is_file() for path in paths):
            progress.note(
                f"{source.id}: {package.name} was unpacked by a release that did not notice damage in its middle, and "
                "was deleted since: whether files of it are lacking shows only in the number of pairs"
            )
            continue
        task = f"{source.id}: reading {package.name}"
        progress.begin(task, None)
        try:
            member_hashes(package.kind, paths)
            rewrite_journal(journal, in_order(known.held), known.archive, before=replace(known, format=FORMAT))
        except ArchiveError as error:
            changed.append(Fault(str(paths[0]), f"{error}. What was unpacked from it is not all of it"))
        except StorageError as error:
            progress.note(f"{error}. {package.name} is read again by the next run")
        finally:
            progress.end(task)


def _archives(source: Source, layout: Layout) -> Iterator[tuple[Package, list[Path]]]:
    """Yield the archives of a source, those inside of others too, and where their parts are."""
    for package in (package for files in file_sets(source) for package in packages(source, files, layout)):
        if package.kind:
            yield package, [layout.downloads(source.id) / part for part in package.parts]
            yield from _nested(source, layout, [package.name], _DEPTH)


def _nested(source: Source, layout: Layout, names: Sequence[str], depth: int) -> Iterator[tuple[Package, list[Path]]]:
    if not depth:
        return
    for name in names:
        for path in load_journal(journal_path(source.id, layout, name)).held:
            package = nested_package(path)
            if package is not None:
                yield package, [layout.source(source.id) / path]
                yield from _nested(source, layout, [package.name], depth - 1)
