"""How long work tells how far it is: libraries call it, the console draws it, tests count it."""

from __future__ import annotations

from typing import Literal, Protocol

Unit = Literal["bytes", "items"]


class Progress(Protocol):
    """A listener. Tasks are named by the text that a person sees; calls may come from several threads."""

    def begin(self, task: str, total: int | None, unit: Unit = "items") -> None:
        """A task starts; its total is None while nobody knows it. Beginning it again resets it."""
        ...

    def advance(self, task: str, amount: int = 1) -> None:
        """Some more is done."""
        ...

    def end(self, task: str) -> None:
        """The task is over, done or not."""
        ...

    def note(self, message: str) -> None:
        """Something that a person should read, once."""
        ...


class Silent:
    """Listens to nothing."""

    def begin(self, task: str, total: int | None, unit: Unit = "items") -> None:
        """Do nothing."""

    def advance(self, task: str, amount: int = 1) -> None:
        """Do nothing."""

    def end(self, task: str) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""
