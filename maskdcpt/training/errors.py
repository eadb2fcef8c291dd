"""The error of a run that cannot continue."""

from __future__ import annotations

from uirdata.errors import UirError


class TrainingError(UirError):
    """A run cannot continue: its losses are NaN in too many steps in a row, or a step does not fit into memory."""
