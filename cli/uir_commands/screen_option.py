"""--screen, for the commands that plan: which training crops are left out for what their GT looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from ..console import Console

if TYPE_CHECKING:
    from uirdata.layout import Layout
    from uirdata.pipeline.building.sample_plan import Plan
    from uirdata.pipeline.building.screen import Screened
    from uirdata.sources import Source

SCREEN = click.option(
    "--screen",
    is_flag=True,
    help="Leave out training crops whose GT is flat, blurred or dark, and clean ones that are there twice.",
)


def screened_plan(
    console: Console,
    layout: Layout,
    plan: Plan,
    sources: Mapping[str, Source],
    *,
    screen: bool,
    workers: int,
    dry_run: bool,
    trust_files: bool = False,
) -> tuple[Plan, list[Screened]]:
    """
    Screen what a plan needs screened, and leave it out of the plan. A dry run only reads the scores that are there.

    Sources whose published crops drop the least sharp are screened for that without --screen, too. With `trust_files`,
    files that have scores are not read again.
    """
    from uirdata.pipeline.building.sample_reader import source_folders
    from uirdata.pipeline.building.screen import cuts_to_screen, screen_cut, with_screening

    cuts = cuts_to_screen(plan, sources, screen=screen)
    reports: list[Screened] = []
    if dry_run:
        unknown = [cut.source for cut in cuts if not cut.table(layout).exists()]
        if unknown:
            console.remark(f"not screened yet, so all their crops are counted: {', '.join(unknown)}")
    else:
        folders = source_folders(sources, layout, plan.sources)
        for cut in cuts:
            with console.progress() as progress:
                folder = folders[cut.source]
                report = screen_cut(cut, folder, layout, trust_files=trust_files, workers=workers, progress=progress)
            reports.append(report)
            reasons = "".join(f", {number:,} {reason}" for reason, number in report.reasons.items())
            counts = f"{report.crops:,} crops, {report.left_out:,} left out{reasons}"
            console.line(f"screened {cut.source}: {counts}; {cut.table(layout)}")
            for failure in report.failures[:10]:
                console.warning(failure.reason)
    return with_screening(plan, cuts, layout), reports
