from __future__ import annotations

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import scene
from uirdata.degradations import DEGRADATIONS
from uirdata.degradations import sheet as sheets
from uirdata.degradations.sheet import contact_sheet, sheet_recipes
from uirdata.errors import UsageError


def test_the_sheet_has_a_row_per_type_and_repeats():
    chosen = ["noise", "mosaic"]
    sheet = contact_sheet(scene(100, 120), seed=1, names=chosen, columns=3, tile=64)
    assert sheet.shape == (2 * (64 + 14 + 4) + 4, 4 * 68 + 4, 3)
    assert sheet.dtype == np.uint8
    assert np.array_equal(sheet, contact_sheet(scene(100, 120), seed=1, names=chosen, columns=3, tile=64))
    # The photograph itself comes first in every row.
    assert np.array_equal(sheet[18:82, 4:68], scene(100, 120)[18:82, 28:92])
    assert np.array_equal(sheet[100:164, 4:68], sheet[18:82, 4:68])


def test_a_photograph_smaller_than_a_tile_is_enlarged():
    sheet = contact_sheet(scene(20, 30), seed=0, names=["jpeg"], columns=2, tile=40)
    assert sheet.shape[1] == 3 * 44 + 4


def test_the_levels_are_spread_over_the_list():
    names = [name for name, _ in sheet_recipes(DEGRADATIONS["haze"], seed=0, count=4)]
    levels = [level.name for level in DEGRADATIONS["haze"].levels]
    assert names[0] == levels[0]
    assert names[-1] == levels[-1]
    assert len(names) == 4


def test_a_type_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="haze"):
        contact_sheet(scene(), seed=0, names=["haze", "hazze"])


def test_there_is_a_synthetic_image_as_a_substitute_for_a_photograph():
    made = sheets.test_scene()
    assert made.shape == (512, 512, 3)
    assert made.std() > 30
    assert np.array_equal(made, sheets.test_scene())
