"""Headers of PPM, PGM and PBM files."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,10})"
_HEADER = re.compile(rb"P([1-6])" + _TOKEN + _TOKEN)
_DEPTH = re.compile(_TOKEN)


@dataclass(frozen=True)
class Header:
    """
    The header of a file.

    Attributes:
        kind: 1 to 6: bits, grey and RGB, as text or binary.
        width: in pixels.
        height: in pixels.
        most: the value of white.
        end: offset of the byte after it.
    """

    kind: int
    width: int
    height: int
    most: int
    end: int


def header(head: bytes) -> Header:
    """
    Return the header.

    >>> header(b"P6 # made by hand\\n3 2 65535\\n")
    Header(kind=6, width=3, height=2, most=65535, end=27)

    Raises:
        ValueError: it is damaged.
    """
    match = _HEADER.match(head)
    if match is None:
        raise ValueError("its header is damaged")
    kind, end, most = int(match[1]), match.end(), 1
    if kind not in (1, 4):
        depth = _DEPTH.match(head, end)
        if depth is None or not 1 <= int(depth[1]) <= 65535:
            raise ValueError("its header is damaged")
        end, most = depth.end(), int(depth[1])
    return Header(kind, int(match[2]), int(match[3]), most, end)


def as_grey(data: bytes, found: Header) -> bytes:
    """
    Return a deep RGB file as a grey one of three times the width, one value beside the next.

    Pillow reads 16 bits of grey files, and only eight of RGB ones.
    """
    head = f"P{found.kind - 1}\n{3 * found.width} {found.height}\n{found.most}".encode()
    return head + data[found.end :]
