"""What stays in float32 when products and convolutions run in bfloat16, and how far half precision is from float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from maskdcpt.backbones import BACKBONES
from maskdcpt.masking import random_patch_mask
from maskdcpt.networks.classifier import classifier_for
from maskdcpt.networks.decoder import decoder_for
from tests.maskdcpt.small_networks import random_image, small

SENSITIVE = ("native_layer_norm", "_softmax")


class Seen(TorchDispatchMode):
    """Records the dtypes of the inputs of norms and softmaxes, and of convolutions."""

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
    image = random_image(1, 32, 32, dtype=torch.float32)
    with torch.no_grad(), Seen() as seen, torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(image)
    assert seen.sensitive == {torch.float32}
    assert torch.bfloat16 in seen.others
    with torch.no_grad():
        whole = network(image)
    assert (half - whole).norm() < 0.02 * whole.norm()


@pytest.mark.parametrize(
    ("name", "dtype", "bound"),
    [*((name, torch.bfloat16, 0.03) for name in BACKBONES), ("nafnet", torch.float16, 0.004)],
)
def test_a_network_and_its_heads_may_be_half_precision_as_a_whole(name: str, dtype: torch.dtype, bound: float) -> None:
    image = random_image(1, 32, 32, dtype=torch.float32)
    mask = random_patch_mask(1, 32, 32, 16, 0.5, torch.Generator().manual_seed(0))
    maps, gradients = [], []
    for kind in (torch.float32, dtype):
        network = small(name, dtype=kind)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            classifier, decoder = classifier_for(network, 5).to(kind), decoder_for(network).to(kind)
        encoded = network.encode(image.to(kind), mask)
        logits, filled = classifier(encoded.features[::-1]), decoder(encoded, mask)
        assert {y.dtype for y in (encoded.last, logits, filled)} == {kind}
        (logits.float().square().mean() + filled.float().square().mean()).backward()
        maps.append(encoded.last.detach().float())
        gradients.append(torch.cat([w.grad.flatten().float() for w in network.parameters() if w.grad is not None]))
    for (exact, rough), most in ((maps, bound), (gradients, 5 * bound)):
        assert (rough - exact).norm() < most * exact.norm()
