from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from maskdcpt.config.train_config import OptimizerConfig
from maskdcpt.training.ema import EmaWeights
from maskdcpt.training.lr_schedule import rate_at, set_rate
from maskdcpt.training.optim import create_optimizer, gradient_norm


def test_the_cosine_goes_from_the_full_rate_to_the_final_one_as_published() -> None:
    config = OptimizerConfig(lr=3e-4, schedule="cosine", final_lr=1e-6)
    rates = [3e-4 * rate_at(step, 1_000_000, config) for step in (0, 100_000, 500_000, 1_000_000)]
    assert rates[0] == 3e-4
    # The factor at 100,000 of a million steps is 0.976.
    assert rates[1] / 3e-4 == pytest.approx(0.976, abs=5e-4)
    assert rates[2] == pytest.approx((3e-4 + 1e-6) / 2)
    assert rates[3] == pytest.approx(1e-6)


def test_restormers_schedule_stays_and_then_falls() -> None:
    config = OptimizerConfig(lr=3e-4, schedule="cosine", final_lr=1e-6, constant_steps=92_000)
    assert rate_at(91_999, 300_000, config) == rate_at(92_000, 300_000, config) == 1.0
    half = rate_at(92_000 + 104_000, 300_000, config)
    assert 3e-4 * half == pytest.approx((3e-4 + 1e-6) / 2)


def test_a_warm_up_rises_from_above_zero_to_the_full_rate() -> None:
    config = OptimizerConfig(warmup_steps=4)
    assert [rate_at(step, 100, config) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(("warm_up", "steps"), [(50, 100), (90, 100), (100, 100), (50, 600), (40_000, 1_200_000)])
def test_the_warm_up_meets_the_cosine_at_its_top_however_short_the_run(warm_up: int, steps: int) -> None:
    config = OptimizerConfig(lr=1.0, schedule="cosine", final_lr=0.0, warmup_steps=warm_up)
    assert rate_at(warm_up - 1, steps, config) == 1.0
    if warm_up < steps:
        assert rate_at(warm_up, steps, config) == 1.0
        assert rate_at((warm_up + steps) // 2, steps, config) == pytest.approx(0.5)
    assert rate_at(steps, steps, config) == pytest.approx(0.0 if warm_up < steps else 1.0)


def test_a_constant_part_that_outlasts_the_warm_up_decides_where_the_cosine_starts() -> None:
    config = OptimizerConfig(lr=1.0, schedule="cosine", final_lr=0.0, warmup_steps=10, constant_steps=20)
    assert [rate_at(step, 120, config) for step in (9, 10, 20)] == [1.0, 1.0, 1.0]
    assert rate_at(70, 120, config) == pytest.approx(0.5)
    # Exactly the values of a run without warm-up.
    plain = OptimizerConfig(lr=1.0, schedule="cosine", final_lr=0.0, constant_steps=20)
    assert [rate_at(step, 120, config) for step in range(10, 121)] == [rate_at(s, 120, plain) for s in range(10, 121)]


def test_backbone_and_decoders_have_their_own_rates_and_no_decay() -> None:
    backbone, decoder = nn.Linear(2, 2), nn.Linear(2, 1)
    backbone.bias.requires_grad_(False)
    optimizer = create_optimizer(backbone, [decoder], OptimizerConfig())
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups] == [
        (3e-4, 0.0, 1),
        (1e-4, 0.0, 2),
    ]
    set_rate(optimizer, 0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [1.5e-4, 5e-5]


def test_gradients_are_scaled_down_to_the_norm_and_the_norm_before_is_returned() -> None:
    module = nn.Linear(2, 1, bias=False)
    optimizer = create_optimizer(module, [], OptimizerConfig())
    module.weight.grad = torch.tensor([[3.0, 4.0]])
    assert float(gradient_norm(optimizer, 0.0)) == 5.0
    assert module.weight.grad.tolist() == [[3.0, 4.0]]
    assert float(gradient_norm(optimizer, 1.0)) == 5.0
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8]]), rtol=1e-5, atol=0)


def test_one_nan_gradient_makes_the_norm_nan() -> None:
    module = nn.Linear(2, 2)
    optimizer = create_optimizer(module, [], OptimizerConfig())
    module.weight.grad, module.bias.grad = torch.zeros(2, 2), torch.tensor([0.0, float("nan")])
    assert not math.isfinite(float(gradient_norm(optimizer, 0.01)))


def test_the_ema_decays_at_its_rate() -> None:
    average = EmaWeights({"w": torch.zeros(1)}, decay=0.9, warmup=False)
    for step in range(3):
        average.update({"w": torch.ones(1)}, step)
    assert float(average.weights["w"]) == pytest.approx(1 - 0.9**3)


def test_the_ema_decays_faster_at_the_start_with_warmup() -> None:
    average = EmaWeights({"w": torch.zeros(1)}, decay=0.9, warmup=True)
    average.update({"w": torch.ones(1)}, 0)
    assert float(average.weights["w"]) == pytest.approx(0.9)
    average.update({"w": torch.zeros(1)}, 1_000)
    assert float(average.weights["w"]) == pytest.approx(0.81)
