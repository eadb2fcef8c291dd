"""Writing checkpoints: to a temporary folder, synced, read back, then renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from maskdcpt.config.toml import to_toml
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.weights.checkpoints import FORMAT, MODEL, STATE, CheckpointError, checkpoint_folders
from maskdcpt.weights.load import read_safetensors
from uirdata.errors import StorageError
from uirdata.storage.files import storage_error, sync

MODEL_SHA256 = "model_sha256"
"""The key of state.pt whose value is the sha256 of the `model.safetensors` beside it."""


def metadata_for(config: TrainConfig, class_names: tuple[str, ...], step: int, score: float | None) -> dict[str, str]:
    """Return the metadata of `model.safetensors`. `score` is the mean PSNR in dB of a validation at this step."""
    return {
        "format": FORMAT,
        "backbone": config.model.backbone,
        "size": json.dumps(dict(config.model.size)),
        "class_names": json.dumps(class_names),
        "step": str(step),
        "objective": config.objective.kind,
        "score": repr(score) if score is not None and math.isfinite(score) else "",
        "config": to_toml(config),
    }


def save_checkpoint(
    run: Path, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], state: Mapping[str, Any]
) -> Path:
    """
    Write a checkpoint and read it back.

    Args:
        run: the run's folder.
        step: the number of completed steps.
        tensors: under their full names, such as `params.<network>.<key>`.
        metadata: of `model.safetensors`.
        state: what a resumed run needs, as plain values and tensors; the sha256 of `model.safetensors` is added.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: the disk is full, cannot be written, or returned other bytes than were written.
    """
    final = run / "checkpoints" / f"step-{step:06d}"
    partial = final.with_name(f".{final.name}.part")
    held = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(held, partial / MODEL, metadata=dict(metadata))
        torch.save({**state, MODEL_SHA256: _sha256(partial / MODEL)}, partial / STATE)
        for name in (MODEL, STATE):
            _sync(partial / name)
        _check_written(partial, held)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _sync(final.parent)
    except OSError as error:
        raise storage_error(final, error) from error
    except (SafetensorError, RuntimeError) as error:
        # Both libraries replace the system's error by one of their own.
        raise StorageError(
            f"{final}: cannot be written ({error}). Earlier checkpoints are kept; free disk space and resume the run"
        ) from error
    finally:
        # Where the disk is full, half a checkpoint would take the room that the next attempt needs.
        shutil.rmtree(partial, ignore_errors=True)
    return final


def load_state(folder: Path) -> dict[str, Any]:
    """
    Return what a resumed run needs, read from state.pt of a checkpoint.

    Both files of the checkpoint are checked against their checksums; those of earlier releases have none for
    `model.safetensors`.

    Raises:
        CheckpointError: a file is missing, truncated or damaged.
    """
    file = folder / STATE
    try:
        with zipfile.ZipFile(file) as parts:
            # torch does not check the checksums that it writes.
            damaged = parts.testzip()
        if damaged is not None:
            raise CheckpointError(f"{file}: is damaged: {damaged} does not have the checksum that was stored with it")
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{file}: no such file; the checkpoint can be used, but no run can be resumed from it"
        ) from None
    except CheckpointError:
        raise
    except Exception as error:  # torch's unpickler raises exceptions of many classes
        raise CheckpointError(f"{file}: cannot be read or is damaged ({type(error).__name__}: {error})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file}: holds a {type(state).__name__}, expected the state of a run")
    wanted = state.get(MODEL_SHA256, "")
    if wanted and _sha256(folder / MODEL) != wanted:
        raise CheckpointError(f"{folder / MODEL}: is damaged: it does not have the sha256 that was stored with it")
    return state


def prune_checkpoints(run: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and the one with the best score."""
    folders = checkpoint_folders(run)
    scores = ((_score(_read_metadata(folder / MODEL).get("score", "")), folder) for folder in folders)
    scored = [(score, folder) for score, folder in scores if score is not None]
    best = max(scored)[1] if scored else None
    for folder in folders[:-keep]:
        if folder != best:
            # Renamed first: a folder that is partly deleted must not look like a checkpoint.
            old = folder.rename(folder.with_name(f".{folder.name}.old"))
            shutil.rmtree(old, ignore_errors=True)


def _score(text: str) -> float | None:
    """Return the score in metadata; None where there is none, or it is no finite number, which is never the best."""
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _read_metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError):
        # A damaged checkpoint has no score; the error comes when it is loaded.
        return {}


def _check_written(folder: Path, held: Mapping[str, Tensor]) -> None:
    written, _ = read_safetensors(folder / MODEL)
    # Bytes are compared, as NaN does not equal itself.
    same = written.keys() == held.keys() and all(_bytes_equal(written[name], held[name]) for name in held)
    if not same:
        raise StorageError(f"{folder / MODEL}: what was read back is not what was written; the disk may be failing")
    load_state(folder)


def _bytes_equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
