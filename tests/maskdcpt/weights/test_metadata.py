"""The metadata of a stranger's weights are refused before anything is built, and before memory is taken for it."""

from __future__ import annotations

import functools
import itertools
import json
import socket
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maskdcpt.backbones.nafnet import NAFNet
from maskdcpt.config.toml import to_toml, with_settings
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.networks.networks import Networks
from maskdcpt.weights.build import classifier_before, networks_of
from maskdcpt.weights.checkpoints import CheckpointError
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import metadata_for, prune_checkpoints, save_checkpoint
from maskdcpt.weights.training_data import training_data

SIZE = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
CONFIG = with_settings(TrainConfig(), [f"model.size.{key}={value}" for key, value in SIZE.items()])
LABELS = ("noise", "haze")


def written(file: Path, **changes: str) -> Path:
    weights = Networks.create(CONFIG, len(LABELS)).named_weights()
    metadata = metadata_for(CONFIG, LABELS, 3, None) | changes
    save_file({f"params.{name}": weight.detach() for name, weight in weights.items()}, file, metadata)
    return file


def sized(**values: object) -> dict[str, str]:
    return {"size": json.dumps({**SIZE, **values})}


HOSTILE: dict[str, dict[str, str]] = {
    "ten million blocks": sized(enc_blk_nums=[10**7]),
    "blocks in the middle": sized(middle_blk_num=10**6),
    "width 0": sized(width=0),
    "width -1": sized(width=-1),
    "width x": sized(width="x"),
    "width 8.5": sized(width=8.5),
    "width true": sized(width=True),
    "width null": sized(width=None),
    "width 10**6": sized(width=10**6),
    "width 10**30": sized(width=10**30),
    "ten thousand stages": sized(enc_blk_nums=[1] * 10**4, dec_blk_nums=[1] * 10**4),
    "forty stages": sized(enc_blk_nums=[0] * 40, dec_blk_nums=[0] * 40),
    "nested list": sized(enc_blk_nums=[[1]]),
    "eps NaN": {"size": '{"width": 4, "norm_eps": NaN}'},
    "eps -1": sized(norm_eps=-1.0),
    "window": sized(window_size=2**18),
    "an argument of nobody": sized(depth=3),
    "size a list": {"size": "[1]"},
    "size is no JSON": {"size": "{"},
    "size is deep": {"size": "[" * 10**4 + "]" * 10**4},
    "a network of nobody": {"backbone": "resnet"},
    "a million classes": {"class_names": json.dumps([str(i) for i in range(10**6)])},
    "thousand classes": {"class_names": json.dumps([str(i) for i in range(1000)])},
    "classes of numbers": {"class_names": "[1, 2]"},
    "classes null": {"class_names": "null"},
    "one class twice": {"class_names": '["haze", "haze"]'},
    "a class of 10**6 letters": {"class_names": json.dumps(["x" * 10**6, "y"])},
    "step x": {"step": "x"},
    "step of 5,000 digits": {"step": "9" * 5000},
    "configuration is deep": {"config": "x = " + "[" * 10**4 + "]" * 10**4},
    "configuration is none": {"config": "[model]\nbackbone = 3"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_absurd_metadata_are_refused_before_anything_is_built(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "x.safetensors", **HOSTILE[name])
    real = NAFNet.__init__

    @functools.wraps(real)
    def on_meta(self: NAFNet, *args: object, **size: object) -> None:
        assert torch.empty(0).device.type == "meta", "memory was taken"
        real(self, *args, **size)  # type: ignore[arg-type]

    monkeypatch.setattr(NAFNet, "__init__", on_meta)
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        networks_of(load_checkpoint(file))


@pytest.mark.parametrize("key", ["backbone", "size", "class_names", "step", "config"])
def test_a_missing_entry_is_named(tmp_path: Path, key: str) -> None:
    file = written(tmp_path / "x.safetensors")
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"][key]
    text = json.dumps(header).encode().ljust(length)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(CheckpointError, match=f"'{key}' is missing"):
        load_checkpoint(file)


def test_a_file_of_a_later_release_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"later release \('maskdcpt-2'\)"):
        load_checkpoint(written(tmp_path / "x.safetensors", format="maskdcpt-2"))


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]}},
        {"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 5},
        [1],
    ],
)
@pytest.mark.parametrize("length", [None, 2**63 - 1, 10**9])
def test_headers_of_safetensors_with_absurd_offsets_are_refused(
    tmp_path: Path, header: object, length: int | None
) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length or len(text)) + text + bytes(4))
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize("score", ["nan", "inf", "x", "-inf"])
def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path, score: str) -> None:
    tensors = {"params.backbone.intro.weight": torch.ones(2)}
    for step, text in ((1, "20.0"), (2, score), (3, "19.0"), (4, "")):
        save_checkpoint(tmp_path, step, tensors, metadata_for(CONFIG, LABELS, step, None) | {"score": text}, {})
    prune_checkpoints(tmp_path, 1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000001", "step-000004"]
    assert metadata_for(CONFIG, LABELS, 1, float("nan"))["score"] == ""


def test_integers_of_the_right_shapes_are_no_weights(tmp_path: Path) -> None:
    weights = Networks.create(CONFIG, len(LABELS)).named_weights()
    file = tmp_path / "model.safetensors"
    metadata = metadata_for(CONFIG, LABELS, 3, None)
    save_file({f"params.{name}": weight.detach().to(torch.int32) for name, weight in weights.items()}, file, metadata)
    with pytest.raises(CheckpointError, match="is of int32, expected floats"):
        networks_of(load_checkpoint(file))


def started_from(file: Path, place: str, **settings: str) -> Path:
    changed = [f'init.checkpoint="{place}"', *(f'{key.replace("_", ".")}="{value}"' for key, value in settings.items())]
    return written(file, config=to_toml(with_settings(CONFIG, changed)))


def test_checkpoints_that_name_each_other_end(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    started_from(first, second.as_posix())
    started_from(second, first.as_posix())
    assert training_data(load_checkpoint(first)).sentences[-1].endswith("which started from itself.")
    long = [tmp_path / f"{number}.safetensors" for number in range(20)]
    for file, before in itertools.pairwise(long):
        started_from(file, before.as_posix())
    written(long[-1])
    assert "earlier stages are not listed" in training_data(load_checkpoint(long[0])).sentences[-1]


def test_nothing_is_downloaded_because_a_checkpoint_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    own = load_checkpoint(started_from(tmp_path / "a.safetensors", "hf://stranger/weights", data_shards="hf://x/y"))
    assert training_data(own).sentences[-1] == "Started from 'hf://stranger/weights', which is not here any more."
    assert classifier_before(own) is None


def test_paths_that_a_checkpoint_names_may_be_longer_than_any(tmp_path: Path) -> None:
    own = load_checkpoint(started_from(tmp_path / "a.safetensors", "x" * 5000, data_shards="y" * 5000))
    assert "not here any more" in training_data(own).sentences[1]
    assert classifier_before(own) is None


def test_shards_that_a_checkpoint_names_may_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"no parquet")
    own = load_checkpoint(started_from(tmp_path / "a.safetensors", "", data_shards=tmp_path.as_posix()))
    assert "sources that are not known any more" in training_data(own).sentences[0]
