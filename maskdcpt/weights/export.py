"""Export of a checkpoint's backbone to files for other programs, checked before they get their final name."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from maskdcpt.backbones import Backbone
from maskdcpt.config.train_config import WEIGHT_KINDS, WeightKind
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import Checkpoint, CheckpointError
from maskdcpt.weights.convert import to_original
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.state_dicts import check_values
from uirdata.errors import UirError, UsageError, nearest
from uirdata.storage.files import writing
from uirdata.validators import naming

ENDINGS = (".pth", ".safetensors", ".onnx")

Layout = Literal["maskdcpt", "original"]
LAYOUTS: tuple[Layout, ...] = ("maskdcpt", "original")

ONNX_TOLERANCE = 1e-3
"""Largest allowed difference between ONNX and torch, relative to the largest value of the output."""


@dataclass(frozen=True)
class Exported:
    """
    The result of an export.

    Attributes:
        file: its path.
        tensors: the number of weights.
        checked: how it was checked; "" if it was not.
    """

    file: Path
    tensors: int
    checked: str = ""


def export_backbone(
    checkpoint: Checkpoint | str | Path, out: Path, weights: WeightKind = "params_ema", layout: Layout = "maskdcpt"
) -> Exported:
    """
    Write the backbone's weights, or the backbone itself, to a file.

    Args:
        checkpoint: what `load_checkpoint` takes.
        out: `.pth` for {"params": ..., "params_ema": ...}, as BasicSR-style code loads it; `.safetensors` for the
            chosen weights alone, with backbone, size and what they were trained on as metadata; `.onnx` for the
            network, for one image, (1, 3, H, W) in 0..1, with H and W multiples of `multiple` in its metadata.
        weights: params_ema or params, for `.safetensors` and `.onnx`.
        layout: the published keys, or those of the network's own authors, which spandrel reads.

    Raises:
        UsageError: `out` has another ending, the network has no such layout, or there are no such weights.
        CheckpointError: the checkpoint cannot be loaded.
        UirError: ONNX is not installed, or its output differs from torch's.
        StorageError: `out` cannot be written.
    """
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    if out.suffix not in ENDINGS:
        raise UsageError(f"{out}: cannot export to this file type, expected one of {', '.join(ENDINGS)}")
    if layout not in LAYOUTS:
        raise UsageError(f"there is no layout {layout!r}: {nearest(layout, LAYOUTS)}")
    if out.suffix == ".onnx" and layout == "original":
        raise UsageError(f"{out}: an ONNX model has no layout of keys; export the weights to .pth or .safetensors")
    if out.suffix == ".onnx":
        return _export_onnx(loaded, out, weights)
    chosen = _named(loaded, weights, layout)
    with writing(out) as partial:
        if out.suffix == ".pth":
            torch.save({kind: _named(loaded, kind, layout) for kind in WEIGHT_KINDS}, partial)
        else:
            save_file(chosen, partial, metadata=plain_metadata(loaded))
    return Exported(out, len(chosen))


def plain_metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the metadata of exported weights, without names or paths of this machine."""
    config = checkpoint.config
    return {
        "backbone": checkpoint.backbone,
        "size": json.dumps(dict(checkpoint.size)),
        "step": str(checkpoint.step),
        "objective": config.objective.kind if config else "",
        "subset": config.data.subset if config else "",
        "class_names": json.dumps(checkpoint.class_names),
        "pixels": "RGB in 0..1, (B, 3, H, W); the output is not clipped",
    }


def _named(checkpoint: Checkpoint, kind: WeightKind, layout: Layout) -> dict[str, Tensor]:
    weights = checkpoint.weights("backbone", kind)
    with naming(CheckpointError, str(checkpoint.path)):
        check_values(weights)
    chosen = to_original(checkpoint.backbone, weights) if layout == "original" else weights
    return {key: tensor.contiguous() for key, tensor in chosen.items()}


def _export_onnx(checkpoint: Checkpoint, out: Path, weights: WeightKind) -> Exported:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter works with it
    except ImportError as error:
        raise UirError("ONNX needs two packages: pip install onnx onnxscript (and onnxruntime, to check it)") from error
    backbone = networks_of(checkpoint, weights).backbone.eval()
    side = 4 * backbone.multiple
    example = torch.rand(1, 3, side, side + backbone.multiple, generator=torch.Generator().manual_seed(0))
    any_size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with _quiet():
        program = torch.onnx.export(
            backbone,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["lq"],
            output_names=["restored"],
            dynamic_shapes=(any_size,),
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    facts = plain_metadata(checkpoint)
    facts |= {"pixels": facts["pixels"].replace("(B,", "(1,"), "multiple": str(backbone.multiple)}
    for key, text in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text
    data = model.SerializeToString()
    checked = _check_onnx(data, backbone)
    with writing(out) as partial:
        partial.write_bytes(data)
    return Exported(out, len(backbone.state_dict()), checked)


def _check_onnx(data: bytes, backbone: Backbone) -> str:
    """Compare with torch at two sizes that are not the traced one; return the result, "" without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return ""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    errors = []
    for rows, columns in ((6, 3), (3, 7)):
        generator = torch.Generator().manual_seed(rows)
        image = torch.rand(1, 3, rows * backbone.multiple, columns * backbone.multiple, generator=generator)
        with torch.inference_mode():
            expected = backbone(image).numpy()
        (found,) = session.run(None, {"lq": image.numpy()})
        errors.append(float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max()))))
    # Not max() of a list with NaN, nor a comparison that is false for NaN.
    worst = float(np.max(errors))
    if not worst <= ONNX_TOLERANCE:
        raise UirError(
            f"the ONNX model's output differs from torch by {worst:.1g} of the largest value, expected at most "
            f"{ONNX_TOLERANCE:g}. Nothing was written; export to .safetensors instead"
        )
    return f"onnxruntime {onnxruntime.__version__} differs from torch by {worst:.1g} of the largest value"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Return a context that keeps the exporter's reports off stdout, which is for data."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def as_mapping(exported: Exported) -> Mapping[str, object]:
    """Return an export as plain values, for JSON."""
    return {"file": str(exported.file), "tensors": exported.tensors, "checked": exported.checked}
