from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskdcpt.config.objective_kinds import OBJECTIVE_TRAITS, ObjectiveKind
from maskdcpt.config.toml import with_settings
from maskdcpt.config.train_config import ObjectiveConfig, TrainConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import PatchMask, random_patch_mask
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives import OBJECTIVES, losses_of, pretraining_losses
from maskdcpt.objectives.losses import accuracy, focal_loss, pixel_loss
from uirdata.errors import UsageError


def networks(kind: str, *settings: str) -> Networks:
    """Return a small NAFNet with heads; weights are perturbed, as initial zeros would hide a mistake."""
    size = ["model.size.width=4", "model.size.enc_blk_nums=[1, 1]", "model.size.dec_blk_nums=[1, 1]"]
    made = Networks.create(with_settings(TrainConfig(), [*size, f"objective.kind={kind}", *settings]), 3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lq, gt = torch.rand(2, 3, 32, 32, generator=generator), torch.rand(2, 3, 32, 32, generator=generator)
    return Batch(lq, gt, torch.tensor([0, 2]))


def mask(patch: int = 8) -> PatchMask:
    return random_patch_mask(2, 32, 32, patch, 0.5, torch.Generator().manual_seed(1))


MASKED = [kind for kind, objective in OBJECTIVES.items() if objective.traits.masked]


def test_the_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, label = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 5
    torch.testing.assert_close(focal_loss(logits, label, 0.0), F.cross_entropy(logits, label))


def test_the_focal_loss_has_the_value_of_its_formula() -> None:
    # p of the true class is 0.8 and 0.5: (0.2^2 * -ln 0.8 + 0.5^2 * -ln 0.5) / 2.
    logits = torch.tensor([[math.log(0.8), math.log(0.2)], [math.log(0.5), math.log(0.5)]])
    assert float(focal_loss(logits, torch.tensor([0, 1]))) == pytest.approx(0.09110627, abs=1e-6)


def test_the_focal_loss_has_a_finite_gradient_at_probability_one() -> None:
    logits = torch.tensor([[80.0, 0.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_pixel_losses_have_the_values_of_their_formulas() -> None:
    image, target = torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)
    assert float(pixel_loss(image, target)) == pytest.approx(0.1)
    assert float(pixel_loss(image, target, "charbonnier")) == pytest.approx(math.sqrt(0.01 + 1e-6))
    assert float(pixel_loss(image, target, "psnr")) == pytest.approx(-10.0, abs=1e-4)


def test_accuracy_is_a_share() -> None:
    assert float(accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))) == 0.5


def test_maskdcpt_adds_both_terms_with_their_weights() -> None:
    made, objective = networks("maskdcpt"), ObjectiveConfig(pixel_weight=0.5, classification_weight=3.0)
    losses = pretraining_losses(made, batch(), mask(), objective)
    torch.testing.assert_close(losses.total, 0.5 * losses.pixel + 3.0 * losses.classification)
    image = made.reconstruct(made.encode(batch().lq, mask()), mask())
    torch.testing.assert_close(losses.pixel, (image - batch().gt).abs().mean())


@pytest.mark.parametrize("kind", MASKED)
@pytest.mark.parametrize("masking", ["dense", "gather"])
def test_what_is_written_into_hidden_pixels_changes_no_loss(kind: str, masking: str) -> None:
    made, objective = networks(kind, f"model.masking={masking}"), ObjectiveConfig(kind=kind)  # type: ignore[arg-type]
    first = batch()
    hidden = ~mask().at(32, 32)
    other = replace(first, lq=torch.where(hidden, torch.rand_like(first.lq) * 9 - 4, first.lq))
    assert not torch.equal(first.lq, other.lq)
    one, two = (pretraining_losses(made, b, mask(), objective) for b in (first, other))
    for name in ("total", "pixel", "classification"):
        assert torch.equal(torch.nan_to_num(getattr(one, name)), torch.nan_to_num(getattr(two, name)))


@pytest.mark.parametrize("kind", ["maskdcpt", "reconstruction"])
def test_the_pixel_loss_covers_hidden_and_visible_places(kind: str) -> None:
    made, objective = networks(kind), ObjectiveConfig(kind=kind)  # type: ignore[arg-type]
    base = pretraining_losses(made, batch(), mask(), objective).pixel
    for place in (mask().at(32, 32), ~mask().at(32, 32)):
        other = replace(batch(), gt=torch.where(place, batch().gt + 0.5, batch().gt))
        assert not torch.equal(pretraining_losses(made, other, mask(), objective).pixel, base)


def test_the_loss_of_ram_covers_hidden_pixels_only() -> None:
    made, objective = networks("ram"), ObjectiveConfig(kind="ram")
    base = pretraining_losses(made, batch(), mask(1), objective)
    seen = replace(batch(), gt=torch.where(mask(1).at(32, 32), batch().gt + 0.5, batch().gt))
    assert torch.equal(pretraining_losses(made, seen, mask(1), objective).pixel, base.pixel)
    hidden = replace(batch(), gt=torch.where(mask(1).at(32, 32), batch().gt, batch().gt + 0.5))
    assert not torch.equal(pretraining_losses(made, hidden, mask(1), objective).pixel, base.pixel)


def test_dcpt_reconstructs_the_gt_from_the_gt_and_classifies_the_lq() -> None:
    made, objective = networks("dcpt"), ObjectiveConfig(kind="dcpt")
    base = pretraining_losses(made, batch(), None, objective)
    torch.testing.assert_close(base.pixel, (made.backbone(batch().gt) - batch().gt).abs().mean())
    other = pretraining_losses(made, replace(batch(), lq=batch(7).lq), None, objective)
    assert torch.equal(other.pixel, base.pixel)
    assert not torch.equal(other.classification, base.classification)


def test_the_head_of_the_backbone_cannot_fill_a_hidden_patch_and_the_decoder_can() -> None:
    inner = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    inner[..., 9:15, 9:15] = True
    only = PatchMask(torch.ones(1, 1, 4, 4, dtype=torch.bool))
    only.visible[0, 0, 1, 1] = False
    image = torch.rand(1, 3, 32, 32)
    spread = {}
    for how in ("head", "decoder"):
        made = networks("maskdcpt", f"objective.reconstruction={how}")
        filled = made.reconstruct(made.encode(image, only), only)[inner.expand(1, 3, -1, -1)]
        spread[how] = float(filled.view(3, -1).std(dim=1).max().detach())
    assert spread["head"] < 1e-5 < 1e-3 < spread["decoder"]


def test_terms_that_an_objective_does_not_have_are_nan() -> None:
    def missing(kind: str, used: PatchMask | None) -> list[bool]:
        losses = pretraining_losses(networks(kind), batch(), used, ObjectiveConfig(kind=kind))  # type: ignore[arg-type]
        return [bool(value.isnan()) for value in (losses.pixel, losses.classification, losses.accuracy)]

    assert missing("maskdcpt", mask()) == [False, False, False]
    assert missing("reconstruction", mask()) == [False, True, True]
    assert missing("classification", mask()) == [True, False, False]


@pytest.mark.parametrize("kind", MASKED)
def test_an_objective_that_hides_needs_a_mask(kind: str) -> None:
    with pytest.raises(ValueError, match="needs a mask"):
        pretraining_losses(networks(kind), batch(), None, ObjectiveConfig(kind=kind))  # type: ignore[arg-type]


def test_every_kind_of_the_configuration_has_its_losses() -> None:
    assert set(OBJECTIVES) == set(OBJECTIVE_TRAITS) == set(get_args(ObjectiveKind))
    assert MASKED == ["maskdcpt", "ram", "reconstruction", "classification"]


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"objective\.kind is 'finetuning': did you mean 'finetune'\?"):
        ObjectiveConfig(kind="finetuning")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_traits_of_an_objective_match_what_its_losses_use(kind: ObjectiveKind) -> None:
    made, traits = networks(kind), OBJECTIVE_TRAITS[kind]
    assert (made.classifier is not None) == traits.classifies
    assert (made.reconstruction is not None) == traits.reconstructs
    seen = mask() if traits.masked else None
    losses_of(made, batch(), seen, ObjectiveConfig(kind=kind)).total.backward()  # type: ignore[no-untyped-call]
    moved = {name.split(".")[0]: set[bool]() for name, _ in made.named_parameters()}
    for name, parameter in made.named_parameters():
        moved[name.split(".")[0]].add(parameter.grad is not None)
    # All of a head is used; of the backbone all except the last layer, unless the whole backbone is trained.
    assert moved.pop("backbone") == ({True} if traits.whole_backbone else {True, False})
    assert all(used == {True} for used in moved.values())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_example_of_an_objective_that_restores_is_the_restored_lq(kind: ObjectiveKind) -> None:
    made, objective = networks(kind), OBJECTIVES[kind]
    seen = mask() if objective.traits.masked else None
    lq = batch().lq if seen is None else seen.hide(batch().lq)
    shown = objective.example(made, batch(), seen)
    assert shown.shape == batch().gt.shape
    assert torch.equal(shown, made.backbone(lq)) == objective.traits.restores


