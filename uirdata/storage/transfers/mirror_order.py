"""The order in which mirrors of a file are tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uirdata.storage.transfers.download_types import DownloadSource, Expected
from uirdata.storage.transfers.partial import Partial


def mirror_order(part: Path, mirrors: Sequence[DownloadSource], expected: Expected) -> list[DownloadSource]:
    """
    Return the mirrors in the order in which they are tried: that of the manifest, which is the order of trust.

    Without a pinned sha256 the mirror that the partial file comes from is tried first, as bytes of two mirrors must not
    be mixed. With one all mirrors hold the same bytes.

    Args:
        part: the partial file, which need not exist.
        mirrors: as the manifest lists them.
        expected: whether a sha256 is pinned.
    """
    partial = None if expected.sha256 else Partial.load(part)
    if partial is None:
        return list(mirrors)
    partial.close()
    return sorted(mirrors, key=lambda mirror: mirror.name != partial.place)
