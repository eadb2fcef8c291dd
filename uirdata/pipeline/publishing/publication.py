"""What is published of a shard folder, and under which names: decided before anything is uploaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from uirdata.degradations import DEGRADATIONS
from uirdata.errors import PublishError, ShardError, UsageError
from uirdata.sources import Source, load_sources, manifest_paths
from uirdata.storage.manifest_rows import read_manifest
from uirdata.storage.reading import read_shard_folder
from uirdata.storage.shards import INFO, MANIFEST, ShardState, list_shards, read_info
from uirdata.storage.subset_rows import in_subset
from uirdata.subsets import Subset, load_subset

TABLES = "parquet"
"""Folder of the tables that `load_dataset` reads, one table for each shard."""

RECIPES = "recipes"
"""Name of the only configuration if no pixels are published: the rows of the manifest."""

_COLUMNS = ["shard", "split", "degradation", "source", "level", "licence", "overlaps", "gt_size", "lq_size"]
_DIGITS = "[0-9]" * 5


@dataclass(frozen=True)
class SplitFiles:
    """
    Shards of one configuration and split.

    Attributes:
        patterns: patterns of their paths, sorted.
        samples: number of all their samples.
        outside: number of their samples that are not in the subset.
        size_bytes: size of all their images.
        inside_bytes: size of the images of samples that are in the subset.
    """

    patterns: tuple[str, ...]
    samples: int
    outside: int
    size_bytes: int
    inside_bytes: int


@dataclass(frozen=True)
class Configuration:
    """
    A named selection of shards: what `load_dataset(repository, name)` returns.

    Attributes:
        name: name of a subset, or of a degradation.
        types: degradations in label order.
        splits: splits by name, train first.
        subset: the subset of its samples; None for all samples of the types.
    """

    name: str
    types: tuple[str, ...]
    splits: Mapping[str, SplitFiles]
    subset: Subset | None = None

    @property
    def filters(self) -> list[list[list[Any]]]:
        """
        Filters of pyarrow for the rows of its tables that are in the subset: any of these, each of that.

        Empty if all rows are in the subset.
        """
        if self.subset is None or not any(split.outside for split in self.splits.values()):
            return []
        found: list[list[list[Any]]] = []
        for use in self.subset.uses:
            if use.degradation in self.types and use.split in self.splits:
                one = [["source", "==", use.source], ["label", "==", use.degradation], ["split", "==", use.split]]
                found.append([*one, *([["level", "in", list(use.levels)]] if use.levels else [])])
        return found


@dataclass(frozen=True)
class Publication:
    """
    A shard folder to be published.

    Attributes:
        folder: the shard folder.
        repository: owner/name; "" if unknown.
        info: contents of info.json.
        shards: all shards, sorted by path.
        table: the columns of the manifest that are needed.
        sources: sources of the samples that have a manifest.
        manifests: files of these manifests, except those of the publisher's own folders.
        unknown: ids of the sources without a manifest.
        configurations: subsets first, then degradations; none if only recipes are published.
        recipes_only: no pixels are published.
        tables: each shard is also published as a table.
    """

    folder: Path
    repository: str
    info: Mapping[str, Any]
    shards: tuple[ShardState, ...]
    table: pa.Table
    sources: Mapping[str, Source]
    manifests: Mapping[str, Path]
    unknown: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    recipes_only: bool
    tables: bool = False

    @property
    def title(self) -> str:
        """Title for readers: the name of the repository or of the folder."""
        return self.repository.rpartition("/")[2] or self.folder.resolve().name

    @property
    def lazy(self) -> bool:
        """Whether its shards hold recipes instead of generated LQ."""
        return bool(self.info.get("lazy"))

    @property
    def locked(self) -> tuple[str, ...]:
        """Ids of sources whose images may not be redistributed, according to their manifests."""
        return tuple(name for name, source in self.sources.items() if not source.redistributable) + self.unknown


def describe(
    folder: Path,
    repository: str = "",
    *,
    recipes_only: bool = False,
    tables: bool = True,
    manifests: Sequence[Path] = (),
) -> Publication:
    """
    Read a shard folder, and return what would be published.

    Args:
        folder: a complete pool.
        repository: owner/name.
        recipes_only: without pixels.
        tables: with a table for each shard, which `load_dataset` reads; lazy shards never have one.
        manifests: additional folders of sources and subsets.

    Raises:
        ShardError: the folder is not a shard folder, is incomplete, or its build was not finished.
        ManifestError: a manifest is not valid.
    """
    read_shard_folder(folder)  # the same checks as a reader makes
    info, shards = read_info(folder), tuple(list_shards(folder))
    _check_finished(folder, info, shards)
    table = read_manifest(folder, _COLUMNS)
    known, paths = load_sources(manifests), manifest_paths(manifests)
    used = sorted(table["source"].unique().to_pylist())
    return Publication(
        folder,
        repository,
        info,
        shards,
        table,
        {name: known[name] for name in used if name in known},
        {name: paths[name] for name in used if name in known and known[name].local_dir is None},
        tuple(name for name in used if name not in known),
        () if recipes_only else _configurations(info, shards, table, known, manifests),
        recipes_only,
        tables and not recipes_only and not info.get("lazy"),
    )


def check_licences(publication: Publication) -> None:
    """
    Check that all images may be redistributed.

    Raises:
        PublishError: some may not; the message lists their sources and licences.
    """
    if publication.recipes_only or not publication.locked:
        return
    licences = "; ".join(
        f"{name} ({publication.sources[name].licence})" if name in publication.sources else f"{name} (no manifest)"
        for name in publication.locked
    )
    raise PublishError(
        f"{publication.folder} holds images that may not be redistributed, as far as is known: {licences}. Use "
        "--recipes-only to publish manifests and recipes without pixels; others rebuild the shards from their own "
        "downloads. If you have the right, state it in a manifest of the source (redistributable = true)"
    )


def _check_finished(folder: Path, info: Mapping[str, Any], shards: Sequence[ShardState]) -> None:
    listed = {path: value.get("sha256") for path, value in info.get("shards", {}).items()}
    there = {state.path: state.sha256 for state in shards}
    if listed != there:
        odd = sorted(set(listed.items()) ^ set(there.items()))[0][0]
        raise ShardError(
            f"{folder}: {INFO} and {MANIFEST} do not agree about {odd}: a build was not finished. Run the same "
            "`uir build-shards` again"
        )


def _configurations(
    info: Mapping[str, Any],
    shards: Sequence[ShardState],
    table: pa.Table,
    known: Mapping[str, Source],
    manifests: Sequence[Path],
) -> tuple[Configuration, ...]:
    found: dict[str, Configuration] = {}
    for name, classes in info.get("subsets", {}).items():
        types = tuple(kind for entry in classes for kind in entry)
        try:
            subset = load_subset(name, known, manifests)
            chosen = in_subset(subset)
        except UsageError:
            # The subset has no name of its own (several sources), or its manifest is not installed here.
            subset, chosen = None, pc.field("degradation").isin(list(types))
        configuration = replace(_configuration(name, types, shards, table, chosen), subset=subset)
        if configuration.splits:
            found[name] = configuration
    for name in DEGRADATIONS:
        chosen = pc.field("degradation") == name
        configuration = _configuration(name, (name,), shards, table, chosen)
        if configuration.splits:
            found.setdefault(name, configuration)
    return tuple(found.values())


def _configuration(
    name: str, types: tuple[str, ...], shards: Sequence[ShardState], table: pa.Table, chosen: pc.Expression
) -> Configuration:
    wanted = samples_of_shards(table.filter(chosen))
    splits: dict[str, SplitFiles] = {}
    for split in ("train", "val", "test"):
        paths = [state.path for state in shards if state.path in wanted and state.path.startswith(split + "/")]
        if not paths:
            continue
        whole = samples_of_shards(table.filter(pc.field("shard").isin(paths)))
        samples = sum(number for number, _ in whole.values())
        inside = sum(wanted[path][0] for path in paths)
        size = sum(size for _, size in whole.values())
        inside_bytes = sum(wanted[path][1] for path in paths)
        splits[split] = SplitFiles(_patterns(paths, shards), samples, samples - inside, size, inside_bytes)
    present = set(table.filter(chosen)["degradation"].unique().to_pylist())
    return Configuration(name, tuple(kind for kind in types if kind in present), splits)


def samples_of_shards(table: pa.Table) -> dict[str, tuple[int, int]]:
    """Return, by shard, the number of samples and the bytes of their images."""
    sized = pa.table({"shard": table["shard"], "size": pc.add(table["gt_size"], table["lq_size"])})
    grouped = sized.group_by("shard").aggregate([("size", "count"), ("size", "sum")])
    return {row["shard"]: (row["size_count"], row["size_sum"]) for row in grouped.to_pylist()}


def _patterns(paths: Sequence[str], shards: Sequence[ShardState]) -> tuple[str, ...]:
    """Return one pattern for the shards of a source if all are wanted, otherwise the path of each."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(path.rpartition("-")[0], []).append(path)
    everything: dict[str, int] = {}
    for state in shards:
        stem = state.path.rpartition("-")[0]
        # A shard without samples would be an empty file to a reader, but it does no harm if a pattern includes it.
        everything[stem] = everything.get(stem, 0) + bool(state.samples)
    found: list[str] = []
    for stem, members in groups.items():
        found += [f"{stem}-{_DIGITS}.tar"] if len(members) == everything[stem] else members
    return tuple(sorted(found))
