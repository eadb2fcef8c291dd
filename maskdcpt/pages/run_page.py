"""The page of a run: scores, images before and after, curves, confusion of classes, features in the plane."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maskdcpt.config.toml import read_config
from maskdcpt.data.samples import Samples, open_samples
from maskdcpt.evaluation.evaluate import Setting, evaluate
from maskdcpt.evaluation.image_grids import PLACES, SHOWN
from maskdcpt.evaluation.score_files import REPORT
from maskdcpt.pages.slider import SLIDER_STYLE, slider
from maskdcpt.studies.probe import ProbeSettings, map_features, probe_features
from maskdcpt.training.logs.metrics_log import METRICS, read_curves
from maskdcpt.training.run_folder import CONFIG
from maskdcpt.weights.build import classifier_before
from maskdcpt.weights.checkpoints import Checkpoint
from maskdcpt.weights.load import load_checkpoint
from uirdata.errors import UirError, UsageError
from uirdata.html_pages import data_uri, html_table, lines_chart, write_page
from uirdata.images import RgbImage, read_image
from uirdata.pipeline.choosing import subset_of_shards
from uirdata.progress import Progress
from uirdata.storage.files import writing
from uirdata.subsets import Subset
from uirdata.validators import json_object, load_json, naming

FEATURES = "features.json"
TESTS = "test"

_CURVES = ("loss", "pixel", "classification", "accuracy", "validation/psnr", "validation/accuracy", "lr")
_PER_CLASS, _CROP = 40, 64


def prepare_report(
    run: Path,
    shards: str | Path,
    *,
    split: str,
    device: str,
    progress: Progress,
) -> None:
    """
    Write what the page of a run needs and does not exist yet: RUN/test, an evaluation, and RUN/features.json.

    Args:
        run: folder of a run.
        shards: to evaluate on.
        split: of the shards.
        device: auto, cpu, cuda, ...
        progress: receives the number of images done.

    Raises:
        UsageError: `run` is not a run, or its labels are not those of the shards.
        UirError: scikit-learn is not installed, or something cannot be read or written.
    """
    subset, samples = _samples_for(run, shards, split)
    evaluate(
        run,
        shards,
        split=split,
        subset=subset,
        out=run / TESTS,
        classifier=_classifier_before(run, samples.class_names),
        setting=Setting(device=device),
        progress=progress,
    )
    if (run / FEATURES).exists():
        return
    settings = ProbeSettings(split=split, subset=subset, per_class=_PER_CLASS, crop=_CROP)
    try:
        (result,) = probe_features(run, shards, settings, device=device, progress=progress)
        found = map_features(run, shards, settings, device=device, progress=progress)
    except UsageError as error:
        # Too few images of a class: the page is written without this part.
        progress.note(f"features are skipped: {error}")
        return
    document = {
        "accuracy": result.accuracy,
        "spread": result.spread,
        "chance": result.chance,
        "images": result.images,
        "class_names": list(found.class_names),
        "labels": found.labels.tolist(),
        "points": found.points.round(4).tolist(),
    }
    with writing(run / FEATURES) as partial:
        partial.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _samples_for(run: Path, shards: str | Path, split: str) -> tuple[Subset | None, Samples]:
    """Return the run's own subset of the shards; all samples where the shards were built for another subset."""
    data = replace(read_config(run / CONFIG).data, shards=str(shards))
    try:
        subset = subset_of_shards(shards, data.subset)
        return subset, open_samples(shards, split, subset)
    except UirError:
        if not data.subset:
            raise
        return None, open_samples(shards, split)


def _classifier_before(run: Path, class_names: tuple[str, ...]) -> Checkpoint | None:
    """Return the pre-trained checkpoint that a run started from, if its classifier has these labels; else None."""
    before = classifier_before(load_checkpoint(run))
    return before if before is not None and before.class_names == class_names else None


