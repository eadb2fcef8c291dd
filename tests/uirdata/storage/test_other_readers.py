from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pyarrow.parquet
import pytest
from PIL import Image

from tests.uirdata.pipeline.building.test_build import run
from uirdata import open_shards
from uirdata.storage.reading import ShardItem


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    run(folder, folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="module")
def ours(pool: Path) -> dict[str, ShardItem]:
    return {item.key: item for item in open_shards(pool, "train")}


def tars(pool: Path) -> list[str]:
    return sorted(str(path) for path in (pool / "train").rglob("*.tar"))


def rgb(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_webdataset_sees_the_same_samples_and_pixels(pool: Path, ours: dict[str, ShardItem]) -> None:
    import webdataset

    theirs = {s["__key__"]: s for s in webdataset.WebDataset(tars(pool), shardshuffle=False).decode("rgb8")}
    assert set(theirs) == set(ours)
    for key, sample in theirs.items():
        assert np.array_equal(sample["gt.webp"], ours[key].gt)
        assert np.array_equal(sample["lq.webp"], ours[key].lq)
        assert sample["json"]["degradation"] == ours[key].record.degradation


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_sees_the_same_samples_and_pixels(
    pool: Path, ours: dict[str, ShardItem], streaming: bool, tmp_path: Path
) -> None:
    import datasets

    loaded = datasets.load_dataset(
        "webdataset", data_files={"train": tars(pool)}, split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    seen = 0
    for row in loaded:
        item = ours[row["__key__"]]
        assert np.array_equal(np.asarray(row["gt.webp"].convert("RGB")), item.gt)
        assert np.array_equal(np.asarray(row["lq.webp"].convert("RGB")), item.lq)
        assert row["json"]["level"] == item.record.level
        seen += 1
    assert seen == len(ours)


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar command on this machine")
def test_tar_unpacks_them(pool: Path, ours: dict[str, ShardItem], tmp_path: Path) -> None:
    for path in tars(pool):
        subprocess.run(["tar", "-xf", path, "-C", str(tmp_path)], check=True)
    assert {p.name.split(".")[0] for p in tmp_path.iterdir()} == set(ours)
    key, item = next(iter(ours.items()))
    assert np.array_equal(rgb((tmp_path / f"{key}.lq.webp").read_bytes()), item.lq)


def test_the_manifest_is_one_table_to_pyarrow_and_its_offsets_are_true(pool: Path, ours: dict[str, ShardItem]) -> None:
    table = pyarrow.dataset.dataset(pool / "manifest.parquet").to_table()
    assert pyarrow.parquet.read_table(pool / "manifest.parquet").num_rows == table.num_rows
    rows = [row for row in table.to_pylist() if row["split"] == "train"]
    assert {row["key"] for row in rows} == set(ours)
    for row in rows[::7]:
        with (pool / row["shard"]).open("rb") as file:
            file.seek(row["lq_offset"])
            assert np.array_equal(rgb(file.read(row["lq_size"])), ours[row["key"]].lq)


def test_workers_of_torch_read_the_same_items(pool: Path, ours: dict[str, ShardItem]) -> None:
    import torch

    loader = torch.utils.data.DataLoader(open_shards(pool, "train"), batch_size=None, num_workers=2)
    items = list(loader)
    assert len(items) == len(open_shards(pool, "train")) > 0
    for item in items:
        assert np.array_equal(item.lq, ours[item.key].lq)
