"""Download one file completely: resumable, in several streams, from the first mirror whose bytes are correct."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from uirdata.errors import DownloadError
from uirdata.storage.files import move, storage_error
from uirdata.storage.temporary_names import beside
from uirdata.storage.transfers.download_types import (
    Arrived,
    DownloadSource,
    Expected,
    Listener,
    Pace,
    RateLimit,
    TooLong,
    WrongBytes,
    mismatch,
)
from uirdata.storage.transfers.mirror_order import mirror_order
from uirdata.storage.transfers.partial import discard
from uirdata.storage.transfers.streams import Contradiction, Filling
from uirdata.transfer import Interrupted, RangeRefused, Unreachable

__all__ = [
    "Arrived",
    "DownloadSource",
    "Expected",
    "Listener",
    "Pace",
    "RateLimit",
    "download",
    "hash_file",
    "mismatch",
]

_READ = 1 << 20
_CONTRADICTIONS = 3


def download(
    target: Path,
    places: Sequence[DownloadSource],
    expected: Expected,
    *,
    pace: Pace | None = None,
    listener: Listener | None = None,
    explain: Callable[[Path], str] | None = None,
) -> Arrived:
    """
    Download a file to its final name.

    During the download it is `<name>.part`; a later call resumes from that. The places are tried in order until one
    sends the expected bytes.

    Args:
        target: the final name.
        places: in order of trust.
        expected: known size and hashes of the file.
        pace: retries, waiting times and speed limit.
        listener: receives the progress.
        explain: describes a file that has other bytes than expected, for the error message.

    Raises:
        DownloadError: no place sent the file; the message contains the error of each place.
        StorageError: the disk is full or cannot be written.
    """
    pace = pace if pace is not None else Pace()
    listener = listener if listener is not None else Listener()
    part = beside(target, ".part")
    errors: list[str] = []
    for place in mirror_order(part, places, expected):
        try:
            arrived = _from_place(target, part, place, expected, pace, listener)
        except WrongBytes as error:
            rejected = _reject(part, target)
            more = explain(rejected) if explain else ""
            errors.append(f"{place.name}: {error}{'; ' if more else ''}{more}. It is kept as {rejected}")
        except (Interrupted, Unreachable) as error:
            errors.append(f"{place.name}: {error}" if place.name not in str(error) else str(error))
        else:
            _rejected(target).unlink(missing_ok=True)
            return arrived
        if pace.cancel.is_set():
            break
    raise DownloadError(f"{target.name} was not downloaded. " + "; ".join(errors or ["it has no mirrors"]))


def hash_file(path: Path, *, md5: bool = False) -> tuple[str, str]:
    """
    Return the sha256 of a file, and its md5 if requested, in hex.

    Raises:
        OSError: it cannot be read.
    """
    hashes = [hashlib.sha256(), *([hashlib.md5(usedforsecurity=False)] if md5 else [])]
    with path.open("rb") as file:
        while block := file.read(_READ):
            for digest in hashes:
                digest.update(block)
    return hashes[0].hexdigest(), hashes[1].hexdigest() if md5 else ""


def _from_place(
    target: Path, part: Path, place: DownloadSource, expected: Expected, pace: Pace, listener: Listener
) -> Arrived:
    ranges = True
    for again in range(_CONTRADICTIONS + 1):
        filling = Filling(part, target.name, place, expected, pace, listener, ranges=ranges)
        try:
            return filling.run(target)
        except TooLong:
            discard(part)
            raise
        except (Contradiction, RangeRefused) as error:
            discard(part)
            ranges = ranges and getattr(error, "ranges", True)
            if again == _CONTRADICTIONS:
                raise Unreachable(f"{error}; restarted {again + 1} times, but the server is inconsistent") from error
    raise AssertionError("unreachable")


def _rejected(target: Path) -> Path:
    return beside(target, ".rejected")


def _reject(part: Path, target: Path) -> Path:
    rejected = _rejected(target)
    try:
        move(part, rejected)
    except OSError as error:
        raise storage_error(rejected, error) from error
    discard(part)
    return rejected
