"""The page of the demo: LQ, restored and GT images, curves, counts."""

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
    The same window of the LQ, the restored image and the GT of a held-out photograph.

    Attributes:
        degradation: of the LQ.
        level: of the LQ.
        lq: (H, W, 3) RGB.
        restored: by the network.
        gt: the ground truth.
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
    images: Sequence[DemoImage],
    seconds: Mapping[str, float],
    settings: Sequence[Mapping[str, object]],
) -> None:
    """
    Write the page as one file that loads nothing else.

    Args:
        target: the file.
        rows: scores by degradation.
        accuracy: of the classifier on held-out images, 0 to 1.
        chance: accuracy of guessing, 0 to 1.
        confusion: number of held-out images by true and classified degradation.
        statistics: of the shards.
        curves: points by quantity and run.
        masked: PNG files of pre-training samples: LQ, visible patches, reconstruction, GT.
        images: held-out photographs.
        seconds: of each step.
        settings: of the runs.

    Raises:
        StorageError: the page cannot be written.
    """
    body = [
        "<p>Photographs that the networks never saw. PSNR in dB and SSIM on RGB, whole images, output not rounded. "
        "<b>from scratch</b> is the same network, fine-tuned as long on the same samples, without pre-training.</p>",
        html_table([_figures(row) for row in rows]),
        f"<p>The pre-trained classifier classifies {accuracy:.0%} of the held-out images correctly; "
        f"guessing gives {chance:.0%}.</p>",
        SLIDER_STYLE,
        "<h2>LQ, restored and GT</h2><p>Drag the handle.</p>",
        *(_figure(image) for image in images),
        "<h2>What pre-training sees</h2><p>Rows: samples. Columns: LQ, its visible patches, the reconstruction "
        "by the network, GT.</p>",
        *(f'<img style="max-width:100%" alt="pre-training" src="{data_uri(read_image(path))}">' for path in masked),
        "<h2>Curves</h2>",
        *(_curve(curves, name, title, runs) for name, title, runs in _CURVES if name in curves),
        "<h2>Named degradations</h2><p>Rows: true class. Columns: class by the classifier.</p>",
        html_table([{"held-out images": name, **row} for name, row in confusion.items()]),
        "<h2>Samples in the shards</h2>",
        html_table(counts_as_rows(statistics.count("degradation"), "degradation")),
        "<h2>Settings and times</h2>",
        html_table(settings),
        html_table([{"step": name, "seconds": value} for name, value in seconds.items()]),
    ]
    write_page(target, "The whole method, on photographs", body)


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


def _figure(image: DemoImage) -> str:
    figures = (
        f"<figure>{slider(image.lq, image.restored, labels=('LQ', 'restored'))}"
        "<figcaption>before and after</figcaption></figure>"
        f'<figure><img alt="GT" src="{data_uri(image.gt)}"><figcaption>GT</figcaption></figure>'
    )
    title = html.escape(f"{image.degradation}, {image.level}")
    return f'<h3>{title}</h3><div class="row">{figures}</div>'


def _curve(
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], name: str, title: str, runs: Sequence[str]
) -> str:
    chosen = {run: curves[name][run] for run in runs if run in curves[name]}
    return f"<h3>{html.escape(title)}</h3>{lines_chart(chosen, x='step', y=name)}" if chosen else ""
