"""maskdcpt probe, report, bench: what networks know, what runs came to, what networks cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cli.console import Console
from cli.options import DEVICE, CheckpointPlace, ShardPlace, common
from uirdata.errors import UirError, UsageError

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, dir_okay=False)
_BACKBONE = click.option("--backbone", default="nafnet", show_default=True, help="For fresh weights.")


@click.command()
@click.option(
    "--checkpoint", type=CheckpointPlace(), help="Whose features are probed; without it, fresh weights of --backbone."
)
@_BACKBONE
@click.option("--shards", type=ShardPlace(), required=True, help="A shard folder, or hf://datasets/OWNER/NAME.")
@click.option("--split", default="test", show_default=True)
@click.option("--subset", default="", metavar="NAME")
@click.option("--every-step", is_flag=True, help="Each checkpoint of the run, and what it began with.")
@click.option("--per-class", type=click.IntRange(3), default=100, show_default=True, help="Images of each class.")
@click.option("--crop", type=click.IntRange(8), default=128, show_default=True, help="Side of the middle window.")
@click.option("--ratios", default="0", show_default=True, help="Mask ratios, such as 0,0.25,0.5.")
@click.option("--patch", type=click.IntRange(1), default=16, show_default=True, help="Side of the masks' patches.")
@click.option("--everywhere", is_flag=True, help="Features of hidden places count, too.")
@click.option(
    "--protocol",
    type=click.Choice(["paper", "released"]),
    default="paper",
    show_default=True,
    help="Two thirds against one of each class, or as DCPT's script does.",
)
@click.option("--figure", type=_FILE, help="Draw accuracy over steps and ratios: .png, .svg or .pdf.")
@click.option("--tsne", type=_FILE, help="Draw the features in the plane: .png, .svg or .pdf.")
@DEVICE
@common
def probe(
    checkpoint: str | Path | None,
    backbone: str,
    shards: str | Path,
    split: str,
    subset: str,
    every_step: bool,
    per_class: int,
    crop: int,
    ratios: str,
    patch: int,
    everywhere: bool,
    protocol: str,
    figure: Path | None,
    tsne: Path | None,
    device: str,
    console: Console,
) -> None:
    """
    Tell degradations apart by the nearest neighbours of features: the paper's preliminary study (Fig. 2).

    The last feature before restoration of a middle window, at visible places, flattened; 5 neighbours; two thirds
    against one third, equally from each class; mean and spread over five seeds. Any backbone, trained or not.

    \b
    Examples:
      maskdcpt probe --shards uir-data/shards --backbone nafnet
      maskdcpt probe --shards uir-data/shards --checkpoint runs/pre --ratios 0,0.25,0.5,0.75 --figure fig2.png
      maskdcpt probe --shards uir-data/shards --checkpoint runs/pre --every-step --tsne features.png
    """
    from maskdcpt.studies.probe import ProbeSettings, map_features, probe_features

    settings = ProbeSettings(
        backbone=backbone,
        split=split,
        subset=subset,
        per_class=per_class,
        crop=crop,
        ratios=_numbers(ratios),
        patch=patch,
        protocol="released" if protocol == "released" else "paper",
        everywhere=everywhere,
    )
    with console.progress() as progress:
        results = probe_features(checkpoint, shards, settings, every_step=every_step, device=device, progress=progress)
        if figure is not None:
            from maskdcpt.studies.figures import draw_probe

            draw_probe(results, figure)
        if tsne is not None:
            from maskdcpt.studies.figures import draw_map

            draw_map(map_features(checkpoint, shards, settings, device=device, progress=progress), tsne)
    rows = [
        {
            "step": r.step,
            "hidden": f"{r.ratio:.0%}",
            "accuracy": f"{r.accuracy:.1%}",
            "spread": f"{r.spread:.1%}",
            "guessing": f"{r.chance:.1%}",
            "images": r.images,
        }
        for r in results
    ]
    console.data([asdict(result) for result in results])
    console.table(rows, right=["hidden", "accuracy", "spread", "guessing"])
    for path in (figure, tsne):
        if path is not None:
            console.line(str(path))


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=_FILE, help="The page.  [default: RUN/report.html]")
@click.option("--results", multiple=True, type=_PATH, metavar="DIR", help="An evaluation.  [default: those below RUN]")
@click.option("--shards", type=ShardPlace(), help="Evaluate and probe on these first; without it, show what is there.")
@click.option("--split", default="test", show_default=True, help="Of the shards.")
@click.option("--title", default="", help="Of the page.")
@DEVICE
@common
def report(
    run: Path,
    out: Path | None,
    results: tuple[Path, ...],
    shards: str | Path | None,
    split: str,
    title: str,
    device: str,
    console: Console,
) -> None:
    """
    Write one HTML page of a run: before and after, curves, tables, named degradations, features in the plane.

    RUN is what `maskdcpt train --out` or `maskdcpt eval --out` wrote. The page needs no other file and no network. With
    --shards the run is evaluated into RUN/test and its features are laid out in RUN/features.json, where they are not
    there yet.

    \b
    Examples:
      maskdcpt report runs/fine --shards uir-data/shards
      maskdcpt report runs/fine --results results/nafnet --out page.html
    """
    from maskdcpt.pages.run_page import prepare_report, write_report

    target = out or run / "report.html"
    with console.progress() as progress:
        if shards is not None:
            prepare_report(run, shards, split=split, device=device, progress=progress)
        write_report(run, target, results=results, title=title)
    console.data({"page": str(target)})
    console.line(str(target))


@click.command()
@_BACKBONE
@click.option("--checkpoint", type=CheckpointPlace(), help="Its network in its size, in place of --backbone.")
@click.option("--size", "side", type=click.IntRange(16), default=256, show_default=True, help="Side of the image.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--ratio", type=click.FloatRange(0, 1, max_open=True), default=0.5, show_default=True, help="Hidden.")
@click.option("--patch", type=click.IntRange(1), default=16, show_default=True, help="Side of the masks' patches.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--training", is_flag=True, help="Forward and backward.")
@click.option("--half", is_flag=True, help="In bfloat16 where the device computes in it.")
@DEVICE
@common
def bench(
    backbone: str,
    checkpoint: str | Path | None,
    side: int,
    batch: int,
    ratio: float,
    patch: int,
    repeats: int,
    training: bool,
    half: bool,
    device: str,
    console: Console,
) -> None:
    """
    Time a network on this machine: plain, and masked by each backend, with the memory that it takes.

    Ways take turns, so that other load meets all of them; the median of the repeats counts. A backend that does not
    run here, or not this network, says why.

    \b
    Examples:
      maskdcpt bench
      maskdcpt bench --backbone restormer --size 128 --batch 4 --training --device cuda
    """
    from maskdcpt.studies.timing import BenchSettings, measure

    settings = BenchSettings(
        backbone=backbone,
        checkpoint=checkpoint,
        side=side,
        batch=batch,
        ratio=ratio,
        patch=patch,
        repeats=repeats,
        training=training,
        half=half,
    )
    with console.progress() as progress:
        measured = measure(settings, device=device, progress=progress)
    console.data(asdict(measured))
    rows = [
        {
            "way": row.way,
            "ms": "" if row.milliseconds is None else f"{row.milliseconds:,.1f}",
            "images/s": "" if row.images_per_second is None else f"{row.images_per_second:,.2f}",
            "over plain": "" if row.over_plain is None else f"{row.over_plain:.2f}",
            "peak memory": "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f} MiB",
            "": row.problem,
        }
        for row in measured.rows
    ]
    console.table(rows, title=measured.title, right=["ms", "images/s", "over plain", "peak memory"])


@click.command(name="check-backbone")
@click.argument("place", metavar="MODULE:CLASS")
@click.option("--size", multiple=True, metavar="KEY=VALUE", help="An argument of the class, such as width=32; again.")
@common
def check_backbone(place: str, size: tuple[str, ...], console: Console) -> None:
    """
    Does a network of your own keep the contract of a backbone? Each property, and what is wrong with it.

    MODULE is looked for in this folder first; CLASS, which may be a function that gives a network, is called
    with the arguments of --size. Exit code 0 when all holds, 1 when
    something does not, 2 when there is no such class.

    \b
    Examples:
      maskdcpt check-backbone my_network:MyNetwork
      maskdcpt check-backbone maskdcpt.backbones:NAFNet --size width=8 --size enc_blk_nums=[1] --size dec_blk_nums=[1]
    """
    from maskdcpt.backbones.checking import examine_backbone, load_class

    found = examine_backbone(load_class(place, dict(_argument(text) for text in size)))
    console.data({"backbone": place, "properties": [asdict(one) for one in found]})
    for one in found:
        console.line(f"{'wrong' if one.problems else 'holds'}  {one.name}")
        for problem in one.problems:
            console.line(f"       {problem}")
    if any(one.problems for one in found):
        raise UirError(f"{place} does not keep the contract: see above, and maskdcpt/backbones/base.py")


def _argument(text: str) -> tuple[str, object]:
    from maskdcpt.config.toml import toml_value

    key, sign, value = text.partition("=")
    if not sign or not key.strip().isidentifier():
        raise UsageError(f"--size {text!r}: write KEY=VALUE, such as width=32")
    return key.strip(), toml_value(value.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--ratios {text!r}: write numbers with commas, such as 0,0.25,0.5") from None
    if not all(0 <= number < 1 for number in numbers):
        raise UsageError(f"--ratios {text!r}: shares from 0 to below 1")
    return numbers
