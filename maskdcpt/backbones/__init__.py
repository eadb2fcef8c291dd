"""The restoration networks, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskdcpt.backbones.base import Backbone, Encoded
from maskdcpt.backbones.checking import check_backbone
from maskdcpt.backbones.nafnet import NAFNet
from maskdcpt.backbones.promptir import PromptIR
from maskdcpt.backbones.restormer import Restormer
from maskdcpt.backbones.swinir import SwinIR
from uirdata.errors import UsageError, nearest

BACKBONES: Mapping[str, type[Backbone]] = MappingProxyType(
    {cls.name: cls for cls in (SwinIR, NAFNet, Restormer, PromptIR)}
)
"""The backbones by name."""

__all__ = [
    "BACKBONES",
    "Backbone",
    "Encoded",
    "check_backbone",
    "create_backbone",
]


def create_backbone(name: str, **size: object) -> Backbone:
    """
    Return a network with fresh weights, drawn from torch's own generator.

    >>> import torch
    >>> network = create_backbone("nafnet", width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
    >>> network(torch.rand(2, 3, 32, 48)).shape
    torch.Size([2, 3, 32, 48])

    Args:
        name: one of `BACKBONES`.
        size: arguments by their published names; those that are not given have the published values.

    Raises:
        UsageError: there is no network of that name, or it has no such argument.
        ValueError: the sizes do not fit together.
    """
    cls = BACKBONES.get(name)
    if cls is None:
        raise UsageError(f"no backbone {name!r}: {nearest(name, BACKBONES)}")
    known = _arguments(cls)
    for argument in size:
        if argument not in known:
            raise UsageError(f"{name} has no argument {argument!r}: {nearest(argument, known)}")
    return cls(**size)


def _arguments(cls: type[Backbone]) -> list[str]:
    code = cls.__init__.__code__
    return list(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
