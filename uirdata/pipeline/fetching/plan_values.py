"""The values of a fetch plan: what has to be done for each file and each source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uirdata.errors import StorageError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.tree_search import GivenTree, Unwanted
from uirdata.sources import Mirror, RemoteFile, Source

State = Literal["here", "partial", "given", "missing", "by hand", "left"]


@dataclass(frozen=True)
class PlannedFile:
    """
    A file of a source, and what has to be done for it.

    Attributes:
        file: the file, from the manifest.
        state: here; partial (some bytes are here); given (it is in the user's folder); missing (it will be downloaded);
            by hand (the user has to download it); left (it is not in the user's folder, and --from does not download).
        here_bytes: number of bytes that need not be downloaded again.
        to_fetch: number of bytes to download, 0 if none; None if the size is unknown.
        given: its path in the user's folder.
        todo: what the user has to do, now (by hand) or before the download (a token); "" if nothing.
        mirrors: mirrors that a program can use, in order.
    """

    file: RemoteFile
    state: State
    here_bytes: int
    to_fetch: int | None
    given: Path | None
    todo: str
    mirrors: tuple[Mirror, ...]


@dataclass(frozen=True)
class PlannedSource:
    """
    A source, and what has to be done for it.

    Attributes:
        source: the source, from its manifest.
        files: all files of the chosen file set, in the order of the manifest.
        file_set: name of the chosen alternative; "" for the source's own files.
        tree: its unpacked files in the user's folder; None if there are none.
        doubts: why files in the user's folder that look like it are not taken.
        gate: the largest effort of the user: "", "token", "login", "form" or "by hand".
    """

    source: Source
    files: tuple[PlannedFile, ...]
    file_set: str
    tree: GivenTree | None
    gate: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class FetchPlan:
    """
    The plan of a fetch.

    Attributes:
        layout: the folders to write to.
        sources: in the requested order.
        bytes_to_fetch: bytes to download, as far as sizes are known.
        unknown_sizes: number of files to download whose size is unknown.
        bytes_on_disk: additional bytes on disk after unpacking, archives kept; as far as sizes are known.
        bytes_pruned: the same with archives deleted.
        estimated_bytes: what the files of unknown size may add, estimated from published numbers of images.
        free_bytes: free bytes on the disk of the root.
        from_dir: the user's folder; None without one.
        unwanted: files in it that were not taken.
    """

    layout: Layout
    sources: tuple[PlannedSource, ...]
    bytes_to_fetch: int
    unknown_sizes: int
    bytes_on_disk: int
    bytes_pruned: int
    free_bytes: int
    estimated_bytes: int = 0
    from_dir: Path | None = None
    unwanted: tuple[Unwanted, ...] = ()

    @property
    def by_hand(self) -> tuple[tuple[Source, PlannedFile], ...]:
        """All files that the user has to download."""
        return tuple((s.source, f) for s in self.sources for f in s.files if f.state == "by hand")

    def refuse_if_too_large(self, *, prune: bool = False, ignore_estimates: bool = False) -> None:
        """
        Check that the plan fits on the disk.

        Raises:
            StorageError: it does not fit.
        """
        if fault := self.too_large(prune=prune, ignore_estimates=ignore_estimates):
            raise StorageError(fault)

    def too_large(self, *, prune: bool = False, ignore_estimates: bool = False) -> str:
        """
        Return why the plan does not fit on the disk, with estimates for what is downloaded and unpacked; "" if it fits.

        Args:
            prune: archives are deleted after they are unpacked.
            ignore_estimates: check known sizes only.
        """
        known = self.bytes_pruned if prune else self.bytes_on_disk
        estimated = 0 if ignore_estimates else self.estimated_bytes * (1 if prune else 2)
        if known + estimated <= self.free_bytes:
            return ""
        advice = "" if prune else "; --prune, which deletes archives after they are unpacked, needs less"
        guessed = ""
        if known <= self.free_bytes:
            guessed = (
                f" {estimated / 1e9:.1f} GB of it are estimated, for files of unknown size: `uir sources --check` asks "
                "the servers, --ignore-estimates starts anyway."
            )
        return (
            f"{self.layout.root}: this needs about {(known + estimated) / 1e9:.1f} GB, and "
            f"{self.free_bytes / 1e9:.1f} GB are free.{guessed} Nothing was downloaded. Fetch fewer sources, or use "
            f"--root on a larger disk{advice}"
        )
