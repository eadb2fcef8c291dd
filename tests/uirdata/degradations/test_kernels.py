from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import flat, random_image
from uirdata.degradations.gaussian_blur import gaussian_blur, sinc_blur
from uirdata.degradations.kernels import (
    _bessel_j1,
    convolve,
    disk_kernel,
    gaussian_kernel,
    line_kernel,
    path_kernel,
    round_levels,
    sinc_kernel,
)
from uirdata.seeding import rng_for


def rng():
    return rng_for(0, "test", "kernels")


def moments(kernel):
    """Second moments xx, yy, xy around the centre, pixels squared."""
    reach = (np.array(kernel.shape) - 1) / 2
    y, x = np.mgrid[0 : kernel.shape[0], 0 : kernel.shape[1]] - reach[:, None, None]
    return (kernel * x * x).sum(), (kernel * y * y).sum(), (kernel * x * y).sum()


KERNELS = {
    "isotropic": gaussian_kernel(21, 2.0, 2.0, 0.0),
    "anisotropic": gaussian_kernel(21, 3.0, 0.7, 0.6),
    "generalised": gaussian_kernel(21, 2.0, 1.0, 0.3, family="generalised", beta=0.6),
    "plateau": gaussian_kernel(21, 2.0, 1.0, 0.3, family="plateau", beta=1.7),
    "sinc": sinc_kernel(21, 1.0),
    "line": line_kernel(15.0, 30.0),
    "path": path_kernel(np.array([[-3.0, -1.0], [0.3, 0.2], [2.5, 3.0]])),
    "disk": disk_kernel(4.0),
    "pentagon": disk_kernel(6.0, blades=5, rotation=10.0),
    "no defocus": disk_kernel(0.0),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_kernel_sums_to_one_and_an_impulse_gives_it_back(kernel):
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    impulse = np.zeros((61, 67))
    impulse[30, 33] = 1
    seen = convolve(impulse, kernel)
    reach = kernel.shape[0] // 2
    assert np.allclose(seen[30 - reach : 31 + reach, 33 - reach : 34 + reach], kernel, atol=1e-12)
    assert seen.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("sigma_x", "sigma_y", "turn"), [(2.0, 2.0, 0.0), (3.0, 1.0, 0.0), (3.0, 1.5, math.pi / 6)])
def test_a_gaussian_kernel_has_the_asked_covariance(sigma_x, sigma_y, turn):
    xx, yy, xy = moments(gaussian_kernel(41, sigma_x, sigma_y, turn))
    cos, sin = math.cos(turn), math.sin(turn)
    assert xx == pytest.approx(sigma_x**2 * cos**2 + sigma_y**2 * sin**2, rel=0.005)
    assert yy == pytest.approx(sigma_x**2 * sin**2 + sigma_y**2 * cos**2, rel=0.005)
    assert xy == pytest.approx((sigma_x**2 - sigma_y**2) * sin * cos, abs=0.01)


def test_the_families_meet_where_their_formulas_do():
    plain = gaussian_kernel(21, 2.0, 1.0, 0.4)
    assert np.allclose(gaussian_kernel(21, 2.0, 1.0, 0.4, family="generalised", beta=1.0), plain, atol=1e-15)
    plateau = gaussian_kernel(21, 3.0, 3.0, 0.0, family="plateau", beta=2.0)
    # At one sigma, m = 1 and the weight is half of the middle's, for every beta.
    assert plateau[10, 13] / plateau[10, 10] == pytest.approx(0.5, abs=1e-12)
    # At two sigmas m = 4, and the weight is 1 / (1 + 4^2) of the middle's.
    assert plateau[10, 16] / plateau[10, 10] == pytest.approx(1 / 17, abs=1e-12)
    generalised = gaussian_kernel(21, 3.0, 3.0, 0.0, family="generalised", beta=3.0)
    assert generalised[10, 13] / generalised[10, 10] == pytest.approx(math.exp(-0.5), abs=1e-12)
    assert generalised[10, 16] / generalised[10, 10] == pytest.approx(math.exp(-0.5 * 4**3), abs=1e-12)


def test_the_bessel_function_has_its_tabled_values():
    # Abramowitz and Stegun, table 9.1, and the first zero.
    places = np.array([0.0, 1.0, 2.0, 5.0, 10.0, 3.8317059702075123])
    values = [0.0, 0.4400505857449335, 0.5767248077568734, -0.3275791375914652, 0.0434727461688614, 0.0]
    assert np.allclose(_bessel_j1(places), values, atol=1e-12)


