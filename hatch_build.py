"""Build hook of hatchling: the package `uir_cli` of an editable install."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EditableCommandLine(BuildHookInterface[Any]):
    """
    Build hook that makes the folder cli/ of a checkout importable as `uir_cli`.

    A wheel gets a copy of the folder under that name. A copy in an editable install would run outdated code; it gets a
    package of one file instead, whose modules are imported from the checkout.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file of that package to an editable install."""
        if version != "editable":
            return
        file = Path(mkdtemp()) / "__init__.py"
        folder = str(Path(self.root) / "cli")
        file.write_text(
            f'"""The command line of an editable install."""\n\n__path__ = [{folder!r}]\n', encoding="utf-8"
        )
        build_data["force_include_editable"] = {str(file): "uir_cli/__init__.py"}
