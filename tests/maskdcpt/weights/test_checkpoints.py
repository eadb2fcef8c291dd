from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import maskdcpt.weights.save as module
from maskdcpt.backbones import create_backbone
from maskdcpt.config.toml import with_settings
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.networks.networks import Networks
from maskdcpt.weights.build import load_exactly, networks_of
from maskdcpt.weights.checkpoints import MODEL, STATE, CheckpointError, checkpoint_folders
from maskdcpt.weights.export import export_backbone
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import load_state, metadata_for, prune_checkpoints, save_checkpoint
from uirdata.errors import StorageError, UsageError

CONFIG = with_settings(
    TrainConfig(), ["model.size.width=4", "model.size.enc_blk_nums=[1, 2]", "model.size.dec_blk_nums=[1, 1]"]
)
LABELS = ("noise+real-noise", "haze", "jpeg")


def saved(run: Path, step: int = 7, score: float | None = None) -> tuple[Path, Networks]:
    networks = Networks.create(CONFIG, len(LABELS))
    tensors = {f"params.{name}": weight for name, weight in networks.named_weights().items()}
    tensors |= {f"params_ema.{name}": weight + 1 for name, weight in networks.named_weights().items()}
    return save_checkpoint(run, step, tensors, metadata_for(CONFIG, LABELS, step, score), {"step": step}), networks


def test_a_checkpoint_restores_weights_labels_sizes_and_configuration(tmp_path: Path) -> None:
    folder, networks = saved(tmp_path)
    for place in (tmp_path, folder, folder / MODEL):
        loaded = load_checkpoint(place)
        assert (loaded.backbone, loaded.class_names, loaded.step, loaded.config) == ("nafnet", LABELS, 7, CONFIG)
        assert loaded.size == {"width": 4, "enc_blk_nums": (1, 2), "dec_blk_nums": (1, 1)}
        for name, weight in networks.named_weights().items():
            assert torch.equal(loaded.params[name], weight)
            assert torch.equal(loaded.params_ema[name], weight + 1)
    image = torch.rand(1, 3, 16, 16)
    again = networks_of(loaded, "params")
    assert torch.equal(again.backbone(image), networks.backbone(image))
    features = networks.backbone.features(image)
    assert torch.equal(again.classify(features), networks.classify(features))
    assert load_state(folder)["step"] == 7


def test_a_checkpoint_of_a_release_with_other_keys_still_loads(tmp_path: Path) -> None:
    _, networks = saved(tmp_path)
    metadata = metadata_for(CONFIG, LABELS, 8, None)
    metadata["config"] = metadata["config"].replace("[loop]", "[loop]\nflux = 3").replace("name =", "title = 1\nname =")
    tensors = {f"params.{name}": weight for name, weight in networks.named_weights().items()}
    save_checkpoint(tmp_path, 8, tensors, metadata, {})
    assert load_checkpoint(tmp_path).config == CONFIG


@pytest.mark.parametrize("written", ["runs/😀", r"runs/\ud83d\ude00"], ids=["now", "by earlier versions"])
def test_a_run_whose_folder_has_an_emoji_keeps_its_weights(tmp_path: Path, written: str) -> None:
    config = replace(CONFIG, out="runs/😀")
    metadata = metadata_for(config, LABELS, 1, None)
    metadata["config"] = metadata["config"].replace("runs/😀", written)
    save_checkpoint(tmp_path, 1, {"params.backbone.intro.weight": torch.ones(2)}, metadata, {})
    assert load_checkpoint(tmp_path).config == config


@pytest.mark.parametrize("name", [MODEL, STATE])
def test_a_truncated_file_is_named_in_the_error(tmp_path: Path, name: str) -> None:
    folder, _ = saved(tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder) if name == MODEL else load_state(folder)


def test_a_partly_written_folder_is_no_checkpoint(tmp_path: Path) -> None:
    first, _ = saved(tmp_path, 1)
    half = tmp_path / "checkpoints" / ".step-000002.part"
    half.mkdir()
    (half / MODEL).write_bytes(b"half")
    assert checkpoint_folders(tmp_path) == [first]
    assert load_checkpoint(tmp_path).step == 1


def test_a_full_disk_is_an_error_and_the_earlier_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        saved(tmp_path, 2)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path).step == 1
    saved(tmp_path, 2)
    assert load_checkpoint(tmp_path).step == 2


def test_a_checkpoint_is_written_where_folders_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", refuse)
    folder = save_checkpoint(tmp_path, 5, {"x": torch.zeros(2)}, metadata_for(TrainConfig(), (), 5, None), {"step": 5})
    assert load_state(folder)["step"] == 5


