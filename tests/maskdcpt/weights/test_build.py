from __future__ import annotations

from pathlib import Path

import pytest
import torch

from maskdcpt import load_backbone, load_checkpoint
from maskdcpt.config.toml import with_settings
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.networks.networks import Networks
from maskdcpt.weights.checkpoints import CheckpointError
from maskdcpt.weights.save import metadata_for, save_checkpoint
from uirdata.errors import UsageError

SIZE = ["model.size.width=4", "model.size.enc_blk_nums=[1, 2]", "model.size.dec_blk_nums=[1, 1]"]


def saved(run: Path, kind: str) -> Networks:
    """Save a checkpoint whose EMA differs from its raw weights; return its networks."""
    config = with_settings(TrainConfig(), [*SIZE, f'objective.kind="{kind}"'])
    networks = Networks.create(config, 2)
    tensors = {f"params.{name}": weight for name, weight in networks.named_weights().items()}
    tensors |= {f"params_ema.{name}": weight * 1.5 for name, weight in networks.named_weights().items()}
    save_checkpoint(run, 7, tensors, metadata_for(config, ("noise", "haze"), 7, None), {})
    return networks


@pytest.mark.parametrize("kind", ["finetune", "maskdcpt"])
def test_a_backbone_can_be_called_with_the_ema_or_the_raw_weights(tmp_path: Path, kind: str) -> None:
    networks = saved(tmp_path, kind)
    assert load_checkpoint(tmp_path).restores == (kind == "finetune")
    averaged, plain = load_backbone(tmp_path), load_backbone(str(tmp_path), weights="params")
    assert not averaged.training
    assert not plain.training
    image = torch.rand(2, 3, 16, 32)
    with torch.inference_mode():
        assert torch.equal(plain(image), networks.backbone(image))
        assert not torch.equal(averaged(image), plain(image))
    for name, weight in networks.backbone.state_dict().items():
        assert torch.equal(averaged.state_dict()[name], weight * 1.5)
    assert averaged.restore(image[..., :13, :29]).shape == (2, 3, 13, 29)
    assert [feature.shape[0] for feature in averaged.features(image)] == [2] * len(averaged.feature_channels)


def test_other_weights_and_places_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, "finetune")
    with pytest.raises(UsageError, match=r"no weights 'ema'.*params_ema"):
        load_backbone(tmp_path, weights="ema")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_backbone(tmp_path / "nothing")
    with pytest.raises(UsageError, match="is not the address of a model"):
        load_backbone("hf://nothing")
