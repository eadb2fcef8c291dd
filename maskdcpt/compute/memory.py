"""The memory that a network takes for an image, estimated without computing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_PROBE_PX = 128


def bytes_per_pixel(network: nn.Module) -> float:
    """
    Return the peak memory of a network's tensors when it restores an image, in bytes per pixel of its input.

    For all four networks this does not depend on the image size; the kernels of a device may need a little more. The
    weights are not counted, as they are in memory already.

    Args:
        network: with a `restore` that takes (B, 3, H, W), such as a backbone.
    """
    return tensor_bytes(network, 1, _PROBE_PX) / _PROBE_PX**2


def tensor_bytes(network: nn.Module, batch: int, side: int) -> int:
    """
    Return the peak memory of a network's tensors when it restores images, in bytes, without the weights.

    Nothing is computed: the network is traced with tensors without values, and the sizes of those that are alive after
    each operation are added up.

    Args:
        network: as in `bytes_per_pixel`.
        batch: the number of images.
        side: of the images, in pixels.
    """
    device = next(network.parameters()).device
    restore: Any = network.restore
    with torch.no_grad():
        return peak_bytes(lambda: restore(torch.empty(batch, 3, side, side, device=device)))


def peak_bytes(work: Callable[[], object], slack: float = 0.0) -> int:
    """
    Return the peak memory of the tensors that `work` creates, in bytes, without computing or allocating them.

    Args:
        work: creates tensors.
        slack: share by which the result may be too small; with a positive one, counting thousands of tensors is faster.
    """
    # Imported here: it loads a large part of torch's compiler, which nothing else here needs.
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), _Living(slack) as living:
        work()
    return int(living.peak)


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the results that are alive after each operation; weights are not results."""

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
        # Freed tensors are only removed when the sum that includes them would be a new peak.
        if self._sum > self.peak * (1 + self._slack):
            self._alive = {
                key: entry
                for key, entry in self._alive.items()
                if not entry[0].expired()  # type: ignore[no-untyped-call]
            }
            self._sum = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, self._sum)
        return result