def write_report(run: Path, target: Path, *, results: Sequence[Path] = (), title: str = "") -> None:
    """
    Write the page as one file that loads nothing else.

    Args:
        run: the folder that `maskdcpt train --out` or `maskdcpt eval --out` wrote.
        target: of the page.
        results: folders of evaluations; when empty, `run` and the folders directly in it.
        title: of the page; from the run's name when "".

    Raises:
        UsageError: the folder holds neither a run nor an evaluation.
        UirError: a file cannot be read.
        StorageError: the page cannot be written.
    """
    chosen = [*results] or [folder for folder in (run, *sorted(run.glob("*"))) if (folder / REPORT).is_file()]
    reports = [(folder, _read(folder / REPORT)) for folder in chosen]
    curves = _drawn_curves(run)
    features = _read(run / FEATURES) if (run / FEATURES).is_file() else None
    if not (reports or curves or features):
        raise UsageError(f"{run}: holds neither a run nor an evaluation; name the --out folder of train or eval")
    body = [SLIDER_STYLE]
    if (run / CONFIG).is_file():
        body.append(_about(run))
    for folder, report in reports:
        with _of(folder / REPORT):
            body += _evaluation(folder, report)
    body += _pretraining_images(run)
    if curves:
        body.append("<h2>Curves</h2>")
        body += curves
    if features is not None:
        with _of(run / FEATURES):
            body += _features(features)
    write_page(target, title or f"Run {run.resolve().name}", body)


def _about(run: Path) -> str:
    config = read_config(run / CONFIG)
    size = ", ".join(f"{key} {value}" for key, value in config.model.size.items())
    rows = [
        {"": "objective", " ": config.objective.kind},
        {"": "network", " ": f"{config.model.backbone}{', ' + size if size else ''}"},
        {"": "data", " ": f"{config.data.subset or 'all'} of {config.data.shards}"},
        {"": "steps", " ": f"{config.loop.steps:,}, each of {config.data.batch} crops of {config.data.crop} pixels"},
        {"": "started from", " ": config.init.checkpoint or "fresh weights"},
    ]
    return html_table(rows)


def _evaluation(folder: Path, report: Mapping[str, Any]) -> Iterator[str]:
    groups = report.get("by_set") or report["by_degradation"]
    name = f"Bench {report['bench']}" if report.get("bench") else f"Evaluation {folder.name}"
    yield f"<h2>{html.escape(name)}</h2>{html_table([_line(group) for group in (*groups, report['mean'])])}"
    protocol = report["protocol"]
    how = [
        "luma" if protocol["y_channel"] else "RGB",
        "rounded to 8 bits" if protocol["quantise"] else "unrounded floats",
        f"tiles of {protocol['tile_px']}" if protocol["tile_px"] else "whole images",
    ]
    facts = [", ".join(how), *report.get("training", ())]
    facts += [text for group in groups for text in group.get("contamination", ())]
    facts += [f"{key}: {text}; {report['engine']}" for key, text in report.get("variants", {}).items()]
    yield "<ul>" + "".join(f"<li>{html.escape(fact)}</li>" for fact in facts) + "</ul>"
    shown = list(_sliders(folder / SHOWN))
    if shown:
        yield "<h3>Before and after: the best, the median and the worst image of each group. Drag the handle.</h3>"
        yield from shown
    if report.get("confusion"):
        yield "<h2>Named degradations</h2><p>Rows: true class. Columns: class by the classifier.</p>"
        yield confusion_table(report["confusion"])


def _line(group: Mapping[str, Any]) -> dict[str, object]:
    broken = f" ({group['broken']:,} more are NaN or infinite)" if group.get("broken") else ""
    line: dict[str, object] = {
        "": group["name"],
        "images": f"{group['images']:,}{broken}" if broken else group["images"],
    }
    learned: Mapping[str, float | None] = group.get("learned", {})
    for metric in ("psnr", "ssim", *(name for name in learned if not name.startswith("lq_"))):
        digits = 3 if metric in ("ssim", "lpips") else 2
        value, given = (group.get(key, learned.get(key)) for key in (metric, f"lq_{metric}"))
        line[f"LQ, {metric.upper()}"] = "" if given is None else f"{given:.{digits}f}"
        interval = group.get("intervals", {}).get(metric)
        bounds = f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""
        line[metric.upper()] = "" if value is None else f"{value:.{digits}f}{bounds}"
    if group.get("accuracy") is not None:
        line["accuracy"] = f"{group['accuracy']:.0%}"
    return line


def _sliders(folder: Path) -> Iterator[str]:
    for group in sorted(folder.glob("*")):
        for place in PLACES:
            lq, restored = (group / f"{place}-{what}.png" for what in ("lq", "restored"))
            if lq.exists() and restored.exists():
                caption = f"{group.name}, {place}"
                shown = slider(*_cut(read_image(lq), read_image(restored)), labels=("LQ", "restored"), most_px=900)
                yield f'<figure class="shown">{shown}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _cut(lq: RgbImage, restored: RgbImage) -> tuple[RgbImage, RgbImage]:
    height, width = (min(a, b) for a, b in zip(lq.shape[:2], restored.shape[:2], strict=True))
    return lq[:height, :width], restored[:height, :width]


