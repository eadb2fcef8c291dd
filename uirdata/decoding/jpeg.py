"""JPEG files taken apart: the segments of the pixels, and the metadata."""

from __future__ import annotations

from collections.abc import Iterator

from uirdata.decoding.metadata import Metadata, bare_exif
from uirdata.decoding.octets import Octets

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_START_OF_SCAN, _END = 0xDA, 0xD9
_WINDOW = 1 << 16
# Without contents: TEM, and the restart markers.
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
# APP1 to APP13, APP15 and comments. APP0 (JFIF) and APP14 (Adobe) say what the colours are.
_METADATA = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})


def segments(octets: Octets) -> Iterator[tuple[int, int, int]]:
    """Yield marker, first byte and length of the contents of each segment before the first scan, which ends it."""
    at = 2
    while len(head := octets.part(at, 4)) == 4:
        marker = head[1]
        if head[0] != 0xFF or marker in (0x00, 0xFF):
            # Decoders skip what stands between segments, and so must a reader that looks for the same ones.
            following = octets.part(at + 1, _WINDOW).find(0xFF)
            at += 1 + (following if following >= 0 else _WINDOW)
        elif marker in _ALONE:
            at += 2
        elif marker == _END:
            return
        else:
            length = int.from_bytes(head[2:], "big") - 2
            if length < 0 or at + 4 + length > octets.size:
                return
            yield marker, at + 4, length
            if marker == _START_OF_SCAN:
                return
            at += 4 + length


def size(octets: Octets) -> tuple[int, int] | None:
    """Return (height, width); None if no segment tells it."""
    for marker, start, length in segments(octets):
        if marker in _SIZES and length >= 5:
            head = octets.part(start, 5)
            return int.from_bytes(head[1:3], "big"), int.from_bytes(head[3:5], "big")
    return None


def metadata(octets: Octets) -> Metadata:
    """Return the metadata."""
    found = Metadata()
    profile: dict[int, bytes] = {}
    exif = b""
    announced = 0
    for marker, start, length in segments(octets):
        if marker not in (0xE1, 0xE2):
            continue
        contents = octets.part(start, length)
        if contents.startswith(_EXIF):
            exif += contents[len(_EXIF) :]
        elif contents.startswith(_XMP):
            found.xmp = contents[len(_XMP) :]
        elif contents.startswith(_ICC) and length > len(_ICC) + 2:
            # A profile is in several segments, each with its number and their count.
            profile[contents[len(_ICC)]] = contents[len(_ICC) + 2 :]
            announced = contents[len(_ICC) + 1]
    found.exif = bare_exif(exif)
    if profile and sorted(profile) == list(range(1, announced + 1)):
        found.icc = b"".join(profile[number] for number in sorted(profile))
    elif profile:
        found.remarks.append("its colour profile is damaged and was dropped")
    found.drop_unfit_profile()
    return found


def bare(data: bytes, octets: Octets) -> bytes:
    """Return a JPEG without its metadata; what is not in order is kept for the decoder to judge."""
    kept = [data[:2]]
    at = 2
    for marker, start, length in segments(octets):
        if marker in _METADATA:
            kept.append(data[at : start - 4])
            at = start + length
    kept.append(data[at:])
    return b"".join(kept)
