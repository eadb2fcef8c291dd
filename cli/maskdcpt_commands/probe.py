"""maskdcpt probe: k-nearest-neighbour classification of degradations by a backbone's features."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from uirdata.errors import UsageError

from ..console import Console
from ..options import BACKBONE, DEVICE, CheckpointPlace, ShardPlace, common

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--checkpoint", type=CheckpointPlace(), help="Probe its features, instead of new weights of --backbone.")
@BACKBONE
@click.option("--shards", type=ShardPlace(), required=True, help="A shard folder, or hf://datasets/OWNER/NAME.")
@click.option("--split", default="test", show_default=True)
@click.option("--subset", default="", metavar="NAME")
@click.option("--every-step", is_flag=True, help="Probe each checkpoint of the run, and its initial weights.")
@click.option("--per-class", type=click.IntRange(3), default=100, show_default=True, help="Images of each class.")
@click.option("--crop", type=click.IntRange(8), default=128, show_default=True, help="Side of the middle window, px.")
@click.option("--ratios", default="0", show_default=True, help="Mask ratios, such as 0,0.25,0.5.")
@click.option("--patch", type=click.IntRange(1), default=16, show_default=True, help="Patch size of masks, px.")
@click.option("--everywhere", is_flag=True, help="Use the features of hidden patches, too.")
@click.option(
    "--protocol",
    type=click.Choice(["paper", "released"]),
    default="paper",
    show_default=True,
    help="Train on two thirds of each class and test on one, or as DCPT's script does.",
)
@click.option("--figure", type=_FILE, help="Draw accuracy over steps and ratios: .png, .svg or .pdf.")
@click.option("--tsne", type=_FILE, help="Draw a t-SNE of the features: .png, .svg or .pdf.")
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
    Classify degradations by the nearest neighbours of features: the paper's preliminary study (Fig. 2).

    Uses the last feature before restoration of a middle window, at visible patches, flattened; 5 neighbours; two thirds
    for training and one third for testing, equally from each class; mean and spread over five seeds. Works for any
    backbone, trained or not.

    \b
    Examples:
      maskdcpt probe --shards uir-data/shards --backbone nafnet
      maskdcpt probe --shards uir-data/shards --checkpoint runs/pre --ratios 0,0.25,0.5,0.75 --figure fig2.png
      maskdcpt probe --shards uir-data/shards --checkpoint runs/pre --every-step --tsne features.png
    """
    from maskdcpt.studies.probe import ProbeSettings, map_features, probe_features
    from uirdata.pipeline.choosing import subset_of_shards

    settings = ProbeSettings(
        backbone=backbone,
        split=split,
        subset=subset_of_shards(shards, subset),
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


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--ratios {text!r}: expected numbers separated by commas, such as 0,0.25,0.5") from None
    if not all(0 <= number < 1 for number in numbers):
        raise UsageError(f"--ratios {text!r}: expected values from 0 to below 1")
    return numbers
