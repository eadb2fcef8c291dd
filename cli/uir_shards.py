"""uir crop, build-shards, stats: from what was found to shards, and what they hold."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.console import Console, size_text
from cli.options import DRY_RUN, JOBS, ROOT, SEED, SUBSET, ShardPlace, Size, all_sources, common, find_subset
from cli.screening import SCREEN, screened_plan
from uirdata.errors import PartlyDone, SourceError, UsageError
from uirdata.layout import Layout

if TYPE_CHECKING:
    from uirdata.pipeline.crop import Plan
    from uirdata.pipeline.engines import Engine
    from uirdata.pipeline.pool import Slice
    from uirdata.pipeline.screen import Screened
    from uirdata.planning import CropSetting
    from uirdata.sources import Source
    from uirdata.subsets import Subset

SIZE = click.option("--size", type=click.IntRange(1), help="Of training crops, pixels. [default: the subset's, or 512]")
STRIDE = click.option("--stride", type=click.IntRange(1), help="From crop to crop. [default: the subset's, or 256]")

VARIANT = click.option(
    "--variant",
    type=click.Choice(["paper", "clean"]),
    default="paper",
    show_default=True,
    help="`clean` leaves out training scenes that are known to lie in a benchmark.",
)


class Part(click.ParamType["Slice"]):
    """One part of several: 3/16."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Slice:
        """Parse it."""
        from uirdata.pipeline.pool import Slice

        part, slash, parts = str(value).partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal()):
            self.fail(f"{value!r} is no part; write it like 3/16", param, ctx)
        return Slice(int(part), int(parts))


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@SIZE
@STRIDE
@VARIANT
@SCREEN
@SEED
@click.option(
    "--export", type=click.Path(path_type=Path, file_okay=False), help="Also write the crops there, as PNG files."
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
    variant: str,
    screen: bool,
    seed: int,
    export: Path | None,
    root: Path,
    jobs: int,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Plan the crops of what has been fetched.

    Writes ROOT/plan.parquet, a row for each sample that `uir build-shards` would make: source, crop, degradation,
    level. Pixels are touched only with --export and --screen; the scores of --screen are kept beside each source's
    pairs.parquet, and `uir build-shards --screen` leaves out the same crops.

    \b
    Examples:
      uir crop --subset sample
      uir crop my-photos --screen
      uir crop my-photos --size 256 --stride 128 --export crops
    """
    from uirdata.pipeline.crop import export_crops, source_folders, write_plan

    layout = Layout(root)
    chosen, sources, plan = _plan(layout, ids, subset, size, stride, seed, variant, dry_run=dry_run)
    plan, screened = screened_plan(console, layout, plan, sources, screen=screen, workers=jobs, dry_run=dry_run)
    if not dry_run:
        write_plan(layout.plan, plan.samples())
    expected = _expected(chosen, sources, plan) if dry_run else []
    samples = _show_plan(console, plan, "" if dry_run else str(layout.plan), expected, screened)
    if not dry_run:
        _remark_left(console, plan)
    if export is not None and not dry_run:
        folders = source_folders(sources, layout, plan.sources)
        with console.progress() as progress:
            failures = export_crops(plan, folders, export, jobs=jobs, progress=progress)
        for failure in failures:
            console.warning(failure.reason)
        console.line(f"{samples - len(failures):,} pairs of crops in {export}")
        if failures:
            raise PartlyDone(
                f"{len(failures)} crops could not be made; mend the files above and run the same command again"
            )
    unread = sum(len(report.failures) for report in screened)
    if unread:
        raise PartlyDone(f"{unread:,} images could not be read; mend the files above and run the same command again")


@click.command("build-shards")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="The shard folder. [default: ROOT/shards]"
)
@click.option(
    "--workers",
    "--jobs",
    "workers",
    type=click.IntRange(1),
    default=os.cpu_count(),
    show_default="cores",
    help="Processes.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Ray: the cluster of RAY_ADDRESS, or one on this machine.",
)
@click.option("--shard-size", type=Size(), default="1GB", show_default=True, help="About how large a tar becomes.")
@click.option(
    "--codec",
    type=click.Choice(["webp", "png"]),
    default="webp",
    show_default=True,
    help="Both are lossless: webp is smaller, png ten times as fast to write and three times to read.",
)
@SIZE
@STRIDE
@VARIANT
@SCREEN
@SEED
@click.option("--lazy", is_flag=True, help="Keep recipes instead of the LQ that are made; readers make them.")
@click.option(
    "--materialise",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Make the lazy shards in DIR into ones that hold every LQ, in --out. Needs no source files.",
)
@click.option(
    "--from-hub", metavar="REPO", help="Rebuild what was published there, from your own downloads, to the same bytes."
)
@click.option("--task", type=Part(), metavar="I/N", help="Build only the I-th of N parts, as on a Slurm array.")
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
    engine: str,
    shard_size: int,
    codec: str,
    size: int | None,
    stride: int | None,
    variant: str,
    screen: bool,
    seed: int,
    lazy: bool,
    materialise: Path | None,
    from_hub: str | None,
    task: Slice | None,
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
      uir build-shards --from-hub OWNER/NAME --out rebuilt
      uir build-shards --from-hub OWNER/NAME --out rebuilt --task $SLURM_ARRAY_TASK_ID/8
      uir build-shards --subset full --lazy --task $SLURM_ARRAY_TASK_ID/64
    """
    from cli.uir_rebuild import rebuild_from
    from uirdata.images import CODECS
    from uirdata.pipeline.build import build
    from uirdata.pipeline.crop import source_folders
    from uirdata.pipeline.making import SourcePixels
    from uirdata.pipeline.pool import BuildSettings, plan_build

    layout = Layout(root)
    if materialise is not None:
        _materialise(console, materialise, out, shard_size, _engine(engine, workers), dry_run)
        return
    folder = out or layout.shards
    if from_hub is not None:
        rebuild_from(console, from_hub, layout, folder, _engine(engine, workers), task=task, dry_run=dry_run)
        return
    chosen, sources, plan = _plan(layout, ids, subset, size, stride, seed, variant, dry_run=dry_run)
    plan, _ = screened_plan(
        console, layout, plan, sources, screen=screen, workers=workers, dry_run=dry_run, trust_files=True
    )
    settings = BuildSettings(seed=seed, codec=next(c for c in CODECS if c == codec), shard_bytes=shard_size, lazy=lazy)
    todo = plan_build(folder, plan, settings, retry_rejected=retry_rejected, task=task)
    if dry_run:
        _show_plan(console, plan, "", _expected(chosen, sources, plan))
        console.line(
            f"to build: {todo.todo_samples:,} samples in {len(todo.todo):,} shards; "
            f"already in {folder}: {todo.here_samples:,}"
            + (f"; other tasks: {todo.left_samples:,}" if todo.left_samples else "")
        )
        return
    _remark_left(console, plan)
    with console.progress() as progress:
        report = build(
            todo,
            subsets={chosen.name: chosen.classes},
            pixels=SourcePixels(source_folders(sources, layout, plan.sources), seed),
            engine=_engine(engine, workers),
            discard=discard,
            progress=progress,
        )
    console.data(
        {
            "folder": str(folder),
            "subset": chosen.name,
            "shards_built": report.shards,
            "samples_built": report.samples,
            "samples_already_there": todo.here_samples,
            "complete": report.complete,
            "rejected": [asdict(row) for row in report.rejected],
            "sources_left_out": [asdict(item) for item in plan.left],
        }
    )
    console.line(
        f"{report.samples:,} samples in {report.shards:,} new shards; {todo.here_samples:,} were there. In {folder}"
    )
    if not report.complete:
        console.line("other tasks of this build have shards left; the last one to end writes info.json")
    _end_build(console, folder, report.rejected, plan)


@click.command()
@click.argument("folder", required=False, type=ShardPlace(), metavar="[DIR]")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write one self-contained page.")
@click.option("--levels", is_flag=True, help="Count each level too.")
@click.option("--explain", is_flag=True, help="Say source by source how the paper's numbers arise.")
@ROOT
@DRY_RUN
@common
def stats(
    folder: str | Path | None,
    page: Path | None,
    levels: bool,
    explain: bool,
    root: Path,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Count shards: samples, images, pixels and bytes, beside the paper's table.

    DIR is a shard folder, or shards elsewhere, of which the manifest is fetched; without it ROOT/shards.

    \b
    Examples:
      uir stats
      uir stats hf://datasets/OWNER/NAME
      uir stats /data/shards --html stats.html
      uir stats --explain
    """
    from uirdata.pipeline.report import count_shards, write_statistics_page

    folder = folder or Layout(root).shards
    statistics = count_shards(folder)
    tables = statistics.tables()
    console.data({"folder": str(folder), "samples": statistics.samples, "rejected": statistics.rejected, **tables})
    for title, rows in tables.items():
        # A hundred levels would push the rest off the screen.
        if title != "by level" or levels:
            console.table([_readable(row) for row in rows], title=title, right=["bytes", "real"])
    if explain:
        for row in statistics.beside_paper():
            console.line(f"{row.row}: {row.samples:,} of {row.paper:,}. {row.note}".rstrip())
            for part in row.parts:
                console.line(f"    {part}")
    for reason, number in statistics.rejected.items():
        console.line(f"left out {number:,}: {reason}")
    if page is not None and not dry_run:
        write_statistics_page(folder, page)
        console.remark(f"wrote {page}")


def _engine(name: str, workers: int) -> Engine:
    from uirdata.pipeline.engines import LocalEngine, RayEngine

    return RayEngine() if name == "ray" else LocalEngine(workers)


def _materialise(
    console: Console, lazy: Path, out: Path | None, shard_size: int, engine: Engine, dry_run: bool
) -> None:
    from uirdata.pipeline.materialise import materialise
    from uirdata.storage.reading import open_shards

    if out is None:
        raise UsageError("--materialise needs --out: a folder for the shards that hold every LQ")
    if dry_run:
        console.line(f"to build: {len(open_shards(lazy)):,} samples of {lazy}, in {out}")
        return
    with console.progress() as progress:
        report = materialise(lazy, out, shard_bytes=shard_size, engine=engine, progress=progress)
    console.data({"folder": str(out), "shards_built": report.shards, "samples_built": report.samples})
    console.line(f"{report.samples:,} samples in {report.shards:,} new shards. In {out}")


def _plan(
    layout: Layout,
    ids: Sequence[str],
    subset: str | None,
    size: int | None,
    stride: int | None,
    seed: int,
    variant: str,
    *,
    dry_run: bool = False,
) -> tuple[Subset, dict[str, Source], Plan]:
    from uirdata.overlaps import load_overlaps
    from uirdata.pipeline.crop import make_plan
    from uirdata.sources import MANIFESTS

    sources = all_sources(layout)
    chosen = _chosen_subset(layout, ids, subset, sources)
    plan = make_plan(
        chosen,
        sources,
        layout,
        crop=_crop_setting(size, stride),
        seed=seed,
        overlaps=load_overlaps([MANIFESTS / "overlaps", layout.overlaps]),
        clean=variant == "clean",
        may_be_empty=dry_run,
    )
    return chosen, sources, plan


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


def _expected(subset: Subset, sources: dict[str, Source], plan: Plan) -> list[tuple[tuple[str, str, str], int | None]]:
    """Give what the sources that are not here would add, as far as their manifests say."""
    from uirdata.pipeline.crop import expected_samples

    return [row for left in plan.left for row in expected_samples(subset, sources[left.source])]


def _show_plan(
    console: Console,
    plan: Plan,
    where: str,
    expected: Sequence[tuple[tuple[str, str, str], int | None]] = (),
    screened: Sequence[Screened] = (),
) -> int:
    """Show how many samples of what a plan has, and would have; give the number that it has."""
    from uirdata.planning import estimated_bytes

    counts: Counter[tuple[str, str, str]] = Counter()
    size = 0
    for sample in plan.samples():
        counts[sample.group] += 1
        size += estimated_bytes(sample)
    rows: list[tuple[tuple[str, str, str], int | None, str]] = [
        *((group, number, "files") for group, number in counts.items()),
        *((group, number, "its manifest; not fetched") for group, number in expected),
    ]
    table = [
        {"split": group[0], "degradation": group[1], "source": group[2], "samples": number, "counted from": how}
        for group, number, how in sorted(rows, key=lambda row: row[0])
    ]
    total, announced = counts.total(), sum(number or 0 for _, number in expected)
    document = {"samples": total, "expected_samples": announced, "estimated_bytes": size, "plan": where}
    console.data({**document, "groups": table, "screened": [asdict(report) for report in screened]})
    console.table(table, right=["samples"])
    console.line(f"{total:,} samples, about {size_text(size)} of shards" + (f"; {where}" if where else ""))
    if expected:
        unknown = sum(number is None for _, number in expected)
        more = f", and {unknown} rows whose number nobody publishes" if unknown else ""
        console.line(f"{announced:,} samples more of sources that are not fetched{more}")
    return total


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
