"""Checks of the names in archives before anything is written: refused names, and safe paths for the others."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

from uirdata.errors import ArchiveError
from uirdata.file_kinds import is_image_name, is_of_the_system

_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10))})
_OURS = re.compile(r"(?:.*/)?\.uir(?:/.*)?|pairs\.parquet|screening-\d+-\d+\.parquet")
"""Files of ours in the folder of a source; a member of that name would be believed like them."""


@dataclass(frozen=True)
class Skipped:
    """A member that is not unpacked: `why` in words, "" for files that systems leave behind."""

    why: str


@dataclass(frozen=True)
class Limits:
    """
    Limits on an archive. The defaults are far above any published source.

    Attributes:
        entries: number of files and folders.
        ratio: unpacked bytes per packed byte, over the whole archive.
        free_bytes: unpacked bytes that are allowed at any ratio.
        name_bytes: length of a path.
        most_bytes: unpacked bytes that are allowed at all.
    """

    entries: int = 500_000
    ratio: float = 100.0
    free_bytes: int = 256 << 20
    name_bytes: int = 1024
    most_bytes: int = 1 << 62

    def total(self, packed: int) -> int:
        """Return the number of bytes that an archive of this size may unpack to."""
        return min(self.most_bytes, max(self.free_bytes, int(packed * self.ratio)))


class Names:
    """The names of one archive: each is made safe, and of two that are one file on this disk the first is kept."""

    def __init__(self, archive: str, limits: Limits, *, folds_case: bool) -> None:
        """
        Begin with no names.

        Args:
            archive: name of the archive in error messages.
            limits: limits on number and length of the names.
            folds_case: whether the disk treats "a" and "A" as the same file name.
        """
        self._archive = archive
        self._limits = limits
        self._folds_case = folds_case
        self._seen: dict[str, str] = {}
        self._count = 0

    def safe(self, name: str) -> str | Skipped:
        """
        Return the path below the folder that a member may be written to, or why it is skipped.

        Raises:
            ArchiveError: it points outside, is not a name, or there are too many.
        """
        self.count_one()
        if "\x00" in name or len(name.encode("utf-8", "surrogateescape")) > self._limits.name_bytes:
            raise self._refusal(name, "has a name that no file can have")
        # Windows programs write "\\"; no published archive uses it inside a name.
        path = unicodedata.normalize("NFC", name.replace("\\", "/"))
        if path.startswith("/") or (len(path) > 1 and path[1] == ":" and path[0].isalpha()):
            raise self._refusal(name, "has an absolute path")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._refusal(name, "points outside of the archive")
        clean = "/".join(parts)
        if is_ours(clean):
            return Skipped("has the name of a file that this program keeps")
        odd = [part for part in parts if is_of_the_system(part)]
        if not parts or odd:
            is_hidden = is_image_name(clean) and all(part[0] == "." and part[:2] != "._" for part in odd)
            return Skipped("is hidden" if parts and is_hidden else "")
        if any(ord(c) < 32 or ord(c) == 127 for c in path):
            return Skipped("has a control character in its name")
        try:
            path.encode()
        except UnicodeEncodeError:
            return Skipped("has a name that is not Unicode")
        if any(part.split(".")[0].lower() in _RESERVED or len(part.encode()) > 255 for part in parts):
            return Skipped("has a name that some disks cannot hold")
        return self._claimed(clean, name)

    def count_one(self) -> None:
        """
        Count a member.

        Raises:
            ArchiveError: there are too many members.
        """
        self._count += 1
        if self._count > self._limits.entries:
            raise ArchiveError(
                f"{self._archive} has more than {self._limits.entries:,} entries; no published source has. "
                "Nothing of it is kept"
            )

    def link_target(self, name: str, target: str, *, from_root: bool) -> str:
        """
        Return the path of the target of a link.

        Args:
            name: of the link, as `safe` returned it.
            target: as written in the archive.
            from_root: hard links of tars are relative to the root of the archive, symbolic links to their own folder.

        Raises:
            ArchiveError: it points outside of the archive.
        """
        target = unicodedata.normalize("NFC", target.replace("\\", "/"))
        if target.startswith("/"):
            raise self._refusal(name, f"is a link to {target}, outside of the archive")
        parts = [] if from_root else list(PurePosixPath(name).parent.parts)
        for part in target.split("/"):
            if part == "..":
                if not parts:
                    raise self._refusal(name, f"is a link to {target}, outside of the archive")
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return "/".join(parts)

    def refuse_kind(self, name: str, kind: str) -> ArchiveError:
        """Return the error for a member that is neither file, folder nor link."""
        return self._refusal(name, f"is {kind}")

    def _claimed(self, path: str, name: str) -> str | Skipped:
        """Return the path, unless another member has it in another writing; the same name twice is one file."""
        key = path.casefold() if self._folds_case else path
        other = self._seen.setdefault(key, name)
        if other != name:
            return Skipped(f"and {other!r} are one file on this disk; the first of them is kept")
        return path

    def _refusal(self, name: str, why: str) -> ArchiveError:
        return ArchiveError(
            f"{self._archive} is not safe to unpack: its member {name[:200]!r} {why}. Nothing of it is kept"
        )


def is_ours(path: str) -> bool:
    """Return whether a path below the folder of a source is that of a file that this program keeps there."""
    return _OURS.fullmatch(_as_disks_compare(path)) is not None


def _as_disks_compare(path: str) -> str:
    """Return a path without what some disks ignore in names: case, widths of letters, and characters of no width."""
    visible = "".join(c for c in path if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", visible).casefold()
