"""Names of archives, their pieces, listings and journals."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from uirdata.layout import Layout
from uirdata.sources import RemoteFile
from uirdata.storage.archives import kind_of_name
from uirdata.storage.temporary_names import beside
from uirdata.validators import InvalidValue, disk_path, json_list, json_object, load_json, text


def journal_path(source: str, layout: Layout, name: str) -> Path:
    """Return the path of the journal of the files that were unpacked from an archive: each name has its own."""
    flat = name.replace("/", "__")
    if "/" in name and flat.replace("__", "/") != name:
        # Otherwise a/b.zip and a__b.zip inside an archive would share a journal, and one of them would be lost.
        flat += "~" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return beside(layout.source(source) / ".uir" / flat, ".jsonl")


def tree_journal(source: str, layout: Layout) -> Path:
    """Return the path of the journal of the files that were taken from a folder of the user."""
    return journal_path(source, layout, "tree")


def archive_name(file: RemoteFile) -> str:
    """Return the name of the archive that a file is, or is a piece of."""
    return file.part_of or file.name


def listing_path(source: str, layout: Layout, name: str) -> Path:
    """Return the path of the stored listing of a folder of a host."""
    return beside(layout.downloads(source) / name, ".listing.json")


def read_listing(path: Path) -> list[dict[str, str]] | None:
    """Return the stored listing of a folder of a host; None if it cannot be read and has to be requested again."""
    try:
        rows = json_list(json_object(load_json(path.read_bytes())).get("files"))
        return [
            {
                "path": disk_path(json_object(row).get("path")),
                "where": text(row.get("where")),
                "host": text(row.get("host")),
            }
            for row in rows
        ]
    except (OSError, InvalidValue):
        return None


_PIECE = re.compile(
    r"(.+\.(?:zip|7z|rar|tar|tgz|tar\.(?:gz|xz|bz2|zst)))\.(?:part-?)?(?:\d{1,4}|[a-z]{2,3})", re.IGNORECASE
)
"""How `split` and others name pieces: "x.tar.gz.part-aa", "x.zip.001"."""


def whole_name(path: str) -> str:
    """
    Return the name of the archive that a file of a folder is, or is a piece of.

    >>> whole_name("Snow100k.tar.gz.part-ab")
    'Snow100k.tar.gz'
    """
    match = None if kind_of_name(path) else _PIECE.fullmatch(path)
    return match[1] if match else path


def below(folder: str, name: str) -> str:
    """Return the path of a name below a folder, which may be ""."""
    return f"{folder.strip('/')}/{name}" if folder.strip("/") else name
