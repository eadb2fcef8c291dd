"""Download of the files of one source into its downloads folder, each with a receipt."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from uirdata.errors import ArchiveError, DownloadError, StorageError, UirError
from uirdata.folders import list_files
from uirdata.hosts import Host, Listed
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import (
    archive_name,
    journal_path,
    listing_path,
    read_listing,
    whole_name,
)
from uirdata.pipeline.fetching.plan_values import PlannedFile
from uirdata.progress import Progress
from uirdata.sources import Mirror, RemoteFile, Source
from uirdata.storage.archives import fault_of, kind_of_name, member_hashes
from uirdata.storage.downloads import Arrived, DownloadSource, Expected, Listener, Pace, download, hash_file, mismatch
from uirdata.storage.files import free_bytes, link_or_copy, move, storage_error, writing
from uirdata.storage.journals import read_journal
from uirdata.storage.temporary_names import beside
from uirdata.storage.transfers.receipts import Receipt, Receipts, now
from uirdata.transfer import Interrupted, redacted
from uirdata.validators import InvalidValue, disk_path, naming, shown

FileState = Literal["here", "arrived", "given", "by hand", "failed", "left"]


@dataclass(frozen=True)
class FileOutcome:
    """
    The result of fetching a file.

    Attributes:
        name: name of the file.
        state: here (already present), arrived (downloaded), given (from the user's folder), by hand, failed,
            left (not in the user's folder, and not to be downloaded).
        message: what the user has to do, what failed, or where the file came from.
        bytes: number of bytes downloaded.
    """

    name: str
    state: FileState
    message: str = ""
    bytes: int = 0


class SourceDownloader:
    """Downloads files of one source; may be used from several threads."""

    def __init__(
        self,
        source: Source,
        layout: Layout,
        hosts: Mapping[str, Host],
        *,
        pace: Pace,
        progress: Progress,
        jobs: int,
        accept_changed: bool,
    ) -> None:
        """
        Store what the files share, and read the receipts.

        Raises:
            SourceError: the receipts cannot be read.
        """
        self._source = source
        self._layout = layout
        self._hosts = hosts
        self._pace = pace
        self._progress = progress
        self._jobs = jobs
        self._accept_changed = accept_changed
        self.receipts = Receipts(layout.receipts(source.id))

    def get_file(self, planned: PlannedFile) -> FileOutcome:
        """Download one file, or take the one that the user has; a failure is in the result."""
        name = planned.file.name
        if planned.state == "here":
            return FileOutcome(name, "here")
        if planned.state in ("by hand", "left"):
            return FileOutcome(name, planned.state, planned.todo)
        try:
            if planned.file.archive == "folder":
                return self._download_folder(planned)
            if planned.given is not None:
                return self._take_or_download(planned, planned.given)
            return self._download(planned)
        except UirError as error:
            todo = f". {planned.todo[:1].upper()}{planned.todo[1:]}" if planned.todo else ""
            return FileOutcome(name, "failed", f"{error}{todo}")

    def _take_or_download(self, planned: PlannedFile, given: Path) -> FileOutcome:
        """Use a given file; one in our downloads with wrong contents is renamed, and the file is downloaded."""
        try:
            return self._take(planned.file, given)
        except (DownloadError, ArchiveError) as error:
            if given != self._layout.downloads(self._source.id) / planned.file.name or not planned.mirrors:
                raise
            aside = beside(given, ".aside")
            _rename(given, aside)
            self._progress.note(f"{error}. It is kept as {aside}, and the file is downloaded again")
            return self._download(planned)

    def _download(self, planned: PlannedFile) -> FileOutcome:
        file = planned.file
        places = [self._place(mirror) for mirror in planned.mirrors]
        arrived = self._arrive(file, places, quiet=False)
        return FileOutcome(file.name, "arrived", f"from {arrived.url}", arrived.bytes)

    def _arrive(self, file: RemoteFile, places: list[DownloadSource], *, quiet: bool, sha256: str = "") -> Arrived:
        target = self._layout.downloads(self._source.id) / file.name
        expected = self._expected(file)
        if sha256 and not expected.sha256:
            expected = replace(expected, sha256=sha256, said_by="the host's listing")
        task = f"{self._source.id}/{file.name}"
        listener = Listener() if quiet else _Bar(self._progress, task)
        try:
            arrived = download(
                target,
                places,
                expected,
                pace=self._pace,
                listener=listener,
                explain=functools.partial(self._explain, file),
            )
        finally:
            if not quiet:
                self._progress.end(task)
        pinned = bool(file.sha256 or file.md5)
        if file.archive and not file.part_of and not pinned and (fault := fault_of(file.archive, [target])):
            rejected = beside(target, ".rejected")
            _rename(target, rejected)
            raise ArchiveError(
                f"{file.name} came from {arrived.url}, but {fault}. It is kept as {rejected}; open the link in a "
                "browser to see what is wrong, and use --from"
            )
        self._sign(file, target, arrived.url, arrived.sha256, arrived.md5, arrived.bytes)
        if arrived.differs:
            self._progress.note(
                f"{task}: its bytes differ from the manifest, as expected for this file; sha256 {arrived.sha256}"
            )
        return arrived

    def _take(self, file: RemoteFile, given: Path) -> FileOutcome:
        """Use a file from the user's folder: as a hard link if possible, otherwise as a copy."""
        target = self._layout.downloads(self._source.id) / file.name
        expected = self._expected(file)
        try:
            sha256, md5 = hash_file(given, md5=bool(file.md5))
            size = given.stat().st_size
        except OSError as error:
            raise DownloadError(f"{given}: cannot be read: {error.strerror or error}") from error
        if not file.repacked and (wrong := mismatch(expected, size=size, sha256=sha256, md5=md5)):
            raise DownloadError(f"{given} is not {file.name}: {wrong}; {self._explain(file, given) or 'download it'}")
        if file.archive and not file.part_of and (fault := fault_of(file.archive, [given])):
            raise ArchiveError(f"{given} is not {file.name}: {fault}; download it again")
        if given != target:
            link_or_copy(given, target)
        self._sign(file, target, given.as_uri(), sha256, md5, size)
        return FileOutcome(file.name, "given", f"from {given}")

    def _download_folder(self, planned: PlannedFile) -> FileOutcome:
        file = planned.file
        if planned.given is not None:
            return self._take_folder(file, planned.given)
        listing = self._listing(planned)
        task = f"{self._source.id}/{file.name}"
        self._progress.begin(task, len(listing))
        failed: list[str] = []
        size = 0

        def one(row: Mapping[str, str]) -> int:
            child = RemoteFile(f"{file.name}/{row['path']}", (), archive=_archive(row["path"]))
            receipt = self.receipts.get(child.name)
            target = self._layout.downloads(self._source.id) / child.name
            if receipt is not None and target.is_file() and target.stat().st_size == receipt.bytes:
                return 0
            if (
                receipt is not None
                and read_journal(journal_path(self._source.id, self._layout, whole_name(child.name)))[1]
            ):
                return 0
            place = self._place(Mirror(row["host"], row["where"], "third-party"))
            return self._arrive(child, [place], quiet=True).bytes

        with ThreadPoolExecutor(max_workers=self._jobs) as pool:
            futures = [pool.submit(one, row) for row in listing]
            for row, future in zip(listing, futures, strict=True):
                try:
                    size += future.result()
                except UirError as error:
                    failed.append(f"{row['path']}: {error}")
                self._progress.advance(task)
        self.receipts.flush()
        self._progress.end(task)
        if failed:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            raise DownloadError(f"{len(failed)} of {len(listing)} files could not be downloaded: {failed[0]}{more}")
        return FileOutcome(file.name, "arrived", f"{len(listing)} files", size)

    def _listing(self, planned: PlannedFile) -> list[dict[str, str]]:
        """Return the files of a folder, from the first mirror that answers; the listing is stored."""
        path = listing_path(self._source.id, self._layout, planned.file.name)
        stored = read_listing(path)
        if stored and all(row["host"] in self._hosts for row in stored):
            return stored
        errors: list[str] = []
        for mirror in planned.mirrors:
            host = self._hosts[mirror.host]
            try:
                listed = self._with_retries(functools.partial(host.files, mirror.where))
            except DownloadError as error:
                errors.append(str(error))
                continue
            if not listed:
                errors.append(f"{host.link(mirror.where)} is empty")
                continue
            self._refuse_if_too_large(planned.file.name, sum(item.size or 0 for item in listed))
            rows = [{"path": item.path, "where": item.where, "host": mirror.host} for item in listed]
            for row in rows:
                with naming(DownloadError, f"{planned.file.name}: the listing of {host.link(mirror.where)}"):
                    if "\\" in disk_path(row["path"]):
                        raise InvalidValue(f"{shown(row['path'])} has a backslash")
            with writing(path) as partial:
                partial.write_text(json.dumps({"files": rows}, indent=1) + "\n")
            return rows
        raise DownloadError(f"{planned.file.name} cannot be listed. " + "; ".join(errors))

    def _refuse_if_too_large(self, name: str, size: int) -> None:
        free = free_bytes(self._layout.downloads(self._source.id))
        if size > free:
            raise StorageError(
                f"{name}: its files have {size:,} bytes, and {free:,} are free on the disk. None of them was "
                "downloaded; free disk space, and run the same command again"
            )

    def _with_retries(self, ask: Callable[[], tuple[Listed, ...]]) -> tuple[Listed, ...]:
        for tries in range(1, self._pace.attempts):
            try:
                return ask()
            except Interrupted as error:
                wait = self._pace.first_wait_s * 2.0 ** (tries - 1)
                if self._pace.cancel.wait(min(max(wait, error.retry_after_s or 0.0), self._pace.longest_retry_after_s)):
                    raise
        return ask()

    def _take_folder(self, file: RemoteFile, given: Path) -> FileOutcome:
        rows = []
        for relative in list_files(given):
            path = given / relative
            self._take(RemoteFile(f"{file.name}/{relative}", (), archive=_archive(relative)), path)
            rows.append({"path": relative, "where": path.as_uri(), "host": "manual"})
        with writing(listing_path(self._source.id, self._layout, file.name)) as partial:
            partial.write_text(json.dumps({"files": rows}, indent=1) + "\n")
        self.receipts.flush()
        return FileOutcome(file.name, "given", f"{len(rows)} files from {given}")

    def _expected(self, file: RemoteFile) -> Expected:
        if file.sha256 or file.md5:
            return Expected(file.size, file.sha256, file.md5, loose=file.repacked)
        receipt = self.receipts.get(file.name)
        if receipt is None or not receipt.pinned_by or file.repacked or self._accept_changed:
            return Expected(file.size, loose=file.repacked)
        return Expected(receipt.bytes, receipt.sha256, said_by=f"the receipt of its first download ({receipt.when})")

    def _explain(self, file: RemoteFile, other: Path) -> str:
        """Return what a file with other bytes is: not an archive, the same files packed again, or other files."""
        advice = (
            "if its authors released a new version, run again with --accept-changed"
            if not (file.sha256 or file.md5)
            else "if its authors released a new version, update its hash in the manifest (`uir verify --pin` prints it)"
        )
        if not file.archive or file.archive == "folder" or file.part_of:
            return advice
        if fault := fault_of(file.archive, [other]):
            return f"{fault}; try again later, or another mirror"
        journal = journal_path(self._source.id, self._layout, archive_name(file))
        before, _ = read_journal(journal)
        if not before:
            return advice
        try:
            after = Counter(member_hashes(file.archive, [other]))
        except ArchiveError as error:
            return f"{error}"
        known = Counter(entry.sha256 for entry in before)
        if after == known:
            return (
                f"it holds the same {len(before)} files, bit for bit: it was only packed again, and the files that are "
                f"unpacked here are still valid; {advice}"
            )
        return (
            f"{sum((known - after).values())} of the {len(before)} files that are unpacked here are not in it; {advice}"
        )

    def _sign(self, file: RemoteFile, target: Path, url: str, sha256: str, md5: str, size: int) -> None:
        """Write the receipt of a file. Without a published hash it is pinned once it is unpacked (`unpack_all`)."""
        known = self.receipts.get(file.name)
        same = known is not None and known.sha256 == sha256
        pinned_by = known.pinned_by if known is not None and same else ""
        receipt = Receipt(
            # The address that it was downloaded from, if it only was hashed again.
            url=known.url if known is not None and same and url == target.absolute().as_uri() else url,
            sha256=sha256,
            bytes=size,
            when=now(),
            md5=md5,
            mtime_ns=target.stat().st_mtime_ns,
            pinned_by="manifest" if file.sha256 or file.md5 else pinned_by,
        )
        self.receipts.put(file.name, receipt)

    def _place(self, mirror: Mirror) -> DownloadSource:
        host = self._hosts[mirror.host]
        name = mirror.where if mirror.where.startswith("http") else f"{mirror.host}:{mirror.where}"
        return DownloadSource(redacted(name), functools.partial(host.open, mirror.where), host.connections)


class _Bar(Listener):
    """Passes the progress of a download on as a progress task."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._progress = progress
        self._task = task

    def start(self, here: int, total: int | None) -> None:
        """Start, or restart."""
        self._progress.begin(self._task, total, "bytes")
        if here:
            self._progress.advance(self._task, here)

    def advance(self, amount: int) -> None:
        """Count bytes that were received."""
        self._progress.advance(self._task, amount)


def _archive(path: str) -> Literal["", "zip", "tar", "7z", "rar", "parquet", "mat", "folder"]:
    kinds: Mapping[str, Literal["zip", "tar", "7z", "rar", "parquet", "mat"]] = {
        "zip": "zip",
        "tar": "tar",
        "7z": "7z",
        "rar": "rar",
        "parquet": "parquet",
        "mat": "mat",
    }
    return kinds.get(kind_of_name(path), "")


def _rename(path: Path, name: Path) -> None:
    try:
        move(path, name)
    except OSError as error:
        raise storage_error(name, error) from error


__all__ = ["FileOutcome", "FileState", "SourceDownloader"]
