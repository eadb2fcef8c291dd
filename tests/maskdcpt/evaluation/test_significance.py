from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maskdcpt.evaluation.significance import confidence_interval, holm, paired_test, sign_flip_p


def scenes(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_wilcoxon_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(30, 1, 12), rng.normal(30.5, 1, 12)
    expected = stats.wilcoxon(second, first, mode="exact").pvalue
    assert paired_test(first.tolist(), second.tolist(), scenes(12)).p_ranks == pytest.approx(expected, abs=1e-12)


def test_the_test_of_the_mean_is_scipys_permutation_test() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, 10), rng.normal(0.6, 1, 10)
    expected = stats.permutation_test(
        (first, second), lambda a, b, axis: np.mean(b - a, axis=axis), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_test(first.tolist(), second.tolist(), scenes(10)).p_mean == pytest.approx(expected, abs=1e-12)


def test_many_images_are_flipped_at_random_and_agree_with_the_exact_answer() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(0, 1, 80), rng.normal(0.25, 1, 80)
    test = paired_test(first.tolist(), second.tolist(), scenes(80))
    assert test.p_ranks == pytest.approx(stats.wilcoxon(second, first).pvalue, abs=0.01)
    assert test.p_mean == pytest.approx(stats.ttest_rel(second, first).pvalue, abs=0.01)
    assert test.wins == pytest.approx((second > first).mean())
    assert test == paired_test(first.tolist(), second.tolist(), scenes(80))


def test_no_difference_is_no_evidence_and_a_clear_one_is() -> None:
    values = list(np.linspace(20, 30, 40))
    assert paired_test(values, values, scenes(40)).p_mean == 1.0
    clear = paired_test(values, [value + 1 for value in values], scenes(40))
    assert clear.p_mean == clear.p_ranks == pytest.approx(1 / 20_001)
    assert clear.interval == pytest.approx((1.0, 1.0))


def test_frames_of_a_video_count_as_one() -> None:
    rng = np.random.default_rng(3)
    # Four videos of fifty equal frames, so only four independent values.
    videos = np.repeat(rng.normal(0.4, 0.5, 4), 50)
    groups = [str(index // 50) for index in range(200)]
    together = paired_test([0.0] * 200, videos.tolist(), groups)
    apart = paired_test([0.0] * 200, videos.tolist(), scenes(200))
    assert together.scenes == 4
    assert together.p_mean >= 2 / 16
    assert apart.p_mean < 0.001
    assert together.interval is not None
    assert apart.interval is not None
    assert together.interval[1] - together.interval[0] > 3 * (apart.interval[1] - apart.interval[0])


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        found = confidence_interval(rng.normal(0, 1, 60).tolist(), scenes(60))
        assert found is not None
        held += found[0] <= 0 <= found[1]
    assert 0.89 <= held / 200 <= 0.985
    assert confidence_interval([1.0, 2.0], ["one", "one"]) is None


def test_flips_and_corrections_are_those_of_the_books() -> None:
    assert sign_flip_p(np.array([1.0])) == 1.0
    assert sign_flip_p(np.array([1.0] * 10)) == pytest.approx(2 / 1024)
    assert holm([0.01, 0.02, 0.03, 0.9]) == pytest.approx([0.04, 0.06, 0.06, 0.9])
    with pytest.raises(ValueError, match="cannot pair"):
        paired_test([1.0], [1.0, 2.0], ["a"])
