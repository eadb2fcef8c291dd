"""uir build-shards: crop and degrade the fetched images, and write shards."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uirdata.errors import PartlyDone, UsageError
from uirdata.layout import Layout

from ..console import Console
from ..options import DRY_RUN, ROOT, SEED, SUBSET, ShardPlace, Size, common
from .plan_options import SIZE, STRIDE, VARIANT, expected_of, narrowing_of, narrowing_options, remark_left, show_plan
from .screen_option import SCREEN, remark_unscreened, show_screened

if TYPE_CHECKING:
    from uirdata.images import Codec
    from uirdata.pipeline.building.build_plan import Slice
    from uirdata.pipeline.building.engines import Engine, EngineName
    from uirdata.pipeline.building.subset_build import BuildResult
    from uirdata.pipeline.building.subset_plan import Variant


class Part(click.ParamType["Slice"]):
    """One part of several: 3/16."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Slice:
        """Return the slice of a text such as 3/16."""
        from uirdata.pipeline.building.build_plan import Slice

        part, slash, parts = str(value).partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal()):
            self.fail(f"{value!r} is not a part; write it like 3/16", param, ctx)
        return Slice(int(part), int(parts))


@click.command("build-shards")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@SUBSET
@click.option(
    "--out",
    type=ShardPlace(),
    help="The shard folder, or its URL in object storage, such as s3://bucket/shards. [default: ROOT/shards]",
)
@click.option(
    "--workers",
    "--jobs",
    "workers",
    type=click.IntRange(1),
    default=os.cpu_count(),
    show_default="cores",
    help="Number of processes.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: the cluster at RAY_ADDRESS, or a new one on this machine.",
)
@click.option("--shard-size", type=Size(), default="1GB", show_default=True, help="Approximate size of a tar.")
@click.option(
    "--codec",
    type=click.Choice(["webp", "png"]),
    default="webp",
    show_default=True,
    help="Both are lossless: webp is smaller; png is 10 times faster to write and 3 times faster to read.",
)
@narrowing_options
@SIZE
@STRIDE
@VARIANT
@SCREEN
@SEED
@click.option("--lazy", is_flag=True, help="Store recipes instead of generated LQ; readers generate the LQ.")
@click.option(
    "--materialise",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Convert the lazy shards in DIR into shards that hold every LQ, in --out. Needs no source files.",
)
@click.option(
    "--from-hub",
    metavar="REPO",
    help="Rebuild the published shards of a repository from your own downloads, to the same bytes.",
)
@click.option("--task", type=Part(), metavar="I/N", help="Build only part I of N, as in a Slurm array.")
@click.option("--retry-rejected", is_flag=True, help="Rebuild the shards that left out samples that could not be made.")
@click.option("--discard", is_flag=True, help="Delete the shards of another, unfinished build in the folder.")
@ROOT
@DRY_RUN
@common
def build_shards(
    ids: tuple[str, ...],
    subset: str | None,
    out: str | Path | None,
    workers: int,
    engine: EngineName,
    shard_size: int,
    codec: Codec,
    size: int | None,
    stride: int | None,
    degradation: str,
    level: str,
    per_image: int | None,
    variant: Variant,
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
    Crop and degrade the fetched images, and write them as WebDataset shards.

    Adds to a folder of shards and never rewrites a complete shard. The same input, seed and version give the same bytes
    on any number of workers; after an interruption, the same command builds what is missing.

    \b
    Examples:
      uir build-shards --subset sample
      uir build-shards --subset 5d --out /data/shards --workers 16
      uir build-shards --subset 5d --out s3://bucket/shards --engine ray
      uir build-shards --subset 5d --dry-run
      uir build-shards --from-hub OWNER/NAME --out rebuilt
      uir build-shards --from-hub OWNER/NAME --out rebuilt --task $SLURM_ARRAY_TASK_ID/8
      uir build-shards my-photos --degradation noise,jpeg --level 'gaussian-*,q*' --per-image 4
      uir build-shards --subset full --lazy --task $SLURM_ARRAY_TASK_ID/64
    """
    from uirdata.pipeline.building.build_plan import BuildSettings
    from uirdata.pipeline.building.object_pool import open_object_pool
    from uirdata.pipeline.building.subset_build import prepare_build, run_build
    from uirdata.pipeline.building.subset_plan import plan_subset

    from .rebuild import rebuild_from

    layout = Layout(root)
    pool = open_object_pool(out, layout) if isinstance(out, str) else None
    if pool is not None and (materialise is not None or from_hub is not None):
        raise UsageError("--materialise and --from-hub need a local folder for --out")
    out = pool.folder if pool is not None else Path(out) if out is not None else None
    if materialise is not None:
        _materialise(console, materialise, out, shard_size, _engine(engine, workers), dry_run)
        return
    folder = out or layout.shards
    if from_hub is not None:
        rebuild_from(console, from_hub, layout, folder, _engine(engine, workers), task=task, dry_run=dry_run)
        return
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
    settings = BuildSettings(seed=seed, codec=codec, shard_bytes=shard_size, lazy=lazy)
    with console.progress() as progress:
        prepared = prepare_build(
            planned,
            layout,
            folder,
            settings,
            screen=screen,
            score=not dry_run,
            task=task,
            retry_rejected=retry_rejected,
            workers=workers,
            progress=progress,
        )
    plan, todo = prepared.planned.plan, prepared.todo
    remark_unscreened(console, prepared.unscreened)
    show_screened(console, layout, prepared.screened)
    if dry_run:
        show_plan(console, plan, "", expected_of(prepared.planned), lazy=lazy)
        console.line(
            f"to build: {todo.todo_samples:,} samples in {len(todo.todo):,} shards; "
            f"already in {folder}: {todo.here_samples:,}"
            + (f"; other tasks: {todo.left_samples:,}" if todo.left_samples else "")
        )
        return
    remark_left(console, plan)
    with console.progress() as progress:
        result = run_build(
            prepared, layout, engine=_engine(engine, workers), discard=discard, pool=pool, progress=progress
        )
    console.data(
        {
            "folder": result.place,
            "subset": result.subset,
            "shards_built": result.shards,
            "samples_built": result.samples,
            "samples_already_there": result.samples_there,
            "complete": result.complete,
            "rejected": [asdict(row) for row in result.rejected],
            "sources_left_out": [asdict(item) for item in result.left],
        }
    )
    console.line(
        f"{result.samples:,} samples in {result.shards:,} new shards; {result.samples_there:,} existed already. "
        f"Written to {result.place}"
    )
    if not result.complete:
        console.line("other tasks of this build have not finished; the last one to finish writes info.json")
    _end_build(console, folder, result)


def _engine(name: EngineName, workers: int) -> Engine:
    from uirdata.pipeline.building.engines import LocalEngine, RayEngine

    return RayEngine() if name == "ray" else LocalEngine(workers)


def _materialise(
    console: Console, lazy: Path, out: Path | None, shard_size: int, engine: Engine, dry_run: bool
) -> None:
    from uirdata import open_shards
    from uirdata.pipeline.building.materialise import materialise

    if out is None:
        raise UsageError("--materialise needs --out: the folder to write the shards to")
    if dry_run:
        console.line(f"to build: {len(open_shards(lazy)):,} samples of {lazy}, in {out}")
        return
    with console.progress() as progress:
        report = materialise(lazy, out, shard_bytes=shard_size, engine=engine, progress=progress)
    console.data({"folder": str(out), "shards_built": report.shards, "samples_built": report.samples})
    console.line(f"{report.samples:,} samples in {report.shards:,} new shards. Written to {out}")


def _end_build(console: Console, folder: Path, result: BuildResult) -> None:
    from uirdata.pipeline.building.build import REJECTED

    reasons = Counter(row.reason for row in result.rejected)
    for reason, number in reasons.most_common(10):
        console.warning(f"{number:,} samples left out: {reason}")
    if result.rejected:
        raise PartlyDone(
            f"{len(result.rejected):,} samples could not be made; {folder / REJECTED} lists them. "
            "Repair their files and run the same command with --retry-rejected"
        )
    if result.left:
        raise PartlyDone("some sources of the subset have not been fetched; fetch them and run the same command again")
