"""maskdcpt reproduce: compare pre-trainings at a size that fits the available hardware."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uirdata.errors import UsageError, nearest

from ..console import Console
from ..options import DEVICE, DRY_RUN, common
from .train import interruptions

if TYPE_CHECKING:
    from maskdcpt.studies.reproduce import Comparison, Outcome


@click.command()
@click.argument("name", type=click.Choice(["mini-5d"]), metavar="mini-5d")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("mini-5d"), show_default=True)
@click.option(
    "--photos",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of clean photographs.  [default: those inside installed packages]",
)
@click.option("--size", "size_name", type=click.Choice(["cpu", "gpu", "tiny"]), default="cpu", show_default=True)
@click.option("--arms", metavar="A,B,...", help="Pre-trainings to compare; --dry-run lists all.")
@click.option("--backbones", metavar="A,B", default="nafnet,restormer", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Number of seeds, counted from 0.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time.")
@DEVICE
@DRY_RUN
@common
def reproduce(
    name: str,
    out: Path,
    photos: Path | None,
    size_name: str,
    arms: str | None,
    backbones: str,
    seeds: int,
    jobs: int,
    device: str,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Compare MaskDCPT with DCPT, RAM-style masks and no pre-training, on photographs with five synthetic degradations.

    Every arm is pre-trained on the same samples and fine-tuned for the same steps, from each seed. The results are a
    table of PSNR and of a probe, each arm's difference to scratch over equal seeds, and a figure of PSNR over the
    steps, written to --out: report.md, report.json, psnr-*.png. After an interruption the same command resumes;
    finished runs are not repeated, and arms, backbones and seeds may be added later. On a CPU, set OMP_NUM_THREADS to
    the cores divided by --jobs.

    \b
    Examples:
      maskdcpt reproduce mini-5d --dry-run
      maskdcpt reproduce mini-5d --backbones nafnet --arms scratch,maskdcpt-50-16
      maskdcpt reproduce mini-5d --size gpu --photos ~/Pictures --jobs 2 --seeds 5
    """
    from maskdcpt.studies.ablation_arms import ARMS, DEFAULT_ARMS, SIZES
    from maskdcpt.studies.reproduce import Comparison
    from maskdcpt.studies.reproduce import reproduce as run

    size = SIZES[size_name]
    comparison = Comparison(
        out=out.resolve(),
        size=size,
        size_name=size_name,
        backbones=_names(backbones, tuple(size.networks), "--backbones"),
        arms=DEFAULT_ARMS if arms is None else _names(arms, tuple(ARMS), "--arms"),
        seeds=tuple(range(seeds)),
        photos=None if photos is None else photos.resolve(),
        device=device,
    )
    tasks = list(comparison.tasks())
    if dry_run:
        console.data({"name": name, "runs": [vars(task) for task in tasks], "out": str(out), "arms": list(ARMS)})
        console.table(
            [{"arm": arm.name, "what": arm.title, "chosen": arm.name in comparison.arms} for arm in ARMS.values()]
        )
        console.line(
            f"{len(tasks)} runs: {size.pretrain_steps:,} steps of {size.pretrain_batch} crops of {size.crop} before, "
            f"{size.finetune_steps:,} of {size.finetune_batch} after; would write {out}"
        )
        return
    with console.progress() as progress, interruptions() as caught:
        outcomes = run(comparison, jobs=jobs, progress=progress, stop=lambda: bool(caught))
    if outcomes:
        _show(console, comparison, outcomes)
    if len(outcomes) < len(tasks):
        console.remark(f"{len(outcomes)} of {len(tasks)} runs are finished; run the same command again to continue")
        raise SystemExit(130 if caught and caught[0] == signal.SIGINT else 3)


def _show(console: Console, comparison: Comparison, outcomes: Sequence[Outcome]) -> None:
    from maskdcpt.studies.reproduction_report import degradation_cells, main_cells, summarise, to_document, write_report

    rows = summarise(outcomes)
    files = write_report(comparison, outcomes)
    console.data({**to_document(rows, outcomes), "files": [str(file) for file in files]})
    for backbone in dict.fromkeys(row.backbone for row in rows):
        mine = [row for row in rows if row.backbone == backbone]
        console.table([main_cells(row) for row in mine], title=f"{backbone}: PSNR in dB, against scratch with 95 %")
        console.table([degradation_cells(row) for row in mine])
    for file in files:
        console.line(str(file))


def _names(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise UsageError(f"{option} names {name!r}: {nearest(name, known)}")
    if not names:
        raise UsageError(f"{option} is empty; choose from {', '.join(known)}")
    return names
