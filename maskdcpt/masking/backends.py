"""
The backends that compute a masked forward pass, by name.

A backend turns a mask into the sites of each stage. All backends agree with `dense`, forward and backward, up to the
order of sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskdcpt.masking.auto import Auto
from maskdcpt.masking.gather import packed_stages
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import EVERYTHING, Backend, DenseSites, Sites
from maskdcpt.masking.sparse import Spconv
from maskdcpt.masking.triton_kernels import Triton


class Dense:
    """Whole maps multiplied by the mask: the reference. Any mask, any device."""

    name = "dense"

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """Return one set of sites per stride."""
        return tuple(DenseSites(mask.at(height >> level, width >> level)) for level in range(count))


class Gather:
    """Visible patches only, packed; whole maps where samples have different numbers of visible patches, or all."""

    name = "gather"

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """Pack once, and return one set of sites per stride."""
        # With nothing hidden there is nothing to save, and whole maps equal the plain network to the bit.
        packed = None if bool(mask.visible.all()) else packed_stages(mask, height, width, count)
        return DENSE.stages(mask, height, width, count) if packed is None else packed


DENSE = Dense()
GATHER = Gather()
SPCONV = Spconv(DENSE)
TRITON = Triton(DENSE)
AUTO = Auto(DENSE, [GATHER, SPCONV, TRITON])

BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {backend.name: backend for backend in (DENSE, GATHER, SPCONV, TRITON, AUTO)}
)
"""The backends by name; `dense` is the reference."""


def stages_for(
    mask: PatchMask | None, height: int, width: int, count: int, backend: Backend = DENSE
) -> tuple[Sites, ...]:
    """
    Return the sites of strides 1, 2, 4, ... of a network; without a mask, those of the plain network.

    Raises:
        ValueError: the mask does not fit the size of the image.
    """
    if mask is None:
        return (EVERYTHING,) * count
    return backend.stages(mask, height, width, count)
