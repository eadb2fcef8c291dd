"""Manifests of the user's own folders: written, and kept as they are once the user has edited them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from uirdata.errors import UsageError
from uirdata.facts.own_sources import source_to_toml
from uirdata.sources import Source, read_source
from uirdata.storage.files import storage_error, writing

_HEAD = (
    "# Written by `uir fetch`{by}. Edit it freely: an edited file is kept as it is. "
    "Delete it to have the folder looked at anew. Digest: {digest}\n"
)
_BY_OPTIONS = " from its options"
_DIGEST = re.compile(rf"# Written by `uir fetch`({_BY_OPTIONS})?\.[^\n]*Digest: ([0-9a-f]{{64}})\n")


def write_manifest(path: Path, source: Source, *, said: bool) -> None:
    """
    Write the manifest of a source, with a first line that tells whether it was edited since.

    Args:
        path: of the manifest.
        source: the source.
        said: options of the user said what its files are, so that the same folder is not judged by its names later.

    Raises:
        StorageError: it cannot be written.
    """
    text = source_to_toml(source)
    with writing(path) as partial:
        partial.write_text(_HEAD.format(by=_BY_OPTIONS if said else "", digest=_digest(text)) + text, encoding="utf-8")


def is_edited(path: Path) -> bool:
    """
    Return whether a manifest is there and is not as `write_manifest` wrote it: the user's, or of an earlier release.

    Raises:
        StorageError: it cannot be read.
    """
    return _state(path) == "edited"


def kept_source(path: Path, folder: Path, *, told: bool) -> Source | None:
    """
    Return the source of a manifest that is to be kept; None if there is none.

    Args:
        path: of the manifest.
        folder: that the source should have.
        told: there are options, which replace those of an earlier time.

    Raises:
        ManifestError: the manifest is invalid.
        UsageError: it describes another folder.
        StorageError: it cannot be read.
    """
    state = _state(path)
    if state in ("absent", "written") or (state == "said" and told):
        return None
    source = read_source(path)
    if source.local_dir is None or source.local_dir.expanduser().resolve() != folder.expanduser().resolve():
        if state == "said":
            return None
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


def _state(path: Path) -> Literal["absent", "written", "said", "edited"]:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return "absent"
    except UnicodeDecodeError:
        return "edited"
    except OSError as error:
        raise storage_error(path, error) from error
    head = _DIGEST.match(text)
    if head is None or head[2] != _digest(text[head.end() :]):
        return "edited"
    return "said" if head[1] else "written"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
