"""The interface of a host: a place on the network, or on this machine, from which a source's files are downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from uirdata.transfer import Incoming, Reach


@dataclass(frozen=True)
class Listed:
    """
    A file of a folder.

    Attributes:
        path: path below the folder, with "/".
        where: what the same host needs to open it.
        size: bytes, or None if the listing does not contain it.
        sha256: hex, or "" if the listing does not contain it.
    """

    path: str
    where: str
    size: int | None = None
    sha256: str = ""


class Host(Protocol):
    """
    One way to read files. It keeps no state between calls except cookies, and writes nothing.

    Attributes:
        connections: how many simultaneous streams of one file it permits.
    """

    connections: int

    def reach(self, where: str) -> Reach:
        """Return whether `open` will work and what the user has to do if not; uses no network."""
        ...

    def link(self, where: str) -> str:
        """Return the address to open in a browser."""
        ...

    def is_folder(self, where: str) -> bool:
        """Return whether `where` is a folder, whose files can be listed, rather than a file."""
        ...

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a file: see `transfer.Opener`."""
        ...

    def files(self, where: str) -> tuple[Listed, ...]:
        """
        Return the files of a folder and its subfolders, in the order of their paths.

        Raises:
            Unreachable: the folder does not exist or is not accessible, or this host has no folders.
            Interrupted: try again later.
        """
        ...
