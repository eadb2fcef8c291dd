from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import maskdcpt.training.logs.step_log as module
from maskdcpt.compute.distributed import Process
from maskdcpt.objectives.losses import Losses


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


def test_times_are_shares_of_the_time_spent_on_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    timer = module.StepTimer(Process(0, 1, torch.device("cpu")))

    def arriving():  # type: ignore[no-untyped-def]
        clock.now += 2.0
        yield "piece"

    assert timer.next_piece(arriving()) == "piece"
    with timer.exclude():
        clock.now += 50.0
    clock.now += 6.0
    for total in (1.0, 3.0):
        values = (torch.tensor(value) for value in (total, 0.5, 0.25, 0.75))
        timer.add([Losses(*values)], torch.tensor(2.0), images=16)
        timer.count()
    state = SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{"lr": 0.5}]), samples=30, skipped=0)
    row = timer.close(state, epoch_length=20)  # type: ignore[arg-type]
    # 58 seconds, of which 50 were spent on something else and 2 on waiting.
    expected = {"loss": 2.0, "pixel": 0.5, "accuracy": 0.75, "grad_norm": 2.0, "lr": 0.5, "epoch": 1.5}
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert (row["waiting"], row["images_per_s"], timer.seconds_a_step) == pytest.approx((0.25, 4.0, 4.0))
    assert "skipped" not in row
