"""maskdcpt eval, restore, probe, export: what trained networks are used for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cli.console import Console
from cli.options import CHECKPOINT, DEVICE, ShardPlace, common
from uirdata.errors import UsageError

_PATH = click.Path(path_type=Path)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--checkpoint", type=_PATH, help="Whose features are probed; without it, fresh weights of --backbone.")
@click.option("--backbone", default="nafnet", show_default=True, help="For fresh weights.")
@click.option("--shards", type=ShardPlace(), required=True, help="A shard folder, or hf://datasets/OWNER/NAME.")
@click.option("--split", default="test", show_default=True)
@click.option("--subset", default="", metavar="NAME")
@click.option("--per-class", type=click.IntRange(3), default=100, show_default=True, help="Images of each class.")
@click.option("--crop", type=click.IntRange(8), default=128, show_default=True, help="Side of the middle window.")
@click.option("--ratios", default="0", show_default=True, help="Mask ratios, such as 0,0.25,0.5.")
@click.option("--patch", type=click.IntRange(1), default=16, show_default=True, help="Side of the masks' patches.")
@DEVICE
@common
def probe(
    checkpoint: Path | None,
    backbone: str,
    shards: str | Path,
    split: str,
    subset: str,
    per_class: int,
    crop: int,
    ratios: str,
    patch: int,
    device: str,
    console: Console,
) -> None:
    """
    Tell degradations apart by the nearest neighbours of features: the paper's preliminary study (Fig. 2).

    The last feature before restoration of a middle window, at visible places, flattened; 5 neighbours; two thirds
    against one third, equally from each class; mean and spread over five seeds.

    \b
    Examples:
      maskdcpt probe --shards uir-data/shards --backbone nafnet
      maskdcpt probe --shards uir-data/shards --checkpoint runs/pre --ratios 0,0.25,0.5,0.75
    """
    from maskdcpt.probing import ProbeSettings, probe_features

    with console.progress() as progress:
        results = probe_features(
            checkpoint,
            shards,
            ProbeSettings(backbone, split, subset, per_class, crop, _numbers(ratios), patch),
            device=device,
            progress=progress,
        )
    rows = [
        {"hidden": f"{r.ratio:.0%}", "accuracy": f"{r.accuracy:.1%}", "spread": f"{r.spread:.1%}", "images": r.images}
        for r in results
    ]
    console.data([asdict(result) for result in results])
    console.table(rows, right=["hidden", "accuracy", "spread"])


@click.command()
@CHECKPOINT
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help=".pth or .safetensors.")
@click.option("--weights", type=click.Choice(["params_ema", "params"]), default="params_ema", show_default=True)
@common
def export(checkpoint: Path, out: Path, weights: str, console: Console) -> None:
    """
    Write a checkpoint's backbone for other programs.

    .pth is what BasicSR-style code loads ({"params": ..., "params_ema": ...}), .safetensors the same keys without a
    prefix; both load back here.

    \b
    Examples:
      maskdcpt export --checkpoint runs/fine --out nafnet.pth
      maskdcpt export --checkpoint runs/fine --out nafnet.safetensors
    """
    from maskdcpt.export import export_backbone

    tensors = export_backbone(checkpoint, out, weights)
    console.data({"file": str(out), "tensors": tensors})
    console.line(f"{out}: {tensors:,} tensors")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--ratios {text!r}: write numbers with commas, such as 0,0.25,0.5") from None
    if not all(0 <= number < 1 for number in numbers):
        raise UsageError(f"--ratios {text!r}: shares from 0 to below 1")
    return numbers
