"""The device of a run, and how much of its memory is free."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from uirdata.errors import UsageError


def chosen_device(name: str, local: int | None = None) -> torch.device:
    """
    Turn the word for a device into one that is there.

    Args:
        name: auto, cpu, cuda, cuda:1.
        local: number of this process on its machine, where several share the GPUs.

    Raises:
        UsageError: torch knows no such device, or sees no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"loop.device is {name!r}, which is no device of torch: auto, cpu, cuda, cuda:0") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(
                f"loop.device is {name}, but torch sees no GPU here; use cpu, or install a CUDA build of torch"
            )
        if local is not None:
            return torch.device("cuda", local)
        return torch.device("cuda", device.index or 0)
    return device


_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Say how much memory a device has free: of the GPU, or of this machine within the limit of its container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps for later is free for us.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    candidates = [psutil.virtual_memory().available]
    # psutil reads the memory of the whole machine, also where a container may have only a part of it.
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        candidates.append(max(0, limit - used))
    return min(candidates)


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return psutil.Process().memory_info().rss


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
