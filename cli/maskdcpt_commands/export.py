"""maskdcpt export: write networks for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from uirdata.errors import UsageError

from ..console import Console
from ..options import CHECKPOINT, DRY_RUN, common

if TYPE_CHECKING:
    from maskdcpt.config.train_config import WeightKind
    from maskdcpt.weights.export import Layout


@click.command()
@CHECKPOINT
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A .pth, .safetensors or .onnx file.")
@click.option("--hub", metavar="OWNER/NAME", help="Upload to the Hugging Face Hub, with a model card.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Write the files of --hub here.")
@click.option("--results", multiple=True, type=click.Path(path_type=Path), metavar="DIR", help="Scores for the card.")
@click.option("--licence", default="", metavar="ID", help="Licence of the weights, such as cc-by-nc-4.0.")
@click.option("--private", is_flag=True, help="If --hub creates the repository, make it private.")
@click.option(
    "--layout",
    type=click.Choice(["maskdcpt", "original"]),
    default="maskdcpt",
    show_default=True,
    help="The published keys, or those of the network's authors (nafnet, restormer), which spandrel reads.",
)
@click.option("--raw", is_flag=True, help="Export the raw weights, not their EMA.")
@DRY_RUN
@common
def export(
    checkpoint: str | Path,
    out: Path | None,
    hub: str | None,
    folder: Path | None,
    results: tuple[Path, ...],
    licence: str,
    private: bool,
    layout: Layout,
    raw: bool,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Write a checkpoint's backbone for other programs.

    .pth is what BasicSR-style code loads ({"params": ..., "params_ema": ...}), .safetensors has the same keys without a
    prefix; both can be loaded here. .onnx is the network itself, compared with torch if onnxruntime is installed. --hub
    creates a model repository: weights, configuration and a card with results and training data.

    \b
    Examples:
      maskdcpt export --checkpoint runs/fine --out nafnet.pth
      maskdcpt export --checkpoint runs/fine --out nafnet.onnx
      maskdcpt export --checkpoint runs/fine --hub me/nafnet-5d --results results/nafnet --licence cc-by-nc-4.0
    """
    from maskdcpt.weights.export import as_mapping, export_backbone
    from maskdcpt.weights.model_card import push_model, write_model_folder

    if out is None and hub is None and folder is None:
        raise UsageError("no output is named: set --out FILE, --folder DIR or --hub OWNER/NAME")
    if hub is None and folder is None and (results or licence):
        raise UsageError("--results and --licence are for a model card; set --folder DIR or --hub OWNER/NAME")
    if private and hub is None:
        raise UsageError("--private is for a repository on the Hub; set --hub OWNER/NAME")
    if layout == "original" and out is None:
        raise UsageError("--layout is for --out FILE; --hub and --folder have the published keys")
    if raw and hub is None and folder is None and out is not None and out.suffix == ".pth":
        raise UsageError(f"--raw: {out} has both the raw weights and their EMA, as params and params_ema; omit --raw")
    weights: WeightKind = "params" if raw else "params_ema"
    if dry_run:
        planned = [str(place) for place in (out, folder, hub) if place is not None]
        console.data({"would write": planned})
        console.line(f"would write {', '.join(planned)}")
        return
    document: dict[str, object] = {}
    if out is not None:
        written = export_backbone(checkpoint, out, weights, layout)
        document |= as_mapping(written)
        console.line(f"{out}: {written.tensors:,} tensors" + (f"; {written.checked}" if written.checked else ""))
    if folder is not None:
        name = (hub or folder.name).rpartition("/")[2]
        write_model_folder(
            checkpoint,
            folder,
            name=name,
            results=results,
            licence=licence,
            weights=weights,
        )
        document["folder"] = str(folder)
        console.line(str(folder))
    if hub is not None:
        pushed = push_model(
            checkpoint,
            hub,
            results=results,
            licence=licence,
            weights=weights,
            private=private,
        )
        document |= {"link": pushed.link, "commit": pushed.commit}
        console.line(f"{pushed.link} at {pushed.commit}")
    console.data(document)
