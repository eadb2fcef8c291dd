"""PNG files taken apart: the chunks of the pixels, and the metadata."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from uirdata.decoding.metadata import MOST_BYTES, Metadata, bare_exif
from uirdata.decoding.octets import Octets

_HEADER = b"IHDR"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_RAW_PROFILE, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column, first row and steps of the seven passes of an interlaced image.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20
_TAIL = 1 << 14


@dataclass(frozen=True)
class Header:
    """
    The header of a PNG.

    Attributes:
        width: in pixels.
        height: in pixels.
        depth: bits per channel.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        interlaced: whether the rows are in seven passes.
    """

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def raw_bytes(self) -> int:
        """Number of bytes of the pixels and of one filter byte for each row."""
        bits = self.depth * _CHANNELS.get(self.colour, 4)
        passes = _PASSES if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for left, top, step_x, step_y in passes:
            width, height = -(-(self.width - left) // step_x), -(-(self.height - top) // step_y)
            total += height * (1 + (width * bits + 7) // 8) if width > 0 and height > 0 else 0
        return total


def header(octets: Octets) -> Header:
    """
    Return the header.

    Raises:
        ValueError: the file does not begin with one.
    """
    head = octets.part(8, 25)
    if len(head) < 25 or head[4:8] != _HEADER:
        raise ValueError("its header is cut short")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", head[8:21])
    return Header(width, height, depth, colour, interlace != 0)


def chunks(octets: Octets) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of the contents of each chunk that lies in the file."""
    at = 8
    while len(head := octets.part(at, 8)) == 8:
        length = int.from_bytes(head[:4], "big")
        if at + 12 + length > octets.size:
            return
        yield head[4:], at + 8, length
        at += 12 + length
        if head[4:] == b"IEND":
            return


def metadata(octets: Octets, *, quick: bool = False) -> tuple[Metadata, int]:
    """
    Return the metadata and the number of images: more than 1 for an animation.

    Args:
        octets: the file.
        quick: read what stands behind the pixels only if the end of the file looks as if it were metadata; otherwise
            nearly the whole of a large file would be read from the disk.
    """
    found = Metadata()
    frames = 1
    profile_text = b""
    tail = octets.part(max(0, octets.size - _TAIL), _TAIL) if quick else b""
    ends_at_pixels = quick and not any(word in tail for word in (b"eXIf", _RAW_PROFILE, _XMP))
    for name, start, length in chunks(octets):
        if name == b"IDAT" and ends_at_pixels:
            break
        if name == b"acTL" and length >= 4:
            frames = max(1, int.from_bytes(octets.part(start, 4), "big"))
        elif name in (b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt"):
            if length > MOST_BYTES:
                found.remarks.append(f"a {name.decode()} chunk of {length} bytes was dropped")
                continue
            # The keyword decides whether a text is read; most are not, however long.
            head = octets.part(start, 80)
            if name == b"eXIf":
                found.exif = bare_exif(octets.part(start, length))
            elif name == b"iCCP":
                found.icc = _profile(octets.part(start, length), found)
            elif head.startswith(_RAW_PROFILE + b"\0"):
                profile_text = _text(name, octets.part(start, length), found)
            elif head.startswith(_XMP + b"\0"):
                found.xmp = _text(name, octets.part(start, length), found)
    if not found.exif and profile_text:
        found.exif = _unwritten(profile_text, found)
    found.drop_unfit_profile()
    return found, frames


def bare(data: bytes, octets: Octets, *, without: Collection[bytes] = ()) -> bytes:
    """
    Return a PNG of the chunks of its pixels alone, and not of those named in `without`; the end of one that is cut
    short is kept for the decoder to judge.
    """
    kept, end = [data[:8]], 8
    for name, start, length in chunks(octets):
        end = start + length + 4
        if name in _PIXELS and name not in without:
            kept.append(data[start - 8 : end])
    return b"".join([*kept, data[end:]]) if kept[-1][4:8] != b"IEND" else b"".join(kept)


def has_all_rows(octets: Octets) -> bool:
    """Return whether the data hold as many rows as the header says; Pillow returns black ones for those missing."""
    unpack = zlib.decompressobj()
    missing = header(octets).raw_bytes
    for name, start, length in chunks(octets):
        if name == b"IDAT" and missing > 0:
            missing -= _unpacked_bytes(unpack, octets.part(start, length), missing)
    return missing <= 0


def transparent_colour(octets: Octets) -> tuple[int, ...] | None:
    """Return the colour that a grey or RGB image declares transparent, in its own depth; None if there is none."""
    for name, start, length in chunks(octets):
        if name == b"tRNS" and length in (2, 6):
            return struct.unpack(f">{length // 2}H", octets.part(start, length))
    return None


def _unpacked_bytes(unpack: zlib._Decompress, packed: bytes, most: int) -> int:
    count = 0
    while packed and count < most and not unpack.eof:
        piece = unpack.decompress(packed, min(_PIECE, most - count))
        packed = unpack.unconsumed_tail
        count += len(piece)
        if not piece and not packed:
            break
    return count


def _bounded(packed: bytes) -> bytes:
    unpack = zlib.decompressobj()
    plain = unpack.decompress(packed, MOST_BYTES)
    if unpack.unconsumed_tail:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    return plain


def _profile(chunk: bytes, found: Metadata) -> bytes:
    _, _, rest = chunk.partition(b"\0")
    try:
        return _bounded(rest[1:])
    except (zlib.error, ValueError):
        found.remarks.append("its colour profile is damaged and was dropped")
        return b""


def _text(kind: bytes, chunk: bytes, found: Metadata) -> bytes:
    keyword, _, rest = chunk.partition(b"\0")
    try:
        if kind == b"tEXt":
            return rest
        if kind == b"zTXt":
            return _bounded(rest[1:])
        packed, rest = rest[:1] == b"\1", rest[2:]
        _, _, rest = rest.partition(b"\0")
        _, _, rest = rest.partition(b"\0")
        return _bounded(rest) if packed else rest
    except (zlib.error, ValueError):
        found.remarks.append(f"its text {keyword.decode('latin-1')!r} is damaged and was dropped")
        return b""


def _unwritten(text: bytes, found: Metadata) -> bytes:
    """Return the EXIF block that ImageMagick wrote as hexadecimal digits below three lines."""
    try:
        return bare_exif(bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii")))
    except ValueError:
        found.remarks.append("its EXIF block is damaged and was dropped")
        return b""
