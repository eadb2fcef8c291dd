"""uir audit: duplicates in a pool of shards, and training images that are also in a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from uirdata.errors import PartlyDone, UsageError
from uirdata.layout import Layout

from ..console import Console
from ..options import DRY_RUN, JOBS, ROOT, common

if TYPE_CHECKING:
    from uirdata.pipeline.auditing.audit import AuditReport
    from uirdata.pipeline.auditing.gt_images import GtImage


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@click.option(
    "--against",
    multiple=True,
    metavar="NAME",
    help="Benchmarks: a fetched subset or source, or another shard folder. May be given several times.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Table of the hits. [default: ROOT/audit.parquet]"
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML page that shows the hits."
)
@click.option(
    "--write-overlaps",
    is_flag=True,
    help="Write the training scenes that are in benchmarks to ROOT/overlaps, for `--variant clean`.",
)
@JOBS
@ROOT
@DRY_RUN
@common
def audit(
    folder: Path | None,
    against: tuple[str, ...],
    out: Path | None,
    page: Path | None,
    write_overlaps: bool,
    jobs: int,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Find duplicate training images, and those that are also in a benchmark.

    Compares the GT of the training samples in DIR, a shard folder (default: ROOT/shards), with each other, with the val
    and test samples of DIR, and with --against. Finds equal pixels, copies that were re-encoded, resized, flipped or
    changed in brightness, and crops. Does not change any shard; fingerprints are cached in ROOT/cache.

    \b
    Examples:
      uir audit
      uir audit --against bench --html audit.html
      uir audit /data/shards --against cbsd68 --against /data/other-shards --write-overlaps
    """
    from uirdata.pipeline.auditing.audit import audit as run
    from uirdata.pipeline.auditing.gt_images import shard_images
    from uirdata.pipeline.auditing.report import write_audit_page, write_hits
    from uirdata.pipeline.auditing.report import write_overlaps as write_lists
    from uirdata.storage.fingerprint_cache import FingerprintCache

    layout = Layout(root)
    folder = folder or layout.shards
    mine = shard_images(folder, ("train",))
    theirs, missing = _benchmarks(layout, against)
    theirs = [*shard_images(folder, ("val", "test")), *theirs]
    if dry_run:
        console.data({"pictures": len(mine), "benchmark_pictures": len(theirs), "not_fetched": missing})
        console.line(f"to compare: {len(mine):,} training images of {folder} with {len(theirs):,} images of benchmarks")
        return
    with console.progress() as progress:
        report = run(mine, theirs, FingerprintCache(layout.fingerprints), workers=jobs, progress=progress)
    target = out or layout.audit
    write_hits(report, target)
    lists = write_lists(report.against, layout.overlaps) if write_overlaps else []
    _show(console, report, target, lists, missing)
    if page is not None:
        write_audit_page(report, page)
        console.remark(f"wrote {page}")
    _end(console, report, missing)


def _benchmarks(layout: Layout, names: tuple[str, ...]) -> tuple[list[GtImage], list[str]]:
    """Return the images of --against, and the sources that have not been fetched."""
    from uirdata.pipeline.auditing.gt_images import shard_images, source_images
    from uirdata.pipeline.building.sample_reader import source_folders
    from uirdata.pipeline.choosing import all_sources, find_subset

    sources = all_sources(layout)
    found: list[GtImage] = []
    missing: list[str] = []
    splits: dict[str, set[str]] = {}
    for name in names:
        if Path(name).is_dir():
            found += shard_images(Path(name), ("train", "val", "test"))
        elif name in sources:
            splits.setdefault(name, set()).update(_test_splits(layout, name))
        else:
            for use in find_subset(layout, name).uses:
                if use.split != "train":
                    splits.setdefault(use.source, set()).add(use.split)
    folders = source_folders(sources, layout, splits)
    for name, wanted in splits.items():
        images = source_images(name, folders[name], layout, wanted)
        found += images or []
        missing += [name] if images is None else []
    if names and not found:
        raise UsageError(
            f"there is nothing to compare with: {', '.join(missing) or ', '.join(names)} has not been fetched. "
            f"Run `uir fetch {missing[0] if missing else names[0]}`"
        )
    return found, missing


def _test_splits(layout: Layout, name: str) -> set[str]:
    """Return the val and test splits of a source; all its splits if it has neither."""
    from uirdata.storage.pair_tables import read_found

    splits = {item.pair.split for item in read_found(layout, name) or ()}
    return splits - {"train"} or splits or {"test"}


def _show(console: Console, report: AuditReport, target: Path, lists: list[Path], missing: list[str]) -> None:
    from uirdata.pipeline.auditing.report import count_hits

    tables = {"in a benchmark": count_hits(report.against), "twice in the data set": count_hits(report.within)}
    console.data(
        {
            "pictures": report.images,
            "benchmark_pictures": report.benchmark_images,
            "hits": str(target),
            "overlap_lists": [str(path) for path in lists],
            "not_fetched": missing,
            "failures": [vars(failure) for failure in report.failures],
            **tables,
        }
    )
    for title, rows in tables.items():
        console.table(rows, title=title)
    console.line(
        f"{report.images:,} training images, {report.benchmark_images:,} images of benchmarks: "
        f"{len(report.against):,} hits in benchmarks, {len(report.within):,} within the data set; {target}"
    )
    for path in lists:
        console.line(f"wrote {path}; `--variant clean` leaves out these scenes")


def _end(console: Console, report: AuditReport, missing: list[str]) -> None:
    for failure in report.failures[:10]:
        console.warning(failure.reason)
    if missing:
        console.warning(f"not fetched, so not compared: {', '.join(missing)}")
    if report.failures:
        raise PartlyDone(
            f"{len(report.failures):,} images could not be read; repair them and run the same command again"
        )
    if missing:
        raise PartlyDone(f"{len(missing)} benchmarks have not been fetched; fetch them and run the same command again")
