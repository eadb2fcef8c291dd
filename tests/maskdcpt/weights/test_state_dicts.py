"""Weights in the layouts in which people save them are loaded, or refused with the true reason."""

from __future__ import annotations

import argparse
import copy
import logging
import math
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from maskdcpt.weights.build import load_exactly, networks_of
from maskdcpt.weights.checkpoints import CheckpointError
from maskdcpt.weights.convert import WeightsError
from maskdcpt.weights.export import export_backbone
from maskdcpt.weights.load import load_checkpoint
from tests.maskdcpt.small_networks import random_image, small
from tests.maskdcpt.weights.test_foreign_weights import theirs

State = dict[str, Tensor]


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


LAYOUTS: dict[str, Callable[[State], object]] = {
    "compiled.pth": lambda state: {"params": prefixed("_orig_mod.", state)},
    "compiled parts.pth": lambda state: {key.replace("blocks.", "blocks._orig_mod."): v for key, v in state.items()},
    "module-compiled.pth": lambda state: prefixed("module._orig_mod.", state),
    "lightning.ckpt": lambda state: {"state_dict": prefixed("net.", state), "epoch": 3, "hyper_parameters": {}},
    "other-prefix.ckpt": lambda state: {"state_dict": prefixed("model.restorer.", state)},
    "model.pth": lambda state: {"model": state, "optimizer": {"state": {}}},
    "net.pth": lambda state: {"net": state},
    "model_state_dict.pth": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}},
    "nested.pth": lambda state: {"checkpoint": {"model": state}},
    "params_g.pth": lambda state: {"params_g": state, "params_d": {"conv0.weight": torch.zeros(1)}},
    "numpy.pth": lambda state: {"state_dict": state, "best": np.float64(30.1), "n": np.int32(2)},
    "upper.PTH": lambda state: state,
    "model.pth.tar": lambda state: {"state_dict": state},
    "pytorch_model.bin": lambda state: state,
    "weights.pkl": lambda state: state,
    "noending": lambda state: state,
    "really-a-pickle.safetensors": lambda state: state,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_are_found_in_every_layout(tmp_path: Path, name: str) -> None:
    network = small("nafnet", dtype=torch.float32)
    torch.save(LAYOUTS[name](network.state_dict()), tmp_path / name)
    image = random_image(1, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(networks_of(load_checkpoint(tmp_path / name)).backbone(image), network(image))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "net."])
@pytest.mark.parametrize("name", ["x.safetensors", "x.weights"])
def test_safetensors_have_prefixes_and_any_name(tmp_path: Path, prefix: str, name: str) -> None:
    state = small("restormer").state_dict()
    save_file(prefixed(prefix, state), tmp_path / name)
    assert load_checkpoint(tmp_path / name).weights("backbone").keys() == state.keys()