def confusion_table(confusion: Mapping[str, Mapping[str, int]]) -> str:
    """Return an HTML table of counts; a cell is the darker, the larger its share of the row."""
    columns = list(dict.fromkeys(name for row in confusion.values() for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("held-out images", *columns))
    lines = []
    # Rows in the order of the columns, so that correct classes are on the diagonal.
    for truth, row in sorted(confusion.items(), key=lambda entry: _place_of(entry[0], columns)):
        total = sum(row.values()) or 1
        cells = "".join(
            f'<td class="n" style="background:rgba(27,108,168,{0.75 * row.get(name, 0) / total:.2f})">'
            f"{row.get(name, 0):,}</td>"
            for name in columns
        )
        lines.append(f"<tr><th>{html.escape(truth)}</th>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _place_of(name: str, columns: Sequence[str]) -> int:
    return next((i for i, column in enumerate(columns) if name in column.split("+")), len(columns))


def _features(features: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Features in the plane</h2>"
    yield (
        f"<p>Nearest neighbours on its features classify {features['accuracy']:.0%} of {features['images']} images "
        f"correctly (guessing: {features['chance']:.0%}); t-SNE of the same features.</p>"
    )
    yield scatter(np.array(features["points"]), features["labels"], features["class_names"])


def scatter(points: np.ndarray[Any, np.dtype[np.float64]], labels: Sequence[int], names: Sequence[str]) -> str:
    """Return an SVG of points (N, 2), with a colour for each label."""
    low, high = points.min(axis=0), points.max(axis=0)
    places = (points - low) / np.maximum(high - low, 1e-9)
    dots = "".join(
        f'<circle cx="{20 + 520 * x:.1f}" cy="{20 + 400 * y:.1f}" r="4" fill="hsl({_hue(label, len(names))} 65% 50%)">'
        f"<title>{html.escape(names[label])}</title></circle>"
        for (x, y), label in zip(places.tolist(), labels, strict=True)
    )
    legend = "".join(
        f'<circle cx="575" cy="{30 + 22 * i}" r="5" fill="hsl({_hue(i, len(names))} 65% 50%)"></circle>'
        f'<text x="588" y="{34 + 22 * i}">{html.escape(name)}</text>'
        for i, name in enumerate(names)
        if i in set(labels)
    )
    return f'<svg class="chart" viewBox="0 0 800 440" role="img">{dots}{legend}</svg>'


def _hue(label: int, labels: int) -> int:
    return 360 * label // max(1, labels)


def _pretraining_images(run: Path) -> Iterator[str]:
    newest = sorted((run / "samples").glob("*.png"))[-1:]
    for path in newest:
        columns = "LQ, in pre-training its visible patches, the result of the network, GT"
        yield f"<h2>What training sees</h2><p>Columns: {columns}.</p>"
        yield f'<img style="max-width:100%" alt="samples" src="{data_uri(read_image(path))}">'


def _drawn_curves(run: Path) -> list[str]:
    if not (run / METRICS).exists():
        # An evaluation without a run has no curves.
        return []
    curves = read_curves(run)
    drawn = []
    for name in (*_CURVES, *(key for key in curves if key.startswith("validation/psnr/"))):
        # In fine-tuning the loss is the pixel loss, so one curve is enough.
        same = name == "pixel" and "loss" in curves and curves[name].values == curves["loss"].values
        if name in curves and not same:
            points = list(zip(map(float, curves[name].steps), curves[name].values, strict=True))
            drawn.append(f"<h3>{html.escape(name)}</h3>{lines_chart({run.name: points}, x='step', y=name)}")
    return drawn


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UirError(f"{path}: cannot be read: {error.strerror or error}") from error
    with naming(UirError, str(path), "delete it and write it again"):
        return json_object(load_json(data))


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Name the file in the error of a document that does not have the values of one that this project writes."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UirError(
            f"{path}: does not hold what `maskdcpt eval` or `maskdcpt report` write ({type(error).__name__}: {error}); "
            "delete it and write it again"
        ) from error
