"""Kinds of files, by their names and first bytes: images, images that are not read, and what systems leave behind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from types import MappingProxyType

_DEVELOP = (
    "the sensor data of a camera (RAW); develop it with darktable, RawTherapee or rawpy, and save it as PNG or TIFF"
)
_HEIF = "HEIF; install the extra: pip install 'universal-image-restoration[heif]', or save it as PNG"
_AVIF = "AVIF, which needs Pillow 11.3 or later; or save it as PNG (avifdec)"
_RAW_KINDS = (
    "3fr ari arw bay cap cr2 cr3 crw dcr dcs dng erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf pef "
    "ptx pxn r3d raf raw rw2 rwl rwz sr2 srf srw x3f"
)


HAS_AVIF = find_spec("PIL._avif") is not None
HAS_HEIF = find_spec("pillow_heif") is not None

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"}
    | ({".avif"} if HAS_AVIF else set())
    | (HEIF_SUFFIXES if HAS_HEIF else set())
)
"""Suffixes of the images that are read, in lower case; AVIF where Pillow reads it, HEIF with the extra `heif`."""

_NOT_READ: Mapping[str, str] = {
    **dict.fromkeys((f".{kind}" for kind in _RAW_KINDS.split()), _DEVELOP),
    **dict.fromkeys(HEIF_SUFFIXES, _HEIF),
    ".avif": _AVIF,
    ".gif": "GIF, which holds 256 colours at most and often an animation; save the frame that you mean as PNG",
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c"), "JPEG 2000; save it as PNG (opj_decompress)"),
    ".jxl": "JPEG XL; save it as PNG (djxl)",
    ".jxr": "JPEG XR; save it as PNG",
    **dict.fromkeys(
        (".tga", ".sgi", ".rgb", ".ras", ".pcx", ".xcf", ".psd", ".psb"), "an image of another program; save it as PNG"
    ),
    **dict.fromkeys((".exr", ".hdr", ".pfm"), "an image of floating-point values; tone-map it, and save it as PNG"),
    **dict.fromkeys((".svg", ".eps", ".ai"), "a drawing, which has no pixels of its own; export it as PNG"),
}

RAW = _DEVELOP
"""What a file of the sensor data of a camera is, and what to do with it."""

NOT_READ: Mapping[str, str] = MappingProxyType({k: v for k, v in _NOT_READ.items() if k not in IMAGE_SUFFIXES})
"""Suffixes of images that are not read, in lower case: what such a file is, and what to do."""

_OF_SYSTEMS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@__thumb",
        "@eadir",
        "__macosx",
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
        "system volume information",
        "thumbs.db",
        "~snapshot",
    }
)


def suffix_of(name: str) -> str:
    """
    Return the suffix of a file name or path in lower case, with its dot; "" if it has none.

    >>> suffix_of("a.b/IMG_1.JPG"), suffix_of("a.b/README")
    ('.jpg', '')
    """
    last = name[name.rfind("/") + 1 :]
    dot = last.rfind(".")
    return last[dot:].lower() if dot >= 0 else ""


def is_image_name(name: str) -> bool:
    """Return whether a name has the suffix of an image that is read."""
    return suffix_of(name) in IMAGE_SUFFIXES


def is_of_the_system(name: str) -> bool:
    """
    Return whether a file or folder of this name, or of a part of this path, is hidden or was made by a system.

    Thumbnails of a NAS (@eaDir), what macOS and Windows leave behind (__MACOSX, ._*, Thumbs.db), bins of deleted
    files and snapshots are no pictures of the user's.

    >>> is_of_the_system("photos/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg"), is_of_the_system("photos/1.jpg")
    (True, False)
    """
    return any(part.startswith(".") or part.lower() in _OF_SYSTEMS for part in name.split("/") if part)


def unread_reason(name: str) -> str:
    """Return what an image that is not read is, by the suffix of its name, and what to do; "" for any other file."""
    return NOT_READ.get(suffix_of(name), "")


def is_raw_name(name: str) -> bool:
    """Return whether a name has the suffix of the sensor data of a camera."""
    return unread_reason(name) == _DEVELOP


def count_unread(names: Iterable[str]) -> dict[str, int]:
    """
    Return how many images that are not read there are of each suffix, the most frequent first.

    >>> count_unread(["a.DNG", "b.gif", "c.dng", "d.png", "e.txt"])
    {'.dng': 2, '.gif': 1}
    """
    counts = Counter(suffix for name in names if (suffix := suffix_of(name)) in NOT_READ)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def unread_text(counts: Mapping[str, int]) -> str:
    """
    Return the counts of `count_unread` as text; "" if there are none.

    >>> unread_text({".heic": 5, ".dng": 2})
    '7 files not read (.heic 5, .dng 2)'
    """
    total = sum(counts.values())
    kinds = ", ".join(f"{suffix} {number:,}" for suffix, number in counts.items())
    return f"{total:,} file{'s' if total > 1 else ''} not read ({kinds})" if total else ""


_LFS = (
    "a Git LFS pointer, not the image that it stands for; run `git lfs pull` in its repository, or download the image"
)
_ANNEX = "a git-annex pointer, not the image that it stands for; run `git annex get` in its repository"
_PAGE = "a web page, saved under the name of an image; open its address in a browser, and download the image itself"

_OTHER_FILES: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"version https://git-lfs\.github\.com/|version https://hawser\."), _LFS),
    (re.compile(rb"/?annex/objects/|(\.\./)*\.git/annex/objects/"), _ANNEX),
    (re.compile(rb"\s*<(!--|!doctype\s+html\b|html\b|head\b|body\b)", re.IGNORECASE), _PAGE),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?<(svg|!doctype\s+svg)\b", re.IGNORECASE), _NOT_READ[".svg"]),
    (
        re.compile(rb"\s*<(\?xml|error)\b", re.IGNORECASE),
        "an XML file, often a server's error message; download it again",
    ),
    (re.compile(rb'\s*\{\s*"'), "a JSON file, often a server's error message; download it again"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf\x27\x1c|Rar!|\xfd7zXZ"), "an archive; unpack it"),
    (re.compile(rb"%PDF"), "a PDF file; export its pages as PNG"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript; export it as PNG"),
    (re.compile(rb"\x76\x2f\x31\x01|#\?R|P[Ff]\s"), _NOT_READ[".exr"]),
    (re.compile(rb"\0\0[\x01\x02]\0"), "an icon or a TGA image; save it as PNG"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "" if HAS_AVIF else _AVIF),
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "" if HAS_HEIF else _HEIF),
    (re.compile(rb"....ftypcrx |II\*\0\x10\0\0\0CR\x02\0|IIRO|IIRS|IIU\0|FUJIFILMCCD-RAW|FOVb", re.DOTALL), _DEVELOP),
    (re.compile(rb"GIF8"), _NOT_READ[".gif"]),
    (re.compile(rb"\0\0\0\x0cjP |\xff\x4f\xff\x51"), _NOT_READ[".jp2"]),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), _NOT_READ[".jxl"]),
    (re.compile(rb"8BPS"), "a Photoshop file; save it as PNG"),
)


def what_it_is(head: bytes) -> str:
    """
    Return what a file that is no image that is read is instead, and what to do; "" if its first bytes do not say.

    >>> what_it_is(b"version https://git-lfs.github.com/spec/v1\\noid sha256:4d7a")[:20]
    'a Git LFS pointer, n'

    Args:
        head: the first bytes of the file; 512 are enough.
    """
    # Editors and servers put a byte order mark before text.
    begin = head[:512].removeprefix(b"\xef\xbb\xbf")
    return next((what for signature, what in _OTHER_FILES if signature.match(begin)), "")
