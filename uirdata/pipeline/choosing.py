"""Selection of sources and subsets: by ids, by the name of a subset, or all that has been fetched into a root."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from uirdata.errors import SourceError, UsageError, nearest
from uirdata.layout import Layout
from uirdata.sources import Source, load_sources, own_manifests
from uirdata.subsets import Subset, load_subset, merge_subsets

DEFAULT_ROOT = Path("uir-data")


def layout_of(root: str | Path | None = None) -> Layout:
    """Return the layout of a root folder; when None, of UIR_ROOT, else of ./uir-data."""
    return Layout(Path(root if root is not None else os.environ.get("UIR_ROOT") or DEFAULT_ROOT))


def named_manifests() -> list[Path]:
    """
    Return the folders that are listed in UIR_MANIFESTS.

    Raises:
        UsageError: one of them does not exist.
    """
    named = [Path(part) for part in os.environ.get("UIR_MANIFESTS", "").split(os.pathsep) if part]
    for folder in named:
        if not folder.is_dir():
            raise UsageError(f"UIR_MANIFESTS lists {folder}, which is not a folder")
    return named


def extra_manifests(layout: Layout | None) -> list[Path]:
    """
    Return the additional manifest folders: those of UIR_MANIFESTS, and that of the root (none if `layout` is None).

    Raises:
        UsageError: UIR_MANIFESTS lists something that is not a folder.
    """
    return own_manifests(layout, named_manifests())


def all_sources(layout: Layout) -> dict[str, Source]:
    """Return all sources by id: built-in ones, those of UIR_MANIFESTS, and the user's own folders."""
    return dict(load_sources(extra_manifests(layout)))


def find_subset(layout: Layout | None, subset: str | Subset, sources: Mapping[str, Source] | None = None) -> Subset:
    """
    Return the subset with a name, or of one source by its id; a Subset is returned unchanged.

    Args:
        layout: of the root, whose own subsets are known, too; None where the data is remote (hf://, s3://).
        subset: a name, or a Subset.
        sources: all sources, if they have been read already.

    Raises:
        UsageError: there is no subset of that name; the message suggests the most similar name.
        ManifestError: the subset names an unknown source.
    """
    if isinstance(subset, Subset):
        return subset
    if not isinstance(subset, str):
        raise UsageError(f"a subset is its name or a Subset, not {subset!r} ({type(subset).__name__})")
    return load_subset(subset, sources=sources, extra=extra_manifests(layout))


def subset_of_shards(shards: str | Path, subset: str | Subset | None) -> Subset | None:
    """
    Return the subset that --subset or a configuration names, for a shard folder; None if nothing is named.

    The user's own subsets are those of UIR_MANIFESTS, and of manifests/ beside the shards.

    Args:
        shards: a folder, or an address, beside which there is no folder; "" where none is named, which is an error of
            whoever opens it.
        subset: a name, or a value, which is returned as it is.

    Raises the errors of `find_subset`.
    """
    if not subset or not str(shards):
        return None
    return find_subset(Layout.around(shards), subset)


def chosen_sources(layout: Layout, ids: Sequence[str] = (), subset: str | Subset | None = None) -> list[Source]:
    """
    Return the sources of ids and of a subset, each once; all sources if neither is given.

    Raises:
        UsageError: an id or the subset is unknown.
    """
    sources = all_sources(layout)
    names: list[str] = list(ids)
    if subset is not None:
        names += find_subset(layout, subset, sources).sources
    if not ids and subset is None:
        names = list(sources)
    for name in names:
        if name not in sources:
            raise UsageError(f"there is no source {name!r}: {nearest(name, sources)}")
    return [sources[name] for name in dict.fromkeys(names)]


def fetched_sources(layout: Layout, ids: Sequence[str] = (), subset: str | Subset | None = None) -> list[Source]:
    """
    Return the sources of ids and of a subset; if neither is given, those that have been fetched into the root.

    Raises:
        UsageError: an id or the subset is unknown.
        SourceError: neither is given, and nothing has been fetched.
    """
    if ids or subset is not None:
        return chosen_sources(layout, ids, subset)
    sources = all_sources(layout)
    return [sources[name] for name in _fetched(layout, sources)]


def chosen_subset(
    layout: Layout,
    ids: Sequence[str] = (),
    subset: str | Subset | None = None,
    sources: Mapping[str, Source] | None = None,
) -> Subset:
    """
    Return the subset to build: a named subset, only the sources `ids` of it, or the sources `ids` without a subset.

    If neither is given: all sources that have been fetched into the root.

    Raises:
        UsageError: an id or the subset is unknown, or an id is not in the subset.
        SourceError: neither is given, and nothing has been fetched.
    """
    known = all_sources(layout) if sources is None else sources
    if subset is None:
        names = list(ids) or _fetched(layout, known)
        return merge_subsets([find_subset(layout, name, known) for name in names])
    whole = find_subset(layout, subset, known)
    if not ids:
        return whole
    unknown = [name for name in ids if name not in whole.sources]
    if unknown:
        raise UsageError(f"source {unknown[0]} is not in subset {whole.name}, which has: {', '.join(whole.sources)}")
    return replace(whole, uses=tuple(use for use in whole.uses if use.source in ids))


def _fetched(layout: Layout, sources: Mapping[str, Source]) -> list[str]:
    names = [name for name in sources if layout.pairs(name).exists()]
    if not names:
        raise SourceError(f"nothing has been fetched into {layout.root}; start with `uir fetch --subset sample`")
    return names
