"""Metadata of images: orientation, colour profile, EXIF. What is damaged is dropped, and a remark says so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from uirdata.decoding.directories import LONG, SHORT, first_directory
from uirdata.decoding.octets import InMemory

_ORIENTATION = 0x0112
_EXIF_PREFIX = b"Exif\0\0"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([0-9])")

MOST_BYTES = 1 << 24
"""Largest block of metadata that is kept, decompressed: 16 MiB."""


@dataclass
class Metadata:
    """
    What a file says beside its pixels.

    Attributes:
        exif: the EXIF block, without its prefix; b"" if there is none.
        xmp: the XMP packet; b"" if there is none.
        icc: the colour profile; b"" if there is none.
        remarks: what was dropped.
    """

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    remarks: list[str] = field(default_factory=list)

    def orientation(self) -> int:
        """
        Return the EXIF orientation, 1 (upright) to 8.

        A value that is not a whole number from 1 to 8 is taken for 1. XMP counts only where EXIF says nothing.
        """
        found = _exif_orientation(self.exif, self.remarks) if self.exif else None
        if found is None:
            match = _XMP_ORIENTATION.search(self.xmp)
            found = int(match[1]) if match else 1
        if not 1 <= found <= 8:
            self.remarks.append(f"its orientation {found} has no meaning and was ignored")
            return 1
        return found

    def drop_unfit_profile(self) -> None:
        """Drop a colour profile that is none."""
        # Bytes 36 to 40 of every profile are "acsp", its first four its size.
        if self.icc and (self.icc[36:40] != b"acsp" or int.from_bytes(self.icc[:4], "big") > len(self.icc)):
            self.icc = b""
            self.remarks.append("its colour profile is damaged and was dropped")


def bare_exif(block: bytes) -> bytes:
    """Return an EXIF block without its prefix, which some programs write twice."""
    while block.startswith(_EXIF_PREFIX):
        block = block[len(_EXIF_PREFIX) :]
    return block


def _exif_orientation(block: bytes, remarks: list[str]) -> int | None:
    """Return the orientation of an EXIF block; None if it has none."""
    try:
        directory = first_directory(InMemory(block))
    except ValueError:
        remarks.append("its EXIF block is damaged and was dropped")
        return None
    entry = directory.entries.get(_ORIENTATION)
    if entry is None and _ORIENTATION not in directory.damaged:
        return None
    if entry is None or entry.kind not in (SHORT, LONG) or not entry.count:
        remarks.append("its orientation is not a whole number and was ignored")
        return 1
    return directory.integer(_ORIENTATION, 1)
