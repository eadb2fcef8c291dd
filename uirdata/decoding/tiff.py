"""TIFF files taken apart: the tags of the pixels, and the metadata; deep ones become files that decoders read right."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from uirdata.decoding.directories import Directory, Entry, all_directories, first_directory, longs, shorts, written
from uirdata.decoding.formats import NotReadError
from uirdata.decoding.metadata import MOST_BYTES, Metadata
from uirdata.decoding.octets import Octets

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_SIZES = 273, 274, 277, 278, 279
PLANES, TILES, TILE_SIZES, EXTRA, SAMPLE_FORMAT, LEAST, MOST = 284, 324, 325, 338, 339, 340, 341
_XMP, _ICC, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT = 700, 34675, 317, 322, 323
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_UNSIGNED, _FLOAT, _UNDEFINED = 1, 3, 4
# Values of a pixel by the kind of its colours: RGB, CMYK, YCbCr, Lab; 1 for grey and palettes.
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}

# JPEG and two names of Deflate: decoders notice that the end is missing.
_KNOW_THEIR_END = (7, 8, 32946)
# Everything that describes pixels: size, compression and its tables, strips and tiles, palette, subsampling.
_OF_PIXELS = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 318, 319, 320, 322, 323, 324, 325, 332, 334}
    | {336, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 0xBC01}
)


@dataclass(frozen=True)
class Layout:
    """
    How the pixels of a TIFF are stored.

    Attributes:
        directory: the first one.
        samples: values of a pixel.
        bits: of a value; 0 if they differ.
        form: of a value: 1 unsigned, 2 signed, 3 floating point, 4 undefined.
        photometric: 0 min-is-white, 1 min-is-black, 2 RGB, ...
        apart: whether each channel is in a plane of its own.
        extra: meaning of the values after the colours: 0 not stated, 1 alpha that they are multiplied with, 2 alpha.
    """

    directory: Directory
    samples: int
    bits: int
    form: int
    photometric: int
    apart: bool
    extra: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), as stored."""
        return self.directory.integer(HEIGHT, 0), self.directory.integer(WIDTH, 0)

    @property
    def colours(self) -> int:
        """Values of a pixel without the extra ones."""
        return self.samples - len(self.extra)

    @property
    def needs_care(self) -> bool:
        """Whether Pillow cannot be trusted with it: more than eight bits, or grey with alpha in planes of their own."""
        return self.bits > 8 or self.form == _FLOAT or (self.apart and self.bits == 8 and self.colours == 1)

    @property
    def range_stated(self) -> tuple[float, float] | None:
        """The values of black and white that the file states; None if it does not."""
        least, most = (self.directory.numbers(tag) for tag in (LEAST, MOST))
        if not least or not most or not min(least) < max(most) < float("inf") or min(least) == -float("inf"):
            return None
        return min(least), max(most)


def layout(octets: Octets) -> Layout:
    """
    Return how the pixels are stored.

    Raises:
        ValueError: the file has no directory, or one that makes no sense.
    """
    directory = first_directory(octets)
    # Pixels decoded without one of these tags, such as the predictor, are other pixels.
    if directory.is_cut or _OF_PIXELS.intersection(directory.damaged):
        raise ValueError("its directory is cut short or damaged")
    samples = directory.integer(SAMPLES, 1)
    bits, forms = set(directory.integers(BITS) or (1,)), set(directory.integers(SAMPLE_FORMAT) or (_UNSIGNED,))
    if not 1 <= samples <= 64:
        raise ValueError(f"it has {samples} values for each pixel")
    if len(forms) > 1:
        raise ValueError("its channels are of several kinds")
    photometric = directory.integer(PHOTOMETRIC, _MIN_IS_WHITE)
    beside = max(0, samples - _COLOURS.get(photometric, 1))
    return Layout(
        directory,
        samples,
        bits=bits.pop() if len(bits) == 1 else 0,
        form=forms.pop(),
        photometric=photometric,
        apart=directory.integer(PLANES, 1) == 2 and samples > 1,
        # Some programs write alpha without the tag that says so.
        extra=(directory.integers(EXTRA) + (0,) * beside)[:beside],
    )


def metadata(octets: Octets, directory: Directory) -> tuple[Metadata, int]:
    """Return the metadata and the number of images."""
    found = Metadata()
    for tag in (_XMP, _ICC):
        entry = directory.entries.get(tag)
        if entry is not None and len(entry.raw) <= MOST_BYTES and tag == _XMP:
            found.xmp = entry.raw
        elif entry is not None and len(entry.raw) <= MOST_BYTES:
            found.icc = entry.raw
        elif entry is not None or tag in directory.damaged:
            found.remarks.append(f"its {'XMP packet' if tag == _XMP else 'colour profile'} is damaged and was dropped")
    found.drop_unfit_profile()
    return found, sum(1 for _ in all_directories(octets))


def orientation(directory: Directory, found: Metadata) -> int:
    """Return the orientation, 1 to 8; one that makes no sense is taken for 1."""
    if ORIENTATION not in directory.entries and ORIENTATION not in directory.damaged:
        return found.orientation()
    value = directory.integer(ORIENTATION, 0)
    if not 1 <= value <= 8:
        found.remarks.append("its orientation is not a whole number from 1 to 8 and was ignored")
        return 1
    return value


