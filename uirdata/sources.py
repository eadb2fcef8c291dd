"""What is published: one manifest a source, read strictly into typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Trust = Literal["official", "repack", "third-party"]


@dataclass(frozen=True)
class Mirror:
    """
    One place that a file can be had from.

    Attributes:
        host: name of a host in `uirdata.hosts`: http, huggingface, google_drive, kaggle, package, manual.
        where: what the host needs to find it: a URL, "repo_type:owner/name@revision:path", a Drive id,
            "distribution:path/in/package", or for `manual` the page that a person opens.
        trust: official, repack (same pixels, other archive) or third-party.
        note: what is known of it, for people.
    """

    host: str
    where: str
    trust: Trust
    note: str = ""


@dataclass(frozen=True)
class RemoteFile:
    """
    A file as published.

    Attributes:
        name: under which it is kept in downloads/.
        mirrors: in order of trust.
        sha256: hex, or "" where nobody has published one.
        md5: hex, or "".
        size: bytes, or None where nobody has said.
        archive: how it is packed: zip, tar, 7z, rar, parquet, mat, or "" for a plain file.
        unpack_to: folder below the source's folder; "" is the folder itself.
        part_of: name of the archive that this is a piece of; pieces are joined in the order of the manifest.
    """

    name: str
    mirrors: tuple[Mirror, ...]
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    archive: str = ""
    unpack_to: str = ""
    part_of: str = ""


@dataclass(frozen=True)
class PairRule:
    """How the files of one split become pairs. `uirdata.pairing` says how the kinds of rules read these fields."""

    split: str
    degradation: str
    real: bool
    gt: str
    lq: str


@dataclass(frozen=True)
class Source:
    """
    A published data set.

    Attributes:
        id: such as "gopro"; file name of its manifest.
        local_dir: for a source of the user's own: the folder where its files lie; None for published ones.
    """

    id: str
    title: str
    licence: str
    files: tuple[RemoteFile, ...]
    pairs: tuple[PairRule, ...]
    known_defects: tuple[str, ...]
    local_dir: Path | None = None


def load_sources() -> Mapping[str, Source]:
    """Read all manifests, by id."""
    return {}
