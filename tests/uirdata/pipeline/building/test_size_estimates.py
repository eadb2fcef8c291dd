from __future__ import annotations

from pathlib import Path

import pytest

from tests.uirdata.pipeline.trees import small_source, small_subset
from uirdata.images import CODECS, Codec
from uirdata.pairing import TYPES
from uirdata.pipeline.building.sample_plan import expected_samples, make_plan
from uirdata.pipeline.building.size_estimates import _SHARES, Sizes
from uirdata.planning import GroupKey
from uirdata.sources import load_sources
from uirdata.subsets import load_subset


def sizes_of(samples: object) -> Sizes:
    sizes = Sizes()
    for sample in samples:  # type: ignore[attr-defined]
        sizes.add(sample)
    return sizes


def test_lazy_shards_keep_a_gt_once_and_published_pairs_whole(tmp_path: Path) -> None:
    layout, sources = small_source(tmp_path)
    plan = make_plan(small_subset(per_image=3), sources, layout)
    samples = list(plan.samples())
    haze = sizes_of(sample for sample in samples if sample.degradation == "haze")
    assert [kept == lazy > 0 for kept, lazy in haze.lazily().values()] == [True] * len(CODECS)
    # Two published LQ of one GT are two pairs, each with its GT: only generated LQ share one.
    hazy = next(sample for sample in samples if sample.degradation == "haze")
    kept, lazy = sizes_of([hazy, hazy]).lazily()["webp"]
    assert kept == lazy == pytest.approx(2 * sizes_of([hazy]).lazily()["webp"][0], abs=2)
    noise = sizes_of(s for s in samples if (s.degradation, s.split) == ("noise", "train"))
    for codec, gt, lq in (("webp", 0.479, 0.787), ("png", 0.618, 0.9)):
        kept, lazy = noise.lazily()[codec]  # type: ignore[index]
        assert kept / lazy == pytest.approx(3 * (gt + lq) / gt, rel=1e-3)


@pytest.mark.parametrize("codec", CODECS)
def test_every_type_and_the_gt_have_a_measured_share(codec: Codec) -> None:
    assert set(_SHARES[codec]) == {"", *TYPES}
    # Lossless WebP is smaller than PNG, and both smaller than the raw pixels.
    assert all(_SHARES["webp"][name] < _SHARES["png"][name] < 1 for name in _SHARES[codec])


def test_the_whole_set_is_three_times_smaller_lazily() -> None:
    subset, sources, sizes = load_subset("full"), load_sources(), Sizes()
    for name in subset.sources:
        sizes.add_expected(subset, sources[name], expected_samples(subset, sources[name]))
    for kept, lazy in sizes.lazily().values():
        # As stated in docs/design/data.md.
        assert kept / lazy == pytest.approx(3.0, abs=0.05)
        assert 1.5e12 < kept < 2.5e12


def test_what_is_expected_of_a_source_is_what_its_crops_would_be() -> None:
    subset, sources = load_subset("full"), load_sources()
    expected = Sizes()
    expected.add_expected(subset, sources["bsds500"], [(GroupKey("train", "noise", "bsds500"), 60)])
    kept, lazy = expected.lazily()["webp"]
    assert kept == pytest.approx(60 * 512 * 512 * 3 * (0.479 + 0.787), rel=1e-6)
    assert lazy == pytest.approx(10 * 512 * 512 * 3 * 0.479, rel=1e-6)
