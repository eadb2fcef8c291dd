from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa

import uirdata.pipeline.publishing.card as module


def publication(**fields: Any) -> Any:
    return SimpleNamespace(**{"sources": {}, "lazy": False, **fields})


def test_contamination_counts_training_samples_alone_and_each_benchmark_of_theirs() -> None:
    table = pa.table({"overlaps": ["", "hide", "hide,urban100", "hide"], "split": ["train", "train", "train", "test"]})
    text = module._contamination(publication(table=table))
    assert "- 2 training samples show scenes of hide\n" in text
    assert "- 1 training samples show scenes of urban100\n" in text
    clean = pa.table({"overlaps": ["", "hide"], "split": ["train", "test"]})
    assert module._contamination(publication(table=clean)).startswith("None of the training samples")


def test_provenance_names_each_way_to_crop_once() -> None:
    info = {"crops": {"a": [0, 1], "b": [512, 256], "c": [512, 256]}, "codec": "webp", "seed": 3, "subsets": {"5d": []}}
    text = module._provenance(publication(info=info))
    assert "Crops: whole images, 512 x 512 at stride 256." in text
    assert "uir build-shards --subset 5d --seed 3 --codec webp\n" in text
