"""
Restoration of images: of many files, or of one file in memory.

The module is not called `restore`, because a module of that name would hide the function `restore`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskdcpt.restoring.image_files import ImageFile, Pixels, decode_image_file, encode_image_file
from maskdcpt.restoring.restorer import Restorer
from uirdata.decoding import to_eight_bits
from uirdata.errors import ImageError, StorageError, UirError, UsageError, one_file
from uirdata.file_kinds import is_image_name, unread_reason
from uirdata.folders import list_files
from uirdata.progress import Progress, Silent
from uirdata.storage.files import storage_error, writing


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
    """

    source: Path
    target: Path | None
    height: int = 0
    width: int = 0
    degradation: str = ""
    problem: str = ""
    remark: str = ""


def restore_files(
    files: Sequence[Path],
    out: Path,
    restorer: Restorer,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_image: Callable[[Restored, ImageFile, Pixels], None] | None = None,
) -> list[Restored]:
    """
    Restore files one after the other; a file that cannot be restored is reported, and the others are still restored.

    Results are PNG files with the name of the source; files of a folder keep their path below `out`. They are upright;
    16 bits, colour profile, EXIF and an alpha channel are kept.

    In a folder, hidden files and what systems leave there (thumbnails, bins) are no images; a file of a kind that is
    not read, such as RAW, has a result with that problem.

    Args:
        files: images, folders of images, or patterns such as photos/*.jpg.
        out: folder for the results; created if it does not exist.
        restorer: the networks.
        overwrite: replace existing files.
        progress: receives the number of files done.
        on_image: called with each result, its image file and the restored pixels.

    Returns:
        One for each image, and one for each argument that matches no image, in order.

    Raises:
        UsageError: no image was given.
        StorageError: the folder cannot be created.
    """
    listener = progress or Silent()
    planned = plan_files(files, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    results = []
    listener.begin("restore", len(planned))
    for plan in planned:
        try:
            if plan.problem:
                raise UsageError(plan.problem)
            with one_file(plan.source):
                results.append(_restore_file(plan, restorer, overwrite, on_image))
        except UirError as error:
            listener.note(str(error))
            results.append(replace(plan, target=None, problem=str(error)))
        listener.advance("restore")
    listener.end("restore")
    return results


def restore_bytes(data: bytes, name: str, restorer: Restorer) -> tuple[bytes, Restored]:
    """
    Restore one image file in memory, as `restore_files` does.

    Returns:
        The PNG file, and its result.

    Raises:
        ImageError: the data is not an image, or is truncated.
    """
    image = decode_image_file(data, name)
    restored = restorer.restore_image_file(image)
    return encode_image_file(restored, image), _described(Restored(Path(name), None), image, restorer)


def plan_files(files: Sequence[Path], out: Path) -> list[Restored]:
    """
    Return the target of each image, without reading any.

    Returns:
        One for each image; those that cannot be restored have a problem.

    Raises:
        UsageError: no image was given.
    """
    taken: dict[Path, Path] = {}
    planned = []
    for source, place, problem in _images(files):
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


def _restore_file(
    plan: Restored,
    restorer: Restorer,
    overwrite: bool,
    on_image: Callable[[Restored, ImageFile, Pixels], None] | None,
) -> Restored:
    assert plan.target is not None
    if plan.target.exists() and not overwrite:
        raise UsageError(f"{plan.target}: file exists; --overwrite replaces it")
    try:
        data = plan.source.read_bytes()
    except OSError as error:
        raise ImageError(f"{plan.source}: cannot be read: {error.strerror or error}") from error
    image = decode_image_file(data, str(plan.source))
    _check_writable(plan.target.parent)
    pixels = restorer.restore_image_file(image)
    with writing(plan.target) as partial:
        partial.write_bytes(encode_image_file(pixels, image))
    result = _described(plan, image, restorer)
    if on_image is not None:
        on_image(result, image, pixels)
    return result


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


def _images(files: Sequence[Path]) -> Iterator[tuple[Path, Path, str]]:
    """Yield each image, its path below the argument, and the problem of the argument."""
    for path in files:
        if path.is_dir():
            inside = [name for name in list_files(path) if is_image_name(name) or unread_reason(name)]
            yield from ((path / name, Path(name), _unread_problem(path / name)) for name in inside)
            if not inside:
                yield path, Path(path.name), f"{path}: no image in this folder"
        elif not path.exists() and glob.has_magic(str(path)):
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())  # noqa: PTH207
            yield from ((p, Path(p.name), _unread_problem(p)) for p in found)
            if not found:
                yield path, Path(path.name), f"{path}: no file matches this pattern"
        else:
            yield path, Path(path.name), _unread_problem(path) if path.exists() else f"{path}: no such file"


def _unread_problem(path: Path) -> str:
    """Return why a file of a kind that is not read is not restored; "" for any other file."""
    reason = unread_reason(path.name)
    return f"{path}: is not read: it is {reason}" if reason else ""


def _same_file(source: Path, target: Path) -> bool:
    return source.exists() and target.exists() and source.samefile(target)
