"""uir crop, build-shards, stats: from what was found to shards, and what they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.console import Console, size_text
from cli.options import DRY_RUN, ROOT, SEED, SUBSET, Size, all_sources, common, find_subset
from uirdata.errors import PartlyDone, SourceError, UsageError
from uirdata.layout import Layout

if TYPE_CHECKING:
    from uirdata.pipeline.build import BuildPlan
    from uirdata.pipeline.crop import Plan
    from uirdata.planning import CropSetting, PlannedSample
    from uirdata.sources import Source
    from uirdata.subsets import Subset

SIZE = click.option("--size", type=click.IntRange(1), help="Of training crops, pixels. [default: the subset's, or 512]")
STRIDE = click.option("--stride", type=click.IntRange(1), help="From crop to crop. [default: the subset's, or 256]")


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@SIZE
@STRIDE
@SEED
@click.option(
    "--export", type=click.Path(path_type=Path, file_okay=False), help="Also write the crops there, as PNG files."
)
@ROOT
@DRY_RUN
@common
def crop(
    ids: tuple[str, ...],
    subset: str | None,
    size: int | None,
    stride: int | None,
    seed: int,
    export: Path | None,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Plan the crops of what has been fetched.

    Writes ROOT/plan.parquet, a row for each sample that `uir build-shards` would make: source, crop, degradation,
    level. Pixels are touched only with --export.

    \b
    Examples:
      uir crop --subset sample
      uir crop my-photos --size 256 --stride 128 --export crops
    """
    from uirdata.pipeline.crop import export_crops, source_folders, write_plan

    layout = Layout(root)
    _, sources, plan = _plan(layout, ids, subset, size, stride, seed)
    if not dry_run:
        write_plan(layout.plan, plan.samples)
    _show_plan(console, plan.samples, "" if dry_run else str(layout.plan))
    _remark_left(console, plan)
    if export is not None and not dry_run:
        folders = source_folders(sources, layout, {s.source for s in plan.samples})
        with console.progress() as progress:
            failures = list(export_crops(plan.samples, folders, export, seed=seed, progress=progress))
        for failure in failures:
            console.warning(failure.reason)
        console.line(f"{len(plan.samples) - len(failures):,} pairs of crops in {export}")
        if failures:
            raise PartlyDone(
                f"{len(failures)} crops could not be made; mend the files above and run the same command again"
            )


