"""Letting go of a source: what this project put on the disk for it, never a file that it did not make."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import tree_journal
from uirdata.sources import Source
from uirdata.storage.files import storage_error
from uirdata.storage.journals import read_journal
from uirdata.storage.trees import release_tree


@dataclass(frozen=True)
class Forgotten:
    """
    What was removed, or would be.

    Attributes:
        id: id of the source.
        paths: files and folders.
        bytes: their size; hard links to the user's files free none of it.
        kept: why something is kept; "" if nothing is.
    """

    id: str
    paths: tuple[Path, ...]
    bytes: int
    kept: str = ""


def forget(source: Source, layout: Layout, *, downloads: bool = False, dry_run: bool = False) -> Forgotten:
    """
    Remove what a source has under the root.

    Of the user's own folder: its manifest and the list of its pairs. Of what `--from` took: our links and copies. The
    files of the user stay.

    Args:
        source: the source.
        layout: the folders of the root.
        downloads: remove what was downloaded, and what was unpacked from it, too.
        dry_run: only return what would be removed.

    Raises:
        StorageError: a file cannot be removed.
    """
    journal = tree_journal(source.id, layout)
    taken = bool(read_journal(journal)[1])
    folder = layout.source(source.id)
    fetched = source.local_dir is None and not taken and (folder.exists() or layout.downloads(source.id).exists())
    if fetched and not downloads:
        return Forgotten(source.id, (), 0, "it was downloaded; --downloads removes that, too")
    paths: list[Path] = []
    if source.local_dir is not None:
        paths += [layout.manifests / f"{source.id}.toml", folder]
    elif taken or downloads:
        paths.append(folder)
        if downloads:
            paths.append(layout.downloads(source.id))
    paths = [path for path in paths if path.exists()]
    size = sum(path.lstat().st_size for top in paths for path in _files_below(top))
    if not dry_run:
        if taken:
            release_tree(folder, journal)
        for path in paths:
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(path, error) from error
    return Forgotten(source.id, tuple(paths), size)


def _files_below(top: Path) -> Iterator[Path]:
    if top.is_file() or top.is_symlink():
        yield top
        return
    yield from (path for path in top.rglob("*") if path.is_file() or path.is_symlink())
