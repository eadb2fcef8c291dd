"""Networks compute what their descriptions say, for any size of image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from maskdcpt.backbones import BACKBONES, create_backbone
from maskdcpt.backbones.nafnet import local_mean
from tests.maskdcpt.backbones import reference_networks
from tests.maskdcpt.small_networks import SIZES, random_image, small


def reference(name: str, state: dict[str, Tensor], image: Tensor) -> tuple[Tensor, list[Tensor]]:
    if name == "swinir":
        return reference_networks.swinir(state, image, SIZES[name]["window_size"], SIZES[name]["num_heads"])
    result: tuple[Tensor, list[Tensor]] = getattr(reference_networks, name)(state, image)
    return result


@pytest.mark.parametrize("name", BACKBONES)
def test_output_and_features_are_those_of_the_description(name: str) -> None:
    network, image = small(name), random_image(2, 48, 32)
    with torch.no_grad():
        expected, maps = reference(name, network.state_dict(), image)
        torch.testing.assert_close(network(image), expected, rtol=1e-10, atol=1e-10)
        features = network.features(image)
        encoded = network.encode(image)
    for found, again, wanted in zip(features, encoded.features, maps, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
        assert torch.equal(found, again)


@pytest.mark.parametrize("name", BACKBONES)
def test_features_are_as_announced_and_finest_last(name: str) -> None:
    network, image = small(name), random_image(1, 32, 48)
    encoded = network.encode(image)
    assert tuple(f.shape[1] for f in encoded.features) == network.feature_channels
    assert tuple(32 // f.shape[2] for f in encoded.features) == network.feature_strides
    assert sorted(network.feature_strides, reverse=True) == list(network.feature_strides)
    assert encoded.last.shape == (1, network.last_channels, 32, 48)


@pytest.mark.parametrize("name", BACKBONES)
def test_float32_is_close_to_float64(name: str) -> None:
    image = random_image(1, 32, 32)
    double = small(name)(image)
    single = small(name, dtype=torch.float32)(image.float())
    assert (single.double() - double).abs().max() < 2e-5 * double.abs().max()


@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_is_close_to_float32(name: str) -> None:
    network, image = small(name, dtype=torch.float32), random_image(1, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(image)
    # Eight bits of mantissa through some dozens of layers with perturbed weights.
    assert (rough.float() - exact).square().mean().sqrt() < 0.03 * exact.square().mean().sqrt()


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(1, 1), (5, 70), (33, 8), (32, 48)])
def test_any_size_is_restored(name: str, size: tuple[int, int]) -> None:
    network, image = small(name), random_image(1, *size)
    with torch.no_grad():
        restored = network.restore(image)
        assert restored.shape == image.shape
        if size == (32, 48):
            assert torch.equal(restored, network(image))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_size_that_the_layers_cannot_take_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, not 20x32: use restore"):
        small(name)(random_image(1, 20, 32))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        small(name)(random_image(1, 32, 32)[:, :1])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_is_used(name: str) -> None:
    network = small(name)
    network(random_image(1, 32, 32)).square().sum().backward()
    unused = [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert unused == []


@pytest.mark.parametrize("name", BACKBONES)
def test_running_a_network_draws_nothing_and_leaves_its_input_alone(name: str) -> None:
    network, image = small(name), random_image(1, 32, 32)
    before, state = image.clone(), torch.get_rng_state()
    network(image)
    assert torch.equal(image, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_channels_last_changes_the_speed_alone() -> None:
    network, image = small("nafnet"), random_image(1, 32, 32)
    expected = network(image)
    found = network.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_starts_as_published(name: str) -> None:
    torch.manual_seed(0)
    state = create_backbone(name, **SIZES[name]).state_dict()
    if name == "nafnet":
        assert not state["middle_blks.blocks.0.beta"].any()
        assert not state["decoder0.blocks.0.gamma"].any()
    if name == "restormer":
        assert abs(state["latent.blocks.0.attn.qkv.weight"].std() - 0.02) < 0.002
        assert not state["output.bias"].any()
        assert bool((state["latent.blocks.0.attn.temperature"] == 1).all())
    if name == "promptir":
        assert 0 <= state["prompt1.prompt_param"].min() < state["prompt1.prompt_param"].max() < 1
        assert state["latent.blocks.0.attn.qkv.weight"].std() > 0.05
    if name == "swinir":
        assert abs(state["encode_layers.0.residual_group.blocks.0.mlp.fc1.weight"].std() - 0.02) < 0.004
        assert not state["encode_layers.0.residual_group.blocks.0.mlp.fc1.bias"].any()


def test_local_averages_are_those_of_a_window_moved_inside_the_image() -> None:
    x = random_image(1, 7, 9)
    found = local_mean(x, 4)
    assert found.shape == x.shape
    # Windows of 4 start at 0..3 along 7 rows and 0..5 along 9 columns; pixel (r, c) has that from r-1, c-1.
    for r in range(7):
        for c in range(9):
            top, left = min(max(r - 1, 0), 3), min(max(c - 1, 0), 5)
            expected = x[0, :, top : top + 4, left : left + 4].mean((1, 2))
            torch.testing.assert_close(found[0, :, r, c], expected, rtol=1e-12, atol=1e-12)


def test_local_averages_change_large_images_only() -> None:
    plain, local = small("nafnet"), small("nafnet", local_train_size=32)
    assert torch.allclose(local(random_image(1, 48, 48)), plain(random_image(1, 48, 48)), rtol=0, atol=1e-11)
    assert (local(random_image(1, 64, 64)) - plain(random_image(1, 64, 64))).abs().max() > 1e-4


@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_without_values_has_its_sizes(name: str) -> None:
    image = torch.empty(1, 3, 32, 32, device="meta")
    assert small(name, dtype=torch.float32).to("meta")(image).shape == image.shape
