"""Results of checks of a source's files and pairs, stored beside it so that a second check reads only what changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from uirdata.storage.files import move, storage_error
from uirdata.validators import InvalidValue, disk_path, load_json, load_typed

_FORMAT = 2
_FIRST_FORMAT = 1
# Releases that wrote the first format read deep and turned TIFF images differently, and called some whole files broken.
_READ_ANEW = frozenset({"I", "F", "I;16", "I;16L", "I;16B"})


@dataclass(frozen=True, slots=True)
class FileCheck:
    """
    The check of an image file.

    Attributes:
        path: below the source's folder.
        size: bytes, when it was checked.
        mtime_ns: of the file when it was checked; if size or time change, the file is checked again.
        height: in pixels; 0 if it cannot be read.
        width: in pixels.
        problem: why it cannot be used; "" if no problem is known.
        sha256: of the file's bytes; "" if only the header was read.
        mode: Pillow's mode; "" if only the header was read.
        constant: whether all pixels are equal.
        remark: what of its metadata was dropped; "" for nothing.
    """

    path: str
    size: int
    mtime_ns: int
    height: int = 0
    width: int = 0
    problem: str = ""
    sha256: str = ""
    mode: str = ""
    constant: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class PairCheck:
    """
    The check of the pixels of a pair.

    Attributes:
        key: see `pair_key`.
        identical: whether the LQ has the pixels of the GT.
        shift: offset of the LQ's content from the GT's, in pixels, by phase correlation; 0 if that is not clear.
        likeness: correlation of the structure of both, -1 to 1; low for a wrong partner.
        problem: why the pair cannot be used; "" if no problem is known.
        warning: what the user should look at.
    """

    key: str
    identical: bool
    shift: float
    likeness: float
    problem: str = ""
    warning: str = ""


def pair_key(gt: FileCheck, lq: FileCheck, gt_border: int) -> str:
    """Return the key of a pair, which depends on the contents of both files."""
    return f"{gt.sha256[:32]}-{lq.sha256[:32]}-{gt_border}"


class Checks:
    """
    All checks of one source; a context manager.

    The file has one line per check and is appended to during the work, so that a run that is killed loses at most its
    last line. If the file cannot be written, the checks are kept in memory until the end of the run.

    Attributes:
        unwritten: why nothing is written; "" while writing works.
    """

    def __init__(self, source_folder: Path) -> None:
        """
        Read the stored checks.

        Args:
            source_folder: `Layout.source`.
        """
        self._path = source_folder / ".uir" / "checks.jsonl"
        self._files: dict[str, FileCheck] = {}
        self._pairs: dict[str, PairCheck] = {}
        self._lines = 0
        self._out: IO[str] | None = None
        self.unwritten = ""
        self._is_old = _format(self._path) == _FIRST_FORMAT
        for row in _rows(self._path):
            self._lines += 1
            if isinstance(row, PairCheck):
                self._pairs[row.key] = row
            elif not (self._is_old and _is_outdated(row)):
                self._files[row.path] = row

    def __enter__(self) -> Checks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def file(self, path: str) -> FileCheck | None:
        """Return the check of a file, or None."""
        return self._files.get(path)

    def pair(self, key: str) -> PairCheck | None:
        """Return the check of a pair, or None."""
        return self._pairs.get(key)

    def put_file(self, check: FileCheck) -> None:
        """Store the check of a file."""
        self._files[check.path] = check
        self._append(asdict(check))

    def put_pair(self, check: PairCheck) -> None:
        """Store the check of a pair."""
        self._pairs[check.key] = check
        self._append(asdict(check))

    def flush(self) -> None:
        """Write buffered checks to the disk."""
        if self._out is not None:
            try:
                self._out.flush()
            except OSError as error:
                self._give_up(error)

    def forget_others(self, paths: Collection[str]) -> None:
        """Drop files that do not exist any more."""
        kept = set(paths)
        for path in [path for path in self._files if path not in kept]:
            del self._files[path]

    def close(self) -> None:
        """Close the file, and rewrite it if most of its lines are out of date."""
        self.flush()
        if self._out is not None:
            self._out.close()
            self._out = None
        if not self.unwritten and self._lines > 2 * (len(self._files) + len(self._pairs)) + 1000:
            self._rewrite()

    def _append(self, row: dict[str, Any]) -> None:
        if self.unwritten:
            return
        if self._is_old:
            self._rewrite()
            self._is_old = False
        try:
            if self._out is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if not self._path.exists():
                    self._path.write_text(json.dumps({"format": _FORMAT}) + "\n")
                # A truncated line must not merge with the next one.
                self._out = self._path.open("a")
                self._out.write("\n")
            self._out.write(json.dumps(row, separators=(",", ":")) + "\n")
        except OSError as error:
            self._give_up(error)
        self._lines += 1

    def _give_up(self, error: OSError) -> None:
        self.unwritten = str(storage_error(self._path, error))
        if self._out is not None:
            # Closing it would try to write again.
            with contextlib.suppress(OSError):
                self._out.close()
            self._out = None

    def _rewrite(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            with fresh.open("w") as file:
                file.write(json.dumps({"format": _FORMAT}) + "\n")
                for known in (self._files, self._pairs):
                    file.writelines(json.dumps(asdict(c), separators=(",", ":")) + "\n" for c in known.values())
            move(fresh, self._path)
        except OSError as error:
            self._give_up(error)


def _format(path: Path) -> int:
    """Return the format of a file of checks; 0 if there is none."""
    try:
        with path.open("rb") as file:
            head = load_json(file.readline(1 << 16))
    except (OSError, InvalidValue):
        return 0
    return int(head["format"]) if head in ({"format": _FORMAT}, {"format": _FIRST_FORMAT}) else 0


def _is_outdated(check: FileCheck) -> bool:
    return bool(check.problem) or check.mode in _READ_ANEW or check.path.lower().endswith((".tif", ".tiff"))


def _rows(path: Path) -> Iterator[FileCheck | PairCheck]:
    """
    Yield the checks of a file; none if it has another format.

    A line that does not fit, such as one that a crash cut, is left out: its check is made again.
    """
    if not _format(path):
        return
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        file.readline()
        for line in file:
            with contextlib.suppress(InvalidValue):
                if b'"key":' in line:
                    yield load_typed(line, PairCheck)
                else:
                    check = load_typed(line, FileCheck)
                    disk_path(check.path)
                    yield check
