"""Every backbone is one graph for torch.compile, plain and masked, with the output of the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from maskdcpt.backbones import BACKBONES, create_backbone
from maskdcpt.masking import GATHER, PatchMask, random_patch_mask

TRANSFORMER = {"dim": 4, "num_blocks": [1] * 4, "num_refinement_blocks": 1, "heads": [1] * 4}

# Each type of layer once: compiling takes longer than running what is compiled.
SIZES: dict[str, dict[str, Any]] = {
    "swinir": {"embed_dim": 4, "depths": [1, 2], "num_heads": [1, 1]},
    "nafnet": {"width": 4, "enc_blk_nums": [1], "dec_blk_nums": [1]},
    "restormer": TRANSFORMER,
    "promptir": {**TRANSFORMER, "prompt_dims": [4, 4, 4], "prompt_sizes": [4, 4, 4]},
}


def inputs(name: str) -> tuple[Any, Tensor, PatchMask]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_backbone(name, **SIZES[name])
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight) * 0.2)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 16, 16, generator=generator)
    return network, image, random_patch_mask(1, 16, 16, 8, 0.5, generator)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_masked_backbone_is_one_graph(name: str) -> None:
    network, image, mask = inputs(name)
    torch._dynamo.reset()

    def last(x: Tensor) -> Tensor:
        return network.encode(x, mask).last

    compiled = torch.compile(last, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        assert torch.equal(compiled(image), last(image))


@pytest.mark.parametrize("name", ["nafnet", "swinir"])
def test_a_plain_backbone_is_one_graph(name: str) -> None:
    # The other two have the same layers as these or, masked above, as each other.
    network, image, _ = inputs(name)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        assert torch.equal(compiled(image), network(image))


def test_gradients_through_a_compiled_network_are_the_networks() -> None:
    network, image, mask = inputs("nafnet")
    torch._dynamo.reset()

    def last(x: Tensor) -> Tensor:
        return network.encode(x, mask).last

    compiled = torch.compile(last, backend="aot_eager", fullgraph=True, dynamic=False)
    results = []
    for function in (last, compiled):
        x = image.clone().requires_grad_()
        y = function(x)
        used = [weight for key, weight in network.named_parameters() if not key.startswith("ending")]
        results.append([y, *torch.autograd.grad(y.square().mean(), [x, *used])])
    for expected, found in zip(*results, strict=True):
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


# torch reads the gradients of all tensors at a graph break, and then warns of that.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_gathering_compiles_to_more_than_one_graph() -> None:
    """The number of visible patches depends on the values of the mask, which breaks the graph."""
    network, image, mask = inputs("nafnet")
    torch._dynamo.reset()

    def last(x: Tensor) -> Tensor:
        return network.encode(x, mask, backend=GATHER).last

    with torch.no_grad():
        with pytest.raises(torch._dynamo.exc.UserError, match="data-dependent"):
            torch.compile(last, backend="eager", fullgraph=True, dynamic=False)(image)
        torch._dynamo.reset()
        assert torch.equal(torch.compile(last, backend="eager", dynamic=False)(image), last(image))