def bare(data: bytes, directory: Directory, **changed: Entry | None) -> bytes:
    """
    Return a TIFF whose directory has the tags of the pixels alone.

    Args:
        data: the file.
        directory: its first directory.
        changed: tags that get other values, as t262; None leaves one out.
    """
    entries = {tag: entry for tag, entry in directory.entries.items() if tag in _OF_PIXELS}
    for name, entry in changed.items():
        tag = int(name[1:])
        entries.pop(tag, None)
        if entry is not None:
            entries[tag] = entry
    entries |= _parts_within(replace(directory, entries=entries), len(data))
    # A classic TIFF, also of a BigTIFF: Pillow reads only half of those.
    start = len(data) + len(data) % 2
    head = data[:2] + struct.pack(directory.order + "HI", 42, start)
    return head + data[8:].ljust(start - 8, b"\0") + written(start, directory.order, entries.items())


def refusal(found: Layout) -> str:
    """Return why a deep file is not read; "" if it is."""
    if found.bits not in (8, 16, 32, 64) or (found.bits > 16 and found.range_stated is None):
        kind = "floating point" if found.form == _FLOAT else "whole"
        return (
            f"its values are {kind} numbers of {found.bits} bits without the tags SMinSampleValue and SMaxSampleValue, "
            "which say what is black and what is white; save it with 16 bits"
        )
    if found.bits <= 16 and found.form not in (_UNSIGNED, _UNDEFINED):
        return "its values are not unsigned numbers; save it with 16 unsigned bits"
    if found.bits > 16 and (found.bits, found.form) != (32, _FLOAT):
        return f"its values have {found.bits} bits; save it with 16 bits"
    if found.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
        return f"its colours are of kind {found.photometric} with {found.bits} bits; save it as RGB"
    if found.colours != (3 if found.photometric == _RGB else 1) or len(found.extra) > 1:
        return f"it has {found.samples} channels of {found.bits} bits; save it as grey or RGB"
    return ""


def as_grey(data: bytes, found: Layout) -> bytes:
    """
    Return a file whose channels are stored together as a grey one that is wider, one value beside the next.

    Raises:
        NotReadError: the values are stored as differences from pixel to pixel.
    """
    directory = found.directory
    if directory.integer(_PREDICTOR, 1) != 1:
        raise NotReadError(f"it has {found.samples} channels of {found.bits} bits; save it as grey or RGB")
    wide = {
        f"t{tag}": longs([found.samples * directory.integer(tag, 0)], directory.order)
        for tag in (WIDTH, _TILE_WIDTH)
        if tag in directory.entries
    }
    return bare(data, directory, t338=None, **_grey(found), **wide)


def grey_planes(data: bytes, found: Layout) -> Iterator[bytes]:
    """
    Yield each channel of a file as a grey file, min-is-black.

    Raises:
        ValueError: the planes are not of equal parts.
    """
    directory = found.directory
    offsets_tag, sizes_tag = (TILES, TILE_SIZES) if TILES in directory.entries else (STRIPS, STRIP_SIZES)
    offsets, sizes = directory.integers(offsets_tag), directory.integers(sizes_tag)
    count = len(offsets) // found.samples
    if not count or len(offsets) != len(sizes) or count * found.samples != len(offsets):
        raise ValueError("its planes are not of equal parts")
    for first in range(0, len(offsets), count):
        places = {
            f"t{tag}": longs(values[first : first + count], directory.order)
            for tag, values in ((offsets_tag, offsets), (sizes_tag, sizes))
        }
        yield bare(data, directory, t338=None, **_grey(found), **places)


def _parts_within(directory: Directory, length: int) -> dict[int, Entry]:
    """
    Return the sizes of strips or tiles, none beyond the end of the file, behind which the new directory follows.

    Raises:
        ValueError: the file is cut short.
    """
    is_tiled = TILES in directory.entries
    offsets = directory.integers(TILES if is_tiled else STRIPS)
    sizes_tag = TILE_SIZES if is_tiled else STRIP_SIZES
    sizes = directory.integers(sizes_tag)
    needed = _uncompressed_sizes(directory, len(offsets), is_tiled=is_tiled)
    if directory.integer(COMPRESSION, 1) not in (1, *_KNOW_THEIR_END) and len(sizes) == len(offsets):
        needed = list(sizes)
    if not offsets or any(start + size > length for start, size in zip(offsets, needed, strict=True)):
        raise ValueError("parts of its pixels lie behind its end")
    within = [min(size, length - start) for start, size in zip(offsets, sizes, strict=False)]
    return {sizes_tag: longs(within, directory.order)} if sizes else {}


def _uncompressed_sizes(directory: Directory, count: int, *, is_tiled: bool) -> list[int]:
    """Return the bytes that each strip or tile must have at least; 1 where that depends on how it is compressed."""
    subsampled = 6
    if directory.integer(COMPRESSION, 1) != 1 or directory.integer(PHOTOMETRIC, 0) == subsampled:
        return [1] * count
    bits, samples = directory.integers(BITS) or (1,), directory.integer(SAMPLES, 1)
    pixel = bits[0] if directory.integer(PLANES, 1) == 2 else sum(bits) if len(bits) == samples else bits[0] * samples
    height, width = directory.integer(HEIGHT, 0), directory.integer(WIDTH, 0)
    if is_tiled:
        return [directory.integer(_TILE_HEIGHT, 0) * ((directory.integer(_TILE_WIDTH, 0) * pixel + 7) // 8)] * count
    rows = min(directory.integer(ROWS, height), height) or height
    strips = -(-height // rows)
    return [min(rows, height - index % strips * rows) * ((width * pixel + 7) // 8) for index in range(count)]


def _grey(found: Layout) -> dict[str, Entry | None]:
    """Return the tags of one channel, min-is-black."""
    values = {BITS: found.bits, SAMPLES: 1, PHOTOMETRIC: _MIN_IS_BLACK, PLANES: 1, SAMPLE_FORMAT: found.form}
    return {f"t{tag}": shorts([value], found.directory.order) for tag, value in values.items()}
