"""Reading checkpoints: runs, .safetensors, published .pth files, other releases and the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskdcpt.config.toml import config_from_toml
from maskdcpt.config.train_config import SizeValue
from maskdcpt.weights.checkpoints import FORMAT, MODEL, Checkpoint, CheckpointError, checkpoint_folders
from maskdcpt.weights.convert import RELEASES, Release, WeightsError, foreign_backbone, import_weights, release_of
from maskdcpt.weights.detect import identify
from maskdcpt.weights.hub import fetch_model


def load_checkpoint(path: str | Path) -> Checkpoint:
    """
    Return the checkpoint of a run, one of its checkpoints, a .safetensors file, a published .pth, or hf://OWNER/NAME.

    For a run this is its newest checkpoint. For a file without our metadata, network and size are detected from its
    keys; the weights of the networks' own authors and of DCPT are renamed where they are compatible. Where the release
    does not follow from the names, state it with `original:FILE` or `dcpt:FILE`.

    >>> load_checkpoint(checkpoint).backbone
    'nafnet'

    Raises:
        WeightsError: weights of another release that are not compatible; the message has the reason.
        CheckpointError: there is no checkpoint, it is truncated, or its network is not one of this release.
        DownloadError: the download from the Hub failed.
    """
    if not isinstance(path, (str, PurePath)):
        raise CheckpointError(f"a checkpoint is a path, not a {type(path).__name__}")
    if str(path).startswith("hf://"):
        path = fetch_model(str(path))
    release, place = split_release(str(path))
    file = _find_model(Path(place))
    if file.suffix in (".pth", ".pt", ".ckpt"):
        return _load_pickled(file, release)
    tensors, metadata = read_safetensors(file)
    if metadata.get("format") != FORMAT:
        return _from_plain(file, tensors, {}, release)
    try:
        size = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata["size"]).items()}
        return Checkpoint(
            path=file,
            backbone=metadata["backbone"],
            size=size,
            class_names=tuple(json.loads(metadata["class_names"])),
            step=int(metadata["step"]),
            config=config_from_toml(metadata["config"], where=f"{file} (metadata)", drop_unknown=True),
            params=_under(tensors, "params."),
            params_ema=_under(tensors, "params_ema."),
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: its metadata cannot be read ({error!r}); another program changed it") from error


def _find_model(path: Path) -> Path:
    if path.is_file():
        return path
    if (path / MODEL).is_file():
        return path / MODEL
    folders = checkpoint_folders(path)
    if folders:
        return folders[-1] / MODEL
    what = "contains no checkpoint" if path.is_dir() else "no such file or folder"
    raise CheckpointError(f"{path}: {what}; expected a run, a folder step-NNNNNN, a .safetensors or a .pth file")


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """
    Return the tensors and the metadata of a .safetensors file.

    Raises:
        CheckpointError: the file does not exist, is truncated, or is not a safetensors file.
    """
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: is truncated or not a safetensors file ({error}); copy it again") from error


def split_release(place: str) -> tuple[Release | None, str]:
    """Return release and file of original:FILE and dcpt:FILE; the release is None if `place` names none."""
    named, colon, rest = place.partition(":")
    release = next((known for known in RELEASES if known == named), None)
    return (release, rest) if colon and release else (None, place)


def _load_pickled(file: Path, release: Release | None) -> Checkpoint:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises exceptions of many classes
        raise CheckpointError(
            f"{file}: is not a file of weights, is truncated, or contains objects other than tensors, which are not "
            f"loaded ({type(error).__name__}); download it again, or save its state dict alone"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: contains a {type(content).__name__}, expected a dict of weights by name")
    parts = {key: content[key] for key in ("params", "params_ema") if isinstance(content.get(key), dict)}
    plain = parts.get("params") or parts.get("params_ema") or content.get("state_dict") or content
    return _from_plain(file, plain, parts.get("params_ema", {}), release)


def _from_plain(
    file: Path, params: Mapping[str, Any], params_ema: Mapping[str, Any], release: Release | None
) -> Checkpoint:
    cleaned, averaged = _cleaned(params), _cleaned(params_ema)
    arguments: Mapping[str, SizeValue] = {}
    foreign = foreign_backbone(cleaned)
    if foreign is not None:
        try:
            imported = import_weights(foreign, release or release_of(foreign, cleaned), cleaned)
            arguments = imported.arguments
            cleaned = dict(imported.weights)
            averaged = dict(import_weights(foreign, release or "original", averaged).weights) if averaged else {}
        except WeightsError as error:
            raise WeightsError(f"{file}: {error}") from None
    elif release and release != "maskdcpt":
        raise CheckpointError(f"{file}: its names are not those of {release}'s files; omit {release}:")
    found = identify(cleaned)
    if found is None:
        some = ", ".join(list(params)[:3])
        raise CheckpointError(
            f"{file}: no nafnet, swinir, restormer or promptir in the published layout (its first keys are {some})"
        )
    return Checkpoint(
        path=file,
        backbone=found.backbone,
        size={**found.size, **arguments},
        class_names=(),
        step=0,
        config=None,
        params={f"backbone.{key}": value for key, value in cleaned.items()},
        params_ema={f"backbone.{key}": value for key, value in averaged.items()},
    )


def _cleaned(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in weights.items() if isinstance(value, Tensor)}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
