"""
Weights on disk, whole or not at all.

RUN/checkpoints/step-NNNNNN/ holds two files. `model.safetensors` is all that is needed to use the networks: tensors
named `params.<network>.<key>` and, where a running average is kept, `params_ema.<network>.<key>`, with the network's
name, its arguments, the label order and the run's configuration as metadata. `state.pt` is what only a resumed run
needs. The folder gets its name when both are on the disk and have been read back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maskdcpt.config.toml import config_from_toml
from maskdcpt.config.train_config import WEIGHT_KINDS, SizeValue, TrainConfig, WeightKind
from maskdcpt.networks.networks import NETWORKS, Part
from maskdcpt.weights.convert import RELEASES, Release, WeightsError, foreign_backbone, import_weights, release_of
from maskdcpt.weights.detect import identify
from uirdata.errors import UirError, UsageError, nearest

FORMAT = "maskdcpt-1"
MODEL = "model.safetensors"
STATE = "state.pt"

_STEP_FOLDER = re.compile(r"step-(\d{6,})")


class CheckpointError(UirError):
    """A checkpoint is missing, cut short, or not of the kind that is needed."""


@dataclass(frozen=True)
class Checkpoint:
    """
    Trained networks.

    >>> loaded = load_checkpoint(checkpoint)
    >>> loaded.size["width"], loaded.weights("backbone")["intro.weight"].shape, loaded.restores
    (4, torch.Size([4, 3, 3, 3]), True)

    Attributes:
        path: of the file.
        backbone: name of the backbone.
        size: its arguments.
        class_names: the label order; empty for published files, which do not tell.
        step: how often the weights had moved; 0 where unknown.
        config: of the run; None for published files.
        params: weights as `<network>.<key>`, the networks being backbone, classifier and reconstruction.
        params_ema: their running average, likewise; empty where none was kept.
    """

    path: Path
    backbone: str
    size: Mapping[str, SizeValue]
    class_names: tuple[str, ...]
    step: int
    config: TrainConfig | None
    params: Mapping[str, Tensor]
    params_ema: Mapping[str, Tensor]

    @property
    def restores(self) -> bool:
        """Whether the backbone was trained to restore: fine-tuned, by RAM, or published."""
        return self.config is None or self.config.objective.traits.restores

    def weights(self, network: Part, kind: WeightKind = "params_ema") -> dict[str, Tensor]:
        """
        Give one network's weights under its own keys; empty where the checkpoint does not have it.

        Args:
            network: backbone, classifier or reconstruction.
            kind: params or params_ema; each stands in for the other where it is missing, as upstream does.

        Raises:
            UsageError: no checkpoint has such a network or such weights.
        """
        if kind not in WEIGHT_KINDS:
            raise UsageError(f"there are no weights {kind!r}: a checkpoint has {' and '.join(WEIGHT_KINDS)}")
        if network not in NETWORKS:
            raise UsageError(f"there is no network {network!r} in a checkpoint: {nearest(network, NETWORKS)}")
        both = (self.params_ema, self.params) if kind == "params_ema" else (self.params, self.params_ema)
        chosen = both[0] or both[1]
        prefix = network + "."
        return {key.removeprefix(prefix): value for key, value in chosen.items() if key.startswith(prefix)}


def load_checkpoint(path: str | Path) -> Checkpoint:
    """
    Load networks from a run, one of its checkpoints, a .safetensors file, a published .pth, or hf://OWNER/NAME.

    A run gives its newest checkpoint. Of a file without our metadata, network and size are told from its keys; those of
    the networks' own authors and of DCPT are renamed where they mean the same. Where the names do not tell whose they
    are, `original:FILE` or `dcpt:FILE` says it.

    >>> load_checkpoint(checkpoint).backbone
    'nafnet'

    Raises:
        WeightsError: weights of another release that would mean something else here; the message says why.
        CheckpointError: there is none, it is cut short, or it is no file of a network that is known here.
        DownloadError: it did not arrive from the Hub.
    """
    if str(path).startswith("hf://"):
        # Late: what fetches models writes them, too, and loads checkpoints for that.
        from maskdcpt.weights.hub import fetch_model

        path = fetch_model(str(path))
    release, place = split_release(str(path))
    file = _find_model(Path(place))
    if file.suffix in (".pth", ".pt", ".ckpt"):
        return _load_pickled(file, release)
    tensors, metadata = _read_safetensors(file)
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
        raise CheckpointError(f"{file}: its metadata cannot be read ({error!r}); another tool changed it") from error


def checkpoint_folders(run: Path) -> list[Path]:
    """Give a run's checkpoints, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [(int(match[1]), p) for p in folder.iterdir() if (match := _STEP_FOLDER.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def _find_model(path: Path) -> Path:
    if path.is_file():
        return path
    if (path / MODEL).is_file():
        return path / MODEL
    folders = checkpoint_folders(path)
    if folders:
        return folders[-1] / MODEL
    what = "holds no checkpoint" if path.is_dir() else "no such file or folder"
    raise CheckpointError(f"{path}: {what}; give a run, a folder step-NNNNNN, a .safetensors or a .pth file")


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: is cut short or no safetensors file ({error}); copy it again") from error


def split_release(place: str) -> tuple[Release | None, str]:
    """Part original:FILE and dcpt:FILE; the release is None where none is named."""
    named, colon, rest = place.partition(":")
    release = next((known for known in RELEASES if known == named), None)
    return (release, rest) if colon and release else (None, place)


def _load_pickled(file: Path, release: Release | None) -> Checkpoint:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler stumbles over
        raise CheckpointError(
            f"{file}: is no file of weights, is cut short, or holds more than tensors, which are all that is read from "
            f"it ({type(error).__name__}); fetch it again, or save its state dict alone"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds a {type(content).__name__}, not weights by name")
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
        raise CheckpointError(f"{file}: its names are not those of {release}'s files; leave {release}: out")
    found = identify(cleaned)
    if found is None:
        some = ", ".join(list(params)[:3])
        raise CheckpointError(
            f"{file}: no nafnet, swinir, restormer or promptir in the published layout (its keys begin with {some})"
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


def check_same_classes(expected: Iterable[str], checkpoint: Checkpoint, *, what: str) -> None:
    """
    Refuse heads that were trained on other labels.

    Raises:
        CheckpointError: the label orders differ; the message shows both.
    """
    wanted = tuple(expected)
    if checkpoint.class_names != wanted:
        raise CheckpointError(
            f"{checkpoint.path}: its labels are {', '.join(checkpoint.class_names) or 'not told'}; {what} has "
            f'{", ".join(wanted)}. Take the backbone alone (init.parts = "backbone"), or the subset it was trained on'
        )
