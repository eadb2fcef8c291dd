"""uir sources, fetch, verify: what there is, bringing it home, and proving what arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import Console, size_text
from cli.options import DRY_RUN, JOBS, ROOT, SUBSET, Size, all_sources, chosen_sources, common
from uirdata.errors import PartlyDone, SourceError, UsageError
from uirdata.layout import Layout

if TYPE_CHECKING:
    from uirdata.pipeline.fetch import FetchPlan, FetchReport
    from uirdata.pipeline.inventory import Inventory
    from uirdata.pipeline.verify import SourceVerification
    from uirdata.sources import Source

_ACCESS = {
    "open": "automatic",
    "token": "needs a token: accept the terms on its page, then set HF_TOKEN",
    "login": "needs an account of its site",
    "form": "needs a form, answered by mail",
    "by-hand": "by hand, in a browser",
}


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
    console.data([_document(source) for source in chosen])
    if ids and subset is None:
        for source in chosen:
            _show_source(console, source)
        return
    rows = [
        {
            "id": source.id,
            "types": ", ".join(source.degradations) or "clean",
            "pairs": sum(source.published().values()) or None,
            "download": size_text(_bytes(source)),
            "reached": _ACCESS[source.access].split(":")[0],
            "licence": _first_words(source.licence),
            "here": "yes" if layout.pairs(source.id).exists() else "",
        }
        for source in chosen
    ]
    console.table(rows, right=["download", "pairs"])
    known = [size for source in chosen if (size := _bytes(source)) is not None]
    console.line(
        f"{len(chosen)} sources; {size_text(sum(known))} to download from the {len(known)} whose size is known. "
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
    from uirdata.pipeline.fetch import add_local_source, plan_fetch
    from uirdata.pipeline.fetch import fetch as run_fetch

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
        _show_plan(console, plan)
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
    _show_report(console, report)


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
    from uirdata.pipeline.verify import pin_lines
    from uirdata.pipeline.verify import verify as run_verify

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
        for source in chosen:
            for line in pin_lines(source, layout):
                console.line(line)
        return
    with console.progress() as progress:
        report = run_verify(chosen, layout, deep=deep, jobs=jobs, progress=progress)
    console.data([_verification(item) for item in report.sources])
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
    for item in report.sources:
        _show_verification(console, item)
    faulty = [item.id for item in report.sources if item.state == "faulty"]
    if faulty:
        raise SourceError(f"something is wrong with {', '.join(faulty)}; what to do stands above")


def _show_source(console: Console, source: Source) -> None:
    console.line(f"{source.title}  ({source.id})")
    console.line(f"  {source.homepage}" if source.homepage else "  your own folder")
    console.line(f"  licence: {source.licence}")
    console.line(f"  reached: {_ACCESS[source.access]}; {size_text(_bytes(source))} to download")
    if source.layout:
        console.line(f"  layout: {source.layout}")
    console.table(
        [
            {"file": f.name, "size": size_text(f.expected_size), "host": m.host, "where": m.where, "trust": m.trust}
            for f in source.files
            for m in f.mirrors
        ],
        right=["size"],
    )
    console.table(
        [
            {
                "split": rule.split,
                "type": rule.degradation or "clean",
                "real": rule.real,
                "published": rule.published,
                "LQ": rule.lq or "made here",
                "GT": rule.gt,
            }
            for rule in source.pairs
        ],
        right=["published"],
    )
    for defect in source.known_defects:
        console.line(f"  known defect: {defect}")
    for feed in source.feeds:
        number = "an unknown number" if feed.pairs is None else f"{feed.pairs:,}"
        console.line(f"  feeds {feed.row}: {number} of its pairs; {feed.how}")
    console.line()


def _show_plan(console: Console, plan: FetchPlan) -> None:
    rows = [
        {
            "id": source.source.id,
            "file": file.file.name,
            "state": file.state,
            "to fetch": size_text(file.to_fetch),
            "licence": _first_words(file.file.licence or source.source.licence),
            "what you have to do": file.todo,
        }
        for source in plan.sources
        for file in source.files
    ]
    console.data(
        {
            "files": rows,
            "bytes_to_fetch": plan.bytes_to_fetch,
            "unknown_sizes": plan.unknown_sizes,
            "bytes_on_disk": plan.bytes_on_disk,
            "free_bytes": plan.free_bytes,
        }
    )
    console.table(rows, right=["to fetch"])
    unknown = f" and {plan.unknown_sizes} files of unknown size" if plan.unknown_sizes else ""
    console.line(
        f"to fetch: {size_text(plan.bytes_to_fetch)}{unknown}; on the disk once unpacked: "
        f"{size_text(plan.bytes_on_disk)} ({size_text(plan.bytes_pruned)} with --prune); "
        f"free: {size_text(plan.free_bytes)}"
    )


def _show_report(console: Console, report: FetchReport) -> None:
    console.data(
        [
            {
                "id": outcome.id,
                "state": outcome.state,
                "pairs": outcome.inventory.total if outcome.inventory else 0,
                "left_out": dict(outcome.inventory.left_out) if outcome.inventory else {},
                "files": [asdict(file) for file in outcome.files],
                "problems": list(outcome.problems),
            }
            for outcome in report.sources
        ]
    )
    console.table(
        [
            {
                "id": outcome.id,
                "state": outcome.state,
                "pairs": outcome.inventory.total if outcome.inventory else 0,
                "fetched": size_text(sum(file.bytes for file in outcome.files)),
            }
            for outcome in report.sources
        ],
        right=["fetched"],
    )
    for outcome in report.sources:
        if outcome.inventory is not None:
            _show_left_out(console, outcome.id, outcome.inventory)
        for todo in outcome.todo:
            console.line(f"{outcome.id}: {todo}")
        for file in outcome.files:
            if file.state == "failed":
                console.warning(f"{outcome.id}: {file.name}: {file.message}")
        for problem in outcome.problems:
            console.warning(f"{outcome.id}: {problem}")
    if report.is_complete:
        return
    states = {outcome.state for outcome in report.sources}
    left = ", ".join(outcome.id for outcome in report.sources if outcome.state != "done")
    if states == {"failed"}:
        raise SourceError(f"nothing could be fetched of {left}; why stands above")
    raise PartlyDone(f"not all is here yet of {left}; do what stands above, then run the same command again")


def _show_left_out(console: Console, name: str, inventory: Inventory) -> None:
    for reason, number in inventory.left_out.items():
        console.warning(f"{name}: {number:,} left out: {reason} (such as {inventory.examples.get(reason, '')})")
    if inventory.unknown_count:
        console.warning(f"{name}: {inventory.unknown_count:,} images fit no rule, such as {inventory.unknown[0]}")


def _show_verification(console: Console, item: SourceVerification) -> None:
    for fault in (*item.missing[:10], *item.changed[:10]):
        console.warning(f"{item.id}: {fault.path}: {fault.reason}")
    if item.inventory is not None:
        _show_left_out(console, item.id, item.inventory)
    for text, number in item.warnings.items():
        console.warning(f"{item.id}: {number:,} pairs: {text} (such as {item.warning_examples.get(text, '')})")
    for todo in item.todo:
        console.line(f"{item.id}: {todo}")


def _verification(item: SourceVerification) -> dict[str, Any]:
    inventory = item.inventory
    return {
        "id": item.id,
        "state": item.state,
        "pairs": inventory.total if inventory else 0,
        "found": _by_kind(inventory.found) if inventory else [],
        "published": _by_kind(item.published),
        "left_out": dict(inventory.left_out) if inventory else {},
        "files_ok": item.files_ok,
        "missing": [asdict(fault) for fault in item.missing],
        "changed": [asdict(fault) for fault in item.changed],
        "warnings": dict(item.warnings),
        "paper": [asdict(feed) for feed in item.paper],
        "known_defects": list(item.known_defects),
        "todo": list(item.todo),
    }


def _by_kind(counts: Any) -> list[dict[str, Any]]:
    return [
        {"split": split, "degradation": degradation or "clean", "real": real, "pairs": number}
        for (split, degradation, real), number in counts.items()
    ]


def _document(source: Source) -> dict[str, Any]:
    return {
        "id": source.id,
        "title": source.title,
        "types": list(source.degradations),
        "clean": source.is_clean,
        "pairs": _by_kind(source.published()),
        "bytes": _bytes(source),
        "licence": source.licence,
        "redistributable": source.redistributable,
        "access": source.access,
        "homepage": source.homepage,
        "files": [asdict(file) for file in source.files],
        "known_defects": list(source.known_defects),
        "feeds": [asdict(feed) for feed in source.feeds],
    }


def _bytes(source: Source) -> int | None:
    sizes: Sequence[int | None] = [file.expected_size for file in source.files]
    return None if any(size is None for size in sizes) else sum(size or 0 for size in sizes)


def _first_words(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + " ..."
