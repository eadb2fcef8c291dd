"""The Triton kernel, in Triton's own interpreter where the library is; elsewhere it says why it is not there."""

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
        taken.append(getattr(at, "depthwise", None) is not None)
        y = block(x, at)
        results.append([y, *torch.autograd.grad(y.square().mean(), [x, *block.parameters()])])
    for a, b in zip(*results):
        # The kernel sums in float32.
        assert (a - b).abs().max() <= 1e-5 * a.abs().max() + 1e-9, (kind, patch, float((a - b).abs().max()))
assert taken == [False, True] * 2, taken
print("agrees")
"""


def test_on_a_cpu_it_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    mask = random_patch_mask(1, 32, 32, 8, 0.5, torch.Generator().manual_seed(0))
    with pytest.raises(BackendError, match="needs a CUDA device"):
        BACKENDS["triton"].stages(mask, 32, 32, 1)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the triton library is not installed")
def test_the_kernel_gives_what_dense_gives_forward_and_backward() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.strip() == "agrees", done.stderr[-3000:]
