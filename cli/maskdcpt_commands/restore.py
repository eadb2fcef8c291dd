"""maskdcpt restore: restore images of any format and size."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uirdata.errors import PartlyDone, UirError, UsageError

from ..console import Console
from ..options import CHECKPOINT, DEVICE, DRY_RUN, Size, common

if TYPE_CHECKING:
    from maskdcpt.restoring.files import Restored


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE...")
@CHECKPOINT
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results; required unless FILE is -.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option(
    "--max-pixels", type=click.IntRange(1), metavar="N", help="Largest image that is decoded.  [default: 178,956,970]"
)
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="HTML page, before and after.")
@click.option(
    "--tile", "tile_px", type=click.IntRange(0), help="Side of tiles, in pixels; 0 uses none.  [default: by memory]"
)
@click.option(
    "--memory", type=Size(), metavar="SIZE", help="Memory limit, such as 4GB.  [default: half of the free memory]"
)
@click.option("--self-ensemble", is_flag=True, help="Average over eight flips and turns: takes eight times as long.")
@click.option(
    "--classifier", type=click.Path(path_type=Path), help="Pre-trained checkpoint that classifies the degradation."
)
@DEVICE
@DRY_RUN
@common
def restore(
    files: tuple[Path, ...],
    checkpoint: str | Path,
    out: Path | None,
    overwrite: bool,
    max_pixels: int | None,
    page: Path | None,
    tile_px: int | None,
    memory: int | None,
    self_ensemble: bool,
    classifier: str | Path | None,
    device: str,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Restore images of any size: files, folders, or patterns. `-` reads one from stdin and writes PNG to stdout.

    Results are PNGs in --out, under the names of the sources; 16 bits, colour profile, alpha and EXIF are kept, and
    the EXIF orientation is applied. Nothing is replaced without --overwrite; what was restored before from the same
    file by the same weights is skipped, so the same command continues after an interruption. An image is restored
    whole if the memory is enough, else in overlapping tiles. Images that cannot be read are reported and the others are
    restored: exit code 3.

    \b
    Examples:
      maskdcpt restore photo.jpg --checkpoint runs/fine --out restored
      maskdcpt restore images 'more/*.png' --checkpoint nafnet_maskdcpt_5d.pth --out restored --page look.html
      maskdcpt restore - --checkpoint runs/fine < photo.jpg > restored.png
      maskdcpt restore photo.jpg --checkpoint hf://Jiakui/MaskDCPT/nafnet_maskdcpt_5d.pth --out restored
    """
    piped = files == (Path("-"),)
    if not piped and Path("-") in files:
        raise UsageError("- cannot be combined with other files: it reads one image from stdin and writes to stdout")
    if out is None and not piped:
        raise UsageError("--out DIR is missing: the folder for restored images")
    if piped and (out is not None or page is not None):
        raise UsageError("- writes to stdout; omit --out and --page")
    if tile_px is not None and memory is not None:
        raise UsageError("--memory is what tiles are chosen by, and --tile chooses them; omit one of the two")
    from maskdcpt.restoring.files import plan_files, restore_bytes, restore_files
    from maskdcpt.restoring.restorer import Restorer
    from uirdata.decoding import MOST_PIXELS

    most_pixels = MOST_PIXELS if max_pixels is None else max_pixels
    if dry_run and out is not None:
        planned = plan_files(files, out)
        console.data([_plain(plan) for plan in planned])
        console.table([{"source": str(p.source), "target": str(p.target or ""), "problem": p.problem} for p in planned])
        return
    restorer = Restorer(
        checkpoint,
        classifier=classifier,
        device=device,
        tile_px=tile_px,
        self_ensemble=self_ensemble,
        memory=memory,
    )
    if out is None:
        png, result = restore_bytes(sys.stdin.buffer.read(), "stdin", restorer, most_pixels=most_pixels)
        if result.remark:
            console.remark(f"stdin: {result.remark}")
        sys.stdout.buffer.write(png)
        return
    from maskdcpt.pages.restored_page import RestoredPage

    pages = RestoredPage(page, str(checkpoint)) if page is not None else None
    with console.progress() as progress:
        results = restore_files(
            files,
            out,
            restorer,
            overwrite=overwrite,
            most_pixels=most_pixels,
            progress=progress,
            on_image=pages.add if pages is not None else None,
        )
    if pages is not None:
        pages.write(results)
    _show(results, console)
    if page is not None:
        console.line(str(page))
    _raise_for(results)


def _show(results: list[Restored], console: Console) -> None:
    console.data([_plain(result) for result in results])
    for result in results:
        done = "was restored before, skipped" if result.skipped else ""
        remarks = [text for text in (done, result.degradation and f"seen: {result.degradation}", result.remark) if text]
        if result.target is not None:
            console.line(f"{result.target}" + (f" ({'; '.join(remarks)})" if remarks else ""))
        elif console.quiet:
            # Without -q the problem was shown when it occurred.
            console.warning(result.problem)


def _plain(result: Restored) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(result).items()}


def _raise_for(results: list[Restored]) -> None:
    bad = [result for result in results if result.problem]
    if len(bad) == len(results):
        raise UirError(
            f"none of {len(results)} images was restored; the first: {bad[0].problem}" if bad[1:] else bad[0].problem
        )
    if bad:
        raise PartlyDone(f"{len(bad)} of {len(results)} images were not restored; the first: {bad[0].problem}")
