"""The GT images that an audit compares: crops in shards and files of sources, and their fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uirdata.decoding import revision
from uirdata.errors import ImageError, ShardError, one_file
from uirdata.images import RgbImage, decode_image, pixel_sha256
from uirdata.layout import Layout
from uirdata.pipeline.building.sample_plan import Left
from uirdata.pipeline.building.sample_reader import describe_failure
from uirdata.pipeline.parallel import in_order
from uirdata.progress import Progress, Silent
from uirdata.similarity.fingerprints import fingerprint
from uirdata.storage.fingerprint_cache import FingerprintCache, Seen
from uirdata.storage.manifest_rows import read_manifest
from uirdata.storage.pair_tables import read_found

_COLUMNS = ["source", "split", "scene", "gt_path", "top", "left", "height", "width"]
_PLACES = ["gt_sha256", "shard", "gt_offset", "gt_size"]


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """
    The location of the bytes of an image.

    Attributes:
        path: the file, or the tar.
        offset: position of its first byte.
        size: in bytes; -1 for the whole file.
        border: pixels to cut off on each side.
    """

    path: Path
    offset: int = 0
    size: int = -1
    border: int = 0

    def data(self) -> bytes:
        """
        Return the bytes.

        Raises:
            ImageError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def pixels(self) -> RgbImage:
        """
        Return the image, (H, W, 3) RGB uint8.

        Raises:
            ImageError: the file cannot be read, or is not an image.
        """
        image = decode_image(self.data(), name=str(self.path))
        return image[self.border : -self.border, self.border : -self.border] if self.border else image


@dataclass(frozen=True, slots=True)
class GtImage:
    """
    A GT image.

    Attributes:
        pool: the shard folder; "" for a file of a source.
        source: id of the source.
        split: train, val or test.
        scene: as in its record.
        gt_path: path below the folder of the source.
        top: position of the crop in pixels; 0 for a file of a source.
        left: position of the crop in pixels; 0 for a file of a source.
        height: of the crop or the file, in pixels.
        width: of the crop or the file, in pixels.
        content: key of its fingerprint in the cache; "" before the file was read.
        place: location of its bytes.
    """

    pool: str
    source: str
    split: str
    scene: str
    gt_path: str
    top: int
    left: int
    height: int
    width: int
    content: str
    place: ImageLocation


def shard_images(folder: Path, splits: Collection[str]) -> list[GtImage]:
    """
    Return the GT crops of a shard folder; equal pixels of one scene and split only once.

    Raises:
        ShardError: the folder is not a shard folder.
    """
    table = read_manifest(folder, [*_COLUMNS, *_PLACES])
    found: dict[tuple[str, str, str, str], GtImage] = {}
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            key = (row["gt_sha256"], row["source"], row["scene"], row["split"])
            if row["split"] in splits and key not in found:
                place = ImageLocation(folder / row["shard"], row["gt_offset"], row["gt_size"])
                about = {name: row[name] for name in _COLUMNS}
                found[key] = GtImage(pool=str(folder), **about, content=row["gt_sha256"], place=place)
    return list(found.values())


def source_images(source: str, folder: Path, layout: Layout, splits: Collection[str]) -> list[GtImage] | None:
    """Return the GT files of a source, each once; None if the source has not been fetched."""
    pairs = read_found(layout, source)
    if pairs is None:
        return None
    found: dict[tuple[str, int], GtImage] = {}
    for item in pairs:
        pair = item.pair
        if pair.gt and pair.split in splits:
            place = ImageLocation(folder / pair.gt, border=pair.gt_border)
            about = (source, pair.split, pair.scene, pair.gt)
            gt = GtImage("", *about, 0, 0, item.height, item.width, content="", place=place)
            found.setdefault((pair.gt, pair.gt_border), gt)
    return list(found.values())


def look_at(
    images: Sequence[GtImage], cache: FingerprintCache, *, workers: int = 1, progress: Progress | None = None
) -> tuple[list[GtImage], list[Left]]:
    """
    Put the fingerprints of images into the cache; images with a fingerprint in the cache are not decoded.

    Returns:
        The images, each with its `content`, and those that could not be read, with the reason.

    Raises:
        StorageError: the cache cannot be written.
    """
    listener = progress or Silent()
    failures: list[Left] = []
    named: list[GtImage] = []
    files = [gt.place for gt in images if not gt.content]
    contents = in_order(_file_content, files, workers)
    for gt in images:
        content, failure = (gt.content, "") if gt.content else next(contents)
        if failure:
            failures.append(Left(f"{gt.source}/{gt.gt_path}", failure))
        else:
            named.append(replace(gt, content=content))
    known = cache.contents()
    todo = list({gt.content: gt for gt in named if gt.content not in known}.values())
    listener.begin("fingerprints", len(todo))
    bad: set[str] = set()
    cache.add(_good(zip(todo, in_order(_see, todo, workers), strict=True), bad, failures, listener))
    listener.end("fingerprints")
    return [gt for gt in named if gt.content not in bad], failures


def _good(
    results: Iterable[tuple[GtImage, Seen | str]], bad: set[str], failures: list[Left], progress: Progress
) -> Iterator[Seen]:
    for gt, seen in results:
        progress.advance("fingerprints")
        if isinstance(seen, Seen):
            yield seen
        else:
            bad.add(gt.content)
            failures.append(Left(f"{gt.source}/{gt.gt_path}", seen))


def _file_content(place: ImageLocation) -> tuple[str, str]:
    """Return the content key of a file and "", or "" and the reason why it cannot be read."""
    try:
        data = place.data()
        return f"{hashlib.sha256(data).hexdigest()}{revision(data)}-{place.border}", ""
    except ImageError as error:
        return "", describe_failure(error)


def _see(gt: GtImage) -> Seen | str:
    """Return the fingerprint of an image, or the reason for a failure: among a million images one is to be expected."""
    try:
        with one_file(gt.place.path):
            image = gt.place.pixels()
            pixels = pixel_sha256(image)
            if gt.pool and pixels != gt.content:
                raise ShardError(
                    f"{gt.place.path}: the GT of {gt.source}/{gt.gt_path} has other pixels than when the shard was "
                    "written"
                )
            return Seen(gt.content, pixels, fingerprint(image))
    except (ImageError, ShardError) as error:
        return describe_failure(error)
