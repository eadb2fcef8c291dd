"""What a host is: a place on the net, or on this machine, that a source's files can be had from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from uirdata.transfer import Incoming, Reach


@dataclass(frozen=True)
class Listed:
    """
    A file of a folder.

    Attributes:
        path: below the folder, with "/".
        where: what the same host needs to open it.
        size: bytes, or None where the listing does not say.
        sha256: hex, or "" where the listing does not say.
    """

    path: str
    where: str
    size: int | None = None
    sha256: str = ""


class Host(Protocol):
    """
    One way to reach files. It keeps no state between calls but cookies, and writes nothing.

    Attributes:
        connections: how many streams of one file it bears at once.
    """

    connections: int

    def reach(self, where: str) -> Reach:
        """Say, without asking the net, whether `open` will work and what a person has to do if not."""
        ...

    def link(self, where: str) -> str:
        """Give the address that a person opens in a browser."""
        ...

    def is_folder(self, where: str) -> bool:
        """Say whether it names a folder, whose files are listed, rather than a file."""
        ...

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a file: see `transfer.Opener`."""
        ...

    def files(self, where: str) -> tuple[Listed, ...]:
        """
        List a folder, and the folders in it, in the order of their paths.

        Raises:
            Unreachable: it is gone, locked, or this host has no folders.
            Interrupted: try again later.
        """
        ...
