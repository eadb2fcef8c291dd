"""Reading checkpoints: runs, .safetensors, published .pth files, other releases and the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from safetensors import safe_open
from torch import Tensor

from maskdcpt.config.train_config import SizeValue
from maskdcpt.weights.checkpoints import FORMAT, MODEL, Checkpoint, CheckpointError, checkpoint_folders
from maskdcpt.weights.convert import RELEASES, Release, WeightsError, foreign_backbone, import_weights, release_of
from maskdcpt.weights.detect import identify
from maskdcpt.weights.hub import fetch_model
from maskdcpt.weights.metadata import read_metadata
from maskdcpt.weights.pickled import is_pickled, kind_of, read_pickled
from maskdcpt.weights.state_dicts import find_state_dicts
from uirdata.validators import naming, shown


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
    if is_pickled(file):
        content = read_pickled(file)
        if not isinstance(content, Mapping):
            raise CheckpointError(f"{file}: contains a {type(content).__name__}, expected a dict of weights by name")
        return _from_plain(file, content, release)
    tensors, metadata = read_safetensors(file)
    if metadata.get("format") != FORMAT:
        if metadata.get("format", "").startswith(_OURS):
            raise CheckpointError(
                f"{file}: was written by a later release ({shown(metadata['format'])}); update this one"
            )
        return _from_plain(file, tensors, release)
    with naming(CheckpointError, str(file)):
        known = read_metadata(metadata)
    return Checkpoint(
        path=file,
        backbone=known.backbone,
        size=known.size,
        class_names=known.class_names,
        step=known.step,
        config=known.config,
        params=_under(tensors, "params."),
        params_ema=_under(tensors, "params_ema."),
    )


def load_earlier(own: Checkpoint) -> Checkpoint:
    """
    Return the checkpoint that the training of a checkpoint started from.

    The configuration that names it may be a stranger's, so nothing is downloaded: it is a file of this machine, or in
    the cache of the Hub.

    Raises:
        UirError: it started from none, or that is not here any more, or cannot be loaded.
    """
    place = "" if own.config is None else own.config.init.checkpoint
    if not place:
        raise CheckpointError(f"{own.path}: did not start from another checkpoint")
    return load_checkpoint(fetch_model(place, cached_only=True) if place.startswith("hf://") else place)


_OURS = FORMAT.partition("-")[0] + "-"


def _find_model(path: Path) -> Path:
    try:
        if path.is_file():
            return path
        if (path / MODEL).is_file():
            return path / MODEL
        folders = checkpoint_folders(path)
        if folders:
            return folders[-1] / MODEL
        what = "contains no checkpoint" if path.is_dir() else "no such file or folder"
    except OSError as error:
        raise CheckpointError(f"{shown(str(path))}: cannot be read: {error.strerror or error}") from error
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
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # beside its own class, those of torch for dtypes and sizes that it does not support
        raise CheckpointError(f"{file}: {_why_unread(file, error)}") from error


def split_release(place: str) -> tuple[Release | None, str]:
    """Return release and file of original:FILE and dcpt:FILE; the release is None if `place` names none."""
    named, colon, rest = place.partition(":")
    release = next((known for known in RELEASES if known == named), None)
    return (release, rest) if colon and release else (None, place)


def _why_unread(file: Path, error: Exception) -> str:
    """Return why a file is not read as safetensors: it begins with the length of its header, and the header."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(512)
    if not size:
        return "is empty"
    if len(head) < 9 or head[8:9] != b"{":
        return f"is not a safetensors file: {kind_of(head)}"
    if size < 8 + int.from_bytes(head[:8], "little") or "incomplete metadata" in str(error):
        # That of a run is written here, and there is no other to copy.
        again = "; copy or download it again" if file.name != MODEL else ""
        return f"is truncated ({error}){again}"
    return f"cannot be read as a safetensors file ({error})"


def _from_plain(file: Path, content: Mapping[Any, object], release: Release | None) -> Checkpoint:
    with naming(CheckpointError, str(file)):
        state_dicts = find_state_dicts(content, str(file))
    cleaned, averaged = state_dicts.params, state_dicts.params_ema
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
        some = ", ".join(shown(key) for key in list(cleaned or content)[:3])
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


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
