"""The exponential moving average of the weights (EMA)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EmaWeights:
    """
    The exponential moving average (EMA) of a network's weights, under the names of the weights.

    After each step: average = decay * average + (1 - decay) * weight. It starts as a copy of the weights.

    The arithmetic is torch's `get_ema_multi_avg_fn`. torch's `AveragedModel` is not used, because its first update
    copies the weights instead of averaging, which would also discard an EMA that a run starts from; its decay cannot
    depend on the step; and it keeps a deep copy of one module, while these are named weights of several modules,
    sharded under FSDP.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float, warmup: bool) -> None:
        self.decay = decay
        self.warmup = warmup
        self.weights = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Update the EMA with the weights after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay
        averages = list(self.weights.values())
        # The last argument, the number of calls so far, is not used by an exponential average.
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(averages, [weights[name].detach() for name in self.weights], step)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Set the EMA to saved values, in place."""
        for name, average in self.weights.items():
            average.copy_(weights[name])
