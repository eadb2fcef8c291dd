"""The page of the demo: before, restored, truth; curves; counts."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskdcpt.pages.slider import SLIDER_STYLE, slider
from uirdata.html_pages import data_uri, html_table, lines_chart, write_page
from uirdata.images import RgbImage, read_image
from uirdata.pipeline.reporting.statistics_page import Statistics
from uirdata.statistics import counts_as_rows

_CURVES = (
    ("pixel", "Pixel loss", ("pre-train",)),
    ("accuracy", "Accuracy of the classifier in training", ("pre-train",)),
    ("loss", "Loss", ("fine-tune", "from scratch")),
)


@dataclass(frozen=True)
class DemoImage:
    """
    One held-out photograph in three states, equal windows of it.

    Attributes:
        degradation: its type.
        level: its level.
        lq: degraded.
        restored: by the network.
        gt: the truth.
    """

    degradation: str
    level: str
    lq: RgbImage
    restored: RgbImage
    gt: RgbImage


def write_demo_page(
    target: Path,
    *,
    rows: Sequence[Mapping[str, object]],
    accuracy: float,
    chance: float,
    confusion: Mapping[str, Mapping[str, int]],
    statistics: Statistics,
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    masked: Sequence[Path],
    pictures: Sequence[DemoImage],
    seconds: Mapping[str, float],
    settings: Sequence[Mapping[str, object]],
) -> None:
    """
    Write the page; it loads nothing from elsewhere.

    Args:
        target: the file.
        rows: figures by degradation.
        accuracy: of the classifier on held-out images, 0 to 1.
        chance: the same by guessing.
        confusion: held-out images by true and named degradation.
        statistics: of the shards.
        curves: points by quantity and run.
        masked: a picture of what pre-training sees and makes of it.
        pictures: held-out photographs.
        seconds: of each step.
        settings: of the runs.

    Raises:
        StorageError: the page cannot be written.
    """
    body = [
        "<p>Photographs that the networks never saw. PSNR in dB and SSIM on RGB, whole images, output not rounded. "
        "<b>from scratch</b> is the same network, fine-tuned as long on the same samples, without pre-training.</p>",
        html_table([_figures(row) for row in rows]),
        f"<p>The pre-trained classifier names the degradation of {accuracy:.0%} of the held-out images; "
        f"guessing names {chance:.0%}.</p>",
        SLIDER_STYLE,
        "<h2>Before and restored, beside the truth</h2><p>Drag the handle.</p>",
        *(_figure(picture) for picture in pictures),
        "<h2>What pre-training sees</h2><p>Rows: samples. Columns: LQ, what was not hidden of it, what the "
        "network made of that, GT.</p>",
        *(f'<img style="max-width:100%" alt="pre-training" src="{data_uri(read_image(path))}">' for path in masked),
        "<h2>Curves</h2>",
        *(_curve(curves, name, title, runs) for name, title, runs in _CURVES if name in curves),
        "<h2>Named degradations</h2><p>Rows: the truth. Columns: what the classifier said.</p>",
        html_table([{"held-out images": name, **row} for name, row in confusion.items()]),
        "<h2>Samples in the shards</h2>",
        html_table(counts_as_rows(statistics.count("degradation"), "degradation")),
        "<h2>How it ran</h2>",
        html_table(settings),
        html_table([{"step": name, "seconds": value} for name, value in seconds.items()]),
    ]
    write_page(target, "The whole way, on photographs", body)


def _figures(row: Mapping[str, object]) -> Mapping[str, object]:
    titles = {
        "degradation": "degradation",
        "images": "images",
        "lq": "LQ, PSNR",
        "restored": "restored, PSNR",
        "scratch": "from scratch, PSNR",
        "lq_ssim": "LQ, SSIM",
        "restored_ssim": "restored, SSIM",
    }
    return {title: f"{row[name]:.3f}" if name.endswith("ssim") else row[name] for name, title in titles.items()}


def _figure(picture: DemoImage) -> str:
    figures = (
        f"<figure>{slider(picture.lq, picture.restored, labels=('LQ', 'restored'))}"
        "<figcaption>before and after</figcaption></figure>"
        f'<figure><img alt="GT" src="{data_uri(picture.gt)}"><figcaption>GT</figcaption></figure>'
    )
    title = html.escape(f"{picture.degradation}, {picture.level}")
    return f'<h3>{title}</h3><div class="row">{figures}</div>'


def _curve(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], name: str, title: str, runs: Sequence[str]
) -> str:
    chosen = {run: curves[name][run] for run in runs if run in curves[name]}
    return f"<h3>{html.escape(title)}</h3>{lines_chart(chosen, x='step', y=name)}" if chosen else ""
