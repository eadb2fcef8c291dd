"""
Restoration of images: of many files, or of one file in memory.

The module is not called `restore`, because a module of that name would hide the function `restore`.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskdcpt.restoring.image_files import ImageFile, Pixels, decode_image_file, encode_image_file
from maskdcpt.restoring.record import Entry, Record, sha256_of
from maskdcpt.restoring.restorer import Restorer
from uirdata.decoding import MOST_PIXELS, TooLargeError, to_eight_bits
from uirdata.errors import ImageError, StorageError, UirError, UsageError, one_file
from uirdata.file_kinds import is_image_name, is_of_the_system, unread_reason
from uirdata.folders import list_files
from uirdata.progress import Progress, Silent
from uirdata.storage.files import storage_error, writing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """
    The result of one file.

    Attributes:
        source: the file that was read.
        target: the file that was written; None where an error occurred.
        height: in pixels.
        width: in pixels.
        degradation: the class that the classifier returned; "" without a classifier.
        problem: why it was not restored; "" where it was.
        remark: what was converted on reading; "" for nothing.
        skipped: whether `target` existed already, made from the same file by the same weights and settings.
    """

    source: Path
    target: Path | None
    height: int = 0
    width: int = 0
    degradation: str = ""
    problem: str = ""
    remark: str = ""
    skipped: bool = False


def restore_files(
    files: Sequence[Path],
    out: Path,
    restorer: Restorer,
    *,
    overwrite: bool = False,
    most_pixels: int = MOST_PIXELS,
    progress: Progress | None = None,
    on_image: Callable[[Restored, ImageFile, Pixels], None] | None = None,
) -> list[Restored]:
    """
    Restore files one after the other; a file that cannot be restored is reported, and the others are still restored.

    Results are PNG files with the name of the source; files of a folder keep their path below `out`. They are upright;
    16 bits, colour profile, EXIF and an alpha channel are kept.

    What was restored before from the same file by the same weights and settings is skipped: `out` has a record of what
    each result was made from. A result of another file or of other weights is not replaced, but reported.

    In a folder, hidden files and what systems leave there (thumbnails, bins) are no images; a file of a kind that is
    not read, such as RAW, has a result with that problem. Results of this and other restorations in folders below it
    are not restored again.

    Args:
        files: images, folders of images, or patterns such as photos/*.jpg.
        out: folder for the results; created if it does not exist.
        restorer: the networks.
        overwrite: replace existing files.
        most_pixels: larger images are not decoded.
        progress: receives the number of files done.
        on_image: called with each result, its image file and the restored pixels.

    Returns:
        One for each image, and one for each argument that matches no image, in order.

    Raises:
        UsageError: no image was given.
        StorageError: the folder cannot be created, or its record cannot be read.
    """
    listener = progress or Silent()
    planned = plan_files(files, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    work = _Work(out, restorer, Record(out), overwrite, most_pixels, on_image)
    results = []
    listener.begin("restore", len(planned))
    for plan in planned:
        try:
            if plan.problem:
                raise UsageError(plan.problem)
            with one_file(plan.source):
                results.append(work.restore(plan))
        except UirError as error:
            listener.note(str(error))
            results.append(replace(plan, target=None, problem=str(error)))
        listener.advance("restore")
    listener.end("restore")
    return results


def restore_bytes(
    data: bytes, name: str, restorer: Restorer, *, most_pixels: int = MOST_PIXELS
) -> tuple[bytes, Restored]:
    """
    Restore one image file in memory, as `restore_files` does.

    Returns:
        The PNG file, and its result.

    Raises:
        ImageError: the data is not an image, or is truncated.
    """
    image = _decoded(data, name, most_pixels)
    restored = restorer.restore_image_file(image)
    return encode_image_file(restored, image), _described(Restored(Path(name), None), image, restorer)


def plan_files(files: Sequence[Path], out: Path) -> list[Restored]:
    """
    Return the target of each image; none is decoded.

    Returns:
        One for each image; those that cannot be restored have a problem.

    Raises:
        UsageError: no image was given.
    """
    taken: dict[Path, Path] = {}
    planned = []
    for source, place, problem in _images(files, out):
        target = out / place.with_suffix(".png")
        if not problem and target in taken:
            problem = (
                f"{source}: its result would be {target}, the same as that of {taken[target]}; restore it into another "
                "--out"
            )
        if not problem and _same_file(source, target):
            problem = f"{source}: its result would replace the file itself; choose another --out"
        if not problem:
            taken[target] = source
        planned.append(Restored(source, None if problem else target, problem=problem))
    if not planned:
        raise UsageError("no image was given")
    return planned


@dataclass(frozen=True)
class _Work:
    """The restoration of one file after the other into a folder; fields as the arguments of `restore_files`."""

    out: Path
    restorer: Restorer
    record: Record
    overwrite: bool
    most_pixels: int
    on_image: Callable[[Restored, ImageFile, Pixels], None] | None

    def restore(self, plan: Restored) -> Restored:
        assert plan.target is not None
        exists = plan.target.exists()
        entry = self.record.find(plan.target.relative_to(self.out).as_posix())
        if exists and entry is None and not self.overwrite:
            raise UsageError(f"{plan.target}: file exists; --overwrite replaces it")
        data = _bytes(plan.source)
        source = sha256_of(data)
        if exists and entry is not None and not self.overwrite:
            return self._skipped(plan, plan.target, entry, source, data)
        image = _decoded(data, str(plan.source), self.most_pixels)
        _check_writable(plan.target.parent)
        pixels = self.restorer.restore_image_file(image)
        result = _described(plan, image, self.restorer)
        png = encode_image_file(pixels, image)
        with writing(plan.target) as partial:
            partial.write_bytes(png)
            self.record.add(
                Entry(
                    target=plan.target.relative_to(self.out).as_posix(),
                    source=source,
                    made_by=self.restorer.identity,
                    result=sha256_of(png),
                    height=result.height,
                    width=result.width,
                    degradation=result.degradation,
                    remark=result.remark,
                )
            )
        if self.on_image is not None:
            self.on_image(result, image, pixels)
        return result

    def _skipped(self, plan: Restored, target: Path, entry: Entry, source: str, data: bytes) -> Restored:
        """Return the result that exists already; UsageError where it is of something else."""
        png = _bytes(target)
        if sha256_of(png) != entry.result:
            raise UsageError(f"{target}: was changed after it was restored; --overwrite replaces it")
        if entry.source != source:
            raise UsageError(
                f"{target}: was restored from another file than {plan.source} is now; --overwrite replaces it"
            )
        if entry.made_by != self.restorer.identity:
            raise UsageError(f"{target}: was restored with other weights or settings; --overwrite replaces it")
        known = replace(plan, height=entry.height, width=entry.width, degradation=entry.degradation)
        result = replace(known, remark=entry.remark, skipped=True)
        if self.on_image is not None:
            before = _decoded(data, str(plan.source), self.most_pixels)
            self.on_image(result, before, _decoded(png, str(target), self.most_pixels).pixels)
        return result


def _decoded(data: bytes, name: str, most_pixels: int) -> ImageFile:
    try:
        return decode_image_file(data, name, most_pixels=most_pixels)
    except TooLargeError as error:
        raise ImageError(f"{error}. --max-pixels N decodes larger images, if you trust the file") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_writable(folder: Path) -> None:
    """Check that a folder can be written before the restoration, which may take minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise StorageError(f"{folder}: cannot be written; choose another --out, or change its permissions")


def _described(plan: Restored, image: ImageFile, restorer: Restorer) -> Restored:
    height, width = image.pixels.shape[:2]
    degradation = restorer.name(to_eight_bits(image.pixels))
    return replace(plan, height=height, width=width, degradation=degradation, remark=image.remark)


def _images(files: Sequence[Path], out: Path) -> Iterator[tuple[Path, Path, str]]:
    """Yield each image, its path below the argument, and the problem of the argument."""
    # A pattern that the shell follows names what a system left in a folder, too.
    left = [path for path in files if is_of_the_system(path.name) and not path.name.startswith(".")]
    for path in (path for path in files if path not in left):
        try:
            with one_file(path):
                found = list(_images_of(path, out))
        except UirError as error:
            found = [(path, Path(path.name), str(error))]
        yield from found


def _images_of(path: Path, out: Path) -> Iterator[tuple[Path, Path, str]]:
    try:
        if path.is_dir():
            inside = [name for name in list_files(path) if is_image_name(name) or unread_reason(name)]
            inside = _without_results(path, inside, out)
            # Not those of `out` alone: restored twice, an image would look like any other.
            inside = _without_earlier_results(path, inside)
            yield from ((path / name, Path(name), _unread_problem(path / name)) for name in inside)
            if not inside:
                yield path, Path(path.name), f"{path}: no image in this folder"
        elif not path.exists() and glob.has_magic(str(path)):
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())  # noqa: PTH207
            found = [p for p in found if not is_of_the_system(p.name)]
            yield from ((p, Path(p.name), _unread_problem(p)) for p in found)
            if not found:
                yield path, Path(path.name), f"{path}: no file matches this pattern"
        else:
            yield path, Path(path.name), _unread_problem(path) if path.exists() else f"{path}: no such file"
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _without_results(folder: Path, names: Sequence[str], out: Path) -> list[str]:
    """Leave out results in a folder: what lies below `out` in it, or, if both are one, what the record knows."""
    root, below = folder.resolve(), out.resolve()
    if root == below:
        record = Record(out)
        return [name for name in names if not _is_result(folder / name, record.find(name))]
    if not below.is_relative_to(root):
        return [*names]
    return [name for name in names if not name.startswith(below.relative_to(root).as_posix() + "/")]


def _without_earlier_results(folder: Path, names: Sequence[str]) -> list[str]:
    """
    Leave out, with a warning, what records in the folders below know as results of other restorations.

    Results in the folder itself are kept: it was named, so another network is to restore them further.
    """
    records: dict[Path, Record] = {}

    def is_result(name: str) -> bool:
        path = folder / name
        for parent in path.parents[: name.count("/")]:
            if parent not in records:
                records[parent] = Record(parent)
            if _is_result(path, records[parent].find(path.relative_to(parent).as_posix())):
                return True
        return False

    kept = [name for name in names if not is_result(name)]
    left = [name for name in names if name not in set(kept)]
    if left:
        logger.warning(
            "%s: %d results of earlier restorations are left out; the first is %s", folder, len(left), left[0]
        )
    return kept


def _is_result(path: Path, entry: Entry | None) -> bool:
    try:
        return entry is not None and sha256_of(path.read_bytes()) == entry.result
    except OSError:
        return False


def _unread_problem(path: Path) -> str:
    """Return why a file of a kind that is not read is not restored; "" for any other file."""
    reason = unread_reason(path.name)
    return f"{path}: is not read: it is {reason}" if reason else ""


def _same_file(source: Path, target: Path) -> bool:
    return source.exists() and target.exists() and source.samefile(target)
