"""A user's own folder becomes a source: its manifest is written, and its images stay where they are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uirdata.errors import UsageError
from uirdata.facts.own_sources import local_source
from uirdata.layout import Layout
from uirdata.pipeline.fetching.own_manifest import kept_source, refuse_options, write_manifest
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
    A manifest that the user has edited is kept, and its source returned.

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
    if test_share is None:
        test_share = _share_before(path, folder)
    given: dict[str, Any] = {
        "lq": lq,
        "gt": gt,
        "degradation": degradation,
        "real": real,
        "test_share": test_share,
        "title": title,
        "licence": licence,
        "patterns": tuple(patterns),
        "clean": clean,
    }
    options = {key: value for key, value in given.items() if value != _DEFAULTS[key]}
    kept = kept_source(path, folder, told=bool(options))
    if kept is not None:
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
    return max((rule.test_share for rule in before.pairs), default=0.0)


_DEFAULTS: Mapping[str, Any] = {
    name: parameter.default for name, parameter in inspect.signature(local_source).parameters.items()
}
