"""The files of a publication, and whether the Hub has their bytes: shards, tables, pages, manifests."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from uirdata.errors import PublishError, ShardError, StorageError
from uirdata.hosts.repository import Entry
from uirdata.pipeline.publishing.card import card, describe_briefly, evaluation
from uirdata.pipeline.publishing.card_metadata import licence_identifiers
from uirdata.pipeline.publishing.croissant import croissant
from uirdata.pipeline.publishing.publication import TABLES, Publication, samples_of_shards
from uirdata.sources import MANIFESTS
from uirdata.storage.downloads import hash_file
from uirdata.storage.files import writing
from uirdata.storage.image_tables import write_image_table
from uirdata.storage.locks import locked
from uirdata.storage.shard_states import read_rejected
from uirdata.storage.shards import INFO, MANIFEST, ShardState, part_path, write_json
from uirdata.transfer import redacted
from uirdata.validators import naming, path_below

CARD, CROISSANT, EVALUATION, REJECTED = "README.md", "croissant.json", "eval.yaml", "rejected.parquet"

_WORK, _LEDGER = ".push", "tables.json"
_NAME_DIGITS = 12


@dataclass(frozen=True)
class ImageTable:
    """The table of a shard, which is made just before its upload, because there may be no room for all tables."""

    folder: Path
    state: ShardState


@dataclass(frozen=True)
class OutFile:
    """
    A file to publish.

    Attributes:
        path: path in the repository.
        content: a file on disk, the bytes themselves, or a table that is still to be made.
        size: size in bytes; an estimate for a table that was never made.
        sha256: from the manifest for shards, from the ledger for tables that were made; "" for others.
    """

    path: str
    content: Path | bytes | ImageTable
    size: int
    sha256: str = ""

    @property
    def is_shard(self) -> bool:
        """Whether the file is a tar."""
        return self.path.endswith(".tar")


class Tables:
    """
    Makes tables in a hidden folder next to the shards, and stores their hashes in a ledger.

    The name of a table contains the hash of its shard, so that a stored hash is never out of date.
    """

    def __init__(self, folder: Path) -> None:
        self._work = folder / _WORK
        self._ledger = self._work / _LEDGER
        self._known = _read_ledger(self._ledger)

    def known(self, path: str) -> tuple[int, str] | None:
        """Return size and sha256 of a table that was made before; None for any other."""
        return self._known.get(path)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """
        Lock the hidden folder while the block runs, and delete what an interrupted push left in it.

        Raises:
            PublishError: another push from this folder is running.
            StorageError: the folder cannot be written.
        """
        # Tables are deleted in it.
        if self._work.exists():
            _inside(self._work.parent, _WORK)
        what = f"{self._work.parent} is being published by another command"
        with locked(self._work / "lock", what, error=PublishError):
            self._clear()
            yield
            self._clear()

    def make(self, path: str, table: ImageTable) -> Path:
        """
        Make a table, and return its path.

        Raises:
            PublishError: its shard has changed since it was built.
            StorageError: the disk is full or the folder cannot be written.
        """
        target = self._place(path)
        try:
            size, sha256 = write_image_table(table.folder, table.state, target)
        except ShardError as error:
            raise PublishError(f"{error}. Nothing was published") from error
        self._known[path] = (size, sha256)
        write_json(self._ledger, {name: {"size": size, "sha256": sha} for name, (size, sha) in self._known.items()})
        return target

    def measure(self, path: str, table: ImageTable) -> tuple[int, str]:
        """Make a table and delete it again; return its size and sha256."""
        self.make(path, table).unlink()
        return self._known[path]

    def drop(self, paths: Iterable[str]) -> None:
        """Delete tables that have been uploaded."""
        for path in paths:
            self._place(path).unlink(missing_ok=True)

    def _clear(self) -> None:
        for path in self._work.glob("*.parquet*"):
            path.unlink(missing_ok=True)

    def _place(self, path: str) -> Path:
        return self._work / path.replace("/", "-")


def outgoing(publication: Publication, endpoint: str, tables: Tables) -> Iterator[OutFile]:
    """Yield all files of a publication."""
    folder = publication.folder
    read_rejected(folder / REJECTED)  # raises ShardError for what is no such table
    for state in publication.shards:
        if not publication.recipes_only:
            yield OutFile(state.path, _inside(folder, state.path), state.size, state.sha256)
        name = f"{MANIFEST}/{part_path(folder, state.path).name}"
        yield _out(_inside(folder, name), name)
    if publication.tables:
        yield from _tables(publication, tables)
    for name in (INFO, REJECTED):
        if (folder / name).exists():
            yield _out(_inside(folder, name), name)
    for name, data in pages(publication, endpoint).items():
        yield OutFile(name, data, len(data))
    if publication.recipes_only:
        for path in sorted((MANIFESTS / "overlaps").glob("*.txt")):
            yield _out(path, f"overlaps/{path.name}")
        for name, path in publication.manifests.items():
            _refuse_passwords(path)
            yield _out(path, f"sources/{name}.toml")


def pages(publication: Publication, endpoint: str) -> dict[str, bytes]:
    """
    Return the contents of README.md, croissant.json and eval.yaml, by name.

    Args:
        publication: what is published.
        endpoint: URL of the Hub.
    """
    document = croissant(
        publication,
        description=describe_briefly(publication),
        endpoint=endpoint,
        licences=licence_identifiers(publication),
    )
    texts = {
        CARD: card(publication),
        CROISSANT: json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        EVALUATION: evaluation(publication),
    }
    return {name: text.encode() for name, text in texts.items() if text}


def write_pages(folder: Path, written: Mapping[str, bytes]) -> None:
    """
    Write the pages into the shard folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    for name, data in written.items():
        with writing(folder / name) as partial:
            partial.write_bytes(data)


