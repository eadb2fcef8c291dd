"""The receipts of downloads: URL, sha256, bytes and time of each file of a source, in receipts.json."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uirdata.errors import SourceError
from uirdata.storage.files import writing

_FORMAT = 1
_FEW = 200
_SECONDS = 2.0


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
        pinned_by: "manifest", or "first use": no hash is published, so later downloads must have this one.
    """

    url: str
    sha256: str
    bytes: int
    when: str
    md5: str = ""
    mtime_ns: int = 0
    pinned_by: str = "first use"


_FIELDS = {field.name for field in fields(Receipt)}


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
            document = json.loads(path.read_text())
            self._held = {name: _receipt(row) for name, row in document["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"{path}: cannot be read ({error}). It holds the hashes that later downloads are checked against; "
                "delete it to accept the files that are on the disk now"
            ) from error

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
    return Receipt(**{name: value for name, value in row.items() if name in _FIELDS})
