"""The device of a run, and its free memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from uirdata.errors import UsageError


def chosen_device(name: str, local: int | None = None) -> torch.device:
    """
    Return the torch device for a name.

    Args:
        name: auto, cpu, cuda, cuda:1.
        local: local rank of this process, where several processes of a machine share its GPUs.

    Raises:
        UsageError: torch has no such device, or finds no GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r} in torch; expected auto, cpu, cuda or cuda:0") from error
    if device.type == "meta":
        raise UsageError("the device meta computes nothing; expected auto, cpu, cuda or cuda:0")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(f"the device is {name}, but torch finds no GPU; use cpu, or install a CUDA build of torch")
        if local is None and (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"there is no device {name}: torch finds {torch.cuda.device_count()} GPUs, counted from 0")
        if local is not None:
            return torch.device("cuda", local)
        return torch.device("cuda", device.index or 0)
    try:
        torch.empty(1, device=device)
    except Exception as error:  # torch raises AssertionError, ImportError and others for what it is not built for
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UsageError(
            f"the device is {name}, which this torch cannot use ({reason}); expected auto, cpu, cuda or cuda:0"
        ) from error
    return device


_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device in bytes: of the GPU, or of this machine within its container's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Memory that torch's allocator has reserved but not allocated is free for this process.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    candidates = [psutil.virtual_memory().available]
    # psutil reads the memory of the whole machine, even where a container is limited to a part of it.
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        candidates.append(max(0, limit - used))
    return min(candidates)


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes."""
    return psutil.Process().memory_info().rss


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
