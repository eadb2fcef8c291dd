"""The classifier computes what is published; the reconstruction decoder can fill patches, the literal head cannot."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from maskdcpt.backbones import BACKBONES, create_backbone
from maskdcpt.masking import random_patch_mask
from maskdcpt.networks.classifier import DegradationClassifier, classifier_for
from maskdcpt.networks.decoder import ReconstructionDecoder, decoder_for, literal_reconstruction, surroundings
from tests.maskdcpt.backbones import reference_networks
from tests.maskdcpt.small_networks import random_image, small


def perturbed(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    module = module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * 0.1)
    return module


@pytest.mark.parametrize("name", BACKBONES)
def test_logits_are_those_of_the_description(name: str) -> None:
    network = small(name)
    classifier = perturbed(classifier_for(network, 5))
    with torch.no_grad():
        features = network.features(random_image(2, 64, 64))[::-1]
        shrunk = [f[..., :: 2**i, :: 2**i] for i, f in enumerate(features)] if name == "swinir" else features
        expected = reference_networks.classifier(classifier.state_dict(), shrunk)
        torch.testing.assert_close(classifier(features), expected, rtol=1e-10, atol=1e-10)


def test_token_features_of_a_square_image_are_taken_as_published() -> None:
    classifier = perturbed(DegradationClassifier([12, 12], num_classes=3, downsample=True))
    maps = [torch.rand(2, 12, 32, 32).double() for _ in range(2)]
    tokens = [feature.flatten(2).transpose(1, 2) for feature in maps]
    assert torch.equal(classifier(tokens), classifier(maps))
    with pytest.raises(ValueError, match="do not form a square map"):
        classifier([token[:, :1000] for token in tokens])


def test_features_in_the_wrong_order_or_number_are_refused() -> None:
    classifier = DegradationClassifier([8, 16], num_classes=3)
    coarse, fine = torch.rand(1, 16, 16, 16), torch.rand(1, 8, 32, 32)
    assert classifier([fine, coarse]).shape == (1, 3)
    with pytest.raises(ValueError, match="finest first, not 1"):
        classifier([fine])
    with pytest.raises(ValueError, match="features must be finest first"):
        classifier([fine, torch.rand(1, 16, 8, 8)])


def test_a_classifier_starts_with_equal_weights_of_levels() -> None:
    classifier = DegradationClassifier([8, 16, 16, 16], num_classes=3)
    assert classifier.mixing_weights.softmax(0).tolist() == [0.25] * 4


@pytest.mark.parametrize("patch", [1, 4, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_decoder_returns_an_image_for_every_backbone(name: str, patch: int) -> None:
    network = small(name, dtype=torch.float32)
    mask = random_patch_mask(1, 32, 96, patch)
    encoded = network.encode(random_image(1, 32, 96, dtype=torch.float32), mask)
    decoder = decoder_for(network)
    assert decoder(encoded, mask).shape == (1, 3, 32, 96)
    assert decoder(network.encode(random_image(1, 32, 96, dtype=torch.float32))).shape == (1, 3, 32, 96)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_of_the_decoder_is_used_when_something_is_hidden(name: str) -> None:
    network = small(name)
    mask = random_patch_mask(2, 64, 64, generator=torch.Generator().manual_seed(0))
    decoder = perturbed(decoder_for(network))
    # Features have several strides; of those with equal strides the last one is used.
    decoder(network.encode(random_image(2, 64, 64), mask), mask).square().sum().backward()
    assert [k for k, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_the_decoder_is_small_compared_with_the_published_networks() -> None:
    shares = {}
    for name in BACKBONES:
        with torch.device("meta"):
            network = create_backbone(name)
            parts = (network, decoder_for(network))
        shares[name] = sum(p.numel() for p in parts[1].parameters()) / sum(p.numel() for p in parts[0].parameters())
    assert max(shares.values()) < 0.2, shares


def test_strides_that_are_no_powers_of_two_are_refused() -> None:
    with pytest.raises(ValueError, match="powers of two"):
        ReconstructionDecoder([8, 8], [3, 1])


@pytest.mark.parametrize("name", BACKBONES)
def test_the_literal_head_fills_the_inside_of_a_hidden_patch_with_one_colour(name: str) -> None:
    network, image = small(name), random_image(1, 32, 32)
    mask = random_patch_mask(1, 32, 32, generator=torch.Generator().manual_seed(0))
    row, column = (~mask.visible[0, 0]).nonzero()[0].tolist()
    with torch.no_grad():
        painted = literal_reconstruction(network, network.encode(image, mask))
    inside = painted[..., 16 * row + 1 : 16 * row + 15, 16 * column + 1 : 16 * column + 15]
    assert inside.std((2, 3)).max() < 1e-12
    assert painted.std() > 0.1


def test_surroundings_are_averages_of_what_is_near() -> None:
    feature = torch.zeros(1, 1, 4, 8)
    visible = torch.zeros(1, 1, 4, 8, dtype=torch.bool)
    visible[..., :2, :2] = True
    feature[..., :2, :2] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    filled = surroundings(feature, visible)
    assert torch.equal(filled[visible], feature[visible])
    assert torch.allclose(filled[~visible], torch.tensor(3.0))
    visible[..., 6:], feature[..., 6:] = True, 9.0
    filled = surroundings(feature, visible)
    assert 3.0 < filled[0, 0, 0, 3] < filled[0, 0, 0, 4] < 9.0
    assert not surroundings(torch.zeros(1, 1, 5, 3), torch.zeros(1, 1, 5, 3, dtype=torch.bool)).any()


def test_the_decoder_learns_to_fill_hidden_patches_beyond_what_any_one_colour_can() -> None:
    """Gradients of random direction and colour: the literal head has one colour for all hidden pixels, 0.5 at best."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = create_backbone("nafnet", width=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])
        decoder = decoder_for(network)
    optimiser = torch.optim.AdamW([*network.parameters(), *decoder.parameters()], lr=2e-3, weight_decay=0.0)
    errors, of_one_colour = [], []
    for _ in range(130):
        a, b, c = torch.rand(3, 4, 3, 1, 1, generator=generator) - 0.5
        image = 0.5 + 0.45 * (a * y + b * x + c)
        mask = random_patch_mask(4, 32, 32, 8, 0.5, generator)
        found = decoder(network.encode(image, mask), mask)
        optimiser.zero_grad()
        F.l1_loss(found, image).backward()
        optimiser.step()
        hidden = ~mask.at(32, 32).expand_as(image)
        errors.append(float((found - image).detach()[hidden].abs().mean()))
        of_one_colour.append(float((0.5 - image)[hidden].abs().mean()))
    assert sum(errors[-30:]) < 0.65 * sum(of_one_colour[-30:])
