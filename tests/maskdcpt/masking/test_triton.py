"""The Triton kernels, in Triton's interpreter where the library is installed; elsewhere the tests are skipped."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from maskdcpt.masking import BACKENDS, BackendError, random_patch_mask

CODE = """
import torch
from maskdcpt.masking import DENSE, MASK_KINDS
from maskdcpt.masking.auto import Trial
from maskdcpt.masking.triton_kernels import _Unchecked

taken = []
torch.manual_seed(0)
for kind, patch in (("random", 2), ("block-wise", 1)):
    mask = MASK_KINDS[kind](2, 4, 6, patch, 0.5, torch.Generator().manual_seed(2))
    block = Trial(35).double()
    results = []
    for backend in (DENSE, _Unchecked(DENSE)):
        x = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        (at,) = backend.stages(mask, 4, 6, 1)
        taken.append(getattr(at, "kernels", None) is not None)
        y = block(x, at)
        results.append([y, *torch.autograd.grad(y.square().mean(), [x, *block.parameters()])])
    for a, b in zip(*results):
        # The kernels sum in float32.
        assert (a - b).abs().max() <= 1e-5 * a.abs().max() + 1e-9, (kind, patch, float((a - b).abs().max()))
assert taken == [False, True] * 2, taken
print("agrees")
"""

NORM = """
import torch
from maskdcpt.masking import triton_kernels
from maskdcpt.masking.layers import ChannelNorm

generator = torch.Generator().manual_seed(0)
# Channels and pixels that do not fill the last tile; 3000 channels are a tile of their own. With a mean of 100, float32
# keeps three digits here; a variance computed from the mean of squares would keep none.
for channels, shape, level, bound in (
    (3, (2, 2, 3), 0, 2e-5), (48, (3, 4, 4), 0, 2e-5), (700, (2, 3, 3), 100, 1e-3), (3000, (1, 1, 2), 0, 2e-5)
):
    layer = ChannelNorm(channels)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(torch.randn(channels, generator=generator))
    start = level + torch.randn(shape[0], channels, *shape[1:], generator=generator)
    aim = torch.randn(start.shape, generator=generator)
    results = []
    for function in (lambda x: layer(x), lambda x: triton_kernels.norm(x, layer)):
        x = start.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        y = function(x)
        results.append([y, *torch.autograd.grad((y * aim).sum(), [x, *layer.parameters()])])
    for a, b in zip(*results):
        assert (a - b).abs().max() <= bound * a.abs().max(), (channels, float((a - b).abs().max() / a.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        half = triton_kernels.norm(start.bfloat16(), layer)
    assert half.dtype == torch.bfloat16
    exact = layer(start.bfloat16().float())
    # A GPU rounds, the interpreter truncates: a difference of one step of bfloat16 at most.
    assert (half.float() - exact).abs().max() <= 2**-7 * exact.abs().max()
print("agrees")
"""


def test_on_a_cpu_it_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    mask = random_patch_mask(1, 32, 32, 8, 0.5, torch.Generator().manual_seed(0))
    with pytest.raises(BackendError, match="needs a CUDA device"):
        BACKENDS["triton"].stages(mask, 32, 32, 1)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the triton library is not installed")
@pytest.mark.parametrize("code", [CODE, NORM], ids=["block", "norm"])
def test_the_kernels_equal_torch_forward_and_backward(code: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.strip() == "agrees", done.stderr[-3000:]
