from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import maskdcpt.studies.probe as module
from maskdcpt.studies.figures import draw_map, draw_probe
from maskdcpt.studies.probe import SEEDS, ProbeSettings, accuracy_of, map_features, probe_features, squared_distances
from maskdcpt.training.loop import train
from tests.maskdcpt.tiny import tiny_config, write_shards
from uirdata import open_shards
from uirdata.errors import UirError, UsageError
from uirdata.images import read_image

SETTINGS = ProbeSettings(crop=32, patch=8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"), train=3, test=6)


@pytest.fixture(scope="module")
def pre(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pre"
    return train(tiny_config(shards, out, "loop.steps=4", "loop.checkpoint_every=2", "loop.keep=5")).run


def test_neighbours_tell_what_is_apart_and_no_more() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    noise = rng.normal(0, 1, (90, 20)).astype(np.float32)
    apart = noise + 10 * labels[:, None].astype(np.float32)
    told = module._split_stratified(labels, 0)
    assert np.bincount(labels[told]).tolist() == [10, 10, 10]
    assert accuracy_of(squared_distances(apart), labels, told) == 1.0
    assert accuracy_of(squared_distances(noise), labels, told) < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 12)
    features = (rng.normal(0, 1, (48, 6)) + labels[:, None]).astype(np.float32)
    told = module._split_stratified(labels, seed)
    reference = KNeighborsClassifier(5).fit(features[~told], labels[~told]).score(features[told], labels[told])
    assert accuracy_of(squared_distances(features), labels, told) == pytest.approx(reference)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_split_of_the_released_script_is_scikit_learns(seed: int) -> None:
    labels = np.repeat(np.arange(5), 100)
    _, expected = train_test_split(np.arange(500), test_size=0.33, random_state=seed)
    assert sorted(expected) == np.flatnonzero(module._split_script(labels, seed)).tolist()


def test_distances_are_summed_in_slices_and_of_vectors_of_length_one_where_asked() -> None:
    features = np.random.default_rng(2).normal(0, 1, (7, 70_000)).astype(np.float32)
    expected = ((features[:, None].astype(np.float64) - features[None]) ** 2).sum(2)
    np.testing.assert_allclose(squared_distances(features), expected, rtol=1e-9, atol=1e-6)
    unit = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    expected = ((unit[:, None] - unit[None]) ** 2).sum(2)
    np.testing.assert_allclose(squared_distances(features, normalise=True), expected, atol=1e-9)


def test_a_probe_measures_a_checkpoint_at_each_ratio(shards: Path, pre: Path) -> None:
    results = probe_features(pre, shards, replace(SETTINGS, ratios=(0.0, 0.5)))
    assert [(result.step, result.ratio) for result in results] == [(4, 0.0), (4, 0.5)]
    assert all(result.images == 18 and result.chance == pytest.approx(1 / 3) for result in results)
    assert all(0 <= result.accuracy <= 1 for result in results)


def test_every_step_of_a_run_is_measured_from_its_own_beginning(shards: Path, pre: Path, tmp_path: Path) -> None:
    results = probe_features(pre, shards, SETTINGS, every_step=True)
    assert [result.step for result in results] == [0, 2, 4]
    draw_probe(results, tmp_path / "fig2.png")
    assert read_image(tmp_path / "fig2.png").shape[2] == 3
    with pytest.raises(UsageError, match="no run is named"):
        probe_features(None, shards, SETTINGS, every_step=True)
    with pytest.raises(UsageError, match="is not a run with checkpoints"):
        probe_features(tmp_path, shards, SETTINGS, every_step=True)


def test_features_are_the_same_in_a_file_as_in_memory(shards: Path, pre: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = probe_features(pre, shards, SETTINGS)
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 1)
    assert probe_features(pre, shards, SETTINGS) == held


def test_the_released_protocol_and_hidden_places_change_what_is_measured(shards: Path, pre: Path) -> None:
    samples = open_shards(shards, "test")
    backbone = next(iter(module._backbones(pre, SETTINGS, False, 3)))[1].eval()
    plain = module._feature(backbone, samples, 0, SETTINGS)
    released = module._feature(backbone, samples, 0, replace(SETTINGS, protocol="released"))
    assert plain.shape == released.shape
    assert not np.array_equal(plain, released)
    half = module._feature(backbone, samples, 0, replace(SETTINGS, ratios=(0.5,)))
    everywhere = module._feature(backbone, samples, 0, replace(SETTINGS, ratios=(0.5,), everywhere=True))
    assert len(half) == len(plain) // 2
    assert len(everywhere) == len(plain)
    assert probe_features(pre, shards, replace(SETTINGS, protocol="released"))[0].images == 18


def test_features_lie_in_the_plane_and_are_drawn(shards: Path, pre: Path, tmp_path: Path) -> None:
    found = map_features(pre, shards, SETTINGS)
    assert found.points.shape == (18, 2)
    assert np.isfinite(found.points).all()
    assert np.bincount(found.labels).tolist() == [6, 6, 6]
    draw_map(found, tmp_path / "tsne.svg")
    assert (tmp_path / "tsne.svg").read_text().startswith("<?xml")
    with pytest.raises(UsageError, match=r"\.png, \.svg or \.pdf"):
        draw_map(found, tmp_path / "tsne.gif")


def test_too_few_images_are_told_of(tmp_path: Path, pre: Path) -> None:
    few = write_shards(tmp_path, train=1, test=2)
    with pytest.raises(UirError, match="a probe needs three"):
        probe_features(pre, few, SETTINGS)


def test_features_that_are_not_finite_are_counted_and_have_no_neighbours() -> None:
    features = np.ones((5, 7), dtype=np.float32)
    features[1, 2] = np.nan
    features[3, 0] = np.inf
    with pytest.raises(UirError, match="features of 2 of 5 images are NaN or infinite"):
        squared_distances(features)
