"""Paths of all files and folders under the root folder; nothing here accesses the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """
    The folders of one root.

    Attributes:
        root: `--root`, or UIR_ROOT, or ./uir-data.
    """

    root: Path

    @classmethod
    def around(cls, shards: str | Path) -> Layout | None:
        """Return the root that a shard folder lies in; None for an address, such as s3://bucket/shards."""
        if not str(shards) or "://" in str(shards):
            return None
        return cls(Path(shards).resolve().parent)

    @property
    def manifests(self) -> Path:
        """Manifests of the user's own folders, written by `uir fetch ID --from DIR`."""
        return self.root / "manifests"

    @property
    def shards(self) -> Path:
        """The pool of shards, unless --out says otherwise."""
        return self.root / "shards"

    @property
    def plan(self) -> Path:
        """The last plan of `uir crop`."""
        return self.root / "plan.parquet"

    def downloads(self, source: str) -> Path:
        """The files of a source, as published."""
        return self.root / "downloads" / source

    def receipts(self, source: str) -> Path:
        """URL, sha256, bytes and time of each downloaded file."""
        return self.downloads(source) / "receipts.json"

    def source(self, source: str) -> Path:
        """The files of a source, unpacked."""
        return self.root / "sources" / source

    def pairs(self, source: str) -> Path:
        """The pairs found in a source, and the files that were left out, with the reason."""
        return self.source(source) / "pairs.parquet"

    def screening(self, source: str, size: int, stride: int) -> Path:
        """Scores of the training crops of a source at one size and stride, and which of them are left out."""
        return self.source(source) / f"screening-{size}-{stride}.parquet"

    @property
    def fingerprints(self) -> Path:
        """Fingerprints of all images that `uir audit` has read, from any pool or source."""
        return self.root / "cache" / "fingerprints"

    @property
    def overlaps(self) -> Path:
        """Lists of training scenes that are also in benchmarks, written by `uir audit --write-overlaps`."""
        return self.root / "overlaps"

    @property
    def audit(self) -> Path:
        """The last results of `uir audit`."""
        return self.root / "audit.parquet"
