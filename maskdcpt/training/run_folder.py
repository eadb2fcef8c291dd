"""The folder of a run and its configuration file."""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from maskdcpt.compute.distributed import Process
from maskdcpt.config.toml import FREE_ON_RESUME, differences, read_config, to_toml
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.weights.checkpoints import checkpoint_folders
from maskdcpt.weights.load import split_release
from uirdata.errors import UsageError
from uirdata.storage.files import storage_error, writing

CONFIG = "config.toml"


def find_run(config: TrainConfig, *, resume: bool, writes: bool) -> Path:
    """
    Return a run's folder; refuse one that does not match the configuration. Nothing is written.

    Args:
        config: `config.out` is the folder.
        resume: whether the folder must hold this run already.
        writes: whether this process is the one that writes.

    Raises:
        UsageError: the folder holds a run and `resume` is False, or it holds none or another run and `resume` is True.
    """
    if not config.out:
        raise UsageError("the run has no folder: set --out DIR, or out in the configuration")
    run = Path(config.out)
    if resume:
        _check_same_run(config, run)
    elif writes and checkpoint_folders(run):
        raise UsageError(f"{run} already holds a run: continue it with --resume, or choose another --out")
    return run


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """
    Return a configuration whose relative paths are made absolute, so that it repeats the run from any folder.

    Addresses, such as hf://datasets/OWNER/NAME, and links are kept as they are.
    """
    data, init = config.data, config.init
    release, weights = split_release(init.checkpoint)
    weights = _absolute(weights)
    return replace(
        config,
        out=_absolute(config.out),
        data=replace(data, shards=_absolute(data.shards)),
        init=replace(init, checkpoint=f"{release}:{weights}" if release else weights),
    )


def _absolute(place: str) -> str:
    return str(Path(place).absolute()) if place and "://" not in place else place


def write_config(config: TrainConfig, run: Path) -> None:
    """
    Write a run's configuration to config.toml in its folder; create the folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    text = to_toml(config)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(run, error) from error
    with writing(run / CONFIG) as partial:
        partial.write_text(text, encoding="utf-8")


def environment(config: TrainConfig, process: Process) -> dict[str, Any]:
    """Return what a run's results may depend on besides its configuration: versions, device, processes, shards."""
    try:
        own = version("universal-image-restoration")
    except PackageNotFoundError:
        own = "not installed"
    device = process.device
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": own,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "ranks": process.ranks,
        "shards": config.data.shards,
    }


def _check_same_run(config: TrainConfig, run: Path) -> None:
    if not checkpoint_folders(run):
        how = f"with --config {run / CONFIG}" if (run / CONFIG).exists() else "without --resume"
        raise UsageError(
            f"{run} contains no checkpoint to resume from; start the run {how}, or, if it was moved, name "
            "its folder with --out"
        )
    changed = [key for key in differences(config, read_config(run / CONFIG)) if key not in FREE_ON_RESUME]
    if changed:
        raise UsageError(
            f"{run} was started with other values of {', '.join(changed)}; resume it with --config {run / CONFIG}, or "
            "start another run"
        )
