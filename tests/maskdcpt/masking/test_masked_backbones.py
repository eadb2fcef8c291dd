"""Hidden pixels have no effect: in every backbone, for every kind of mask, size of patch and backend."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from maskdcpt.backbones import BACKBONES, Encoded
from maskdcpt.masking import BACKENDS, DENSE, GATHER, MASK_KINDS, PatchMask, random_patch_mask
from maskdcpt.networks.classifier import classifier_for
from maskdcpt.networks.decoder import decoder_for
from tests.maskdcpt.small_networks import SIZES, random_image, small

HEIGHT, WIDTH = 64, 32
WAYS = ["dense", "gather"]


def drawn(kind: str, patch: int, ratio: float = 0.5, seed: int = 3) -> PatchMask:
    return MASK_KINDS[kind](2, HEIGHT, WIDTH, patch, ratio, torch.Generator().manual_seed(seed))


def maps(encoded: Encoded) -> list[Tensor]:
    return [*encoded.features, encoded.last]


def scribbled(image: Tensor, mask: PatchMask) -> Tensor:
    """Return the image with other values, some of them NaN and infinity, in every hidden pixel."""
    noise = torch.randn_like(image) * 100
    noise[:, 0, ::3] = float("nan")
    noise[:, 1, ::5] = float("inf")
    return torch.where(mask.at(HEIGHT, WIDTH), image, noise)


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("patch", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_hidden_pixels_change_nothing_and_hidden_sites_are_zero(name: str, patch: int, kind: str) -> None:
    network, mask = small(name, dtype=torch.float32), drawn(kind, patch)
    image = random_image(2, HEIGHT, WIDTH, dtype=torch.float32)
    with torch.no_grad():
        seen = maps(network.encode(image, mask))
        other = maps(network.encode(scribbled(image, mask), mask))
    for found, again in zip(seen, other, strict=True):
        visible = mask.at(*found.shape[2:]).expand_as(found)
        assert torch.equal(found, again)
        assert not found[~visible].any()
        assert found[visible].any()


@pytest.mark.parametrize("patch", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_a_mask_that_hides_nothing_is_the_plain_network_to_the_bit(name: str, patch: int) -> None:
    for dtype in (torch.float32, torch.float64) if patch == 8 else (torch.float32,):
        network, image = small(name, dtype=dtype), random_image(2, HEIGHT, WIDTH, dtype=dtype)
        with torch.no_grad():
            plain = maps(network.encode(image))
            masked = maps(network.encode(image, drawn("random", patch, ratio=0.0)))
            automatic = maps(network.encode(image, drawn("random", patch, ratio=0.0), backend=BACKENDS["auto"]))
        for a, b, c in zip(plain, masked, automatic, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("patch", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_no_gradient_reaches_a_hidden_pixel(name: str, patch: int, kind: str) -> None:
    network, mask = small(name, dtype=torch.float32), drawn(kind, patch)
    classifier, decoder = classifier_for(network, 5), decoder_for(network)
    image = random_image(2, HEIGHT, WIDTH, dtype=torch.float32)
    visible = mask.at(HEIGHT, WIDTH).expand_as(image)
    for way in WAYS if kind == "random" else ["gather" if patch in (4, 16) else "dense"]:
        x = image.clone().requires_grad_()
        encoded = network.encode(x, mask, backend=BACKENDS[way])
        of_visible = (decoder(encoded, mask) + network.head(encoded.last))[visible].square().sum()
        (of_visible + classifier(encoded.features[::-1]).square().sum()).backward()
        assert x.grad is not None
        assert not x.grad[~visible].any()
        assert bool((x.grad[visible] != 0).double().mean() > 0.99)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [*(("random", patch) for patch in (1, 4, 16, 32)), ("square", 8), ("block-wise", 4)],
)
@pytest.mark.parametrize("name", BACKBONES)
def test_gather_equals_dense(name: str, patch: int, kind: str) -> None:
    network, image, mask = small(name), random_image(2, HEIGHT, WIDTH), drawn(kind, patch)
    results = []
    for backend in (DENSE, GATHER):
        x = image.clone().requires_grad_()
        encoded = maps(network.encode(x, mask, backend=backend))
        weights = list(network.parameters())
        loss = sum((y.square().mean() for y in encoded), torch.zeros(()))
        gradients = torch.autograd.grad(loss, [x, *weights], allow_unused=True)
        results.append([*encoded, *(g for g in gradients if g is not None)])
    for dense, gathered in zip(*results, strict=True):
        assert (dense - gathered).abs().max() <= 1e-10 * dense.abs().max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_is_close_to_float32_with_a_mask_too(name: str, way: str) -> None:
    network, mask = small(name, dtype=torch.float32), drawn("random", 16)
    image = random_image(2, HEIGHT, WIDTH, dtype=torch.float32)
    maps, gradients = [], []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            last = network.encode(image, mask, backend=BACKENDS[way]).last.float()
        maps.append(last.detach())
        found = torch.autograd.grad(last.square().mean(), list(network.parameters()), allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
    for (exact, rough), bound in ((maps, 0.03), (gradients, 0.05)):
        assert (rough - exact).norm() < bound * exact.norm()
    assert not maps[1][~mask.at(HEIGHT, WIDTH).expand_as(last)].any()


@pytest.mark.parametrize("name", BACKBONES)
def test_samples_that_show_different_numbers_of_patches_are_gathered_too(name: str) -> None:
    mask = drawn("random", 16)
    visible = mask.visible.clone()
    visible[0] = True
    network, image = small(name), random_image(2, HEIGHT, WIDTH)
    with torch.no_grad():
        a, b = (maps(network.encode(image, PatchMask(visible), backend=way)) for way in (DENSE, GATHER))
    for dense, gathered in zip(a, b, strict=True):
        torch.testing.assert_close(gathered, dense, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_sample_without_a_visible_patch_gives_zeros(name: str, way: str) -> None:
    mask = drawn("random", 16, ratio=1.0)
    encoded = small(name).encode(random_image(2, HEIGHT, WIDTH), mask, backend=BACKENDS[way])
    for found in maps(encoded):
        assert not found.any()


@pytest.mark.parametrize("name", BACKBONES)
def test_one_samples_mask_does_not_matter_to_another(name: str) -> None:
    network, image, mask = small(name), random_image(2, HEIGHT, WIDTH), drawn("random", 16)
    with torch.no_grad():
        both = maps(network.encode(image, mask))
        alone = maps(network.encode(image[1:], PatchMask(mask.visible[1:])))
    for a, b in zip(both, alone, strict=True):
        torch.testing.assert_close(a[1:], b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
def test_how_much_else_is_visible_does_not_scale_what_a_patch_holds(name: str) -> None:
    # The same image in every patch, and no patch touches another: an average over all sites would double here.
    image = random_image(1, 16, 16).repeat(1, 1, 4, 4)
    one, two = torch.zeros(2, 1, 1, 4, 4, dtype=torch.bool)
    one[0, 0, 0, 0] = two[0, 0, 0, 0] = two[0, 0, 2, 2] = True
    network = small(name)
    with torch.no_grad():
        few, more = (network.features(image, PatchMask(v))[-1] for v in (one, two))
    torch.testing.assert_close(few[..., :16, :16], more[..., :16, :16], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_averages_are_over_visible_sites_of_each_sample(way: str) -> None:
    mask, x = drawn("random", 8), random_image(2, HEIGHT, WIDTH)
    (at,) = BACKENDS[way].stages(mask, HEIGHT, WIDTH, 1)
    visible = mask.at(HEIGHT, WIDTH).expand_as(x)
    for sample, found in enumerate(at.mean(at.enter(x)).squeeze((2, 3))):
        for channel, value in enumerate(found):
            expected = x[sample, channel][visible[sample, channel]].mean()
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_released_attention_lets_hidden_tokens_take_part() -> None:
    image, mask = random_image(2, HEIGHT, WIDTH), drawn("random", 4)
    excluded, released = small("swinir"), small("swinir", masked_keys="released")
    with torch.no_grad():
        a, b = (net.features(image, mask)[-1] for net in (excluded, released))
        again = released.features(scribbled(image, mask), mask)[-1]
        aligned = [net.features(image, drawn("random", 32)) for net in (excluded, released)]
        plain = [net(image) for net in (excluded, released)]
    assert not torch.allclose(a, b)
    assert torch.equal(b, again)
    assert torch.equal(*plain)
    assert len(aligned) == 2


def test_masked_attention_is_attention_over_the_visible_keys() -> None:
    network = small("swinir")
    attention = network.encode_layers[0].residual_group.blocks[0].attn
    visible = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.4
    (at,) = DENSE.stages(PatchMask(visible), 8, 8, 1)
    x = torch.randn(1, 8, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = visible.flatten()
    q, k, v = attention.qkv(x.reshape(64, 12)[seen]).view(-1, 3, 2, 6).permute(1, 2, 0, 3)
    mixed = ((q @ k.transpose(1, 2)) / 6**0.5).softmax(-1) @ v
    expected = attention.proj(mixed.transpose(0, 1).reshape(-1, 12))
    found = attention(x, at).reshape(64, 12)[seen]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_auto_takes_the_reference_when_the_others_are_wrong(caplog: pytest.LogCaptureFixture) -> None:
    from maskdcpt.masking.auto import Auto
    from maskdcpt.masking.sites import BackendError

    class Wrong:
        name = "wrong"

        def stages(self, mask: PatchMask, height: int, width: int, count: int):
            return DENSE.stages(PatchMask(~mask.visible), height, width, count)

    class Absent:
        name = "absent"

        def stages(self, mask: PatchMask, height: int, width: int, count: int):
            raise BackendError("not here")

    state = torch.get_rng_state()
    chosen = Auto(DENSE, [Wrong(), Absent()]).choose(drawn("random", 16), HEIGHT, WIDTH)
    assert chosen is DENSE
    assert "wrong skipped" in caplog.text
    assert torch.equal(torch.get_rng_state(), state)


def test_auto_decides_once_per_shape() -> None:
    from maskdcpt.masking.auto import Auto

    calls = []

    class Counted:
        name = "counted"

        def stages(self, mask: PatchMask, height: int, width: int, count: int):
            calls.append((height, width))
            return DENSE.stages(mask, height, width, count)

    auto = Auto(DENSE, [Counted()])
    auto.choose(drawn("random", 16), HEIGHT, WIDTH)
    tried = len(calls)
    assert tried > 0
    auto.choose(drawn("random", 16, seed=9), HEIGHT, WIDTH)
    assert len(calls) == tried


@pytest.mark.parametrize("name", BACKBONES)
def test_a_mask_that_does_not_fit_the_image_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="one must divide the other"):
        small(name).features(random_image(2, 64, 48), random_patch_mask(2, 64, 80))


def test_every_backbone_has_a_small_form() -> None:
    assert set(SIZES) == set(BACKBONES)
