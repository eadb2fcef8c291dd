"""Restormers that are aware of the degradation follow the rules of all other networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskdcpt.backbones import Backbone, check_backbone, create_backbone
from maskdcpt.backbones.awareness import AWARE, TEXT_CHANNELS, Frequency
from maskdcpt.backbones.restormer import Restormer
from maskdcpt.masking import GATHER, random_patch_mask
from tests.maskdcpt.small_networks import random_image, small


def aware(what: str, dtype: torch.dtype = torch.float64, **size: Any) -> Backbone:
    return small("restormer", dtype=dtype, aware=what, num_blocks=[1] * 4, **size)


def maps(network: Backbone, x: Tensor, *args: object, **kwargs: object) -> list[Tensor]:
    encoded = network.encode(x, *args, **kwargs)  # type: ignore[arg-type]
    return [*encoded.features, encoded.last]


@pytest.mark.parametrize("what", AWARE)
def test_hidden_pixels_and_no_mask_are_as_in_any_backbone(what: str) -> None:
    assert check_backbone(aware(what, torch.float32)) == []


@pytest.mark.parametrize("what", AWARE)
def test_gather_equals_dense(what: str) -> None:
    network = aware(what)
    mask = random_patch_mask(2, 32, 32, 8, 0.5, torch.Generator().manual_seed(1))
    results = []
    for options in ({}, {"backend": GATHER}):
        x = random_image(2, 32, 32).requires_grad_()
        found = maps(network, x, mask, **options)
        loss = torch.stack([y.square().mean() for y in found]).sum()
        results.append([*found, *torch.autograd.grad(loss, [x, *network.parameters()], allow_unused=True)])
    for dense, gathered in zip(*results, strict=True):
        if dense is not None:
            assert (dense - gathered).abs().max() <= 1e-9 * dense.abs().max()


@pytest.mark.parametrize("what", AWARE)
def test_it_starts_as_the_plain_network(what: str) -> None:
    size = {"dim": 8, "num_blocks": [1] * 4, "num_refinement_blocks": 1, "heads": [1, 2, 2, 4]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain, other = create_backbone("restormer", **size), create_backbone("restormer", **size, aware=what)
    missing = other.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith(("aware.", "instruction", "embed_text.")) for key in missing.missing_keys)
    image = random_image(1, 32, 32, dtype=torch.float32)
    assert torch.equal(plain(image), other(image))


@pytest.mark.parametrize("what", AWARE)
def test_every_weight_of_the_aware_parts_learns(what: str) -> None:
    network = aware(what)
    maps(network, random_image(4, 32, 32))[-1].square().mean().backward()
    idle = {name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()}
    idle = {name for name in idle if "aware" in name or "text" in name or "instruction" in name}
    # Experts that no image of this batch chose get no gradient from it; the chosen ones do.
    assert all(".experts." in name for name in idle)
    assert len(idle) <= 3 * 3 * 5


def test_instructions_change_the_result_inside_their_context_only() -> None:
    network = aware("instructions")
    assert isinstance(network, Restormer)
    image, sentences = random_image(2, 32, 32), torch.randn(2, TEXT_CHANNELS, dtype=torch.float64)
    before = network(image)
    with network.instructed(sentences):
        instructed = network(image)
    with network.instructed(sentences[:1]):
        first = network(image)
    assert not torch.equal(instructed, before)
    assert torch.allclose(instructed[0], first[0], rtol=1e-9)
    assert not torch.allclose(instructed[1], first[1], rtol=1e-3)
    assert torch.equal(network(image), before)
    with pytest.raises(ValueError, match="384"), network.instructed(sentences[:, :3]):
        pass
    plain = small("restormer")
    with pytest.raises(ValueError, match="instructions"), plain.instructed(sentences):  # type: ignore[operator]
        pass


def test_the_spectrum_is_split_without_loss() -> None:
    whole = random_image(1, 256, 256)
    low, high = Frequency.split(whole, torch.full((1, 2, 1, 1), 0.0, dtype=torch.float64))
    # A box of half-size 0 holds the mean alone, and its edge ends at frequency 1.
    assert torch.allclose(low, whole.mean((2, 3), keepdim=True).expand_as(low))
    assert torch.allclose(high, (whole - whole.mean((2, 3), keepdim=True)).abs())
    wider, _ = Frequency.split(whole, torch.full((1, 2, 1, 1), 1.0, dtype=torch.float64))
    spectrum = torch.fft.fft2(whole)
    frequencies = torch.fft.fftfreq(256, 1 / 256, dtype=torch.float64).abs()
    box = ((frequencies <= 2)[:, None] & (frequencies <= 2)[None]).to(torch.float64)
    assert torch.allclose(wider, torch.fft.ifft2(spectrum * box).abs())


def test_each_image_has_one_expert() -> None:
    network = aware("experts")
    latent = network.aware["latent"]
    assert isinstance(latent, nn.Module)
    images = random_image(3, 32, 32)
    together = network(images)
    assert latent.shares is not None
    assert latent.shares.shape == (3, 4)
    apart = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, apart, atol=1e-10)


def test_another_kind_of_awareness_is_refused() -> None:
    with pytest.raises(ValueError, match="instructions, frequency, experts"):
        create_backbone("restormer", aware="magic")
