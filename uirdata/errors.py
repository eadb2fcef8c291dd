"""
Every error that a user can fix, in one tree.

    UirError                    exit code 1
    ├── UsageError              exit code 2: an option or argument has an invalid value
    ├── ManifestError           a manifest, a subset or an overlap list is invalid
    ├── SourceError             a source is missing, or does not match its manifest
    │   ├── DownloadError       a file was not downloaded, or has the wrong bytes
    │   └── ArchiveError        an archive cannot be unpacked, or is not safe to unpack
    ├── ImageError              a file is not an image, or cannot be read completely
    ├── PairError               an LQ and a GT do not belong together
    ├── RecipeError             a recipe cannot be replayed by this release
    ├── ShardError              a shard or its manifest is missing, truncated or changed
    │   └── NoSamplesError      shards hold no sample of the subset
    ├── StorageError            a file cannot be written: the disk is full, or permission is denied
    ├── PublishError            shards cannot be published: the Hub, or a licence, does not allow it
    └── PartlyDone              exit code 3: some work is left; run the same command again to continue

The message is one to three sentences: what happened, to which thing, what was expected, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UirError(Exception):
    """
    Base class of all errors that a user can fix. `exit_code` is the exit code of the command line.

    >>> import uirdata
    >>> try:
    ...     uirdata.load_subset("benhc")
    ... except uirdata.UirError as error:
    ...     print(error)
    there is no subset or source 'benhc': did you mean 'bench'?
    """

    exit_code = 1


class UsageError(UirError):
    """A command or a function was given an invalid value."""

    exit_code = 2


class ManifestError(UirError):
    """A manifest, a subset or an overlap list is invalid."""


class SourceError(UirError):
    """A source is missing, or does not match its manifest."""


class DownloadError(SourceError):
    """A file was not downloaded, or has the wrong bytes."""


class ArchiveError(SourceError):
    """An archive cannot be unpacked, or is not safe to unpack."""


class ImageError(UirError):
    """A file is not an image, or cannot be read completely."""


class PairError(UirError):
    """An LQ and a GT do not belong together."""


class RecipeError(UirError):
    """A recipe cannot be replayed by this release."""


class ShardError(UirError):
    """A shard or its manifest is missing, truncated or changed."""


class NoSamplesError(ShardError):
    """Shards are whole and hold nothing of the subset that is asked for."""


class StorageError(UirError):
    """A file cannot be written: the disk is full, or permission is denied."""


class PublishError(UirError):
    """Shards cannot be published: the Hub or a licence does not allow it."""


class PartlyDone(UirError):
    """A part of the work is done and some is left; running the same command again continues it."""

    exit_code = 3


@contextmanager
def one_file(name: object) -> Iterator[None]:
    """
    Turn an unforeseen failure at one of many files into an ImageError that names it, so that the others are still done.

    Args:
        name: of the file.

    Raises:
        ImageError: something failed that is not a UirError.
    """
    try:
        yield
    except UirError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory for it") from error
    # Whatever it is, a file of a hundred thousand must not end the work on the rest.
    except Exception as error:
        raise ImageError(f"{name}: failed in a way that was not foreseen ({type(error).__name__}: {error})") from error


def nearest(name: object, choices: Iterable[str]) -> str:
    """
    Return the end of an error message that suggests the most similar choice.

    >>> nearest("moton-blur", ["haze", "motion-blur"])
    "did you mean 'motion-blur'?"
    >>> nearest("xyz", ["haze", "rain-streak"])
    'expected one of: haze, rain-streak'
    """
    known = list(choices)
    match = difflib.get_close_matches(str(name), known, n=1)
    if match:
        return f"did you mean {match[0]!r}?"
    return "expected one of: " + ", ".join(known)
