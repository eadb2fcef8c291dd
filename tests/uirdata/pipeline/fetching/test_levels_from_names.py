"""The level in a published file name, from the unpacked folder to the record of a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.uirdata.pipeline.test_all_sources import SOURCES, image_bytes, unpinned
from uirdata import open_shards
from uirdata.layout import Layout
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import SourcePixels
from uirdata.pipeline.fetching.fetch import fetch, plan_fetch
from uirdata.pipeline.verifying.verify import verify
from uirdata.progress import Silent
from uirdata.subsets import Subset, Use

# Published names; the GT, and the level in the name.
PUBLISHED = {
    "reside-ots": {
        "OTS/hazy/0001_0.8_0.04.jpg": ("OTS/clear/0001.jpg", "A=0.8,beta=0.04"),
        "OTS/hazy/0001_0.95_0.16.jpg": ("OTS/clear/0001.jpg", "A=0.95,beta=0.16"),
        "OTS/hazy/0002_1_0.2.jpg": ("OTS/clear/0002.jpg", "A=1,beta=0.2"),
    },
    "reside-its": {"ITS/hazy/1_1_0.90179.png": ("ITS/clear/1.png", "beta=0.90179")},
    "sots-outdoor": {"SOTS/outdoor/hazy/0001_0.8_0.2.jpg": ("SOTS/outdoor/gt/0001.png", "A=0.8,beta=0.2")},
    "snow100k": {
        f"test/Snow100K-{size}/synthetic/winter_{number}.jpg": (f"test/Snow100K-{size}/gt/winter_{number}.jpg", size)
        for number, size in enumerate("SML")
    },
    "lfdof": {
        "LFDOF/train_data/input/IMG_1275/IMG_1275_ap1_00.png": ("LFDOF/train_data/ground_truth/IMG_1275.png", "ap1"),
        "LFDOF/train_data/input/IMG_1275/IMG_1275_ap3_04.png": ("LFDOF/train_data/ground_truth/IMG_1275.png", "ap3"),
        "LFDOF/test_data/input/IMG_1567/IMG_1567_ap2_03.png": ("LFDOF/test_data/ground_truth/IMG_1567.png", "ap2"),
    },
    "outdoor-rain": {"train/in/im_0001_s80_a04.png": ("train/gt/im_0001.png", "s80-a04")},
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_level_in_a_published_name_is_that_of_the_sample(name: str, tmp_path: Path) -> None:
    source, layout = unpinned(SOURCES[name]), Layout(tmp_path / "root")
    for lq, (gt, _) in PUBLISHED[name].items():
        for path in (lq, gt):
            (tmp_path / "mine" / name / path).parent.mkdir(parents=True, exist_ok=True)
            border = 2 * source.pairs[0].gt_border if path == gt else 0
            (tmp_path / "mine" / name / path).write_bytes(image_bytes(path, 24 + border, 32 + border))
    assert fetch(plan_fetch([source], layout, from_dir=tmp_path / "mine"), jobs=1, progress=Silent()).is_complete
    verify([source], layout, deep=False, jobs=1, progress=Silent())

    degradation = source.pairs[0].degradation
    uses = tuple(Use(name, degradation, split, (), 1, 0) for split in dict.fromkeys(p.split for p in source.pairs))
    subset = Subset("published", "as published", ((degradation,),), {}, uses)
    plan = make_plan(subset, {name: source}, layout)
    pixels = SourcePixels(source_folders({name: source}, layout, plan.sources), 0)
    todo = plan_build(tmp_path / "out", plan, BuildSettings(shard_bytes=10**6))
    build(todo, subsets={subset.name: subset.classes}, pixels=pixels)

    levels = sorted(item.record.level for item in open_shards(tmp_path / "out"))
    assert levels == sorted(level for _, level in PUBLISHED[name].values())
