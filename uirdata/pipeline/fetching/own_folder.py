"""A user's own folder becomes a source: its manifest is written, and its images stay where they are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from uirdata.errors import UsageError
from uirdata.facts.own_sources import local_source
from uirdata.layout import Layout
from uirdata.pipeline.fetching.own_manifest import is_edited, kept_source, refuse_options, write_manifest
from uirdata.pipeline.fetching.own_taken import refuse_swapped
from uirdata.sources import MANIFESTS, Source, read_source


def add_local_source(
    name: str,
    folder: Path,
    layout: Layout,
    *,
    lq: str = "",
    gt: str = "",
    degradation: str = "",
    real: bool = True,
    test_share: float | None = None,
    title: str = "",
    licence: str = "unknown",
    patterns: Sequence[tuple[str, str]] = (),
    clean: bool = False,
) -> Source:
    """
    Write the manifest of a user's folder, ROOT/manifests/<name>.toml, and return the source. Its images are not copied.

    The arguments are those of `facts.own_sources.local_source`; a `test_share` of None is that of an earlier fetch of
    the same folder, so that no scene changes its split unasked. `plan_fetch` and `fetch` of the source pair its files.
    A manifest that the user has edited is kept, and its source returned. One that options described keeps what they
    said of its files if nothing but another `test_share` is given.

    Raises:
        UsageError: the name is taken or not a valid id, the folder is missing, empty or cannot be interpreted, LQ and
            GT look swapped, or the manifest was edited and does not agree with the arguments.
        SourceError: the folder cannot be read.
        ManifestError: the edited manifest is invalid.
        StorageError: the manifest cannot be written.
    """
    if (MANIFESTS / "sources" / f"{name}.toml").exists():
        raise UsageError(f"{name} is a published source; choose another name for {folder}")
    path = layout.manifests / f"{name}.toml"
    share = _share_before(path, folder) if test_share is None else test_share
    given: dict[str, Any] = {
        "lq": lq,
        "gt": gt,
        "degradation": degradation,
        "real": real,
        "test_share": share,
        "title": title,
        "licence": licence,
        "patterns": tuple(patterns),
        "clean": clean,
    }
    options = {key: value for key, value in given.items() if value != _DEFAULTS[key] and key != "test_share"}
    # A share alone says nothing about pairs: it must not make clean photographs of files that options have paired.
    kept = kept_source(path, folder, told=bool(options))
    if kept is not None and not is_edited(path):
        if test_share is None or test_share == _share_of(kept):
            return kept
        source = _with_share(kept, test_share)
        write_manifest(path, source, said=True)
        return source
    if kept is not None:
        if test_share is not None:
            options["test_share"] = test_share
        if options and local_source(name, folder, without=layout.root, **given) != kept:
            raise refuse_options(path, options)
        return kept
    source = local_source(name, folder, without=layout.root, **given)
    if not patterns:
        refuse_swapped(source, layout)
    write_manifest(path, source, said=bool(lq or patterns or clean or degradation))
    return source


def _share_before(path: Path, folder: Path) -> float:
    """Return the test share of an earlier manifest of a folder; 0 if there is none, or it is of another folder."""
    if not path.exists():
        return 0.0
    before = read_source(path)
    if before.local_dir is None or before.local_dir.expanduser().resolve() != folder.expanduser().resolve():
        return 0.0
    return _share_of(before)


def _share_of(source: Source) -> float:
    return max((rule.test_share for rule in source.pairs), default=0.0)


def _with_share(source: Source, share: float) -> Source:
    rules = tuple(replace(rule, test_share=share if rule.split == "train" else 0.0) for rule in source.pairs)
    return replace(source, pairs=rules)


_DEFAULTS: Mapping[str, Any] = {
    name: parameter.default for name, parameter in inspect.signature(local_source).parameters.items()
}
