"""Names of temporary files and of marks beside a file, within the 255 bytes that file systems allow."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MOST_BYTES = 255


def beside(path: Path, ending: str, *, start: str = "") -> Path:
    """
    Return the path of a file beside another one: its name with a start and an ending.

    A name that gets too long is cut and has 16 digits of its hash, so that two long names stay two.

    >>> beside(Path("a/b.zip"), ".part", start=".").name
    '.b.zip.part'
    >>> len(beside(Path("n" * 255), ".part").name)
    255
    """
    name = f"{start}{path.name}{ending}"
    if len(_bytes(name)) <= _MOST_BYTES:
        return path.with_name(name)
    mark = "~" + hashlib.sha256(_bytes(path.name)).hexdigest()[:16]
    room = _MOST_BYTES - len(_bytes(start + mark + ending))
    # Cut between characters: half a character is no valid name on some file systems.
    kept = _bytes(path.name)[:room].decode("utf-8", "ignore")
    return path.with_name(f"{start}{kept}{mark}{ending}")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
