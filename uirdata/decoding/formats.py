"""The formats that are read, told by their first bytes and never by the ending of a name."""

from __future__ import annotations

import re
from typing import Literal

Format = Literal["PNG", "JPEG", "WebP", "TIFF", "BMP", "PPM"]

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

_NOT_READ: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"GIF8"), "GIF"),
    (re.compile(rb"\0\0\0\x0cjP |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL), "HEIF"),
    (re.compile(rb"8BPS"), "Photoshop"),
    (re.compile(rb"\x76\x2f\x31\x01"), "OpenEXR"),
    (re.compile(rb"#\?R"), "Radiance HDR"),
    (re.compile(rb"P[Ff]\s"), "PFM (floating point)"),
    (re.compile(rb"\0\0[\x01\x02]\0"), "icon"),
    (re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE), "SVG or XML"),
)

_OTHER_FILES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x1f\x8b|PK\x03\x04|7z\xbc\xaf|Rar!"), "an archive"),
    (re.compile(rb"\s*<(!doctype|html)", re.IGNORECASE), "a web page"),
)


class NotReadError(ValueError):
    """A file may be whole, but it is of a kind that is not read."""


HEAD_BYTES = 64
"""As many bytes of a file are enough for `sniffed`."""


def sniffed(head: bytes) -> Format:
    """
    Return the format of a file that begins with `head`.

    >>> sniffed(b"BM" + bytes(60))
    'BMP'

    Raises:
        NotReadError: it is an image of another format.
        ValueError: it is no image.
    """
    for signature, form in _SIGNATURES:
        if signature.match(head):
            return form
    for signature, name in _NOT_READ:
        if signature.match(head):
            raise NotReadError(f"it holds {name} data; save it as PNG, JPEG, WebP, TIFF, BMP or PPM")
    for signature, name in _OTHER_FILES:
        if signature.match(head):
            raise ValueError(f"it is {name}")
    raise ValueError("its first bytes are those of no PNG, JPEG, WebP, TIFF, BMP or PPM file")
