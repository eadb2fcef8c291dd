from __future__ import annotations

import pytest
import torch
from torch import Tensor

from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.masking import PatchMask
from maskdcpt.networks.classifier import classifier_for
from maskdcpt.networks.classify import named_classes
from maskdcpt.networks.networks import Networks
from tests.maskdcpt.small_networks import small


@pytest.mark.parametrize(("kind", "hidden"), [("maskdcpt", 0.25), ("dcpt", 0.0)])
def test_a_classifier_gets_images_masked_as_in_its_training(
    kind: str, hidden: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = small("nafnet", dtype=torch.float32)
    objective = ObjectiveConfig(kind=kind, mask_ratio=0.25, mask_patch=16)  # type: ignore[arg-type]
    networks = Networks(backbone, classifier_for(backbone, 3), objective=objective).eval()
    shown: list[float] = []
    encode = networks.encode

    def watched(image: Tensor, mask: PatchMask | None = None) -> object:
        shown.append(1 - mask.visible.float().mean().item() if mask else 0.0)
        return encode(image, mask)

    monkeypatch.setattr(networks, "encode", watched)
    images = torch.rand(3, 3, 61, 83, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = named_classes(networks, images)
    assert shown == pytest.approx([hidden], abs=0.03)
    with torch.inference_mode():
        assert together == [named_classes(networks, image[None])[0] for image in images]


def test_a_class_of_logits_that_are_not_finite_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = small("nafnet", dtype=torch.float32)
    networks = Networks(backbone, classifier_for(backbone, 3)).eval()
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, float("nan"), 2.0], [0.0, float("inf"), 2.0]])
    monkeypatch.setattr(networks, "classify", lambda _features: logits)
    with torch.inference_mode():
        assert named_classes(networks, torch.rand(3, 3, 32, 32)) == [2, None, None]
