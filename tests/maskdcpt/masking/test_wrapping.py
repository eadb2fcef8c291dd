"""A network without code for masks can be run with one, and a user's own network can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones import BACKBONES, Backbone, Encoded, check_backbone
from maskdcpt.masking import BACKENDS, DENSE, Backend, BackendError, PatchMask, masked, random_patch_mask, sparse
from maskdcpt.masking.layers import ChannelNorm
from maskdcpt.masking.wrapping import MaskedModule
from tests.maskdcpt.small_networks import random_image, small


class SqueezeUNet(nn.Module):
    """A network that is not a backbone: transposed convolutions, pooling, squeeze-and-excitation, reflect padding."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3)
        self.norm = ChannelNorm(width)
        self.pool = nn.MaxPool2d(2)
        self.deep = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * width, 2 * width, 1), nn.Sigmoid())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.mix = nn.Linear(width, width)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.gelu(self.norm(self.first(F.pad(x, (1, 1, 1, 1), mode="reflect"))))
        z = torch.relu(self.deep(self.pool(y)))
        z = z * self.squeeze(z) + z.mean((2, 3), keepdim=True)
        fine = self.up(z) + F.interpolate(z[:, :6], scale_factor=2, mode="bilinear") + y
        return z, fine + self.mix(fine.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        coarse, fine = self.parts(x)
        return {"coarse": coarse, "fine": fine, "image": self.last(fine) + x}


def network(seed: int = 0) -> SqueezeUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SqueezeUNet().double()


@pytest.mark.parametrize("patch", [1, 4, 16])
def test_another_network_runs_with_a_mask(patch: int) -> None:
    plain = network()
    wrapped = masked(plain)
    mask = random_patch_mask(2, 32, 48, patch, 0.5, torch.Generator().manual_seed(0))
    image = random_image(2, 32, 48)
    visible = mask.at(32, 48)
    other = torch.where(visible, image, torch.full_like(image, float("nan")))
    seen, again = wrapped(image, mask), wrapped(other, mask)
    for key, found in seen.items():
        assert torch.equal(found, again[key])
        assert not found[~mask.at(*found.shape[2:]).expand_as(found)].any()
        assert found.any()
    for key, found in wrapped(image).items():
        assert torch.equal(found, plain(image)[key])
        torch.testing.assert_close(
            wrapped(image, PatchMask(torch.ones_like(mask.visible)))[key], found, rtol=1e-14, atol=0
        )


def test_averages_of_another_network_are_over_visible_pixels() -> None:
    class Average(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x.mean((2, 3)), F.adaptive_avg_pool2d(x, 1), torch.mean(x, dim=(-2, -1), keepdim=True)]

    mask = random_patch_mask(2, 32, 48, 8, 0.5, torch.Generator().manual_seed(0))
    image = random_image(2, 32, 48)
    visible = mask.at(32, 48)
    expected = (image * visible).sum((2, 3)) / visible.sum((2, 3))
    for found in masked(Average())(image, mask):
        torch.testing.assert_close(found.flatten(1), expected, rtol=1e-12, atol=1e-12)


def test_a_wrapped_restormer_is_our_own_masked_restormer() -> None:
    class Plain(nn.Module):
        def __init__(self, inner: Backbone) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner.encode(x).last

    restormer, image = small("restormer"), random_image(2, 32, 48)
    mask = random_patch_mask(2, 32, 48, 8, 0.5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = masked(Plain(restormer))(image, mask)
        torch.testing.assert_close(found, restormer.encode(image, mask).last, rtol=1e-9, atol=1e-9)


def test_norms_over_pixels_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^1 is a BatchNorm2d"):
        masked(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))


class Own(Backbone):
    """`SqueezeUNet` as a backbone."""

    name = "own"

    def __init__(self) -> None:
        super().__init__()
        self.inner = SqueezeUNet()
        self.multiple, self.feature_channels, self.feature_strides, self.last_channels = 2, (12, 6), (2, 1), 6

    def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
        self.check_size(x)
        coarse, fine = MaskedModule(_Parts(self.inner))(x, mask)
        return Encoded([coarse, fine], fine)

    def head(self, last: Tensor) -> Tensor:
        return self.inner.last(last)


class _Parts(nn.Module):
    def __init__(self, inner: SqueezeUNet) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        return self.inner.parts(x)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_keeps_the_contract_and_its_weights(name: str) -> None:
    module = small(name, dtype=torch.float32)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert check_backbone(module) == []
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_a_users_own_network_can_keep_the_contract() -> None:
    assert check_backbone(Own()) == []


def test_the_check_says_what_is_wrong() -> None:
    class Leaking(Own):
        def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
            return super().encode(x)

    class Mislabelled(Own):
        def __init__(self) -> None:
            super().__init__()
            self.feature_channels = (6, 12)

    problems = check_backbone(Leaking())
    assert any("hidden pixels change the features" in problem for problem in problems)
    assert any("not exactly 0" in problem for problem in problems)
    assert any("gradient reaches" in problem for problem in problems)
    assert check_backbone(Mislabelled()) == ["feature_channels is (6, 12), features have (12, 6)"]
    assert "it has no encode" in check_backbone(nn.Conv2d(3, 3, 3))[4]


def test_spconv_is_refused_with_the_reason_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "_library", lambda: None)
    mask = random_patch_mask(1, 32, 32)
    with pytest.raises(BackendError, match="not installed: pip install spconv-cu126"):
        sparse.Spconv(DENSE).stages(mask, 32, 32, 1)


class FakeLibrary:
    """The part of spconv that is called, computed densely; `error` is added to its results."""

    ConvAlgo = SimpleNamespace(Native="native")

    def __init__(self, error: float) -> None:
        self.error = error

    class SparseConvTensor:
        def __init__(self, features: Tensor, indices: Tensor, shape: list[int], batch: int) -> None:
            assert indices.is_contiguous()
            assert indices.dtype == torch.int32
            self.features, self.indices, self.shape, self.batch = features, indices.long(), shape, batch
            self.indice_dict: dict[str, object] = {}

    def SubMConv2d(self, inputs: int, outputs: int, size: int, **options: object) -> nn.Module:
        error = self.error

        class Convolution(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.empty(outputs, size, size, inputs))

            def forward(self, x: FakeLibrary.SparseConvTensor) -> SimpleNamespace:
                b, row, column = x.indices.unbind(1)
                whole = x.features.new_zeros(x.batch, *x.shape, inputs).index_put((b, row, column), x.features)
                y = F.conv2d(whole.permute(0, 3, 1, 2), self.weight.permute(0, 3, 1, 2), padding=size // 2)
                return SimpleNamespace(features=y.permute(0, 2, 3, 1)[b, row, column] + error)

        return Convolution()


def test_spconv_is_used_when_it_is_right_and_refused_when_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, image = random_patch_mask(2, 32, 32, 8), random_image(2, 32, 32, dtype=torch.float32)
    swinir = small("swinir", dtype=torch.float32)
    monkeypatch.setattr(sparse, "_library", lambda: FakeLibrary(0.0))
    with torch.no_grad():
        found = swinir.encode(image, mask, backend=sparse.Spconv(DENSE)).last
        torch.testing.assert_close(found, swinir.encode(image, mask).last, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(sparse, "_library", lambda: FakeLibrary(0.01))
    with pytest.raises(BackendError, match="wrong results"):
        sparse.Spconv(DENSE).stages(mask, 32, 32, 1)


def test_the_backends_are_listed() -> None:
    assert list(BACKENDS) == ["dense", "gather", "spconv", "triton", "auto"]
