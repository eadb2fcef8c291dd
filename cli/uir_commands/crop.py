"""uir crop: plan the crops, and export them as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from uirdata.errors import PartlyDone
from uirdata.layout import Layout

from ..console import Console
from ..options import DRY_RUN, JOBS, ROOT, SEED, SUBSET, common
from .plan_options import SIZE, STRIDE, VARIANT, expected_of, narrowing_of, narrowing_options, remark_left, show_plan
from .screen_option import SCREEN, remark_unscreened, show_screened

if TYPE_CHECKING:
    from uirdata.pipeline.building.screen import Screened
    from uirdata.pipeline.building.subset_plan import Variant


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@narrowing_options
@SIZE
@STRIDE
@VARIANT
@SCREEN
@SEED
@click.option(
    "--export",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write the crops to this folder, as PNG files.",
)
@ROOT
@JOBS
@DRY_RUN
@common
def crop(
    ids: tuple[str, ...],
    subset: str | None,
    size: int | None,
    stride: int | None,
    degradation: str,
    level: str,
    per_image: int | None,
    variant: Variant,
    screen: bool,
    seed: int,
    export: Path | None,
    root: Path,
    jobs: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Plan the crops of the fetched sources.

    Writes ROOT/plan.parquet, one row for each sample that `uir build-shards` would make: source, crop, degradation,
    level. Pixels are read only with --export and --screen; the scores of --screen are stored next to the pairs.parquet
    of each source, and `uir build-shards --screen` leaves out the same crops.

    \b
    Examples:
      uir crop --subset sample
      uir crop my-photos --screen
      uir crop my-photos --size 256 --stride 128 --export crops
    """
    from uirdata.pipeline.building.export_crops import export_crops
    from uirdata.pipeline.building.sample_plan import write_plan
    from uirdata.pipeline.building.sample_reader import source_folders
    from uirdata.pipeline.building.screen import plan_with_known_scores, screened_plan
    from uirdata.pipeline.building.subset_plan import plan_subset

    layout = Layout(root)
    planned = plan_subset(
        layout,
        ids,
        subset,
        size=size,
        stride=stride,
        seed=seed,
        variant=variant,
        narrowing=narrowing_of(degradation, level, per_image),
        may_be_empty=dry_run,
    )
    sources = planned.sources
    screened: list[Screened] = []
    if dry_run:
        plan, unscreened = plan_with_known_scores(planned.plan, sources, layout, screen=screen)
        remark_unscreened(console, unscreened)
    else:
        with console.progress() as progress:
            plan, cuts = screened_plan(planned.plan, sources, layout, screen=screen, workers=jobs, progress=progress)
        show_screened(console, layout, cuts)
        screened = [report for _, report in cuts]
        write_plan(layout.plan, plan.samples())
    expected = expected_of(planned) if dry_run else None
    samples = show_plan(console, plan, "" if dry_run else str(layout.plan), expected, screened)
    if not dry_run:
        remark_left(console, plan)
    if export is not None and not dry_run:
        folders = source_folders(sources, layout, plan.sources)
        with console.progress() as progress:
            failures = export_crops(plan, folders, export, jobs=jobs, progress=progress)
        for failure in failures:
            console.warning(failure.reason)
        console.line(f"{samples - len(failures):,} pairs of crops in {export}")
        if failures:
            raise PartlyDone(
                f"{len(failures)} crops could not be made; repair the files above and run the same command again"
            )
    unread = sum(len(report.failures) for report in screened)
    if unread:
        raise PartlyDone(f"{unread:,} images could not be read; repair the files above and run the same command again")
