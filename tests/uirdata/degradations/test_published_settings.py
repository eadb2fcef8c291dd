"""
The blind mixtures, compared with the settings that their authors published.

Wang et al., "Real-ESRGAN" (2021), sections 3.1 to 3.3, and the options file of its published training: kernels,
resizing, noise and JPEG of both rounds.
"""

from __future__ import annotations

import math

import pytest

from uirdata.degradations import DEGRADATIONS
from uirdata.degradations.base import Choice, Integer, Mixture, OneOf, StepTemplate, Uniform

KERNEL_LIST = ("gaussian", "gaussian", "generalised", "generalised", "plateau", "plateau")
KERNEL_PROB = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
SINC_PROB = 0.1
SIZES = Choice((7, 9, 11, 13, 15, 17, 19, 21))
BETAS = {
    "generalised": Mixture((Uniform(0.5, 1.0), Uniform(1.0, 4.0)), (0.5, 0.5)),
    "plateau": Mixture((Uniform(1.0, 1.0), Uniform(1.0, 2.0)), (0.5, 0.5)),
}


def level(degradation: str, name: str) -> tuple[StepTemplate | OneOf, ...]:
    return DEGRADATIONS[degradation].level(name).steps


def assert_is_mixed_kernels(mixture: StepTemplate | OneOf, sigma: Uniform) -> None:
    assert isinstance(mixture, OneOf)
    # Sinc kernels below 13 pixels, three of the eight sizes, start at a higher cutoff.
    sinc = [SINC_PROB * share for share in (3 / 8, 5 / 8)]
    assert mixture.weights == pytest.approx([(1 - SINC_PROB) * share for share in KERNEL_PROB] + sinc)
    steps = [alternative[0] for alternative in mixture.alternatives]
    for index, (step, family) in enumerate(zip(steps, KERNEL_LIST, strict=False)):
        expected: dict[str, object] = {"size": SIZES, "sigma_x": sigma}
        if index % 2:
            expected |= {"sigma_y": sigma, "rotation": Uniform(-math.pi, math.pi)}
        if family in BETAS:
            expected |= {"family": family, "beta": BETAS[family]}
        assert step == StepTemplate("gaussian-blur", expected)
    small, large = Choice(SIZES.values[:3]), Choice(SIZES.values[3:])
    assert steps[6] == StepTemplate("sinc-blur", {"size": small, "cutoff": Uniform(math.pi / 3, math.pi)})
    assert steps[7] == StepTemplate("sinc-blur", {"size": large, "cutoff": Uniform(math.pi / 5, math.pi)})


def assert_is_noise(mixture: StepTemplate | OneOf, sigma: float, scale: float) -> None:
    assert isinstance(mixture, OneOf)
    assert mixture.weights == (0.5, 0.5)
    gray_noise_prob = 0.4
    shares = (1 - gray_noise_prob, gray_noise_prob)
    gaussian = {"sigma": Uniform(1.0, sigma), "correlation": Choice((0.0, 1.0), shares)}
    poisson = {"scale": Uniform(0.05, scale), "gray": Choice((False, True), shares)}
    assert mixture.alternatives == (
        (StepTemplate("gaussian-noise", gaussian),),
        (StepTemplate("poisson-noise", poisson),),
    )


def test_the_mixture_of_blur_kernels_is_the_published_one() -> None:
    (mixture,) = level("gaussian-blur", "published-mix")
    assert_is_mixed_kernels(mixture, Uniform(0.2, 3.0))


def test_the_second_order_chain_is_the_published_one() -> None:
    blur, resize, noise, jpeg, blur2, resize2, noise2, end, back = level("downsample-noise-blur-jpeg", "second-order")
    factors = [[step.parameters["factor"] for step in alternative] for alternative in resize.alternatives]
    jpeg_range = StepTemplate("jpeg", {"quality": Integer(30, 95)})

    assert_is_mixed_kernels(blur, Uniform(0.2, 3.0))
    assert resize.weights == (0.2, 0.7, 0.1)
    assert factors == [[Uniform(1.0, 1.5)], [Uniform(0.15, 1.0)], []]
    assert_is_noise(noise, 30.0, 3.0)
    assert jpeg == jpeg_range

    assert blur2.weights == (0.8, 0.2)
    assert_is_mixed_kernels(blur2.alternatives[0][0], Uniform(0.2, 1.5))
    # The published range is relative to a quarter of the GT's size.
    assert resize2.weights == (0.3, 0.4, 0.3)
    factors = [[step.parameters["factor"] for step in alternative] for alternative in resize2.alternatives]
    assert factors == [[Uniform(0.25, 1.2 / 4)], [Uniform(0.3 / 4, 0.25)], [0.25]]
    assert_is_noise(noise2, 25.0, 2.5)

    # JPEG comes before or after the last resizing and the sinc filter.
    assert end.weights == (0.5, 0.5)
    assert end.alternatives[0][2] == end.alternatives[1][0] == jpeg_range
    sinc = end.alternatives[0][1]
    assert sinc == end.alternatives[1][2]
    assert sinc.weights == (0.8, 0.2)
    assert sinc.alternatives[0][0].parameters == {"size": SIZES, "cutoff": Uniform(math.pi / 3, math.pi)}
    assert back.parameters["factor"] == 1.0
