"""Helpers of several tests: synthetic images made from a seed, and small source trees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from uirdata.images import RgbImage, encode_image

if TYPE_CHECKING:
    from tests.hub import Hub

# A slow machine must not fail an example.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def synthetic_image(height: int, width: int, seed: int = 0) -> RgbImage:
    """Return a smooth scene with edges and texture, which behaves like a photograph in every operation; by seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = []
    for _ in range(3):
        fx, fy, phase = *rng.uniform(0.02, 0.15, 2).tolist(), rng.uniform(0, 6)
        wave = 110 + 60 * np.sin(fx * x + fy * y + phase) + rng.normal(0, 4, (height, width))
        edge = np.where(x * np.cos(phase) + y * np.sin(phase) > (height + width) * rng.uniform(0.1, 0.4), 40, -40)
        planes.append(wave + edge)
    return np.clip(np.rint(np.stack(planes, axis=2)), 0, 255).astype(np.uint8)


def write_png(path: Path, image: RgbImage) -> Path:
    """Write an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(image, "png"))
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small shards; tests read it, and copy it to change it."""
    from tests.uirdata.pipeline.building.test_build import run

    folder = tmp_path_factory.mktemp("built")
    run(folder, folder / "shards")
    return folder / "shards"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub on the loopback interface, empty."""
    from tests.uirdata.pipeline.publishing.published import online_hub

    with online_hub(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture(autouse=True)
def _no_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate tests from the user's own settings and from the Hub."""
    for name in ("UIR_ROOT", "UIR_MANIFESTS", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
