"""
The `spconv` backend: full convolutions by SubMConv2d of the spconv library, everything else as in `dense`.

The library is optional and has pitfalls: it reads indices as raw memory, so they must be contiguous; on a CPU only its
native algorithm runs, and the wheel without CUDA gives wrong results there with more than one thread and has no
backward pass. So it is compared with `dense` before its first use on a device, and an error with the reason is raised
when it differs. It has no grouped convolutions.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from maskdcpt.masking.checked import CheckedBackend
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import Backend, DenseSites, Sites

INSTALL = "pip install spconv-cu126==2.3.8 (it runs without a GPU too; the wheel named spconv is wrong on CPUs)"


class Spconv(CheckedBackend):
    """
    Full convolutions on visible sites only.

    Args:
        reference: the backend that it must agree with.
    """

    name = "spconv"

    def __init__(self, reference: Backend) -> None:
        super().__init__(reference, _Unchecked(), patch=4, advice=f"use gather or dense; {INSTALL}")

    def missing(self, device: torch.device) -> str:
        """Return a message when the library is not installed; else ""."""
        del device
        return "" if _library() else f"the spconv backend needs the spconv library, which is not installed: {INSTALL}"


class _Unchecked:
    name = "spconv"

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        return tuple(SpconvSites(mask.at(height >> level, width >> level)) for level in range(count))


class SpconvSites(DenseSites):
    """
    Whole maps, whose full convolutions run on visible sites only.

    Args:
        visible: (B, 1, H, W) bool.
    """

    def __init__(self, visible: Tensor) -> None:
        super().__init__(visible)
        # Rows of (sample, y, x). nonzero() returns a transposed tensor, which spconv would misread.
        self._places = visible.squeeze(1).nonzero().contiguous()
        self._pairs: dict[str, Any] = {}

    def conv(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """Convolve by a submanifold convolution, where the library supports the layer."""
        if layer.groups != 1 or layer.kernel_size == (1, 1) or len(self._places) == 0:
            return super().conv(x, layer)
        library = _library()
        assert library is not None
        on_cpu = x.device.type == "cpu"
        sample, y, column = self._places.unbind(1)
        with torch.autocast(x.device.type, enabled=False):
            sparse = library.SparseConvTensor(
                x.permute(0, 2, 3, 1)[sample, y, column].float(),
                self._places.int().contiguous(),
                list(x.shape[2:]),
                x.shape[0],
            )
            sparse.indice_dict = self._pairs
            with torch.device("meta"):
                submanifold = library.SubMConv2d(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size[0],
                    bias=False,
                    indice_key=f"k{layer.kernel_size[0]}",
                    algo=library.ConvAlgo.Native if on_cpu else None,
                )
            weight = layer.weight.float().permute(0, 2, 3, 1).contiguous()
            features = torch.func.functional_call(submanifold, {"weight": weight}, (sparse,)).features
            if layer.bias is not None:
                features = features + layer.bias.float()
        whole = features.new_zeros(x.shape[0], *x.shape[2:], layer.out_channels)
        whole = whole.index_put((sample, y, column), features)
        result: Tensor = whole.permute(0, 3, 1, 2).to(x.dtype)
        return result


def _library() -> ModuleType | None:
    """Return the spconv module, whose import takes some seconds; None where it is not installed."""
    try:
        return importlib.import_module("spconv.pytorch")
    except ImportError:
        return None
