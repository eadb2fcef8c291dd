from __future__ import annotations

import pytest

from maskdcpt.evaluation.image_grids import extremes
from maskdcpt.evaluation.scores import ImageScore


def score(psnr: float | None, lq_psnr: float | None = 20.0, **learned: float | None) -> ImageScore:
    return ImageScore("k", "haze", "", "s", 8, 8, psnr, None, lq_psnr, None, "", learned=learned)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ((1.0, 5.0, 3.0, 2.0, 4.0), {"best": 1, "median": 2, "worst": 0}),
        ((7.0, 1.0), {"best": 0, "median": 1}),
        ((7.0,), {"best": 0}),
        ((), {}),
    ],
)
def test_the_best_the_median_and_the_worst_are_chosen_by_gain(
    gains: tuple[float, ...], expected: dict[str, int]
) -> None:
    # The LQ differ, too, so that the PSNR alone would give another order.
    rows = [score(20.0 + 3 * index + gain, 20.0 + 3 * index) for index, gain in enumerate(gains)]
    assert extremes(rows) == expected


def test_without_gt_the_least_of_a_learned_metric_is_the_best() -> None:
    rows = [score(None, None, lq_niqe=1.0, niqe=niqe) for niqe in (4.0, 3.0, None, 5.0)]
    assert extremes(rows) == {"best": 1, "median": 0, "worst": 3}
