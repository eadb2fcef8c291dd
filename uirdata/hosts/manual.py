"""What only a person can get: behind a form, a login, or a service that has no interface for programs."""

from __future__ import annotations

from uirdata.hosts.base import Listed
from uirdata.transfer import Incoming, Reach, Unreachable


class Manual:
    """`where` is the page that a person opens, with the code that it asks for, if any."""

    connections = 1

    def reach(self, where: str) -> Reach:
        """Say which page to open."""
        return Reach("by hand", f"open {where} in a browser")

    def link(self, where: str) -> str:
        """Give the page."""
        return where

    def is_folder(self, where: str) -> bool:
        """Say no: what a person downloads is found by its name."""
        return False

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Refuse."""
        raise Unreachable(f"{where}: a person has to download this")

    def files(self, where: str) -> tuple[Listed, ...]:
        """Refuse."""
        raise Unreachable(f"{where}: a person has to download this")