@pytest.mark.parametrize("cutoff", [math.pi / 3, math.pi / 2])
def test_a_sinc_filter_passes_what_is_coarser_than_its_cutoff(cutoff):
    response = np.abs(np.fft.fft2(sinc_kernel(21, cutoff), (256, 256)))
    frequency = np.fft.fftfreq(256) * 2 * math.pi
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    assert response[radius < 0.75 * cutoff].min() > 0.8
    assert response[radius > 1.25 * cutoff].max() < 0.2
    # The response falls through one half at the cutoff.
    along = response[0, :128]
    crossing = frequency[:128][np.flatnonzero(along < 0.5)[0]]
    assert crossing == pytest.approx(cutoff, rel=0.04)


def test_the_middle_of_a_sinc_filter_is_the_limit_of_its_formula():
    kernel = sinc_kernel(21, 1.0)
    # (w^2 / 4 pi) over (w J1(w) / 2 pi) with w = 1 and J1(1) = 0.44005...
    assert kernel[10, 10] / kernel[10, 11] == pytest.approx(1 / (2 * 0.4400505857449335), rel=1e-12)


def test_a_sinc_filter_rings():
    step = np.zeros((40, 80, 3), np.uint8)
    step[:, :40], step[:, 40:] = 80, 160
    rung = sinc_blur(step, rng(), cutoff=math.pi / 3)
    assert rung[20].max() > 163
    assert rung[20].min() < 77


def test_the_separable_way_gives_the_pixels_of_the_kernel():
    gt = random_image(40, 50)
    fast = gaussian_blur(gt, rng(), sigma_x=1.7, size=13)
    assert np.array_equal(fast, round_levels(convolve(gt, gaussian_kernel(13, 1.7, 1.7, 0.0))))


def test_an_image_is_blurred_by_the_requested_kernel():
    gt = random_image(40, 50)
    for family, beta in (("gaussian", 1.0), ("generalised", 0.7), ("plateau", 1.5)):
        kernel = gaussian_kernel(15, 2.5, 0.8, 0.5, family=family, beta=beta)
        lq = gaussian_blur(gt, rng(), sigma_x=2.5, sigma_y=0.8, rotation=0.5, size=15, family=family, beta=beta)
        assert np.array_equal(lq, round_levels(convolve(gt, kernel)))
    assert np.array_equal(sinc_blur(gt, rng(), cutoff=1.2, size=13), round_levels(convolve(gt, sinc_kernel(13, 1.2))))


def test_gaussian_blur_agrees_with_opencvs():
    gt = random_image(64, 64)
    ours = gaussian_blur(gt, rng(), sigma_x=1.6, size=11).astype(int)
    theirs = cv2.GaussianBlur(gt.astype(np.float32), (11, 11), 1.6, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(ours - theirs).max() <= 0.51


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_blur_leaves_flat_areas_as_they_are(level):
    gt = flat(level, 20, 20)
    for kernel in KERNELS.values():
        assert np.array_equal(round_levels(convolve(gt, kernel)), gt)


def test_ties_between_two_levels_go_up():
    assert round_levels(np.array([0.5, 1.5, 2.5 - 1e-12, 2.5 + 1e-12, 254.5])).tolist() == [1, 2, 3, 3, 255]


@pytest.mark.parametrize(("radius", "blades"), [(3.0, 0), (7.5, 0), (10.0, 0)])
def test_a_disk_has_the_moments_of_a_disk(radius, blades):
    xx, yy, xy = moments(disk_kernel(radius, blades=blades))
    # Mean squared distance is r^2 / 2; each pixel adds its own 1/12 per axis.
    assert xx + yy == pytest.approx(radius**2 / 2 + 1 / 6, rel=0.02)
    assert xx == pytest.approx(yy, rel=0.01)
    assert abs(xy) < 0.01


@pytest.mark.parametrize("blades", [3, 5, 6, 8])
def test_a_polygon_covers_the_area_of_a_polygon(blades):
    kernel = disk_kernel(10.0, blades=blades, rotation=13.0)
    area = 1 / kernel.max()
    assert area == pytest.approx(blades / 2 * 100 * math.sin(2 * math.pi / blades), rel=0.02)


def test_what_encloses_nothing_is_no_aperture():
    with pytest.raises(ValueError, match="enclose"):
        disk_kernel(5.0, blades=2)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
def test_a_line_has_the_asked_length_and_direction(angle):
    length = 21.0
    xx, yy, xy = moments(line_kernel(length, angle))
    along = xx * math.cos(math.radians(angle)) ** 2 + yy * math.sin(math.radians(angle)) ** 2
    along -= 2 * xy * math.cos(math.radians(angle)) * math.sin(math.radians(angle))
    # A line of length L from end to end has variance L^2 / 12; the interpolation adds up to a quarter pixel squared.
    assert along == pytest.approx((length - 1) ** 2 / 12, rel=0.02)
    assert xx + yy - along < 0.3