def test_promptir_of_its_authors_lightning_module(tmp_path: Path) -> None:
    file, expected = theirs(tmp_path, "promptir", dim=48, prompt_dims=[64, 128, 320], prompt_sizes=[64, 32, 16])
    state = torch.load(file, weights_only=True)["params"]
    torch.save({"state_dict": prefixed("net.", state), "pytorch-lightning_version": "2.0.1"}, file)
    restored = networks_of(load_checkpoint(f"original:{file}")).backbone(random_image(1, 32, 32, dtype=torch.float32))
    assert (restored - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_old_format_of_torch_is_read(tmp_path: Path) -> None:
    state = small("nafnet").state_dict()
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_checkpoint(tmp_path / "old.pth").weights("backbone").keys() == state.keys()


def test_an_ema_beside_the_weights_is_used_as_such(tmp_path: Path) -> None:
    state = small("nafnet").state_dict()
    averaged = {key: value + 1 for key, value in state.items()}
    for name, content in {
        "wrapped": {"model": state, "model_ema": averaged},
        "prefixed": {"state_dict": prefixed("net.", state) | prefixed("ema.", averaged)},
    }.items():
        torch.save(content, tmp_path / name)
        loaded = load_checkpoint(tmp_path / name)
        assert torch.equal(loaded.weights("backbone", "params")["intro.weight"], state["intro.weight"])
        assert torch.equal(loaded.weights("backbone")["intro.weight"], averaged["intro.weight"])


def test_weights_beside_the_network_are_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = small("nafnet").state_dict()
    torch.save({"state_dict": prefixed("net.", state) | {"loss.vgg.weight": torch.zeros(1)}}, tmp_path / "x.ckpt")
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(tmp_path / "x.ckpt").weights("backbone").keys() == state.keys()
    assert "1 weights beside those of the network are left out; the first is 'loss.vgg.weight'" in caplog.text


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        networks_of(load_checkpoint(path))
    assert str(path) in str(error.value)
    return str(error.value).removeprefix(str(path))


REFUSED: dict[str, tuple[Callable[[State], object], str]] = {
    "int keys": (lambda _: {0: torch.zeros(1), 1: torch.zeros(1)}, "no nafnet"),
    "params 5": (lambda _: {"params": 5}, "no nafnet"),
    "params none": (lambda _: {"params": None, "state_dict": [1]}, "no nafnet"),
    "int32": (lambda state: {key: value.to(torch.int32) for key, value in state.items()}, "int32, expected floats"),
    "complex": (lambda state: {key: value.to(torch.complex64) for key, value in state.items()}, "complex64"),
    "two": (lambda state: {"a": state, "b": dict(state)}, r"several networks \('a', 'b'\)"),
    "two prefixes": (lambda state: prefixed("x.", state) | prefixed("y.", state), r"several networks \('x', 'y'\)"),
    "expanded": (
        lambda state: state | {"intro.weight": torch.zeros(1).expand(10**6, 3, 3, 3)},
        "more than the file holds",
    ),
    "shared": (lambda state: dict.fromkeys(state, state["intro.weight"]), "but the file holds"),
    "counts beside": (
        lambda state: state | {"norm.num_batches_tracked": torch.tensor(3)},
        "'norm.num_batches_tracked' is unexpected. The file is incomplete",
    ),
    "control": (lambda state: state | {"\x1b[2J": torch.zeros(1)}, r"'\\x1b\[2J' is unexpected"),
    "text of numpy": (lambda state: {"params": state, "best": np.str_("30")}, "NumPy other than numbers"),
    "date of numpy": (lambda state: {"params": state, "day": np.datetime64("2026-01-01")}, "its type 'M8'"),
    "nan": (lambda state: state | {"ending.bias": torch.full((3,), math.nan)}, "1 of .* weights are NaN or infinite"),
    "inf": (lambda state: state | {"ending.bias": torch.full((3,), math.inf)}, "such as 'ending.bias'"),
    "sparse": (lambda state: state | {"intro.weight": torch.zeros(8, 3).to_sparse()}, "sparse"),
    "stage 10**7": (lambda state: state | {"encoders.10000000.blocks.0.conv1.weight": torch.zeros(1)}, "no nafnet"),
    "block 10**4000": (lambda state: state | {f"encoders.0.blocks.1{'0' * 4500}.x": torch.zeros(1)}, "no nafnet"),
    "namespace": (lambda state: {"state_dict": state, "opt": argparse.Namespace(a=1)}, "argparse.Namespace"),
    "module": (lambda _: small("nafnet"), r"objects other than tensors \(maskdcpt\.backbones\.nafnet\.NAFNet\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_content_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    make, reason = REFUSED[name]
    torch.save(make(small("nafnet").state_dict()), tmp_path / "x.pth")
    message = refused(tmp_path / "x.pth")
    assert re.search(reason, message), message
    assert "again" not in message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"<!DOCTYPE html>", "an HTML or XML text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"hello", "it begins with b'hello'"),
        (pickle.dumps({"weights": [1.0]}), "a pickle that torch.save did not write"),
        (pickle.dumps(print), "a pickle that torch.save did not write"),
        (bytes(257) + b"ustar" + bytes(250), "a tar archive"),
    ],
    ids=["png", "html", "lfs", "text", "pickle", "pickled function", "tar"],
)
@pytest.mark.parametrize("name", ["photo.png", "x.pth", "x.safetensors"])
def test_files_of_other_kinds_are_named_and_need_no_copy(tmp_path: Path, data: bytes, reason: str, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    message = refused(tmp_path / name)
    assert re.search("is not a (file of weights|safetensors file)", message)
    assert reason in message
    assert "again" not in message


def test_damage_of_a_pickled_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save(small("nafnet").state_dict(), file)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert "is truncated" in refused(file)
    # One bit of a weight, of which torch takes no notice.
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    file.write_bytes(damaged)
    assert "does not have the checksum" in refused(file)
    file.write_bytes(b"")
    assert "is empty" in refused(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("nafnet.txt", "weights")
    assert "not one of torch" in refused(file)


def test_parts_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save(small("nafnet").state_dict(), file)
    with zipfile.ZipFile(file, "a") as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
        for number in range(20):
            again = copy.copy(largest)
            again.filename = f"archive/data/{1000 + number}"
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]
    assert "more than the file itself" in refused(file)


def test_a_network_without_width_is_none_of_ours(tmp_path: Path) -> None:
    state = small("swinir").state_dict()
    torch.save(state | {"conv_first.weight": torch.zeros(0, 3, 3, 3)}, tmp_path / "x.pth")
    assert "no nafnet, swinir" in refused(tmp_path / "x.pth")


def test_integers_beside_the_weights_of_others_hide_no_reason(tmp_path: Path) -> None:
    names = ("relative_position_bias_table", "relative_position_index")
    prefix = "layers.0.residual_group.blocks.0.attn."
    values = (torch.zeros(225, 6), torch.zeros(64, 64, dtype=torch.int64))
    state = {"conv_first.weight": torch.zeros(8, 3, 3, 3)} | dict(zip([prefix + n for n in names], values, strict=True))
    torch.save({"params": state}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="position bias"):
        load_checkpoint(tmp_path / "x.pth")


def test_weights_that_are_not_finite_are_neither_exported_nor_the_start_of_a_training(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save(small("nafnet").state_dict() | {"ending.bias": torch.full((3,), math.nan)}, file)
    for ending in (".pth", ".safetensors"):
        with pytest.raises(CheckpointError, match="weights are NaN or infinite"):
            export_backbone(file, tmp_path / f"out{ending}")
    with pytest.raises(CheckpointError, match="weights are NaN or infinite"):
        load_exactly(small("nafnet"), load_checkpoint(file), "backbone", "params")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


class Pickled:
    """Pickled as a call of a function of NumPy, as a stranger may write it."""

    def __init__(self, function: object, *args: object) -> None:
        self._call = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._call[0], self._call[1]


SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value",
    [
        Pickled(SCALAR, np.dtype("V999999999")),
        Pickled(SCALAR, np.dtype("f8"), b""),
        Pickled(SCALAR, np.dtype("f8")),
        Pickled(np.dtype, "U99999999"),
        Pickled(np.dtype, [("a", "f8")]),
        Pickled(np.dtype, "O"),
        np.str_("text"),
        np.zeros(3),
    ],
    ids=["void", "no bytes", "no data", "text type", "fields", "objects", "text", "array"],
)
def test_only_numbers_of_numpy_are_read(tmp_path: Path, value: object) -> None:
    torch.save({"state_dict": small("nafnet").state_dict(), "best": value}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth")


def test_a_pickle_cannot_change_the_types_of_numpy(tmp_path: Path) -> None:
    class Swapped:
        def __reduce__(self) -> tuple[object, ...]:
            return np.dtype, ("f8", False, False), (3, ">", None, None, None, -1, -1, 0)

    torch.save({"state_dict": small("nafnet").state_dict(), "best": Swapped()}, tmp_path / "x.pth")
    load_checkpoint(tmp_path / "x.pth")
    assert np.dtype("f8").isnative


def test_dicts_under_many_names_are_looked_through_once(tmp_path: Path) -> None:
    content: dict[str, object] = {"conv.weight": torch.zeros(1)}
    for _ in range(4):
        content = {str(name): content for name in range(1000)}
    torch.save(content, tmp_path / "x.pth")
    assert "no nafnet" in refused(tmp_path / "x.pth")


def test_compressed_parts_could_unpack_to_any_size_and_are_refused(tmp_path: Path) -> None:
    torch.save(small("nafnet").state_dict(), tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as plain,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in plain.namelist():
            packed.writestr(part, plain.read(part))
    assert "is compressed" in refused(tmp_path / "y.pth")
