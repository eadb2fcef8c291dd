"""A model repository on the Hugging Face Hub: the weights, and a model card that describes them."""

from __future__ import annotations

import json
import os
import re
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskdcpt.config.train_config import WeightKind
from maskdcpt.weights.checkpoints import Checkpoint
from maskdcpt.weights.export import export_backbone, plain_metadata
from maskdcpt.weights.hub import WEIGHTS
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.training_data import TrainingData, training_data
from uirdata.errors import PublishError, UirError, UsageError
from uirdata.validators import json_object, load_json, naming

CONFIG = "config.json"
CARD = "README.md"


@dataclass(frozen=True)
class Pushed:
    """The address of a model on the Hub, and the commit that contains it."""

    link: str
    commit: str


def write_model_folder(
    checkpoint: Checkpoint | str | Path,
    folder: Path,
    *,
    name: str,
    results: Sequence[Path] = (),
    licence: str = "",
    weights: WeightKind = "params_ema",
) -> Path:
    """
    Write the files of a model repository: model.safetensors, config.json and the card.

    Args:
        checkpoint: its backbone is written.
        folder: created if it does not exist.
        name: of the model, for the card.
        results: evaluations that the card shows, as `maskdcpt eval --out` wrote them.
        licence: of the weights, by its name on the Hub; "" if it is not decided.
        weights: params_ema or params.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UirError: a result cannot be read.
        StorageError: the folder cannot be written.
    """
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    reports = [_read_report(path) for path in results]
    folder.mkdir(parents=True, exist_ok=True)
    export_backbone(loaded, folder / WEIGHTS, weights)
    config = plain_metadata(loaded) | {"size": dict(loaded.size), "class_names": list(loaded.class_names)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    card = _card(loaded, name, reports, licence, training_data(loaded))
    (folder / CARD).write_text(card, encoding="utf-8")
    return folder


def push_model(
    checkpoint: Checkpoint | str | Path,
    repository: str,
    *,
    results: Sequence[Path] = (),
    licence: str = "",
    weights: WeightKind = "params_ema",
    private: bool = False,
    endpoint: str = "",
    token: str | None = None,
) -> Pushed:
    """
    Upload a model to the Hub, in one commit.

    Args:
        checkpoint: as in `write_model_folder`, as are `results`, `licence` and `weights`.
        repository: owner/name; created if it does not exist.
        results: see `write_model_folder`.
        licence: see `write_model_folder`.
        weights: see `write_model_folder`.
        private: whether a repository that is created is private.
        endpoint: of the Hub; "" uses HF_ENDPOINT, else huggingface.co.
        token: with write permission; None uses HF_TOKEN, or the login of `hf auth login`.

    Raises:
        UsageError: `repository` is not a valid name.
        PublishError: there is no token, it has no write permission, or the upload failed.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UsageError(f"{repository!r} is not the name of a repository; write it like owner/name")
    place = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    link = f"{place}/{repository}"
    known = token or get_token()
    if not known:
        raise PublishError(f"{link}: no token. Log in with `hf auth login`, or set HF_TOKEN to one that may write")
    # The library's progress bars would mix with the caller's output.
    disable_progress_bars()
    api = HfApi(endpoint=place, token=known)
    with tempfile.TemporaryDirectory() as scratch:
        name = repository.rpartition("/")[2]
        folder = write_model_folder(
            checkpoint,
            Path(scratch),
            name=name,
            results=results,
            licence=licence,
            weights=weights,
        )
        try:
            api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
            commit = api.upload_folder(repo_id=repository, repo_type="model", folder_path=folder)
        except (HfHubHTTPError, OSError, RuntimeError) as error:
            # An error of an upload is wrapped in a RuntimeError without information.
            reason = textwrap.shorten(str(error.__cause__ or error), 200, placeholder=" ...")
            raise PublishError(f"{link}: the upload failed ({reason}). Run the same command again") from error
    return Pushed(link, str(commit.oid))


def _card(
    checkpoint: Checkpoint, name: str, reports: Sequence[dict[str, Any]], licence: str, training: TrainingData
) -> str:
    metadata: dict[str, Any] = {"pipeline_tag": "image-to-image", "tags": ["image-restoration", checkpoint.backbone]}
    if licence:
        metadata["license"] = licence
    size = ", ".join(f"{key} {value}" for key, value in checkpoint.size.items()) or "as published"
    source = "" if training.certain else " The original file does not contain this; it is derived from the file's name."
    sources = ", ".join(sorted(training.sources)) or "not known"
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n",
        f"# {name}\n",
        f"An image restoration network: {checkpoint.backbone}, {size}. Input: RGB in 0..1, (B, 3, H, W). Output: the "
        "restored images at the same size, not clipped.\n",
        "```bash\nmaskdcpt restore photo.jpg --checkpoint hf://OWNER/NAME --out restored\n```\n",
        f"## Training data\n\nSources: {sources}.{source}\n",
    ]
    if checkpoint.class_names:
        parts.append(f"Degradations, in label order: {', '.join(checkpoint.class_names)}.\n")
    for report in reports:
        parts.append(_results(report))
    parts.append(
        "## Limits\n\nThe network restores the degradations that it was trained on. The details that it adds in place "
        "of lost ones are plausible guesses, not evidence.\n"
    )
    return "\n".join(parts)


def _results(report: dict[str, Any]) -> str:
    protocol = report["protocol"]
    rows = report.get("by_set") or report["by_degradation"]
    how = ", ".join(
        [
            "luma" if protocol["y_channel"] else "RGB",
            "8 bits" if protocol["quantise"] else "unrounded",
            f"border of {protocol['crop_border']} left out" if protocol["crop_border"] else "whole images",
        ]
    )
    metrics = ["psnr", "ssim", *(m for m in rows[0].get("learned", {}) if not m.startswith("lq_"))]
    head = f"## Results{' on bench ' + report['bench'] if report.get('bench') else ''}\n\n{how}; mean over images.\n"
    lines = [
        "| | images | LQ PSNR | " + " | ".join(m.upper() for m in metrics) + " |",
        "|---|---:|---:|" + "---:|" * len(metrics),
    ]
    for row in rows:
        values = [row.get(m) if m in row else row.get("learned", {}).get(m) for m in metrics]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        given = "" if row["lq_psnr"] is None else f"{row['lq_psnr']:.2f}"
        lines.append(f"| {row['name']} | {row['images']} | {given} | " + " | ".join(cells) + " |")
    broken = sum(row.get("broken", 0) for row in rows)
    if broken:
        lines.append(f"\n{broken} images have outputs or scores that are NaN or infinite, and are in no mean.")
    lines += [
        f"\nThe {metric.upper()} of {row['name']} is over {count} of {row['images']} images; the others are too small."
        for row in rows
        for metric, count in row.get("fewer", {}).items()
    ]
    overlaps = [f"- {text}" for row in rows for text in row.get("contamination", ())]
    known = ["\nKnown about overlaps of test sets and training data:\n", *overlaps] if overlaps else []
    return "\n".join([head, *lines, *known]) + "\n"


def _read_report(path: Path) -> dict[str, Any]:
    file = path / "report.json" if path.is_dir() else path
    try:
        with naming(UirError, str(file)):
            report = json_object(load_json(file.read_bytes()))
        _results(report)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UirError(f"{file}: is not a report of `maskdcpt eval --out` ({error})") from error
    return report
