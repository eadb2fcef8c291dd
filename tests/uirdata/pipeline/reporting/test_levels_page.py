from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import scene
from uirdata.degradations import DEGRADATIONS
from uirdata.errors import UsageError
from uirdata.images import decode_image
from uirdata.pipeline.reporting.levels_page import write_levels_page


def images(page: str):
    found = re.findall(r'<img alt="([^"]+)" src="data:image/webp;base64,([^"]+)">', page)
    return [(name, decode_image(base64.b64decode(data), name=name)) for name, data in found]


def test_the_page_shows_every_level_of_the_asked_types(tmp_path):
    page = tmp_path / "levels.html"
    write_levels_page(page, scene(120, 150), seed=3, names=["jpeg", "snow"], side=32)
    shown = images(page.read_text())
    levels = [level.name for name in ("jpeg", "snow") for level in DEGRADATIONS[name].levels]
    assert [name for name, _ in shown] == ["the photograph", *levels]
    gt = shown[0][1]
    assert gt.shape == (32, 32, 3)
    # One image per level, none of them the photograph itself.
    assert all(lq.shape == gt.shape and not np.array_equal(lq, gt) for _, lq in shown[1:])
    assert "http" not in page.read_text()


def test_what_is_degraded_is_half_as_large_again_as_what_is_shown(tmp_path):
    photo = scene(48, 48)
    write_levels_page(tmp_path / "a.html", photo, seed=0, names=["mosaic"], side=32)
    (_, gt), *_ = images((tmp_path / "a.html").read_text())
    assert np.array_equal(gt, photo[8:40, 8:40])


def test_a_photograph_smaller_than_an_image_is_accepted_and_an_unknown_type_is_not(tmp_path):
    write_levels_page(tmp_path / "a.html", scene(9, 14), seed=0, names=["mosaic"], side=32)
    with pytest.raises(UsageError, match="haze"):
        write_levels_page(tmp_path / "b.html", scene(), seed=0, names=["hazze"])
    assert not (tmp_path / "b.html").exists()
