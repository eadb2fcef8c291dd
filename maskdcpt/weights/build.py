"""Networks built from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from maskdcpt.backbones import Backbone
from maskdcpt.config.train_config import WeightKind
from maskdcpt.networks.classifier import classifier_for
from maskdcpt.networks.networks import Networks, Part, build_backbone
from maskdcpt.weights.checkpoints import Checkpoint, CheckpointError
from maskdcpt.weights.load import load_checkpoint, load_earlier
from maskdcpt.weights.metadata import MOST_MULTIPLE, check_blocks
from maskdcpt.weights.state_dicts import check_values
from uirdata.errors import UirError
from uirdata.validators import InvalidValue, naming, shown

_NO_REMEDY = "The file is incomplete, or of a variant of the network that is not supported"


def load_backbone(path: str | Path | Checkpoint, *, weights: WeightKind = "params_ema") -> Backbone:
    """
    Return the backbone of a checkpoint as a torch module in eval mode, on the CPU.

    Calling it on (B, 3, H, W) in 0..1 returns the restored (B, 3, H, W), not clamped. Heights and widths must be
    multiples of its `multiple`; its `restore` takes any.

    The backbone of a pre-trained checkpoint (maskdcpt, dcpt, reconstruction, classification) was not trained to
    restore: it is returned for its `features` and for fine-tuning, and a call does not return a restored image.
    `load_checkpoint(path).restores` is False for these.

    >>> import torch
    >>> network = load_backbone(checkpoint)
    >>> network(torch.rand(2, 3, 32, 48)).shape, network.restore(torch.rand(1, 3, 25, 31)).shape
    (torch.Size([2, 3, 32, 48]), torch.Size([1, 3, 25, 31]))

    Args:
        path: a run, a checkpoint, a file of weights, or hf://OWNER/NAME, as `load_checkpoint` takes it; or its result.
        weights: params_ema, the EMA, or params, the raw weights; if one is missing, the other is used.

    Raises:
        UsageError: there are no such weights.
        CheckpointError: there is no checkpoint, or it cannot be read.
        DownloadError: the download from the Hub failed.
    """
    source = path if isinstance(path, Checkpoint) else load_checkpoint(path)
    return _backbone_of(source, weights).eval()


def classifier_before(own: Checkpoint) -> Checkpoint | None:
    """
    Return the pre-trained checkpoint that a fine-tuned one started from, for its degradation classifier.

    None if the checkpoint has a classifier itself, or if the one it started from has none or does not exist any more.
    """
    if own.config is None or not own.config.init.checkpoint or own.weights("classifier"):
        return None
    try:
        before = load_earlier(own)
    except UirError:
        # Moved or deleted since: the caller continues without a classifier.
        return None
    return before if before.weights("classifier") else None


def networks_of(source: Checkpoint, kind: WeightKind = "params_ema") -> Networks:
    """
    Return the networks of a checkpoint with their weights: the backbone, and the classifier if there is one.

    Args:
        source: what `load_checkpoint` returned.
        kind: params_ema or params; if one is missing, the other is used.

    Raises:
        CheckpointError: the weights do not match the network that the checkpoint names.
        UsageError: `kind` is neither of the two.
    """
    backbone = _backbone_of(source, kind)
    classifier = None
    if source.weights("classifier", kind):
        with torch.device("meta"):
            _check_shapes(classifier_for(backbone, len(source.class_names)), source, "classifier", kind)
        classifier = classifier_for(backbone, len(source.class_names))
        load_exactly(classifier, source, "classifier", kind)
    return Networks(backbone, classifier, objective=source.config.objective if source.config else None)


def load_exactly(module: nn.Module, source: Checkpoint, part: Part, kind: WeightKind) -> None:
    """
    Copy one part's weights into a module; names and shapes must match exactly.

    Args:
        module: changed in place.
        source: where the weights come from.
        part: backbone, classifier or reconstruction.
        kind: params or params_ema.

    Raises:
        CheckpointError: the part is missing or has another size.
        UsageError: `part` or `kind` is not one of these.
    """
    remedy = "Set model.backbone and model.size to those of the checkpoint"
    module.load_state_dict(_check_shapes(module, source, part, kind, remedy))


def _check_shapes(
    module: nn.Module, source: Checkpoint, part: Part, kind: WeightKind, remedy: str = _NO_REMEDY
) -> dict[str, Tensor]:
    """Return one part's weights, whose names and shapes are those of a module; its weights may be on `meta`."""
    weights = source.weights(part, kind)
    own = module.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in weights]
    wrong += [f"{key} is of another shape" for key in own if key in weights and weights[key].shape != own[key].shape]
    wrong += [f"{shown(key)} is unexpected" for key in weights if key not in own]
    if wrong:
        raise CheckpointError(
            f"{source.path}: its {part} ({source.backbone} {dict(source.size)}) does not match the network: "
            f"{len(wrong)} weights are missing, unexpected or of another shape: {', '.join(wrong[:3])}"
            f"{', ...' if wrong[3:] else ''}. {remedy}"
        )
    with naming(CheckpointError, str(source.path)):
        check_values(weights)
    return weights


def _backbone_of(source: Checkpoint, kind: WeightKind) -> Backbone:
    # The size may be a stranger's, so nothing is allocated for it before its shapes are known to be those of the file.
    with naming(CheckpointError, str(source.path)):
        check_blocks(source.size, len(source.weights("backbone", kind)))
        with torch.device("meta"):
            planned = _planned(source)
    _check_shapes(planned, source, "backbone", kind)
    backbone = build_backbone(source.backbone, source.size)
    load_exactly(backbone, source, "backbone", kind)
    return backbone


def _planned(source: Checkpoint) -> Backbone:
    try:
        planned = build_backbone(source.backbone, source.size)
    except (UirError, ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise InvalidValue(f"its size {dict(source.size)} is none of {source.backbone}: {error}") from error
    if planned.multiple > MOST_MULTIPLE:
        raise InvalidValue(f"its network pads to multiples of {planned.multiple}, expected at most {MOST_MULTIPLE}")
    return planned
