"""A folder of files that the user downloaded: which of them belong to a source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from uirdata.errors import UsageError
from uirdata.file_kinds import is_of_the_system
from uirdata.sources import RemoteFile
from uirdata.storage.downloads import hash_file

_COPY = re.compile(r"(.+?)(?: ?\(\d+\)|_\d+)?((?:\.tar)?\.[A-Za-z0-9]+)")
"""How browsers name a second download: "train (1).zip"."""


class UserFolder:
    """The user's folder. It is read once, and its files are hashed only if their name or size matches."""

    def __init__(self, folder: Path, root: Path) -> None:
        """
        Open the folder.

        Args:
            folder: the user's folder.
            root: our data folder, which is skipped if it is inside the user's folder.

        Raises:
            UsageError: the folder does not exist.
        """
        self.folder = folder.expanduser().absolute()
        self._root = root.expanduser().absolute()
        if not self.folder.is_dir():
            raise UsageError(f"{folder}: no such folder; --from expects the folder of your downloads")
        self._hashes: dict[tuple[Path, bool], tuple[str, str]] = {}
        self._misnamed: list[str] = []

    @cached_property
    def files(self) -> Sequence[tuple[Path, int]]:
        """All files and their sizes, sorted."""
        return sorted(self._walk())

    @property
    def misnamed(self) -> Sequence[str]:
        """Files below the folder whose names are not UTF-8; their odd bytes as in \\xe9."""
        _ = self.files
        return self._misnamed

    @cached_property
    def _by_name(self) -> dict[str, list[tuple[Path, int]]]:
        found: dict[str, list[tuple[Path, int]]] = {}
        for path, size in self.files:
            name = path.name.lower()
            match = _COPY.fullmatch(name)
            for key in {name, match[1] + match[2] if match else name}:
                found.setdefault(key, []).append((path, size))
        return found

    @cached_property
    def _by_size(self) -> dict[int, list[tuple[Path, int]]]:
        found: dict[int, list[tuple[Path, int]]] = {}
        for path, size in self.files:
            found.setdefault(size, []).append((path, size))
        return found

    @cached_property
    def _by_suffix(self) -> dict[str, list[tuple[Path, int]]]:
        found: dict[str, list[tuple[Path, int]]] = {}
        for path, size in self.files:
            found.setdefault(path.suffix.lower(), []).append((path, size))
        return found

    @cached_property
    def names(self) -> Sequence[tuple[str, int]]:
        """All files below the folder, with "/", and their sizes."""
        start = len(str(self.folder)) + 1
        return [(str(path)[start:], size) for path, size in self.files]

    @cached_property
    def _folders(self) -> Sequence[str]:
        """All folders below the folder that hold something, sorted."""
        found: set[str] = set()
        for name, _ in self.names:
            parent = name.rpartition("/")[0]
            while parent and parent not in found:
                found.add(parent)
                parent = parent.rpartition("/")[0]
        return sorted(found)

    def find(self, file: RemoteFile) -> Path | None:
        """
        Return the path of a file, found by its hash, its size and its name, at any depth; None if it is not there.

        A published hash decides; else the size decides; if neither is known, the name must match.
        """
        if file.archive == "folder":
            return self._folder(file)
        wanted = PurePosixPath(file.name).name.lower()
        named = self._by_name.get(wanted, [])
        suffix = PurePosixPath(wanted).suffix
        others: Sequence[tuple[Path, int]] = ()
        if file.size is not None:
            others = self._by_size.get(file.size, ())
        elif file.sha256 or file.md5:
            others = self._by_suffix.get(suffix, ())
        seen: set[Path] = set()
        for is_named, (path, size) in [*((True, item) for item in named), *((False, item) for item in others)]:
            if path in seen or (not is_named and path.suffix.lower() != suffix):
                continue
            seen.add(path)
            if file.size is not None and size != file.size and not (is_named and file.repacked):
                continue
            if (file.sha256 or file.md5) and not (is_named and file.repacked):
                # The whole folder is hashed only if the size is unknown and the name differs.
                sha256, md5 = self._hash(path, md5=bool(file.md5))
                if (file.sha256 and sha256 != file.sha256) or (not file.sha256 and md5 != file.md5):
                    continue
            return path
        return None

    def names_below(self, folder: Path) -> list[tuple[str, int]]:
        """Return the files below one of its folders, with "/", and their sizes."""
        below = folder.relative_to(self.folder).as_posix()
        if below == ".":
            return list(self.names)
        start = below + "/"
        return [(name[len(start) :], size) for name, size in self.names if name.startswith(start)]

    def _folder(self, file: RemoteFile) -> Path | None:
        ending = "/" + file.name
        return next((self.folder / name for name in self._folders if f"/{name}".endswith(ending)), None)

    def _hash(self, path: Path, *, md5: bool) -> tuple[str, str]:
        if (path, md5) not in self._hashes:
            try:
                self._hashes[(path, md5)] = hash_file(path, md5=md5)
            except OSError:
                # A file that cannot be read does not match.
                self._hashes[(path, md5)] = ("", "")
        return self._hashes[(path, md5)]

    def _walk(self) -> Iterator[tuple[Path, int]]:
        seen: set[tuple[int, int]] = set()
        # Links to folders are followed, because data lie on other disks; a link to a parent folder only once.
        for folder, folders, names in os.walk(self.folder, followlinks=True):
            try:
                stat = Path(folder).stat()
            except OSError:
                folders.clear()
                continue
            if (stat.st_dev, stat.st_ino) in seen:
                folders.clear()
                continue
            seen.add((stat.st_dev, stat.st_ino))
            folders[:] = sorted(
                n for n in folders if not is_of_the_system(n) and Path(folder, n).absolute() != self._root
            )
            for name in names:
                path = Path(folder, name)
                if is_of_the_system(name) or not path.is_file():
                    continue
                if _is_utf8(path):
                    yield path, path.stat().st_size
                else:
                    shown = os.fsencode(path.relative_to(self.folder)).decode(errors="backslashreplace")
                    self._misnamed.append(shown)


def _is_utf8(path: Path) -> bool:
    """Return whether a path can be written into a table or a journal."""
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True
