"""Manifests of the user's own folders: written, and kept as they are once the user has edited them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from uirdata.errors import UsageError
from uirdata.facts.own_sources import source_to_toml
from uirdata.sources import Source, read_source
from uirdata.storage.files import storage_error, writing

_HEAD = (
    "# Written by `uir fetch`. Edit it freely: an edited file is kept as it is. Delete it to have the folder looked at "
    "anew. Digest: {digest}\n"
)
_DIGEST = re.compile(r"# Written by `uir fetch`\.[^\n]*Digest: ([0-9a-f]{64})\n")


def write_manifest(path: Path, source: Source) -> None:
    """
    Write the manifest of a source, with a first line that tells whether it was edited since.

    Raises:
        StorageError: it cannot be written.
    """
    text = source_to_toml(source)
    with writing(path) as partial:
        partial.write_text(_HEAD.format(digest=_digest(text)) + text, encoding="utf-8")


def is_edited(path: Path) -> bool:
    """
    Return whether a manifest is there and is not as `write_manifest` wrote it: the user's, or of an earlier release.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return False
    except UnicodeDecodeError:
        return True
    except OSError as error:
        raise storage_error(path, error) from error
    head = _DIGEST.match(text)
    return head is None or head[1] != _digest(text[head.end() :])


def kept_source(path: Path, folder: Path) -> Source | None:
    """
    Return the source of an edited manifest; None if there is none that was edited.

    Args:
        path: of the manifest.
        folder: that the source should have.

    Raises:
        ManifestError: the manifest is invalid.
        UsageError: it describes another folder.
        StorageError: it cannot be read.
    """
    if not is_edited(path):
        return None
    source = read_source(path)
    if source.local_dir is None or source.local_dir.expanduser().resolve() != folder.expanduser().resolve():
        raise UsageError(
            f"{path} was edited by hand, and is kept; it describes {source.local_dir}, not {folder}. Change its "
            "local_dir, delete it to have it written anew, or choose another id"
        )
    return source


def refuse_options(path: Path, options: Mapping[str, object]) -> UsageError:
    """Return the error for options that an edited manifest would not follow."""
    return UsageError(
        f"{path} was edited by hand, or written by an earlier release, and is kept, so {', '.join(sorted(options))} "
        "would have no effect. Edit the file, or delete it to have it written anew"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
