"""
Pictures restored: one in memory, or many files.

The module is not called `restore`, as that is the function's name and a module of it would hide the function.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskdcpt.restoring.image_files import ImageFile, Pixels, decode_image_file, encode_image_file
from maskdcpt.restoring.restorer import Restorer
from uirdata.errors import ImageError, StorageError, UirError, UsageError
from uirdata.images import IMAGE_SUFFIXES
from uirdata.progress import Progress, Silent
from uirdata.storage.files import storage_error, writing


@dataclass(frozen=True)
class Restored:
    """
    One file.

    Attributes:
        source: that was read.
        target: that was written; None where something went wrong.
        height: in pixels.
        width: in pixels.
        degradation: what the classifier sees in it; "" without a classifier.
        problem: why it was not restored; "" where it was.
        remark: what was changed on reading; "" for nothing.
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
    Restore files one after the other; a bad one is told of and the others go on.

    Results are PNG under the name of the source, those of a folder at the same place below `out`. They are upright;
    16 bits, colour profile, EXIF and an alpha channel are kept.

    Args:
        files: pictures, folders of them, or patterns such as photos/*.jpg.
        out: folder for the results; made where it is missing.
        restorer: the networks.
        overwrite: replace files that are there.
        progress: told about files.
        on_image: gets each picture that was restored, and its restored pixels.

    Returns:
        One for each picture, and one for each word that names none, in order.

    Raises:
        UsageError: nothing was given.
        StorageError: the folder cannot be made.
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
            results.append(_restore_file(plan, restorer, overwrite, on_image))
        except UirError as error:
            listener.note(str(error))
            results.append(replace(plan, target=None, problem=str(error)))
        listener.advance("restore")
    listener.end("restore")
    return results


def restore_bytes(data: bytes, name: str, restorer: Restorer) -> tuple[bytes, Restored]:
    """
    Restore one picture in memory, as `restore_files` does.

    Returns:
        The PNG, and what is known of it.

    Raises:
        ImageError: the data is no picture that can be read whole.
    """
    picture = decode_image_file(data, name)
    restored = restorer.restore_image_file(picture)
    return encode_image_file(restored, picture), _described(Restored(Path(name), None), picture, restorer)


def plan_files(files: Sequence[Path], out: Path) -> list[Restored]:
    """
    Name the result of each picture, without reading any.

    Returns:
        One for each picture; those that cannot be restored have a problem.

    Raises:
        UsageError: nothing was given.
    """
    taken: dict[Path, Path] = {}
    planned = []
    for source, place, problem in _images(files):
        target = out / place.with_suffix(".png")
        if not problem and target in taken:
            problem = (
                f"{source}: its result would be {target}, as that of {taken[target]}; restore it into another --out"
            )
        if not problem and _same_file(source, target):
            problem = f"{source}: its result would replace it; choose another --out"
        if not problem:
            taken[target] = source
        planned.append(Restored(source, None if problem else target, problem=problem))
    if not planned:
        raise UsageError("no picture was given")
    return planned


def _restore_file(
    plan: Restored,
    restorer: Restorer,
    overwrite: bool,
    on_image: Callable[[Restored, ImageFile, Pixels], None] | None,
) -> Restored:
    assert plan.target is not None
    if plan.target.exists() and not overwrite:
        raise UsageError(f"{plan.target}: is there already; --overwrite replaces it")
    try:
        data = plan.source.read_bytes()
    except OSError as error:
        raise ImageError(f"{plan.source}: cannot be read: {error.strerror or error}") from error
    picture = decode_image_file(data, str(plan.source))
    _check_writable(plan.target.parent)
    pixels = restorer.restore_image_file(picture)
    with writing(plan.target) as partial:
        partial.write_bytes(encode_image_file(pixels, picture))
    result = _described(plan, picture, restorer)
    if on_image is not None:
        on_image(result, picture, pixels)
    return result


def _check_writable(folder: Path) -> None:
    """Refuse a folder that is not ours before the work, which may take minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise StorageError(f"{folder}: cannot be written; choose another --out, or change its rights")


def _described(plan: Restored, picture: ImageFile, restorer: Restorer) -> Restored:
    height, width = picture.pixels.shape[:2]
    eight_bits = picture.pixels if picture.most == 255 else picture.pixels // 257
    degradation = restorer.name(np.asarray(eight_bits, dtype=np.uint8))
    return replace(plan, height=height, width=width, degradation=degradation, remark=picture.remark)


def _images(files: Sequence[Path]) -> Iterator[tuple[Path, Path, str]]:
    """Give each picture, where it lies below what was named, and what is wrong with the name."""
    for path in files:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            yield from ((p, p.relative_to(path), "") for p in inside)
            if not inside:
                yield path, Path(path.name), f"{path}: holds no picture"
        elif not path.exists() and glob.has_magic(str(path)):
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())  # noqa: PTH207
            yield from ((p, Path(p.name), "") for p in found)
            if not found:
                yield path, Path(path.name), f"{path}: no file has such a name"
        else:
            yield path, Path(path.name), "" if path.exists() else f"{path}: no such file"


def _same_file(source: Path, target: Path) -> bool:
    return source.exists() and target.exists() and source.samefile(target)
