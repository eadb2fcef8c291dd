"""Files that must be downloaded by hand: behind a form, a login, or a service without an interface for programs."""

from __future__ import annotations

from uirdata.hosts.base import Listed
from uirdata.transfer import Incoming, Reach, Unreachable, redacted


class Manual:
    """`where` is the page to open in a browser, with the code that it asks for, if any."""

    connections = 1

    def reach(self, where: str) -> Reach:
        """Return which page to open."""
        return Reach("by hand", f"open {redacted(where)} in a browser")

    def link(self, where: str) -> str:
        """Return the address of the page."""
        return redacted(where)

    def is_folder(self, where: str) -> bool:
        """Return False: a file downloaded by hand is found by its name."""
        return False

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Refuse."""
        raise Unreachable(f"{redacted(where)}: this must be downloaded by hand")

    def files(self, where: str) -> tuple[Listed, ...]:
        """Refuse."""
        raise Unreachable(f"{redacted(where)}: this must be downloaded by hand")
