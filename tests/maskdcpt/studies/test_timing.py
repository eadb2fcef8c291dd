from __future__ import annotations

import pytest

import maskdcpt.studies.timing as module
from uirdata.errors import UsageError


def test_a_row_is_the_median_of_its_times() -> None:
    row = module._row("masked, dense", [0.5, 0.1, 0.2], 0.1, 4, 1000, "")
    assert (row.milliseconds, row.images_per_second, row.over_plain, row.peak_bytes) == pytest.approx(
        (200, 20, 2, 1000)
    )
    assert module._row("masked, sparse", [], 0.1, 4, None, "no CUDA").milliseconds is None


@pytest.mark.parametrize(("side", "multiple", "patch", "fits"), [(40, 8, 8, 40), (33, 8, 16, 48), (1, 8, 4, 8)])
def test_the_side_is_rounded_up_to_what_network_and_mask_need(side: int, multiple: int, patch: int, fits: int) -> None:
    assert module._fitting(side, multiple, patch) == fits


def test_patches_that_no_multiple_holds_are_refused() -> None:
    with pytest.raises(UsageError, match="patches of 6"):
        module._fitting(32, 8, 6)
