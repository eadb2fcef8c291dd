"""WebP files taken apart: the size, and the metadata."""

from __future__ import annotations

from collections.abc import Iterator

from uirdata.decoding.metadata import MOST_BYTES, Metadata, bare_exif
from uirdata.decoding.octets import Octets


def chunks(octets: Octets) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of the contents of each chunk that lies in the file."""
    at = 12
    while len(head := octets.part(at, 8)) == 8:
        length = int.from_bytes(head[4:], "little")
        if at + 8 + length > octets.size:
            return
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def size(octets: Octets) -> tuple[int, int]:
    """
    Return (height, width).

    Raises:
        ValueError: the header is cut short.
    """
    head = octets.part(12, 18)
    kind = head[:4]
    if len(head) == 18 and kind == b"VP8X":
        return 1 + int.from_bytes(head[15:18], "little"), 1 + int.from_bytes(head[12:15], "little")
    if len(head) == 18 and kind == b"VP8 " and head[11:14] == b"\x9d\x01\x2a":
        return int.from_bytes(head[16:18], "little") & 0x3FFF, int.from_bytes(head[14:16], "little") & 0x3FFF
    if len(head) >= 13 and kind == b"VP8L" and head[8] == 0x2F:
        bits = int.from_bytes(head[9:13], "little")
        return 1 + ((bits >> 14) & 0x3FFF), 1 + (bits & 0x3FFF)
    raise ValueError("its header is damaged")


def metadata(octets: Octets) -> tuple[Metadata, int]:
    """Return the metadata and the number of images: more than 1 for an animation."""
    found = Metadata()
    frames = 0
    for name, start, length in chunks(octets):
        frames += name == b"ANMF"
        if name in (b"EXIF", b"XMP ", b"ICCP") and length > MOST_BYTES:
            found.remarks.append(f"a {name.decode().strip()} block of {length} bytes was dropped")
        elif name == b"EXIF":
            found.exif = bare_exif(octets.part(start, length))
        elif name == b"XMP ":
            found.xmp = octets.part(start, length)
        elif name == b"ICCP":
            found.icc = octets.part(start, length)
    found.drop_unfit_profile()
    return found, max(1, frames)
