"""What stays in float32 when products and convolutions run in bfloat16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from maskdcpt.backbones import BACKBONES
from tests.maskdcpt.small_networks import picture, small

SENSITIVE = ("native_layer_norm", "_softmax")


class Seen(TorchDispatchMode):
    """Notes the types that norms and softmaxes are given, and those of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.sensitive: set[torch.dtype] = set()
        self.others: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in SENSITIVE:
            self.sensitive.add(args[0].dtype)
        elif name == "convolution":
            self.others.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", BACKBONES)
def test_norms_and_attention_stay_in_float32_under_autocast(name: str) -> None:
    network = small(name, dtype=torch.float32)
    image = picture(1, 32, 32, dtype=torch.float32)
    with torch.no_grad(), Seen() as seen, torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(image)
    assert seen.sensitive == {torch.float32}
    assert torch.bfloat16 in seen.others
    with torch.no_grad():
        whole = network(image)
    assert (half - whole).abs().mean() < 0.05 * whole.abs().mean()
