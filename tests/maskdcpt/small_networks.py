"""Each backbone at a size that runs in milliseconds, with perturbed weights that hide no mistakes."""

from __future__ import annotations

from typing import Any

import torch

from maskdcpt.backbones import Backbone, create_backbone

TRANSFORMER = {"dim": 8, "num_blocks": [1, 1, 1, 2], "num_refinement_blocks": 1, "heads": [1, 2, 2, 4]}

SIZES: dict[str, dict[str, Any]] = {
    "swinir": {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window_size": 8},
    "nafnet": {"width": 8, "enc_blk_nums": [1, 2, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 2]},
    "restormer": {**TRANSFORMER, "bias": True},
    "promptir": {**TRANSFORMER, "prompt_dims": [8, 8, 12], "prompt_sizes": [9, 6, 4]},
}


def small(name: str, seed: int = 0, dtype: torch.dtype = torch.float64, **size: Any) -> Backbone:
    """Return a small network; noise is added to every weight, as fresh zeros and ones would hide mistakes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_backbone(name, **{**SIZES[name], **size}).double()
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(torch.randn_like(weight) * 0.2)
    # Drawn in float64 for every dtype, so that networks of all dtypes have the same weights.
    return network.to(dtype).eval()


def random_image(batch: int = 2, height: int = 64, width: int = 96, seed: int = 0, dtype: torch.dtype = torch.float64):
    """Return (B, 3, H, W) of uniform noise in 0..1."""
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)
