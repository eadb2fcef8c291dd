"""Files of other releases are loaded or refused with the reason, wherever a checkpoint is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import CheckpointError
from maskdcpt.weights.convert import WeightsError
from maskdcpt.weights.load import load_checkpoint
from tests.maskdcpt.small_networks import random_image, small
from tests.maskdcpt.weights.test_convert import old_name


def theirs(folder: Path, name: str, **size: object) -> tuple[Path, torch.Tensor]:
    """Return a file with the names of a network's authors, and the output of the network."""
    network = small(name, dtype=torch.float32, **size)
    state = {old_name(name, key): tensor for key, tensor in network.state_dict().items()}
    file = folder / f"{name}.pth"
    torch.save({"params": state, "params_ema": state}, file)
    return file, network(random_image(1, 32, 32, dtype=torch.float32))


def test_nafnet_needs_no_prefix_and_keeps_its_eps(tmp_path: Path) -> None:
    file, expected = theirs(tmp_path, "nafnet", norm_eps=1e-6)
    for place in (file, f"original:{file}", f"dcpt:{file}"):
        loaded = load_checkpoint(place)
        assert loaded.size["norm_eps"] == 1e-6
        for kind in ("params", "params_ema"):
            assert torch.equal(
                networks_of(loaded, kind).backbone(random_image(1, 32, 32, dtype=torch.float32)), expected
            )


@pytest.mark.parametrize("name", ["restormer", "promptir"])
def test_others_need_a_prefix_and_then_compute_the_same(tmp_path: Path, name: str) -> None:
    size = {"dim": 48, "prompt_dims": [64, 128, 320], "prompt_sizes": [64, 32, 16]} if name == "promptir" else {}
    file, expected = theirs(tmp_path, name, **size)
    with pytest.raises(WeightsError, match="original:FILE"):
        load_checkpoint(file)
    with pytest.raises(WeightsError, match="ReLU"):
        load_checkpoint(f"dcpt:{file}")
    restored = networks_of(load_checkpoint(f"original:{file}")).backbone(random_image(1, 32, 32, dtype=torch.float32))
    assert (restored - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["layers.0.residual_group.blocks.0.attn.relative_position_bias_table", "conv_first.weight"], "position bias"),
        (["layers.0.residual_group.blocks.0.attn.qkv.weight", "conv_first.weight"], "not known"),
    ],
)
def test_swinir_of_others_is_refused(tmp_path: Path, keys: list[str], reason: str) -> None:
    torch.save({"params": {key: torch.zeros(3, 3, 3, 3) for key in keys}}, tmp_path / "swinir.pth")
    with pytest.raises(WeightsError, match=reason) as error:
        load_checkpoint(tmp_path / "swinir.pth")
    assert "swinir.pth" in str(error.value)


def test_a_published_file_is_not_anothers(tmp_path: Path) -> None:
    torch.save({"params": small("nafnet").state_dict()}, tmp_path / "ours.pth")
    with pytest.raises(CheckpointError, match="omit original:"):
        load_checkpoint(f"original:{tmp_path / 'ours.pth'}")


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_weight_too_few_or_too_many_is_named(tmp_path: Path, change: str) -> None:
    state = small("restormer").state_dict()
    if change == "missing":
        del state["latent.blocks.0.norm1.bias"]
    elif change == "extra":
        state["latent.blocks.0.extra"] = torch.zeros(1)
    else:
        state["latent.blocks.0.norm1.bias"] = torch.zeros(3)
    torch.save({"params": state}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"latent\.blocks\.0"):
        networks_of(load_checkpoint(tmp_path / "odd.pth"))
