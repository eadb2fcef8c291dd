"""
Publishing of a complete shard folder on the Hugging Face Hub, in one commit, with checks.

Files that are on the Hub already are not uploaded again. Files are uploaded first and belong to no revision until the
commit; a reader of the branch sees the state before, or the complete new state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from uirdata.errors import PublishError
from uirdata.hosts.repository import Entry, MovedOn, Repository, Revision, Upload
from uirdata.pipeline.publishing.outgoing import (
    CARD,
    CROISSANT,
    EVALUATION,
    REJECTED,
    ImageTable,
    OutFile,
    Tables,
    holds,
    is_there,
    outgoing,
    pages,
    sha256_of,
    write_pages,
)
from uirdata.pipeline.publishing.publication import TABLES, Publication, check_licences
from uirdata.progress import Progress, Silent
from uirdata.storage.shards import INFO, MANIFEST
from uirdata.transfer import Interrupted

_OURS = (
    *(f"{split}/*/*.tar" for split in ("train", "val", "test")),
    f"{MANIFEST}/*.parquet",
    f"{TABLES}/*/*/*.parquet",
    "overlaps/*.txt",
    "sources/*.toml",
    INFO,
    CROISSANT,
    EVALUATION,
    REJECTED,
)
_OF_ANY_REPOSITORY = (".gitattributes", ".gitignore", CARD, "LICENSE", "LICENSE.md")

_MOST_FILES, _MOST_IN_FOLDER, _LARGEST_FILE = 100_000, 10_000, 50_000_000_000
"""Limits of repositories, folders and files in the Hub's documentation."""

_BATCH_FILES, _BATCH_BYTES = 200, 4_000_000_000
_COMMIT_ATTEMPTS = 4


@dataclass(frozen=True)
class PushPlan:
    """
    The work of a push.

    Attributes:
        publication: what is published.
        files: all files of the publication.
        send: files that are missing or different in the repository.
        delete: files of other shards, which are deleted.
        problems: why it cannot be published, or limits of the Hub that it exceeds; for a dry run.
        base: the revision that the commit is based on; None if the repository does not exist.
    """

    publication: Publication
    files: tuple[OutFile, ...]
    send: tuple[OutFile, ...]
    delete: tuple[str, ...]
    problems: tuple[str, ...]
    base: Revision | None

    @property
    def send_bytes(self) -> int:
        """Number of bytes to upload."""
        return sum(file.size for file in self.send)


@dataclass(frozen=True)
class PushReport:
    """
    The result of a push.

    Attributes:
        commit: hash of the commit that holds the publication.
        sent: number of files that were uploaded.
        sent_bytes: their size in bytes.
        deleted: number of files that were deleted.
    """

    commit: str
    sent: int
    sent_bytes: int
    deleted: int


def plan_push(publication: Publication, repository: Repository, *, replace: bool = False) -> PushPlan:
    """
    Compare a shard folder and its pages with the repository, and return the work of a push.

    Args:
        publication: from `describe`.
        repository: the repository; it need not exist yet.
        replace: replace shards that differ on the Hub, and delete those that are not in the folder.

    Raises:
        PublishError: the repository holds something else, or other shards and `replace` is not set.
        Interrupted: the Hub cannot be reached.
    """
    base = repository.read()
    files = tuple(outgoing(publication, repository.endpoint, Tables(publication.folder)))
    entries = base.entries if base else {}
    foreign = [path for path in entries if path not in _OF_ANY_REPOSITORY and not _is_ours(path)]
    if foreign and INFO not in entries:
        raise PublishError(
            f"{repository.link} holds files that are not shards ({foreign[0]}, ...): it is not a repository of shards. "
            "Push to another name"
        )
    send = tuple(file for file in files if not is_there(file, entries.get(file.path)))
    kept = {file.path for file in files}
    delete = tuple(sorted(path for path in entries if _is_ours(path) and path not in kept))
    changed = [file.path for file in send if file.is_shard and file.path in entries]
    gone = [path for path in delete if path.endswith(".tar")]
    if (changed or gone) and not replace:
        what = " and ".join(
            f"{len(paths)} shards that {how} ({paths[0]}, ...)"
            for paths, how in ((changed, "differ from those here"), (gone, "are not here"))
            if paths
        )
        raise PublishError(
            f"{repository.link} holds {what}. Publish from the folder that they came from, use another name, or "
            "replace them with --replace"
        )
    return PushPlan(publication, files, send, delete, tuple(_problems(publication, files)), base)


def prepare_push(publication: Publication, repository: Repository, *, replace: bool = False) -> PushPlan:
    """
    Check that publishing is allowed, write the pages into the shard folder, and return the work of a push.

    Raises:
        PublishError: a licence or the token does not allow it, or as in `plan_push`.
        StorageError: the folder cannot be written.
        Interrupted: the Hub cannot be reached.
    """
    check_licences(publication)
    repository.user()
    write_pages(publication.folder, pages(publication, repository.endpoint))
    return plan_push(publication, repository, replace=replace)


def push(
    plan: PushPlan, repository: Repository, *, private: bool = False, progress: Progress | None = None
) -> PushReport:
    """
    Upload the files of a plan, and publish them in one commit.

    Raises:
        PublishError: a licence, the token, or the Hub does not allow it, or a shard has changed since it was built.
            Nothing was published.
        Interrupted: the connection was lost, and retries failed. Nothing was published; uploaded files are not uploaded
            again.
    """
    check_licences(plan.publication)
    repository.user()
    listener = progress or Silent()
    if plan.base is None:
        repository.create(private=private)
    base = plan.base or repository.read()
    if base is None:
        raise PublishError(f"{repository.link}: was created, but cannot be read; run the command again")
    if not plan.send and not plan.delete:
        return PushReport(base.commit, 0, 0, 0)
    tables = Tables(plan.publication.folder)
    with tables.alone() if plan.publication.tables else nullcontext():
        sent_bytes = _send(plan, repository, tables, listener)
        commit = _commit(plan, repository, base.commit)
    return PushReport(commit, len(plan.send), sent_bytes, len(plan.delete))


