from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from uir_cli.maskdcpt import program

from maskdcpt.backbones import create_backbone
from maskdcpt.training.loop import train
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.convert import import_weights, to_original
from maskdcpt.weights.export import _check_onnx, export_backbone
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.model_card import write_model_folder
from tests.hub import WRITER
from tests.maskdcpt.small_networks import small
from tests.maskdcpt.tiny import random_image, tiny_config, write_shards
from tests.uirdata.pipeline.publishing.published import online_hub
from uirdata.errors import PublishError, UirError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    shards = write_shards(folder / "shards", train=2, test=2)
    fine = train(tiny_config(shards, folder / "fine", "objective.kind=finetune", "optimizer.ema_decay=0.5")).run
    return {"fine": fine, "shards": shards}


def test_files_for_other_programs_load_back_the_same(runs: dict[str, Path], tmp_path: Path) -> None:
    original = load_checkpoint(runs["fine"])
    for ending in ("pth", "safetensors"):
        written = export_backbone(runs["fine"], tmp_path / f"net.{ending}")
        again = load_checkpoint(tmp_path / f"net.{ending}")
        assert again.backbone == original.backbone
        mine, theirs = original.weights("backbone"), again.weights("backbone")
        assert written.tensors == len(theirs)
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    both = torch.load(tmp_path / "net.pth", weights_only=True)
    assert both.keys() == {"params", "params_ema"}
    assert not torch.equal(both["params"]["intro.weight"], both["params_ema"]["intro.weight"])
    with pytest.raises(UsageError, match=r"\.pth, \.safetensors, \.onnx"):
        export_backbone(runs["fine"], tmp_path / "net.bin")


def test_metadata_describe_the_weights_and_not_this_machine(runs: dict[str, Path], tmp_path: Path) -> None:
    export_backbone(runs["fine"], tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["backbone"] == "nafnet"
    assert json.loads(metadata["size"])["width"] == 4
    assert metadata["objective"] == "finetune"
    assert str(runs["fine"].parent) not in json.dumps(metadata)


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
def test_the_original_layout_is_what_the_importer_reads(name: str) -> None:
    weights = small(name).state_dict()
    renamed = to_original(name, weights)
    assert renamed.keys() != weights.keys()
    again = import_weights(name, "original", renamed).weights
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[key], weights[key]) for key in weights)


def test_the_original_names_are_those_of_the_authors() -> None:
    nafnet = to_original("nafnet", small("nafnet").state_dict())
    assert {"encoders.0.0.conv1.weight", "middle_blks.0.beta", "decoders.0.0.gamma"} <= nafnet.keys()
    restormer = to_original("restormer", small("restormer").state_dict())
    assert {
        "encoder_level1.0.norm1.body.weight",
        "latent.0.attn.temperature",
        "down1_2.body.0.weight",
        "up4_3.body.0.weight",
        "refinement.0.ffn.project_in.weight",
    } <= restormer.keys()
    with pytest.raises(UsageError, match="swinir has no original layout"):
        to_original("swinir", {})


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("nafnet", {"width": 8, "enc_blk_nums": [1, 1, 1, 2]}),
        ("restormer", {"dim": 24, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1}),
    ],
)
def test_a_network_of_its_authors_loads_in_spandrel(name: str, size: dict[str, object], tmp_path: Path) -> None:
    spandrel = pytest.importorskip("spandrel", reason="spandrel is not installed: it needs torchvision")
    extra = pytest.importorskip("spandrel_extra_arches", reason="spandrel's other half is not installed")
    registry = spandrel.ArchRegistry()
    registry.add(*spandrel.MAIN_REGISTRY)
    registry.add(*extra.EXTRA_REGISTRY)
    torch.manual_seed(0)
    backbone = create_backbone(name, **size).eval()
    for parameter in backbone.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    torch.save({"params_ema": backbone.state_dict()}, tmp_path / "x.pth")
    export_backbone(tmp_path / "x.pth", tmp_path / "y.pth", layout="original")
    loaded = spandrel.ModelLoader(registry=registry).load_from_file(tmp_path / "y.pth")
    assert loaded.architecture.name.lower() == name
    image = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(image), backbone(image), rtol=1e-3, atol=1e-4)


