"""Runs on shards that uirdata built, lazy ones and whole ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskdcpt.config.toml import with_settings
from maskdcpt.training.loop import train
from maskdcpt.weights.load import load_checkpoint
from tests.maskdcpt.tiny import tiny_config
from tests.uirdata.pipeline.trees import small_source, small_subset
from uirdata import open_shards
from uirdata.images import Window
from uirdata.pipeline.building.build import build
from uirdata.pipeline.building.build_plan import BuildSettings, plan_build
from uirdata.pipeline.building.sample_plan import make_plan
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.pipeline.building.shard_task import SourcePixels


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same samples, `lazy` and `whole`."""
    root = tmp_path_factory.mktemp("pools")
    layout, sources = small_source(root)
    subset = small_subset()
    plan = make_plan(subset, sources, layout)
    pixels = SourcePixels(source_folders(sources, layout, plan.sources), plan.seed)
    for name in ("lazy", "whole"):
        settings = BuildSettings(lazy=name == "lazy")
        build(plan_build(root / name, plan, settings), subsets={subset.name: subset.classes}, pixels=pixels)
    return root


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(run).params)


def assert_equal(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("fresh", ["false", "true"], ids=["fixed", "fresh"])
def test_a_run_on_lazy_shards_equals_that_on_whole_ones_also_when_resumed_with_other_workers(
    pools: Path, tmp_path: Path, fresh: str
) -> None:
    settings = (f"data.fresh={fresh}", "loop.steps=4")
    train(tiny_config(pools / "whole", tmp_path / "whole", *settings))
    config = tiny_config(pools / "lazy", tmp_path / "lazy", *settings)
    asked = iter(range(1, 100))
    train(with_settings(config, ["data.workers=2"]), stop=lambda: next(asked) >= 2)
    train(config, resume=True)
    assert_equal(tmp_path / "whole", tmp_path / "lazy")


def test_a_fresh_lq_has_other_noise_under_the_same_recipe_and_published_pairs_stay(pools: Path) -> None:
    for name in ("lazy", "whole"):
        samples = open_shards(pools / name, "train")
        noise, haze = samples.degradations.index("noise"), samples.degradations.index("haze")
        place = samples.place(noise)
        (first, gt), (second, same_gt) = samples.pair(place, fresh=1), samples.pair(place, fresh=2)
        assert not np.array_equal(first, second)
        assert np.array_equal(first, samples.pair(place, fresh=1)[0])
        assert np.array_equal(gt, same_gt)
        spread = [float(np.std(lq.astype(float) - gt)) for lq in (samples[noise].lq, first, second)]
        assert spread == pytest.approx([spread[0]] * 3, rel=0.1)
        assert np.array_equal(samples.pair(samples.place(haze), fresh=1)[0], samples[haze].lq)
        window = Window(3, 5, 20, 30)
        assert all(
            np.array_equal(part, whole[3:23, 5:35])
            for part, whole in zip(samples.pair(place, window, fresh=1), (first, gt), strict=True)
        )
