"""How much memory a network takes for a picture, found without computing it, and which tiles fit into what is free."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PICTURE_BYTES = 64
"""Bytes that a pixel of the picture itself takes beside the network: itself, the blended sum, weights, the result."""

_PROBE_PX = 128
_CGROUP = Path("/sys/fs/cgroup")


def bytes_per_pixel(network: nn.Module) -> float:
    """
    Give the most memory that a network's tensors take at once when it restores, per pixel of its input.

    All four networks need the same for each pixel of larger pictures; the kernels of a device may need a little more.
    The weights are not counted, as they are there already.

    Args:
        network: with a `restore` that takes (B, 3, H, W), such as a backbone.
    """
    return tensor_bytes(network, 1, _PROBE_PX) / _PROBE_PX**2


def tensor_bytes(network: nn.Module, batch: int, side: int) -> int:
    """
    Give the most memory that a network's tensors take at once when it restores images, without the weights.

    Nothing is computed: pictures go through without values, and what lives after each operation is added up.

    Args:
        network: as in `bytes_per_pixel`.
        batch: images at once.
        side: of them, in pixels.
    """
    device = next(network.parameters()).device
    restore: Any = network.restore
    with torch.no_grad():
        return peak_bytes(lambda: restore(torch.empty(batch, 3, side, side, device=device)))


def peak_bytes(work: Callable[[], object], slack: float = 0.0) -> int:
    """
    Give the most bytes that the tensors which `work` makes take at once, without computing or holding them.

    Args:
        work: makes tensors.
        slack: share by which the result may be too small; thousands of tensors are counted much sooner with some.
    """
    # Late: it loads a good part of torch's compiler, which nothing else here needs.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), _Living(slack) as living:
        work()
    return int(living.peak)


def free_bytes(device: torch.device) -> int:
    """Say how much memory a device has free: of the GPU, or of this machine within the limit of its container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch keeps for later is free for us.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    candidates = [_available_on_machine()]
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        candidates.append(max(0, limit - used))
    return min(candidates)


def resident_bytes() -> int | None:
    """Say how much memory this process holds; None where the system does not tell as Linux does."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def fitting_tile(height: int, width: int, *, per_pixel: float, budget: int, multiple: int, least: int) -> int:
    """
    Choose the side of square tiles; 0 where the whole picture fits.

    >>> fitting_tile(600, 800, per_pixel=2000, budget=2 * 10**9, multiple=16, least=256)
    0
    >>> fitting_tile(4000, 6000, per_pixel=2000, budget=4 * 10**9, multiple=16, least=256)
    1104

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        per_pixel: bytes that the network takes.
        budget: bytes that it may take, with the picture itself.
        multiple: the side is a multiple of this.
        least: no smaller than this, whatever the budget: then it may not be kept.
    """
    left = budget - PICTURE_BYTES * height * width
    whole = (height + multiple) * (width + multiple)
    if whole * per_pixel <= left:
        return 0
    side = math.isqrt(max(0, int(left / per_pixel)))
    return max(side - side % multiple, math.ceil(least / multiple) * multiple)


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the results that are alive after each operation; weights are nobody's result."""

    def __init__(self, slack: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._slack = slack
        self._sum = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                entry = (StorageWeakRef(storage), storage.nbytes())  # type: ignore[no-untyped-call]
                self._sum += entry[1] - self._alive.get(storage._cdata, (None, 0))[1]
                self._alive[storage._cdata] = entry
        # The dead ones are only looked for when the sum with them would be a new peak.
        if self._sum > self.peak * (1 + self._slack):
            self._alive = {
                key: entry
                for key, entry in self._alive.items()
                if not entry[0].expired()  # type: ignore[no-untyped-call]
            }
            self._sum = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, self._sum)
        return result


def _available_on_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        # A system that does not tell: a size that any of them has.
        return 2 * 2**30


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