@click.command("build-shards")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The shard folder. [default: ROOT/shards]"
)
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(), show_default="cores", help="Processes.")
@click.option("--shard-size", type=Size(), default="1GB", show_default=True, help="About how large a tar becomes.")
@click.option(
    "--codec", type=click.Choice(["webp", "png"]), default="webp", show_default=True, help="Both are lossless."
)
@SIZE
@STRIDE
@SEED
@click.option("--retry-rejected", is_flag=True, help="Build again the shards that had to leave samples out.")
@click.option("--discard", is_flag=True, help="Delete what another unfinished build left in the folder.")
@ROOT
@DRY_RUN
@common
def build_shards(
    ids: tuple[str, ...],
    subset: str | None,
    out: Path | None,
    workers: int,
    shard_size: int,
    codec: str,
    size: int | None,
    stride: int | None,
    seed: int,
    retry_rejected: bool,
    discard: bool,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Crop, degrade and write what has been fetched as WebDataset shards.

    Adds to a folder of shards and never rewrites what is whole there. The same input, seed and version give the same
    bytes on any number of workers; killed and started again, it does what is left.

    \b
    Examples:
      uir build-shards --subset sample
      uir build-shards --subset 5d --out /data/shards --workers 16
      uir build-shards --subset 5d --dry-run
    """
    from uirdata.images import CODECS
    from uirdata.pipeline.build import BuildSettings, build, plan_build
    from uirdata.pipeline.crop import source_folders

    layout = Layout(root)
    folder = out or layout.shards
    chosen, sources, plan = _plan(layout, ids, subset, size, stride, seed)
    settings = BuildSettings(seed=seed, codec=next(c for c in CODECS if c == codec), shard_bytes=shard_size)
    todo = plan_build(folder, plan, settings, retry_rejected=retry_rejected)
    _remark_left(console, plan)
    if dry_run:
        _show_plan(console, plan.samples, "")
        _show_todo(console, todo)
        return
    with console.progress() as progress:
        report = build(
            todo,
            subset=chosen,
            crops=plan.crops,
            sources=source_folders(sources, layout, {s.source for s in plan.samples}),
            settings=settings,
            workers=workers,
            discard=discard,
            progress=progress,
        )
    resumed = sum(len(shard.samples) for shard in todo.done)
    console.data(
        {
            "folder": str(folder),
            "subset": chosen.name,
            "shards_built": report.shards,
            "samples_built": report.samples,
            "samples_already_there": todo.kept + resumed,
            "rejected": [asdict(row) for row in report.rejected],
            "sources_left_out": [asdict(item) for item in plan.left],
        }
    )
    console.line(
        f"{report.samples:,} samples in {report.shards:,} new shards; {todo.kept + resumed:,} were there. In {folder}"
    )
    _end_build(console, folder, report.rejected, plan)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write one self-contained page.")
@click.option("--levels", is_flag=True, help="Count each level too.")
@ROOT
@common
def stats(folder: Path | None, page: Path | None, levels: bool, root: Path, console: Console) -> None:
    """
    Count shards: samples, images, pixels and bytes, beside the paper's table.

    DIR is a shard folder; without it ROOT/shards.

    \b
    Examples:
      uir stats
      uir stats /data/shards --html stats.html
    """
    from uirdata.pipeline.report import count_shards, write_statistics_page

    folder = folder or Layout(root).shards
    statistics = count_shards(folder)
    tables = statistics.tables()
    console.data({"folder": str(folder), "samples": len(statistics.samples), "rejected": statistics.rejected, **tables})
    for title, rows in tables.items():
        # A hundred levels would push the rest off the screen.
        if title != "by level" or levels:
            console.table([_readable(row) for row in rows], title=title, right=["bytes", "real"])
    for reason, number in statistics.rejected.items():
        console.line(f"left out {number:,}: {reason}")
    if page is not None:
        write_statistics_page(folder, page)
        console.remark(f"wrote {page}")


def _plan(
    layout: Layout, ids: Sequence[str], subset: str | None, size: int | None, stride: int | None, seed: int
) -> tuple[Subset, dict[str, Source], Plan]:
    from uirdata.pipeline.crop import make_plan

    sources = all_sources(layout)
    chosen = _chosen_subset(layout, ids, subset, sources)
    return chosen, sources, make_plan(chosen, sources, layout, crop=_crop_setting(size, stride), seed=seed)


def _chosen_subset(layout: Layout, ids: Sequence[str], subset: str | None, sources: dict[str, Source]) -> Subset:
    """Say what to build: --subset, some of its sources, some sources by themselves, or all that was fetched."""
    from uirdata.subsets import Subset, merge_subsets

    if subset is None and not ids:
        ids = [name for name in sources if layout.pairs(name).exists()]
        if not ids:
            raise SourceError(
                f"nothing has been fetched into {layout.root}; `uir fetch --subset sample` is a beginning"
            )
    if subset is None:
        return merge_subsets([find_subset(layout, name) for name in ids])
    whole = find_subset(layout, subset)
    if not ids:
        return whole
    unknown = [name for name in ids if name not in whole.sources]
    if unknown:
        raise UsageError(f"{unknown[0]} is not in {subset}, which has: {', '.join(whole.sources)}")
    uses = tuple(use for use in whole.uses if use.source in ids)
    return Subset(**{**vars(whole), "uses": uses})


def _crop_setting(size: int | None, stride: int | None) -> CropSetting | None:
    from uirdata.planning import CropSetting

    if size is None and stride is None:
        return None
    # Half a window of overlap, as the published crop scripts for GoPro and REDS.
    return CropSetting(size or 512, stride or (size or 512) // 2 or 1)


def _show_plan(console: Console, samples: Sequence[PlannedSample], where: str) -> None:
    from uirdata.planning import estimated_bytes

    counts = Counter(sample.group for sample in samples)
    rows = [
        {"split": split, "degradation": degradation, "source": source, "samples": number}
        for (split, degradation, source), number in sorted(counts.items())
    ]
    total = estimated_bytes(samples)
    console.data({"samples": len(samples), "estimated_bytes": total, "plan": where, "groups": rows})
    console.table(rows)
    console.line(f"{len(samples):,} samples, about {size_text(total)} of shards" + (f"; {where}" if where else ""))


def _show_todo(console: Console, todo: BuildPlan) -> None:
    done = sum(len(shard.samples) for shard in todo.done)
    console.line(
        f"to build: {sum(len(shard.samples) for shard in todo.todo):,} samples in {len(todo.todo):,} shards; "
        f"already in {todo.folder}: {todo.kept + done:,}"
    )


def _remark_left(console: Console, plan: Plan) -> None:
    for left in plan.left:
        console.warning(f"{left.source} is left out: {left.reason}")


def _end_build(console: Console, folder: Path, rejected: Sequence[object], plan: Plan) -> None:
    from uirdata.pipeline.build import REJECTED, Rejected

    reasons = Counter(row.reason for row in rejected if isinstance(row, Rejected))
    for reason, number in reasons.most_common(10):
        console.warning(f"{number:,} samples left out: {reason}")
    if rejected:
        raise PartlyDone(
            f"{len(rejected):,} samples could not be made; {folder / REJECTED} lists them. "
            "Mend their files and run the same command with --retry-rejected"
        )
    if plan.left:
        raise PartlyDone("some sources of the subset are not there; fetch them and run the same command again")


def _readable(row: object) -> dict[str, object]:
    assert isinstance(row, dict)
    return {key: size_text(value) if key == "bytes" else value for key, value in row.items()}