def test_onnx_output_equals_torch_at_any_size(runs: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the onnx extra is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
    exported = export_backbone(runs["fine"], tmp_path / "net.onnx")
    assert "differs from torch by" in exported.checked
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    assert session.get_modelmeta().custom_metadata_map["multiple"] == "4"
    image = torch.from_numpy(random_image(1, 40, 52).astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = networks_of(load_checkpoint(runs["fine"])).backbone(image)
    (found,) = session.run(None, {"lq": image.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_onnx_names_what_it_needs(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(UirError, match="pip install onnx onnxscript"):
        export_backbone(runs["fine"], tmp_path / "net.onnx")


def test_a_model_repository_has_a_card_with_results_and_training_data(runs: dict[str, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(
        program,
        [
            "eval",
            "--checkpoint",
            str(runs["fine"]),
            "--shards",
            str(runs["shards"]),
            "--out",
            str(tmp_path / "r"),
            "-q",
        ],
    )
    assert result.exit_code == 0, result.output
    folder = write_model_folder(
        runs["fine"], tmp_path / "model", name="tiny", results=[tmp_path / "r"], licence="cc-by-nc-4.0"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (folder / "README.md").read_text()
    assert "license: cc-by-nc-4.0" in card
    assert "pipeline_tag: image-to-image" in card
    assert "Sources: tiny" in card
    assert "| low-light | 2 |" in card
    assert str(runs["fine"].parent) not in card
    assert json.loads((folder / "config.json").read_text())["size"]["width"] == 4
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    report["protocol"] |= {"y_channel": True, "quantise": True, "crop_border": 4}
    for row in report["by_degradation"]:
        row |= {"psnr": 30.25, "ssim": 0.5, "lq_psnr": 20.0, "learned": {"lpips": 0.125, "lq_lpips": 0.75}}
    (tmp_path / "r" / "report.json").write_text(json.dumps(report))
    folder = write_model_folder(runs["fine"], tmp_path / "again", name="tiny", results=[tmp_path / "r"])
    again = (folder / "README.md").read_text()
    assert "RGB, unrounded, whole images; mean over images." in card
    assert "luma, 8 bits, border of 4 left out; mean over images." in again
    assert "| | images | LQ PSNR | PSNR | SSIM | LPIPS |" in again
    assert "| low-light | 2 | 20.00 | 30.250 | 0.500 | 0.125 |" in again
    with pytest.raises(UirError, match="is not a report"):
        write_model_folder(runs["fine"], tmp_path / "other", name="tiny", results=[tmp_path])


def test_a_model_is_uploaded_to_the_hub_and_downloaded(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with online_hub(monkeypatch, tmp_path / "cache") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        export_backbone(runs["fine"], tmp_path / "net.pth")
        monkeypatch.setenv("HF_TOKEN", WRITER)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        args = ["export", "--checkpoint", str(runs["fine"]), "--hub", "me/tiny", "--json"]
        pushed = CliRunner().invoke(program, args)
        assert pushed.exit_code == 0, pushed.output
        assert json.loads(pushed.stdout)["link"] == f"{hub.url}/me/tiny"
        assert {"README.md", "config.json", "model.safetensors"} <= hub.tree("me/tiny").keys()
        again = load_checkpoint("hf://me/tiny")
        mine, theirs = load_checkpoint(runs["fine"]).weights("backbone"), again.weights("backbone")
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
        hub.add("me/old", {"nets/nafnet.pth": (tmp_path / "net.pth").read_bytes()})
        assert load_checkpoint("hf://me/old/nets/nafnet.pth").size == again.size
        refused = CliRunner().invoke(program, [*args[:-2], "somebody/tiny"])
        assert refused.exit_code == 1
        assert "the upload failed" in refused.output
    assert CliRunner().invoke(program, [*args[:-2], "tiny"]).exit_code == 2
    with pytest.raises(UsageError, match="is not the address of a model"):
        load_checkpoint("hf://tiny")
    assert issubclass(PublishError, UirError)


def test_export_shows_what_it_would_write_and_needs_an_output(runs: dict[str, Path], tmp_path: Path) -> None:
    args = ["export", "--checkpoint", str(runs["fine"])]
    assert CliRunner().invoke(program, args).exit_code == 2
    result = CliRunner().invoke(program, [*args, "--out", str(tmp_path / "x.pth"), "--dry-run"])
    assert result.exit_code == 0
    assert not (tmp_path / "x.pth").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, 3.0])
def test_an_onnx_model_whose_output_is_nan_does_not_pass_its_check(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest difference to NaN is neither larger nor smaller than what is allowed."""
    session = SimpleNamespace(run=lambda _, inputs: [np.full_like(inputs["lq"], value)])
    runtime = SimpleNamespace(InferenceSession=lambda *_args, **_kwargs: session, __version__="0")
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    with pytest.raises(UirError, match="differs from torch"):
        _check_onnx(b"", small("nafnet", dtype=torch.float32))
