"""The GT pictures that an audit looks at: crops in shards and files of sources, and their fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uirdata.errors import ImageError, ShardError
from uirdata.images import RgbImage, decode_image, pixel_sha256
from uirdata.layout import Layout
from uirdata.pipeline.building.sample_plan import Left
from uirdata.pipeline.building.sample_reader import describe_failure
from uirdata.pipeline.parallel import in_order
from uirdata.progress import Progress, Silent
from uirdata.similarity.fingerprints import fingerprint
from uirdata.storage.fingerprint_cache import FingerprintCache, Seen
from uirdata.storage.pair_tables import read_found
from uirdata.storage.shards import MANIFEST, list_shards
from uirdata.storage.tables import read_table

_COLUMNS = ["source", "split", "scene", "gt_path", "top", "left", "height", "width"]
_PLACES = ["gt_sha256", "shard", "gt_offset", "gt_size"]


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """
    Where the bytes of a picture lie.

    Attributes:
        path: of the file, or the tar.
        offset: of its first byte.
        size: in bytes; -1 for all of the file.
        border: pixels to cut off on each side.
    """

    path: Path
    offset: int = 0
    size: int = -1
    border: int = 0

    def data(self) -> bytes:
        """
        Read the bytes.

        Raises:
            ImageError: they are not there.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def pixels(self) -> RgbImage:
        """
        Read the picture.

        Raises:
            ImageError: it is not there, or no picture.
        """
        image = decode_image(self.data(), name=str(self.path))
        return image[self.border : -self.border, self.border : -self.border] if self.border else image


@dataclass(frozen=True, slots=True)
class Picture:
    """
    A GT.

    Attributes:
        pool: the shard folder; "" for a file of a source.
        source: id of the source.
        split: train, val or test.
        scene: as in its record.
        gt_path: below the source's folder.
        top: of the crop, in pixels; 0 for a file of a source.
        left: of the crop.
        height: of the crop.
        width: of the crop.
        content: what its fingerprint is kept under; "" until it was read.
        place: where its bytes lie.
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


def shard_pictures(folder: Path, splits: Collection[str]) -> list[Picture]:
    """
    Name the GT crops of a shard folder; equal pixels of one scene and split once.

    Raises:
        ShardError: it is no shard folder.
    """
    list_shards(folder)  # says what is wrong with a folder that has no manifest
    table = read_table(folder / MANIFEST, columns=[*_COLUMNS, *_PLACES])
    found: dict[tuple[str, str, str, str], Picture] = {}
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            key = (row["gt_sha256"], row["source"], row["scene"], row["split"])
            if row["split"] in splits and key not in found:
                place = ImageLocation(folder / row["shard"], row["gt_offset"], row["gt_size"])
                about = {name: row[name] for name in _COLUMNS}
                found[key] = Picture(pool=str(folder), **about, content=row["gt_sha256"], place=place)
    return list(found.values())


def source_pictures(source: str, folder: Path, layout: Layout, splits: Collection[str]) -> list[Picture] | None:
    """Name the GT files of a source, each once; None where it was not fetched."""
    pairs = read_found(layout, source)
    if pairs is None:
        return None
    found: dict[tuple[str, int], Picture] = {}
    for item in pairs:
        pair = item.pair
        if pair.gt and pair.split in splits:
            place = ImageLocation(folder / pair.gt, border=pair.gt_border)
            about = (source, pair.split, pair.scene, pair.gt)
            picture = Picture("", *about, 0, 0, item.height, item.width, content="", place=place)
            found.setdefault((pair.gt, pair.gt_border), picture)
    return list(found.values())


def look_at(
    pictures: Sequence[Picture], cache: FingerprintCache, *, workers: int = 1, progress: Progress | None = None
) -> tuple[list[Picture], list[Left]]:
    """
    Put the fingerprints of pictures into the cache; those that are there already are not decoded.

    Returns:
        The pictures, each with its `content`, and those that could not be read, with the reason.

    Raises:
        StorageError: the cache cannot be written.
    """
    listener = progress or Silent()
    failures: list[Left] = []
    named: list[Picture] = []
    files = [picture.place for picture in pictures if not picture.content]
    contents = in_order(_file_content, files, workers)
    for picture in pictures:
        content, failure = (picture.content, "") if picture.content else next(contents)
        if failure:
            failures.append(Left(f"{picture.source}/{picture.gt_path}", failure))
        else:
            named.append(replace(picture, content=content))
    known = cache.contents()
    todo = list({picture.content: picture for picture in named if picture.content not in known}.values())
    listener.begin("fingerprints", len(todo))
    bad: set[str] = set()
    cache.add(_good(zip(todo, in_order(_see, todo, workers), strict=True), bad, failures, listener))
    listener.end("fingerprints")
    return [picture for picture in named if picture.content not in bad], failures


def _good(
    results: Iterable[tuple[Picture, Seen | str]], bad: set[str], failures: list[Left], progress: Progress
) -> Iterator[Seen]:
    for picture, seen in results:
        progress.advance("fingerprints")
        if isinstance(seen, Seen):
            yield seen
        else:
            bad.add(picture.content)
            failures.append(Left(f"{picture.source}/{picture.gt_path}", seen))


def _file_content(place: ImageLocation) -> tuple[str, str]:
    """Give the content's name, or why there is none."""
    try:
        return f"{hashlib.sha256(place.data()).hexdigest()}-{place.border}", ""
    except ImageError as error:
        return "", describe_failure(error)


def _see(picture: Picture) -> Seen | str:
    """Look at a picture; a failure is a value, since one of a million is to be expected."""
    try:
        image = picture.place.pixels()
        pixels = pixel_sha256(image)
        if picture.pool and pixels != picture.content:
            raise ShardError(
                f"{picture.place.path}: the GT of {picture.source}/{picture.gt_path} is not what was written"
            )
        return Seen(picture.content, pixels, fingerprint(image))
    except (ImageError, ShardError) as error:
        return describe_failure(error)
