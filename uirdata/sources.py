"""The published sources: one manifest per source, read strictly into typed values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from uirdata.errors import ManifestError
from uirdata.layout import Layout
from uirdata.manifest_syntax.pair_rules import Exclude, PairRule, rule_faults
from uirdata.manifest_syntax.patterns import compile_pattern
from uirdata.manifest_syntax.typed_toml import STRICT, read_toml, typed

Trust = Literal["official", "repack", "third-party"]
Access = Literal["open", "token", "form", "login", "by-hand"]
Archive = Literal["", "zip", "tar", "7z", "rar", "parquet", "mat", "folder"]

_PACKAGE = Path(__file__).resolve().parent
MANIFESTS = _PACKAGE / "manifests" if (_PACKAGE / "manifests").is_dir() else _PACKAGE.parent / "manifests"
"""The manifests of this project: inside the installed package, or beside it in a checkout."""

NOT_SOURCES = ("subsets.toml", "paper_table.toml")
"""Other files that a folder of manifests may contain."""

ID = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Mirror:
    """
    One place that a file can be downloaded from.

    Attributes:
        host: name of a host in `uirdata.hosts`: http, huggingface, google_drive, kaggle, package, objects, manual.
        where: what the host needs to find the file.
            http: a URL. huggingface: "dataset:owner/name@revision:path" ("model:..." for repositories of that type;
            "@revision" may be left out; a path that ends in "/" is a folder, an empty one the whole repository).
            google_drive: the id of a file, or "folder:ID" for all that a folder holds, or "folder:ID/name" for the
            file of that name in it. kaggle: "owner/name" or "owner/name:path". package:
            "distribution:path/in/package". manual: the page to open in a browser.
        trust: official, repack (same pixels, other archive) or third-party.
        access: open; token (an account that accepted the terms); form (a form that is answered by mail); login (the
            site's own account); by-hand (only a browser or a client of that service).
        note: a note for readers.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    host: str
    where: str
    trust: Trust
    access: Access = "open"
    note: str = ""


@dataclass(frozen=True)
class RemoteFile:
    """
    A file as published.

    Attributes:
        name: its name in downloads/.
        mirrors: in order of trust; as far as known, all hold the same bytes.
        sha256: hex, or "" if none is published.
        md5: hex, or "".
        size: exact size in bytes; None if unknown.
        about_size: approximate size in bytes ("about 11 GB"), for plans; None if unknown.
        archive: how it is packed: zip, tar, 7z, rar, parquet, mat, folder (a tree of loose files that is downloaded as
            it is into a folder `name`; archives in it are unpacked, too), or "" for a plain file.
        unpack_to: folder below the source's folder; "" is the folder itself.
        part_of: name of the archive that this file is a part of; parts are joined in the order of the manifest.
        repacked: the bytes of this file may differ although the pixels do not (an archive made on the fly, an image in
            a package of another version): a hash mismatch is reported, and is not an error.
        licence: of this file, if the source's files have different ones.
        note: a note for readers.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    name: str
    mirrors: tuple[Mirror, ...]
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    about_size: int | None = None
    archive: Archive = ""
    unpack_to: str = ""
    part_of: str = ""
    repacked: bool = False
    licence: str = ""
    note: str = ""

    @property
    def expected_size(self) -> int | None:
        """Size for a plan in bytes: exact if known, else approximate; None if unknown."""
        return self.about_size if self.size is None else self.size


@dataclass(frozen=True)
class FileSet:
    """
    Other files that hold the same images, packed in another way.

    Attributes:
        name: such as "restormer".
        note: what they hold, and what they lack.
        files: all that are needed instead of the source's own.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    name: str
    files: tuple[RemoteFile, ...]
    note: str = ""


@dataclass(frozen=True)
class LeftAside:
    """
    A published file that is not downloaded.

    Attributes:
        where: a link, or how to find it.
        reason: what it is, and why it is not needed.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    where: str
    reason: str


@dataclass(frozen=True)
class SourceCrop:
    """
    Size and stride of the training crops of a source in the paper's data set.

    Attributes:
        size: of the crops, in pixels; 0 takes images whole.
        stride: distance from one crop to the next, in pixels.
        drop_least_sharp: share of an image's crops that is dropped, those whose GT has the least detail; rounded down.
        note: where the setting comes from.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    size: int
    stride: int = 0
    drop_least_sharp: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Feed:
    """
    A row of the paper's data set table that contains pairs of a source.

    Attributes:
        row: id of the row in paper_table.toml.
        how: how the number of its pairs is computed, and how certain it is.
        pairs: how many pairs of the row come from this source when its manifest is followed; None if unknown.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    row: str
    how: str
    pairs: int | None = None


@dataclass(frozen=True)
class Source:
    """
    A published data set.

    >>> gopro = load_sources()["gopro"]
    >>> gopro.degradations, gopro.redistributable
    (('motion-blur',), False)

    Attributes:
        id: such as "gopro"; file name of its manifest.
        title: its usual name.
        licence: of the images, in words; "unknown" if its authors do not state one.
        files: the files to download.
        pairs: the rules, in order.
        known_defects: defects of the published data, for readers.
        redistributable: the licence permits redistribution of the images, so shards of them may be published.
        homepage: page of its authors.
        citation: citation of its paper.
        layout: description of the unpacked files, for readers.
        alternatives: other files that hold the same images.
        left_aside: published files that are not downloaded, and why.
        skip: files that are neither LQ nor GT, and why they exist.
        crop: crops of the paper's data set; None if the paper does not use this source.
        feeds: rows of the paper's table that it is part of.
        resolution: of its images, for readers.
        unpaired: why it has no rules: what is published cannot be paired by names; "" if it has rules.
        local_dir: folder of the files of a source of the user's own; None for published sources.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    id: str
    title: str
    licence: str
    files: tuple[RemoteFile, ...]
    pairs: tuple[PairRule, ...] = ()
    known_defects: tuple[str, ...] = ()
    redistributable: bool = False
    homepage: str = ""
    citation: str = ""
    layout: str = ""
    alternatives: tuple[FileSet, ...] = ()
    left_aside: tuple[LeftAside, ...] = ()
    skip: tuple[Exclude, ...] = ()
    crop: SourceCrop | None = None
    feeds: tuple[Feed, ...] = ()
    resolution: str = ""
    unpaired: str = ""
    local_dir: Path | None = None

    @property
    def degradations(self) -> tuple[str, ...]:
        """The types of its published pairs, without repetition; empty for clean photographs."""
        return tuple(dict.fromkeys(rule.degradation for rule in self.pairs if rule.degradation))

    @property
    def is_clean(self) -> bool:
        """Whether it has clean images, from which LQ are synthesised."""
        return any(not rule.lq for rule in self.pairs)

    @property
    def access(self) -> Access:
        """The most difficult access among its files, each by its easiest mirror."""
        easiest = (min((mirror.access for mirror in file.mirrors), key=_EFFORT.index) for file in self.files)
        return max(easiest, key=_EFFORT.index, default="open")

    def published(self) -> Mapping[tuple[str, str, bool], int]:
        """Return how many pairs its authors state, by split, degradation and real; unknown ones are absent."""
        counts: dict[tuple[str, str, bool], int] = {}
        for rule in self.pairs:
            if rule.published is not None:
                key = (rule.split, rule.degradation, rule.real)
                counts[key] = counts.get(key, 0) + rule.published
        return counts


_EFFORT: tuple[Access, ...] = ("open", "token", "login", "form", "by-hand")


def load_sources(extra: Sequence[Path] = ()) -> Mapping[str, Source]:
    """
    Return all sources by id, in the order of the ids.

    >>> "gopro" in load_sources()
    True

    Args:
        extra: folders with further manifests, such as the user's own (UIR_MANIFESTS, ROOT/manifests); a folder that
            does not exist counts as empty.

    Raises:
        ManifestError: a manifest is invalid, or two have the same id.
    """
    paths = manifest_paths(extra)
    ours = MANIFESTS / "sources"
    return MappingProxyType({name: read_source(paths[name], own=paths[name].parent != ours) for name in sorted(paths)})


def own_manifests(layout: Layout | None, named: Sequence[Path] = ()) -> list[Path]:
    """
    Return the folders with the user's own manifests, each once, as `extra` of `load_sources` and `load_subset`.

    Args:
        layout: its manifests/ counts where it is there; None where the data lies elsewhere (hf://, s3://).
        named: folders that come before it, such as those of UIR_MANIFESTS.
    """
    folders = [*named]
    if layout is not None and layout.manifests.is_dir():
        folders.append(layout.manifests)
    # UIR_MANIFESTS may name ROOT/manifests, too: read twice, its sources would stand in their own way.
    once: dict[Path, Path] = {}
    for folder in folders:
        once.setdefault(folder.resolve(), folder)
    return list(once.values())


def manifest_paths(extra: Sequence[Path] = ()) -> Mapping[str, Path]:
    """
    Return the path of the manifest of each source, by id.

    Raises:
        ManifestError: two have the same id.
    """
    paths: dict[str, Path] = {}
    for folder in (MANIFESTS / "sources", *extra):
        for path in sorted(folder.glob("*.toml")):
            if path.name in NOT_SOURCES:
                continue
            if path.stem in paths:
                raise ManifestError(f"{path} and {paths[path.stem]} are both called {path.stem}; rename one of them")
            paths[path.stem] = path
    return MappingProxyType(paths)


def read_source(path: Path, *, own: bool = True) -> Source:
    """
    Return the source that a manifest describes.

    Args:
        path: the manifest.
        own: it is one of the user's own, whose mirrors may be files of this machine.

    Raises:
        ManifestError: the manifest is invalid; the message names the file, the key and what was expected.
    """
    document = read_toml(path)
    source = typed({"id": path.stem, **document}, Source, name=str(path))
    faults = source_faults(source)
    if not own:
        faults += _local_faults(source)
    if source.id != path.stem:
        faults.insert(0, f"id is {source.id!r}, but the file is called {path.name}")
    if faults:
        raise ManifestError(f"{path}: " + "; ".join(faults))
    return source


def source_faults(source: Source) -> list[str]:
    """Return the faults of a source, one text each; empty if it is valid."""
    faults: list[str] = []
    if not ID.fullmatch(source.id):
        faults.append(f"id is {source.id!r}: use lower-case letters, digits and hyphens")
    if bool(source.pairs) == bool(source.unpaired):
        faults.append("expected either [[pairs]], or the key unpaired with the reason why there are none")
    for index, rule in enumerate(source.pairs):
        faults += [f"pairs[{index}].{fault}" for fault in rule_faults(rule)]
    for index, skip in enumerate(source.skip):
        try:
            compile_pattern(skip.pattern)
        except ManifestError as error:
            faults.append(f"skip[{index}].pattern: {error}")
    for prefix, files in (("files", source.files), *((f"alternatives.{a.name}", a.files) for a in source.alternatives)):
        faults += _file_faults(prefix, files)
    return faults


def _local_faults(source: Source) -> list[str]:
    """Return the mirrors, and the folder, that are on the user's machine: a stranger's manifest may not read it."""
    mirrors = [mirror for file in _all_files(source) for mirror in file.mirrors if mirror.host == "objects"]
    local = [mirror.where for mirror in mirrors if not is_remote_object(mirror.where)]
    if source.local_dir is not None:
        local.append(str(source.local_dir))
    return [f"{where!r} is on this machine: only manifests of your own may name such places" for where in local]


def _all_files(source: Source) -> Iterator[RemoteFile]:
    yield from source.files
    for other in source.alternatives:
        yield from other.files


def is_remote_object(where: str) -> bool:
    """
    Return whether every step of a URL of fsspec is at a storage service, and none a file of this machine.

    >>> is_remote_object("s3://bucket/name"), is_remote_object("zip://a.png::file:///home/me/a.zip")
    (True, False)
    """
    return all("://" in step and step.partition("://")[0].lower() in _SERVICES for step in where.split("::"))


_SERVICES = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "hf", "http", "https", "ftp"}
)
"""Protocols of fsspec that read a service on the network, without the user's keys for other machines (ssh)."""


def _file_faults(prefix: str, files: Sequence[RemoteFile]) -> list[str]:
    faults: list[str] = []
    names = [file.name for file in files]
    for index, file in enumerate(files):
        where = f"{prefix}[{index}]"
        if names.index(file.name) != index:
            faults.append(f"{where}.name is {file.name!r}, which another file has already")
        if not file.name or file.name.startswith("/") or ".." in Path(file.name).parts or "\\" in file.name:
            faults.append(f"{where}.name is {file.name!r}: expected a file name or a path below the downloads")
        if not file.mirrors:
            faults.append(f"{where}.mirrors is empty: add a mirror, with host 'manual' if no other is known")
        for field, digits in (("sha256", 64), ("md5", 32)):
            value = str(getattr(file, field))
            if value and not re.fullmatch(f"[0-9a-f]{{{digits}}}", value):
                faults.append(f"{where}.{field} is {value!r}, expected {digits} lower-case hexadecimal digits")
        if any(size is not None and size < 0 for size in (file.size, file.about_size)):
            faults.append(f"{where}.size is negative")
    return faults