def test_an_objective_without_its_head_is_an_error() -> None:
    with pytest.raises(ValueError, match="no degradation classifier"):
        pretraining_losses(networks("finetune"), batch(), mask(), ObjectiveConfig())


@pytest.mark.parametrize("pixel", ["l1", "charbonnier", "psnr"])
def test_fine_tuning_compares_the_whole_network_with_the_gt(pixel: str) -> None:
    made = networks("finetune")
    losses = losses_of(made, batch(), None, ObjectiveConfig(kind="finetune", pixel=pixel))  # type: ignore[arg-type]
    expected: Tensor = pixel_loss(made.backbone(batch().lq), batch().gt, pixel)  # type: ignore[arg-type]
    torch.testing.assert_close(losses.total, expected)


def test_weights_follow_the_seed_alone_and_leave_torchs_generator_alone() -> None:
    config = with_settings(
        TrainConfig(), ["model.size.width=4", "model.size.enc_blk_nums=[1]", "model.size.dec_blk_nums=[1]"]
    )
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = Networks.create(config, 3).named_weights()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    two = Networks.create(config, 3).named_weights()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = Networks.create(with_settings(config, ["loop.seed=1"]), 3).named_weights()
    assert not torch.equal(one["backbone.intro.weight"], other["backbone.intro.weight"])


def test_an_unknown_pixel_loss_is_refused_and_not_taken_for_psnr() -> None:
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match="no pixel loss 'mse'"):
        pixel_loss(image, image, "mse")  # type: ignore[arg-type]
