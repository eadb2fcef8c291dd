"""The formats that are read, told by their first bytes and never by the ending of a name."""

from __future__ import annotations

import re
from typing import Literal

from uirdata.file_kinds import HAS_AVIF, HAS_HEIF, what_it_is

Format = Literal["PNG", "JPEG", "WebP", "TIFF", "BMP", "PPM", "AVIF", "HEIF"]

MOST_PIXELS = 178_956_970
"""Most pixels of an image that is decoded unless the caller allows more: twice Pillow's limit, 0.5 GB as RGB."""

_SIGNATURES: tuple[tuple[re.Pattern[bytes], Format], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"P[1-6][\s#]"), "PPM"),
)

_BY_OTHERS: tuple[tuple[re.Pattern[bytes], Format, bool], ...] = (
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF", HAS_AVIF),
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "HEIF", HAS_HEIF),
)
"""Formats that Pillow or the extra `heif` read, and whether they are there."""


class NotReadError(ValueError):
    """A file may be whole, but it is of a kind that is not read."""


HEAD_BYTES = 512
"""As many bytes of a file are enough for `sniffed`."""


def sniffed(head: bytes) -> Format:
    """
    Return the format of a file that begins with `head`.

    >>> sniffed(b"BM" + bytes(60))
    'BMP'

    Raises:
        NotReadError: it is an image of another format, or another file that is known.
        ValueError: it is no image.
    """
    # First what is none of them, because the sensor data of some cameras begin like a TIFF file.
    if what := what_it_is(head):
        raise NotReadError(f"it is {what}")
    readable = ((signature, form) for signature, form, is_there in _BY_OTHERS if is_there)
    for signature, form in (*_SIGNATURES, *readable):
        if signature.match(head):
            return form
    raise ValueError("its first bytes are those of no PNG, JPEG, WebP, TIFF, BMP or PPM file")
