"""Progress reports of long work: libraries call them, the console draws them, tests count them."""

from __future__ import annotations

from typing import Literal, Protocol

Unit = Literal["bytes", "items"]


class Progress(Protocol):
    """Receiver of progress. Tasks are named by the text shown to the user; calls may come from several threads."""

    def begin(self, task: str, total: int | None, unit: Unit = "items") -> None:
        """Start a task; `total` is None while it is unknown. Starting a task again resets it."""
        ...

    def advance(self, task: str, amount: int = 1) -> None:
        """Add to the amount that is done."""
        ...

    def end(self, task: str) -> None:
        """End the task, whether or not it is complete."""
        ...

    def note(self, message: str) -> None:
        """Show a message to the user, once."""
        ...


class Silent:
    """Ignores all reports."""

    def begin(self, task: str, total: int | None, unit: Unit = "items") -> None:
        """Do nothing."""

    def advance(self, task: str, amount: int = 1) -> None:
        """Do nothing."""

    def end(self, task: str) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""
