"""The option --screen: which training crops are left out because of their GT, and what is shown about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..console import Console

if TYPE_CHECKING:
    from uirdata.layout import Layout
    from uirdata.pipeline.building.screen import Cut, Screened

SCREEN = click.option(
    "--screen",
    is_flag=True,
    help="Leave out training crops whose GT is flat, blurred or dark, and duplicate crops of clean images.",
)


def remark_unscreened(console: Console, sources: Sequence[str]) -> None:
    """Show the sources that a dry run did not screen."""
    if sources:
        console.remark(f"not screened yet, so all their crops are counted: {', '.join(sources)}")


def show_screened(console: Console, layout: Layout, screened: Sequence[tuple[Cut, Screened]]) -> None:
    """Show the results of screening."""
    for cut, report in screened:
        reasons = "".join(f", {number:,} {reason}" for reason, number in report.reasons.items())
        counts = f"{report.crops:,} crops, {report.left_out:,} left out{reasons}"
        console.line(f"screened {report.source}: {counts}; {cut.table(layout)}")
        for failure in report.failures[:10]:
            console.warning(failure.reason)
