"""The receipts of downloads: URL, sha256, bytes and time of each file of a source, in receipts.json."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uirdata.errors import SourceError
from uirdata.storage.files import writing
from uirdata.validators import (
    disk_path,
    json_object,
    load_json,
    md5_digest,
    naming,
    one_of,
    sha256_digest,
    text,
    whole_number,
)

_FORMAT = 1
_FEW = 200
_SECONDS = 2.0
_MOST_TEXT = 1 << 16
_ADVICE = (
    "it holds the hashes that later downloads are checked against; delete it to accept the files that are here now"
)


@dataclass(frozen=True)
class Receipt:
    """
    The receipt of one downloaded file.

    Attributes:
        url: where it was downloaded from.
        sha256: of its bytes, in hex.
        bytes: its size.
        when: UTC, ISO 8601.
        md5: in hex, if the manifest states one; else "".
        mtime_ns: of the file when its hash was last verified; if it changes, the file is hashed again.
        pinned_by: "manifest", or "first use": no hash is published, so later downloads must have this one; "" until
            the file was unpacked, because a broken first download must not keep out the right one.
    """

    url: str
    sha256: str
    bytes: int
    when: str
    md5: str = ""
    mtime_ns: int = 0
    pinned_by: str = "first use"


class Receipts:
    """The receipts of one source; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """
        Read the receipts.

        Raises:
            SourceError: the file exists but cannot be read.
        """
        self._path = path
        self._lock = threading.Lock()
        self._held: dict[str, Receipt] = {}
        self._written_at = 0.0
        self._is_behind = False
        if not path.exists():
            return
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror or error}; {_ADVICE}") from error
        with naming(SourceError, str(path), _ADVICE):
            document = json_object(load_json(data))
            one_of(str(document.get("format")), [str(_FORMAT)])
            files = json_object(document.get("files"))
        for name, row in files.items():
            with naming(SourceError, f"{path}: files.{name[:200]!r}", _ADVICE):
                self._held[disk_path(name)] = _receipt(json_object(row))

    def get(self, name: str) -> Receipt | None:
        """Return the receipt of a file, or None."""
        return self._held.get(name)

    def all(self) -> Mapping[str, Receipt]:
        """Return all receipts, by the name of the file, sorted."""
        return dict(sorted(self._held.items()))

    def put(self, name: str, receipt: Receipt) -> None:
        """
        Add or replace a receipt, also on the disk: at once, or with a delay if there are very many.

        Raises:
            StorageError: it cannot be written.
        """
        with self._lock:
            self._held[name] = receipt
            self._is_behind = True
            # A folder of 70,000 loose files would write 70,000 ever longer lists.
            if len(self._held) < _FEW or time.monotonic() - self._written_at > _SECONDS:
                self._write()

    def pin(self, names: Iterable[str]) -> Mapping[str, Receipt]:
        """
        Pin files that proved whole; return the receipts of those that were not pinned before.

        Raises:
            StorageError: they cannot be written.
        """
        fresh = {
            name: replace(receipt, pinned_by="first use")
            for name in names
            if (receipt := self._held.get(name)) is not None and not receipt.pinned_by
        }
        for name, receipt in fresh.items():
            self.put(name, receipt)
        return fresh

    def drop(self, name: str) -> None:
        """
        Remove a receipt, if there is one.

        Raises:
            StorageError: the change cannot be written.
        """
        with self._lock:
            if self._held.pop(name, None) is not None:
                self._write()

    def flush(self) -> None:
        """Write to the disk what is not there yet."""
        with self._lock:
            if self._is_behind:
                self._write()

    def _write(self) -> None:
        files = {key: asdict(value) for key, value in self.all().items()}
        with writing(self._path) as partial:
            partial.write_text(json.dumps({"format": _FORMAT, "files": files}, indent=1) + "\n")
        self._written_at = time.monotonic()
        self._is_behind = False


def now() -> str:
    """Return the current time for a receipt."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _receipt(row: Mapping[str, Any]) -> Receipt:
    """Return the receipt of a JSON object; fields that a later release added are ignored."""
    md5 = row.get("md5", "")
    return Receipt(
        url=text(row.get("url"), most=_MOST_TEXT),
        sha256=sha256_digest(row.get("sha256")),
        bytes=whole_number(row.get("bytes")),
        when=text(row.get("when"), most=_MOST_TEXT),
        md5=md5_digest(md5) if md5 != "" else "",
        mtime_ns=whole_number(row.get("mtime_ns", 0), least=-(2**63)),
        pinned_by=one_of(row.get("pinned_by", "first use"), ("manifest", "first use", "")),
    )