def is_there(file: OutFile, entry: Entry | None) -> bool:
    """Return whether an entry has a file's bytes; a table that was never made is compared by name."""
    if entry is None:
        return False
    if isinstance(file.content, ImageTable) and not file.sha256:
        return True
    return entry.size == file.size and holds(entry, file, file.sha256 or sha256_of(file.content))


def holds(entry: Entry, file: OutFile, sha256: str) -> bool:
    """Return whether an entry has a file's bytes: large files are compared by sha256, small ones by git's hash."""
    if entry.sha256 or isinstance(file.content, ImageTable):
        return entry.sha256 == sha256
    data = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    return entry.blob == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def sha256_of(content: Path | bytes | ImageTable) -> str:
    """
    Return the sha256 of what is to be uploaded.

    Raises:
        StorageError: it cannot be read.
    """
    if isinstance(content, ImageTable):
        raise ValueError("a table has to be made first")
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    try:
        return hash_file(content)[0]
    except OSError as error:
        raise StorageError(f"{content}: cannot be read ({error.strerror})") from error


def _tables(publication: Publication, tables: Tables) -> Iterator[OutFile]:
    sizes = samples_of_shards(publication.table)
    for state in publication.shards:
        if not state.samples:
            continue
        path = f"{TABLES}/{state.path.removesuffix('.tar')}-{state.sha256[:_NAME_DIGITS]}.parquet"
        size, sha256 = tables.known(path) or (sizes[state.path][1], "")
        yield OutFile(path, ImageTable(publication.folder, state), size, sha256)


def _out(path: Path, name: str) -> OutFile:
    return OutFile(name, path, path.stat().st_size)


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file to publish; a shard folder of others may hold links to private files."""
    with naming(PublishError, f"{folder} is not published", "copy the file to where the link is"):
        return path_below(folder, name)


def _refuse_passwords(manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    if redacted(text) != text:
        raise PublishError(
            f"{manifest}: an address in it has a password or a token, and the manifest would be published. Take it out"
        )


def _read_ledger(path: Path) -> dict[str, tuple[int, str]]:
    """Return size and sha256 of the tables in the ledger; {} if it cannot be read: it is written again."""
    try:
        document = json.loads(path.read_text())
        return {name: (int(row["size"]), str(row["sha256"])) for name, row in document.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
