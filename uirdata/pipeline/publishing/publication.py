"""What of a shard folder is published, and under which names: decided before anything is sent."""

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
from uirdata.storage.reading import in_subset, read_shard_folder
from uirdata.storage.shards import INFO, MANIFEST, ShardState, list_shards, read_info
from uirdata.storage.tables import read_table
from uirdata.subsets import Subset, load_subset

TABLES = "parquet"
"""Folder of the tables that `load_dataset` reads, one for each shard."""

RECIPES = "recipes"
"""Name of the one configuration where no pixels are published: the rows of the manifest."""

_COLUMNS = ["shard", "split", "degradation", "source", "level", "licence", "overlaps", "gt_size", "lq_size"]
_DIGITS = "[0-9]" * 5


@dataclass(frozen=True)
class SplitFiles:
    """
    Shards of one configuration and split.

    Attributes:
        patterns: of their paths, sorted.
        samples: in them, those outside the subset too.
        outside: of these, samples that the subset does not name.
        size_bytes: of the images.
        inside_bytes: of the images of samples that the subset names.
    """

    patterns: tuple[str, ...]
    samples: int
    outside: int
    size_bytes: int
    inside_bytes: int


@dataclass(frozen=True)
class Configuration:
    """
    A choice of shards under a name: what `load_dataset(repository, name)` gives.

    Attributes:
        name: of a subset, or of a degradation.
        types: degradations in label order.
        splits: by name, train first.
        subset: whose samples it gives; None where it is all of the types.
    """

    name: str
    types: tuple[str, ...]
    splits: Mapping[str, SplitFiles]
    subset: Subset | None = None

    @property
    def filters(self) -> list[list[list[Any]]]:
        """
        Say which rows of its tables are of the subset, as pyarrow's filters: any of these, each of that.

        Empty where all are.
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
    A shard folder about to be published.

    Attributes:
        folder: where it lies.
        repository: owner/name; "" where nobody has said.
        info: info.json.
        shards: all of them, sorted by path.
        table: of the manifest: which sample is what and lies where.
        sources: those that its samples come from, as far as there are manifests of them.
        manifests: the files of these, without those of folders of the publisher's own.
        unknown: ids of the others.
        configurations: subsets first, then degradations; none where only recipes are published.
        recipes_only: no pixels are published.
        tables: each shard is published as a table, too.
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
        """Name it as people read it."""
        return self.repository.rpartition("/")[2] or self.folder.resolve().name

    @property
    def lazy(self) -> bool:
        """Say whether its shards keep recipes instead of the LQ that were made."""
        return bool(self.info.get("lazy"))

    @property
    def locked(self) -> tuple[str, ...]:
        """Ids of sources whose images may not be passed on, as far as their manifests say."""
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
    Read a shard folder as it would be published.

    Args:
        folder: a whole pool.
        repository: owner/name.
        recipes_only: without pixels.
        tables: with a table for each shard, which `load_dataset` reads; lazy shards have none in any case.
        manifests: folders of sources and subsets besides ours.

    Raises:
        ShardError: the folder is none, not whole, or its build was not finished.
        ManifestError: a manifest says something that cannot be.
    """
    read_shard_folder(folder)  # the same checks as a reader makes
    info, shards = read_info(folder), tuple(list_shards(folder))
    _check_finished(folder, info, shards)
    table = read_table(folder / MANIFEST, columns=_COLUMNS)
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
    Refuse to pass images on that nobody may pass on.

    Raises:
        PublishError: naming each source and its licence.
    """
    if publication.recipes_only or not publication.locked:
        return
    said = "; ".join(
        f"{name} ({publication.sources[name].licence})"
        if name in publication.sources
        else f"{name} (no manifest of it)"
        for name in publication.locked
    )
    raise PublishError(
        f"{publication.folder} holds images that may not be passed on, as far as is known: {said}. With --recipes-only "
        "manifests and recipes go without pixels, and others rebuild them from their own downloads. Where you have the "
        "right, say so in a manifest of the source (redistributable = true)"
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
            # It has no name of its own (some sources together), or stands in a manifest that is not here.
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
    """Count, by shard, samples and the bytes of their images."""
    sized = pa.table({"shard": table["shard"], "size": pc.add(table["gt_size"], table["lq_size"])})
    grouped = sized.group_by("shard").aggregate([("size", "count"), ("size", "sum")])
    return {row["shard"]: (row["size_count"], row["size_sum"]) for row in grouped.to_pylist()}


def _patterns(paths: Sequence[str], shards: Sequence[ShardState]) -> tuple[str, ...]:
    """Name the shards of a source by one pattern where all are wanted; each by itself otherwise."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(path.rpartition("-")[0], []).append(path)
    everything: dict[str, int] = {}
    for state in shards:
        stem = state.path.rpartition("-")[0]
        # A shard without samples would be an empty file to a reader, but a pattern takes it along harmlessly.
        everything[stem] = everything.get(stem, 0) + bool(state.samples)
    found: list[str] = []
    for stem, members in groups.items():
        found += [f"{stem}-{_DIGITS}.tar"] if len(members) == everything[stem] else members
    return tuple(sorted(found))
