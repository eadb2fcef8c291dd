"""
Every error that a user can mend, in one tree.

    UirError                    exit code 1
    ├── UsageError              exit code 2: the command's words are off
    ├── ManifestError           a manifest, a subset or an overlap list says something that cannot be
    ├── SourceError             a source is not there, or not as its manifest says
    │   ├── DownloadError       a file did not arrive, or not the right one
    │   └── ArchiveError        an archive cannot be unpacked, or is not safe to
    ├── ImageError              a file is not an image that can be read whole
    ├── PairError               an LQ and a GT do not belong together
    ├── RecipeError             a recipe cannot be replayed here
    ├── ShardError              a shard or its manifest is missing, cut short or changed
    │   └── NoSamplesError      shards hold nothing of the subset that is asked for
    ├── StorageError            a file cannot be written: the disk is full, the folder is not ours
    ├── PublishError            shards cannot be published: the Hub, or a licence, does not allow it
    └── PartlyDone              exit code 3: something is left; the same command again goes on

The message is one to three sentences: what happened, to which thing, what was expected, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UirError(Exception):
    """
    Base of all errors that a user can mend. `exit_code` is what the command line ends with.

    >>> import uirdata
    >>> try:
    ...     uirdata.load_subset("benhc")
    ... except uirdata.UirError as error:
    ...     print(error)
    there is no subset or source 'benhc': did you mean 'bench'?
    """

    exit_code = 1


class UsageError(UirError):
    """A command or a function was given a value that is none of its choices."""

    exit_code = 2


class ManifestError(UirError):
    """A manifest, a subset or an overlap list says something that cannot be."""


class SourceError(UirError):
    """A source is not there, or not as its manifest says."""


class DownloadError(SourceError):
    """A file did not arrive, or not the right one."""


class ArchiveError(SourceError):
    """An archive cannot be unpacked, or is not safe to unpack."""


class ImageError(UirError):
    """A file is not an image that can be read whole."""


class PairError(UirError):
    """An LQ and a GT do not belong together."""


class RecipeError(UirError):
    """A recipe cannot be replayed by this release."""


class ShardError(UirError):
    """A shard or its manifest is missing, cut short or changed."""


class NoSamplesError(ShardError):
    """Shards are whole and hold nothing of the subset that is asked for."""


class StorageError(UirError):
    """A file cannot be written: the disk is full, or the folder is not ours."""


class PublishError(UirError):
    """Shards cannot be published: the Hub does not allow it, or a licence does not."""


class PartlyDone(UirError):
    """What could be done is done; something is left, and the same command again goes on with it."""

    exit_code = 3


def nearest(name: str, choices: Iterable[str]) -> str:
    """
    Say which choice was probably meant, as the end of an error message.

    >>> nearest("moton-blur", ["haze", "motion-blur"])
    "did you mean 'motion-blur'?"
    >>> nearest("xyz", ["haze", "rain-streak"])
    'expected one of: haze, rain-streak'
    """
    known = list(choices)
    match = difflib.get_close_matches(name, known, n=1)
    if match:
        return f"did you mean {match[0]!r}?"
    return "expected one of: " + ", ".join(known)
