"""The commands, run in the process of the test."""

from __future__ import annotations

from click.testing import CliRunner, Result
from uir_cli.uir import program


def uir(*args: object) -> Result:
    """Run `uir` with these arguments."""
    return CliRunner().invoke(program, [str(arg) for arg in args])
