"""Where things lie under the root folder: paths only, no disk."""

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
        """What `uir crop` planned last."""
        return self.root / "plan.parquet"

    def downloads(self, source: str) -> Path:
        """A source's files as published."""
        return self.root / "downloads" / source

    def receipts(self, source: str) -> Path:
        """Url, sha256, bytes and time of each file that arrived."""
        return self.downloads(source) / "receipts.json"

    def source(self, source: str) -> Path:
        """A source's files, unpacked."""
        return self.root / "sources" / source

    def pairs(self, source: str) -> Path:
        """What was found in a source, and what was left out, with the reason."""
        return self.source(source) / "pairs.parquet"

    def screening(self, source: str, size: int, stride: int) -> Path:
        """The scores of a source's training crops of one cut, and which of them are left out."""
        return self.source(source) / f"screening-{size}-{stride}.parquet"

    @property
    def fingerprints(self) -> Path:
        """What `uir audit` knows of pictures it has seen, whatever pool or source they came from."""
        return self.root / "cache" / "fingerprints"

    @property
    def overlaps(self) -> Path:
        """Lists of training scenes that benchmarks hold, written by `uir audit --write-overlaps`."""
        return self.root / "overlaps"

    @property
    def audit(self) -> Path:
        """What `uir audit` found last."""
        return self.root / "audit.parquet"