def verify_push(publication: Publication, repository: Repository, *, progress: Progress | None = None) -> list[str]:
    """
    Compare the hash of every file with its hash on the Hub.

    Returns:
        One line for each difference; empty if there is none.

    Raises:
        PublishError: there is no such repository.
        Interrupted: the Hub cannot be reached.
    """
    there = repository.read()
    if there is None:
        raise PublishError(f"{repository.link}: no such repository or branch, or this token has no access to it")
    listener = progress or Silent()
    tables = Tables(publication.folder)
    files = list(outgoing(publication, repository.endpoint, tables))
    listener.begin("verify", sum(file.size for file in files), "bytes")
    wrong: list[str] = []
    for file in files:
        wrong += _faults(file, there.entries.get(file.path), tables)
        listener.advance("verify", file.size)
    listener.end("verify")
    return wrong


def _send(plan: PushPlan, repository: Repository, tables: Tables, listener: Progress) -> int:
    sent_bytes = 0
    listener.begin("upload", plan.send_bytes, "bytes")
    for batch in _batches(plan.send):
        uploads = [_upload(file, tables) for file in batch]
        in_use = repository.send(uploads)
        for upload in uploads:
            sent_bytes += upload.content.stat().st_size if isinstance(upload.content, Path) else len(upload.content)
        tables.drop(upload.path for upload in uploads if upload.path not in in_use)
        listener.advance("upload", sum(file.size for file in batch))
    listener.end("upload")
    return sent_bytes


def _upload(file: OutFile, tables: Tables) -> Upload:
    if isinstance(file.content, ImageTable):
        return Upload(file.path, tables.make(file.path, file.content))
    return Upload(file.path, file.content, file.sha256)


def _faults(file: OutFile, entry: Entry | None, tables: Tables) -> Iterator[str]:
    if isinstance(file.content, ImageTable):
        # Made again, because its hash is not in the ledger: a table of another pyarrow version may have other bytes.
        size, here = tables.known(file.path) or tables.measure(file.path, file.content)
    else:
        size, here = file.size, sha256_of(file.content)
        if file.is_shard and here != file.sha256:
            yield f"{file.path}: here its sha256 is {here}, the manifest has {file.sha256}: changed on this disk"
    if entry is None:
        yield f"{file.path}: is not on the Hub"
    elif entry.size != size or not holds(entry, file, here):
        there = entry.sha256 or entry.blob
        yield f"{file.path}: differs on the Hub, {entry.size:,} bytes, hash {there}; here {size:,}, {here}"


def _is_ours(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in _OURS)


def _problems(publication: Publication, files: Sequence[OutFile]) -> Iterator[str]:
    try:
        check_licences(publication)
    except PublishError as error:
        yield str(error)
    if len(files) > _MOST_FILES:
        yield f"{len(files):,} files; the Hub allows {_MOST_FILES:,}. Build with a larger --shard-size"
    for folder, number in Counter(file.path.rpartition("/")[0] for file in files).items():
        if number > _MOST_IN_FOLDER:
            yield f"{folder}: {number:,} files; the Hub allows {_MOST_IN_FOLDER:,} in a folder. Use larger shards"
    for file in files:
        if file.size > _LARGEST_FILE:
            yield f"{file.path}: {file.size:,} bytes; the Hub allows {_LARGEST_FILE:,}. Use a smaller --shard-size"


def _batches(files: Sequence[OutFile]) -> Iterator[list[OutFile]]:
    """Yield groups of files: few requests for small files, and progress between large ones."""
    batch: list[OutFile] = []
    for file in files:
        if batch and (len(batch) == _BATCH_FILES or sum(f.size for f in batch) + file.size > _BATCH_BYTES):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def _commit(plan: PushPlan, repository: Repository, parent: str) -> str:
    message = f"{plan.publication.table.num_rows:,} samples, {plan.publication.info.get('made_by')}"
    for attempt in range(_COMMIT_ATTEMPTS):
        try:
            return repository.commit(message, parent=parent, delete=plan.delete)
        except (Interrupted, MovedOn) as error:
            # The commit may have succeeded, and only the response was lost.
            now = repository.read()
            if now is not None and now.commit != parent and _is_there(plan, now.entries):
                return now.commit
            if isinstance(error, MovedOn) or attempt == _COMMIT_ATTEMPTS - 1:
                raise
            repository.wait(attempt, error)
    raise AssertionError("unreachable")


def _is_there(plan: PushPlan, entries: Mapping[str, Entry]) -> bool:
    return all(is_there(file, entries.get(file.path)) for file in plan.send) and not set(plan.delete) & set(entries)


def as_json(plan: PushPlan) -> dict[str, object]:
    """Return a plan as a JSON document."""
    return {
        "repository": plan.publication.repository,
        "exists": plan.base is not None,
        "files": len(plan.files),
        "bytes": sum(file.size for file in plan.files),
        "to_send": [file.path for file in plan.send],
        "bytes_to_send": plan.send_bytes,
        "to_delete": list(plan.delete),
        "problems": list(plan.problems),
    }
