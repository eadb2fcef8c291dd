"""A checkpoint's backbone for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from maskdcpt.checkpoints import load_checkpoint
from uirdata.errors import UsageError
from uirdata.storage.tables import writing


def export_backbone(checkpoint: str | Path, out: Path, weights: str = "params_ema") -> int:
    """
    Write the backbone's weights under the published keys.

    Args:
        checkpoint: what `load_checkpoint` takes.
        out: `.pth` gives {"params": ..., "params_ema": ...}, as BasicSR-style code loads; `.safetensors` gives the
            chosen weights alone, with backbone and size as metadata.
        weights: params_ema or params, for `.safetensors`.

    Returns:
        How many tensors there are.

    Raises:
        UsageError: `out` has another ending.
        CheckpointError: the checkpoint cannot be loaded.
        StorageError: `out` cannot be written.
    """
    loaded = load_checkpoint(checkpoint)
    if out.suffix not in (".pth", ".safetensors"):
        raise UsageError(f"{out}: exports are .pth or .safetensors")
    both = {kind: loaded.weights("backbone", kind) for kind in ("params", "params_ema")}
    with writing(out) as partial:
        if out.suffix == ".pth":
            torch.save(both, partial)
        else:
            tensors = {key: tensor.contiguous() for key, tensor in both[weights].items()}
            metadata = {"backbone": loaded.backbone, "size": json.dumps(dict(loaded.size))}
            save_file(tensors, partial, metadata=metadata)
    return len(both[weights])
