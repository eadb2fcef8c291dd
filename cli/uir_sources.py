"""uir sources, fetch, verify: what there is, bringing it home, and proving what arrived."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import Console, size_text
from cli.options import DRY_RUN, JOBS, ROOT, SUBSET, Size, all_sources, chosen_sources, common
from cli.source_views import (
    ACCESS,
    cost_of,
    cost_text,
    first_words,
    show_counts,
    show_plan,
    show_report,
    show_source,
    show_verification,
    source_document,
    verification_document,
)
from uirdata.errors import SourceError, UsageError
from uirdata.layout import Layout


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@ROOT
@common
def sources(ids: tuple[str, ...], subset: str | None, root: Path, console: Console) -> None:
    """
    List what there is: types, pairs, bytes, licence, how it is reached. Fetches nothing.

    With IDs, shows each whole: files and their mirrors, known defects, what it feeds in the paper's table.

    \b
    Examples:
      uir sources
      uir sources --subset 5d
      uir sources gopro
    """
    layout = Layout(root)
    chosen = chosen_sources(layout, ids, subset)
    console.data([source_document(source) for source in chosen])
    if ids and subset is None:
        for source in chosen:
            show_source(console, source)
        return
    rows = [
        {
            "id": source.id,
            "types": ", ".join(source.degradations) or "clean",
            "pairs": sum(source.published().values()) or None,
            "download": cost_text(source),
            "reached": ACCESS[source.access].split(":")[0],
            "licence": first_words(source.licence),
            "here": "yes" if layout.pairs(source.id).exists() else "",
        }
        for source in chosen
    ]
    console.table(rows, right=["download", "pairs"])
    costs = [cost_of(source) for source in chosen]
    console.line(
        f"{len(chosen)} sources; {size_text(sum(known for known, _ in costs))} to download, and "
        f"{sum(unknown for _, unknown in costs)} files of unknown size. "
        "`uir sources ID` shows one whole"
    )


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option(
    "--from",
    "from_dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Take files that you have: downloads made by hand, or, for an ID of your own, a folder of your images.",
)
@click.option("--degradation", metavar="TYPE", default="", help="Of your own LQ images: one of the nineteen types.")
@click.option("--lq", metavar="NAME", default="", help="Your folder of LQ images, below --from.")
@click.option("--gt", metavar="NAME", default="", help="Your folder of GT images, below --from.")
@click.option("--test-share", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Of your scenes, for test.")
@click.option("--licence", default="unknown", help="Of your images.")
@click.option("--prune", is_flag=True, help="Remove archives once they are unpacked.")
@click.option("--limit", type=Size(), metavar="SIZE", help="At most so many bytes a second, over all files.")
@click.option("--accept-changed", is_flag=True, help="Take files that differ from their first download.")
@click.option("--alternative", metavar="NAME", default="", help="Take the file set of this name, where there is one.")
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
    test_share: float,
    licence: str,
    prune: bool,
    limit: int | None,
    accept_changed: bool,
    alternative: str,
    root: Path,
    jobs: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Download, check and unpack sources; find their pairs.

    What is here already is not fetched again, and an interrupted file goes on where it was. Files that need a form or a
    browser are named with their page; put them anywhere and give the folder with --from.

    \b
    Examples:
      uir fetch --subset sample
      uir fetch --subset 5d --dry-run
      uir fetch gopro --from ~/Downloads
      uir fetch my-photos --from ~/Pictures --test-share 0.1
      uir fetch my-haze --from ~/haze --lq hazy --gt clear --degradation haze
    """
    from uirdata.pipeline.fetching.fetch import add_local_source, plan_fetch
    from uirdata.pipeline.fetching.fetch import fetch as run_fetch

    layout = Layout(root)
    if not ids and subset is None:
        raise UsageError("say what to fetch: IDs, or --subset NAME; `uir sources` lists both")
    known = all_sources(layout)
    own = [name for name in ids if name not in known or known[name].local_dir is not None]
    if from_dir is not None and len(ids) == 1 and own and subset is None:
        if dry_run:
            raise UsageError(f"{ids[0]} is a folder of your own: nothing would be fetched, so there is nothing to show")
        wanted = [
            add_local_source(
                ids[0],
                from_dir,
                layout,
                lq=lq,
                gt=gt,
                degradation=degradation,
                test_share=test_share,
                licence=licence,
            )
        ]
        from_dir = None
    else:
        if lq or gt or degradation or test_share:
            raise UsageError("--lq, --gt, --degradation and --test-share describe a folder of your own: ID --from DIR")
        wanted = chosen_sources(layout, ids, subset)
    plan = plan_fetch(wanted, layout, from_dir=from_dir, alternative=alternative)
    if dry_run:
        show_plan(console, plan)
        plan.refuse_if_too_large(prune=prune)
        return
    with console.progress() as progress:
        report = run_fetch(
            plan,
            jobs=jobs,
            progress=progress,
            prune=prune,
            limit_bytes_per_s=limit,
            accept_changed=accept_changed,
        )
    show_report(console, report)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option("--deep", is_flag=True, help="Decode every image, and compare every LQ with its GT.")
@click.option("--pin", is_flag=True, help="Print the lines that pin what arrived in the manifests.")
@ROOT
@JOBS
@DRY_RUN
@common
def verify(
    ids: tuple[str, ...],
    subset: str | None,
    deep: bool,
    pin: bool,
    root: Path,
    jobs: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Check bytes, archives and pairs: what is wrong, where, and how to mend it.

    Writes ROOT/sources/ID/pairs.parquet anew. A second run looks only at what changed. Without arguments it checks all
    that has been fetched.

    \b
    Examples:
      uir verify
      uir verify --subset sample --deep
    """
    from uirdata.pipeline.verifying.verify import pin_lines
    from uirdata.pipeline.verifying.verify import verify as run_verify

    layout = Layout(root)
    chosen = chosen_sources(layout, ids, subset)
    if not ids and subset is None:
        chosen = [source for source in chosen if layout.pairs(source.id).exists()]
        if not chosen:
            raise SourceError(f"nothing has been fetched into {root}; `uir fetch --subset sample` is a beginning")
    if dry_run:
        rows = [{"id": source.id, "would write": str(layout.pairs(source.id))} for source in chosen]
        console.data(rows)
        console.table(rows)
        return
    if pin:
        lines = {source.id: pin_lines(source, layout) for source in chosen}
        console.data({name: list(of_source) for name, of_source in lines.items()})
        for name, of_source in lines.items():
            if of_source:
                console.line(f"# {name}.toml")
            for line in of_source:
                console.line(line)
        return
    with console.progress() as progress:
        report = run_verify(chosen, layout, deep=deep, jobs=jobs, progress=progress)
    console.data([verification_document(item) for item in report.sources])
    console.table(
        [
            {
                "id": item.id,
                "state": item.state,
                "pairs found": item.inventory.total if item.inventory else 0,
                "published": sum(item.published.values()) or None,
                "left out": sum(item.inventory.left_out.values()) if item.inventory else 0,
                "files well": item.files_ok,
                "missing": len(item.missing),
                "changed": len(item.changed),
            }
            for item in report.sources
        ],
        right=["published"],
    )
    show_counts(console, report.sources)
    for item in report.sources:
        show_verification(console, item)
    faulty = [item.id for item in report.sources if item.state == "faulty"]
    if faulty:
        raise SourceError(f"something is wrong with {', '.join(faulty)}; what to do stands above")
