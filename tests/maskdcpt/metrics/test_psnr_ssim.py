"""PSNR and SSIM equal those of other libraries."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from maskdcpt import metrics
from maskdcpt.metrics import METRICS, psnr, ssim
from maskdcpt.metrics.base import Y_WEIGHTS
from tests.maskdcpt.small_networks import random_image


def degraded(image: Tensor, amount: float, seed: int = 1) -> Tensor:
    return image + amount * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=image.dtype)


def test_psnr_of_a_constant_difference_is_known() -> None:
    a = torch.full((2, 3, 20, 20), 0.5)
    b = torch.stack([a[0] + 0.1, a[1] + 0.01])
    assert psnr(a.double(), b.double()).tolist() == pytest.approx([20.0, 40.0], abs=1e-5)
    assert psnr(a, b).dtype == torch.float64


def test_equal_images_are_infinitely_good_and_only_they() -> None:
    a = random_image(2, 16, 16)
    b = torch.stack([a[0], degraded(a[1], 0.1)])
    values = psnr(a, b)
    assert values[0] == math.inf
    assert 15 < values[1] < 25
    assert ssim(a, a).tolist() == pytest.approx([1.0, 1.0])


def test_noise_of_sigma_25_has_the_well_known_psnr() -> None:
    clean = torch.full((1, 3, 256, 256), 0.5)
    assert psnr(clean, degraded(clean, 25 / 255)).item() == pytest.approx(20.17, abs=0.03)


@pytest.mark.parametrize("amount", [0.02, 0.1, 0.5])
def test_ssim_is_that_of_scikit_image(amount: float) -> None:
    a = random_image(2, 37, 51)
    b = degraded(a, amount)
    for i, found in enumerate(ssim(a, b).tolist()):
        expected = structural_similarity(
            a[i].permute(1, 2, 0).numpy(),
            b[i].permute(1, 2, 0).numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=2,
        )
        # scikit-image truncates the window at 3.5 sigma, which is 11 pixels, and excludes the border.
        assert found == pytest.approx(expected, abs=1e-9)


def photograph() -> tuple[Tensor, Tensor]:
    """Return a part of a photograph, and the same with noise of sigma 15, both of eight bits."""
    gt = astronaut()[100:292, 150:406]
    lq = np.clip(np.rint(gt + np.random.default_rng(0).normal(0, 15, gt.shape)), 0, 255).astype(np.uint8)
    first, second = (torch.from_numpy(x).double().permute(2, 0, 1)[None] / 255 for x in (lq, gt))
    return first, second


def test_a_photograph_has_the_numbers_of_scikit_image() -> None:
    a, b = photograph()
    lq, gt = ((x[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for x in (a, b))
    assert psnr(a, b).item() == pytest.approx(25.03385287, abs=1e-6)
    assert psnr(a, b).item() == pytest.approx(peak_signal_noise_ratio(gt, lq), abs=1e-6)
    how = {"channel_axis": 2, "data_range": 255}
    gaussian = structural_similarity(gt, lq, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, **how)
    assert ssim(a, b).item() == pytest.approx(gaussian, abs=1e-6)
    assert ssim(a, b).item() == pytest.approx(0.51359453, abs=1e-6)
    # Its defaults are another SSIM: a flat window of 7 and sample covariances.
    assert structural_similarity(gt, lq, **how) - ssim(a, b).item() == pytest.approx(0.03361082, abs=1e-6)


def test_a_photograph_has_the_numbers_of_pyiqa_where_the_two_mean_the_same() -> None:
    # pyiqa 0.1.16, on the same pixels: psnr, psnr with crop_border 4, ssimc, ssimc with crop_border 4.
    a, b = photograph()
    # It adds 1e-8 to the mean squared error, so that equal images have 80 dB.
    for border, expected in ((0, 25.03383827), (4, 25.05425453)):
        error = 10 ** (-psnr(a, b, crop_border=border).item() / 10)
        assert -10 * math.log10(error + 1e-8) == pytest.approx(expected, abs=1e-6)
    assert ssim(a, b).item() == pytest.approx(0.51359512, abs=1e-6)
    assert ssim(a, b, crop_border=4).item() == pytest.approx(0.50235524, abs=1e-6)


def test_a_photograph_differs_from_pyiqas_luma_by_what_is_known() -> None:
    a, b = photograph()
    # Its psnry and ssim use the luma of YIQ by default: 1.3 dB and 0.06 away from BT.601, which papers use.
    assert psnr(a, b, y_channel=True).item() - 28.45228386 == pytest.approx(1.32195, abs=1e-5)
    assert ssim(a, b, y_channel=True).item() - 0.64259113 == pytest.approx(0.061912, abs=1e-5)
    # With "ycbcr", psnry equals ours but for the 1e-8, and ssim equals ours of a luma rounded to 256 steps.
    error = 10 ** (-psnr(a, b, y_channel=True).item() / 10)
    assert -10 * math.log10(error + 1e-8) == pytest.approx(29.77419281, abs=3e-6)
    weights = torch.tensor(Y_WEIGHTS, dtype=torch.float64)[:, None, None]
    rounded = [((x * weights).sum(1, keepdim=True) + 16).round().expand(-1, 3, -1, -1) / 255 for x in (a, b)]
    assert ssim(*rounded).item() == pytest.approx(0.70431963, abs=2e-6)


def test_quantising_is_saving_to_eight_bits() -> None:
    a, b = random_image(1, 16, 16), random_image(1, 16, 16, seed=5) * 1.4 - 0.2
    saved = [torch.from_numpy(np.rint(np.clip(x.numpy(), 0, 1) * 255) / 255) for x in (a, b)]
    assert psnr(a, b, quantise=True).item() == pytest.approx(psnr(*saved).item(), abs=1e-10)
    assert ssim(a, b, quantise=True).item() == pytest.approx(ssim(*saved).item(), abs=1e-12)
    assert psnr(a, b).item() != pytest.approx(psnr(*saved).item(), abs=1e-3)


def test_luma_is_that_of_bt601() -> None:
    a, b = torch.zeros(1, 3, 16, 16).double(), torch.zeros(1, 3, 16, 16).double()
    b[:, 1] = 0.1  # green alone
    assert psnr(a, b, y_channel=True).item() == pytest.approx(-20 * math.log10(0.1 * 128.553 / 255), abs=1e-9)
    grey = torch.full((1, 3, 16, 16), 1.0).double()
    assert psnr(torch.zeros_like(grey), grey, y_channel=True).item() == pytest.approx(-20 * math.log10(219 / 255))


def test_a_border_is_left_out() -> None:
    a = random_image(1, 24, 24)
    b = a.clone()
    b[..., :4, :] = 0
    assert psnr(a, b, crop_border=4).item() == math.inf
    assert psnr(a, b, crop_border=3).item() < 40
    with pytest.raises(ValueError, match="leaves nothing"):
        psnr(a, b, crop_border=12)


@pytest.mark.parametrize("name", METRICS)
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    a = random_image(1, 16, 16)
    with pytest.raises(ValueError, match="expected"):
        METRICS[name](a, a[..., :15])
    with pytest.raises(ValueError, match="expected"):
        METRICS[name](a[0], a[0])
    if name == "ssim":
        with pytest.raises(ValueError, match="needs 11x11"):
            ssim(a[..., :10], a[..., :10])


@pytest.mark.parametrize("name", METRICS)
def test_a_better_image_has_a_larger_value(name: str) -> None:
    a = random_image(1, 32, 32)
    assert METRICS[name](a, degraded(a, 0.05)) > METRICS[name](a, degraded(a, 0.2))


def test_half_precision_images_are_compared_in_double() -> None:
    a = random_image(1, 16, 16).to(torch.bfloat16)
    b = (a + 0.125).to(torch.bfloat16)
    assert psnr(a, b).item() == pytest.approx(psnr(a.double(), b.double()).item(), abs=1e-12)


def test_no_metric_is_missing_from_the_list() -> None:
    files = {path.stem for path in Path(metrics.__file__).parent.glob("*.py")}
    assert files - {"__init__", "base", "learned", "pyiqa_engine", "pyiqa_metrics"} == {*METRICS}