def test_a_disk_that_returns_other_bytes_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.save_file

    def flipped(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        real(tensors, path, metadata=metadata)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr(module, "save_file", flipped)
    with pytest.raises(StorageError, match="not what was written"):
        saved(tmp_path)
    assert checkpoint_folders(tmp_path) == []


def test_nan_weights_are_still_written(tmp_path: Path) -> None:
    tensors = {"params.backbone.intro.weight": torch.full((2,), float("nan"))}
    assert save_checkpoint(tmp_path, 1, tensors, metadata_for(CONFIG, LABELS, 1, None), {}).is_dir()


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, score in ((1, 20.0), (2, 30.0), (3, None), (4, 25.0), (5, None)):
        saved(tmp_path, step, score)
    prune_checkpoints(tmp_path, 2)
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-000002", "step-000004", "step-000005"]


PUBLISHED = {
    "nafnet": {"width": 4, "enc_blk_nums": [1, 2], "middle_blk_num": 2, "dec_blk_nums": [1, 1]},
    "swinir": {"embed_dim": 30, "depths": [1, 1, 2, 1, 1, 1], "num_heads": [1] * 6, "mlp_ratio": 2.0},
    "restormer": {"dim": 8, "num_blocks": [1, 2, 1, 1], "num_refinement_blocks": 1, "heads": [1, 2, 2, 4]},
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("form", ["both", "params only", "bare", "module."])
def test_published_files_are_detected_by_their_keys(tmp_path: Path, name: str, form: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, **PUBLISHED[name])
    weights = backbone.state_dict()
    averaged = {key: value + 1 for key, value in weights.items()}
    content = {
        "both": {"params": weights, "params_ema": averaged},
        "params only": {"params": weights},
        "bare": weights,
        "module.": {"params": {f"module.{key}": value for key, value in weights.items()}},
    }[form]
    torch.save(content, tmp_path / "published.pth")
    loaded = load_checkpoint(tmp_path / "published.pth")
    assert loaded.backbone == name
    assert loaded.restores
    expected = averaged if form == "both" else weights
    assert all(torch.equal(loaded.weights("backbone")[key], value) for key, value in expected.items())
    rebuilt = networks_of(loaded, "params").backbone
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(rebuilt(image), backbone(image))


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3},
        [1, 2],
        {"params": {"conv1.weight": torch.zeros(1)}},
        # Key names that many networks begin with.
        {"params": {"conv_first.weight": torch.zeros(4, 3, 3, 3)}},
        {"params": {"patch_embed.proj.weight": torch.zeros(4, 3, 3, 3)}},
        {"params": {"patch_embed.proj.weight": torch.tensor(0.0)}},
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: (no nafnet|contains a list)"):
        load_checkpoint(tmp_path / "other.pth")


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (ran,)

    torch.save({"params": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match="contains objects other than tensors"):
        load_checkpoint(tmp_path / "bomb.pth")
    assert not ran.exists()


def test_missing_files_and_files_without_weights_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="contains no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(tmp_path / "text.safetensors")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"its first keys are 'conv\.weight'"):
        load_checkpoint(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_an_export_can_be_loaded(tmp_path: Path, ending: str) -> None:
    saved(tmp_path)
    out = tmp_path / f"exported{ending}"
    assert export_backbone(tmp_path, out).tensors == len(load_checkpoint(tmp_path).weights("backbone"))
    own, other = load_checkpoint(tmp_path), load_checkpoint(out)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(networks_of(own).backbone(image), networks_of(other).backbone(image))
    if ending == ".pth":
        content = torch.load(out, weights_only=True)
        assert content.keys() == {"params", "params_ema"}


def test_an_export_of_another_kind_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UsageError, match=r"expected one of \.pth, \.safetensors"):
        export_backbone(tmp_path, tmp_path / "x.bin")


@pytest.mark.parametrize("kind", ["ema", "raw", ""])
def test_an_unknown_kind_of_weights_is_refused_and_not_taken_for_raw_weights(tmp_path: Path, kind: str) -> None:
    saved(tmp_path)
    loaded = load_checkpoint(tmp_path)
    backbone = networks_of(loaded).backbone
    with pytest.raises(UsageError, match=f"no weights '{kind}': a checkpoint has params and params_ema"):
        loaded.weights("backbone", kind)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="params and params_ema"):
        networks_of(loaded, kind)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="params and params_ema"):
        load_exactly(backbone, loaded, "backbone", kind)  # type: ignore[arg-type]
    for ending in (".pth", ".safetensors"):
        with pytest.raises(UsageError, match="params and params_ema"):
            export_backbone(loaded, tmp_path / f"out{ending}", kind)  # type: ignore[arg-type]
        assert not (tmp_path / f"out{ending}").exists()


def test_an_unknown_network_is_refused_and_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UsageError, match="no network 'decoder'"):
        load_checkpoint(tmp_path).weights("decoder")  # type: ignore[arg-type]


def test_an_export_in_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UsageError, match="no layout 'orignal': did you mean 'original'"):
        export_backbone(tmp_path, tmp_path / "out.pth", layout="orignal")  # type: ignore[arg-type]
    assert not (tmp_path / "out.pth").exists()
