"""uir fetch: download, check and unpack sources, and find their pairs."""

from __future__ import annotations

from pathlib import Path

import click

from uirdata.errors import UsageError
from uirdata.layout import Layout

from ..console import Console
from ..options import DRY_RUN, JOBS, ROOT, SUBSET, Size, common
from .source_views import show_found, show_plan, show_report


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option(
    "--from",
    "from_dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Use files that you have: manual downloads, or, with a new ID, a folder of your own images.",
)
@click.option(
    "--degradation", metavar="TYPE", default="", help="Degradation of your LQ images: one of the nineteen types."
)
@click.option("--lq", metavar="NAME", default="", help="Folder of your LQ images, below --from.")
@click.option("--gt", metavar="NAME", default="", help="Folder of your GT images, below --from.")
@click.option(
    "--pair",
    "patterns",
    nargs=2,
    multiple=True,
    metavar="LQ GT",
    help="Patterns of the file names of your LQ and GT, such as 'Low/low{id}.png' 'Normal/normal{id}.png'; may repeat.",
)
@click.option("--clean", is_flag=True, help="All images are clean photographs, whatever their names say.")
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of your scenes for the test split. [default: as before, else 0]",
)
@click.option("--licence", default="unknown", help="Licence of your images.")
@click.option("--fetch-missing", is_flag=True, help="With --from: download what is not in DIR.")
@click.option("--prune", is_flag=True, help="Delete archives after they are unpacked.")
@click.option("--limit", type=Size(), metavar="SIZE", help="Rate limit in bytes per second, over all files.")
@click.option("--accept-changed", is_flag=True, help="Accept files that differ from their first download.")
@click.option("--ignore-estimates", is_flag=True, help="Start although files of unknown size may not fit on the disk.")
@click.option("--alternative", metavar="NAME", default="", help="Use the file set of this name, where a source has it.")
@ROOT
@JOBS
@DRY_RUN
@common
def fetch(
    ids: tuple[str, ...],
    subset: str | None,
    from_dir: Path | None,
    degradation: str,
    lq: str,
    gt: str,
    patterns: tuple[tuple[str, str], ...],
    clean: bool,
    test_share: float | None,
    licence: str,
    fetch_missing: bool,
    prune: bool,
    limit: int | None,
    accept_changed: bool,
    ignore_estimates: bool,
    alternative: str,
    root: Path,
    jobs: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Download, check and unpack sources, and find their pairs.

    Files that are present are not downloaded again, and an interrupted download is resumed. Files that need a form or a
    browser are listed with the URL of their page; save them in any folder and pass the folder with --from.

    With --from, what DIR holds is taken: archives, and unpacked folders in any layout that the manifests know. Nothing
    is downloaded; --fetch-missing downloads the rest.

    \b
    Examples:
      uir fetch --subset sample
      uir fetch --subset 5d --dry-run
      uir fetch gopro --from ~/Downloads
      uir fetch my-photos --from ~/Pictures --test-share 0.1
      uir fetch my-haze --from ~/haze --lq hazy --gt clear --degradation haze
      uir fetch my-dark --from ~/LOL-v2 --pair 'Low/low{id}.png' 'Normal/normal{id}.png' --degradation low-light
    """
    from uirdata.pipeline.fetching.fetch import fetch as run_fetch
    from uirdata.pipeline.fetching.wanted import OwnFolder, is_own_folder, plan_wanted

    layout = Layout(root)
    if dry_run and is_own_folder(layout, ids, subset, from_dir):
        raise UsageError(f"{ids[0]} is your own folder: nothing would be downloaded, so --dry-run has nothing to show")
    own = OwnFolder(degradation, lq, gt, test_share, licence, patterns, clean)
    plan = plan_wanted(
        layout, ids, subset, from_dir=from_dir, own=own, alternative=alternative, fetch_missing=fetch_missing
    )
    if plan.from_dir is not None:
        show_found(console, plan)
    if dry_run:
        show_plan(console, plan)
        # Nothing is downloaded: what is only estimated is a remark here, and a refusal when it is meant.
        plan.refuse_if_too_large(prune=prune, ignore_estimates=True)
        if not ignore_estimates and (doubt := plan.too_large(prune=prune)):
            console.warning(doubt)
        return
    with console.progress() as progress:
        report = run_fetch(
            plan,
            jobs=jobs,
            progress=progress,
            prune=prune,
            limit_bytes_per_s=limit,
            accept_changed=accept_changed,
            ignore_estimates=ignore_estimates,
        )
    show_report(console, report)
