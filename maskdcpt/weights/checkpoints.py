"""
Checkpoints and their format on disk; they are written completely or not at all.

RUN/checkpoints/step-NNNNNN/ holds two files. `model.safetensors` is all that is needed to use the networks: tensors
named `params.<network>.<key>` and, where the run has an EMA, `params_ema.<network>.<key>`, with the network's
name, its arguments, the label order and the run's configuration as metadata. `state.pt` is what only a resumed run
needs. The folder gets its final name when both are on the disk and have been read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from maskdcpt.config.train_config import WEIGHT_KINDS, SizeValue, TrainConfig, WeightKind
from maskdcpt.networks.networks import NETWORKS, Part
from uirdata.errors import UirError, UsageError, nearest

FORMAT = "maskdcpt-1"
MODEL = "model.safetensors"
STATE = "state.pt"

_STEP_FOLDER = re.compile(r"step-(\d{6,})")


class CheckpointError(UirError):
    """A checkpoint is missing, truncated, or not of the kind that is needed."""


@dataclass(frozen=True)
class Checkpoint:
    """
    The weights of trained networks, and what is known about them.

    >>> import maskdcpt
    >>> loaded = maskdcpt.load_checkpoint(checkpoint)
    >>> loaded.size["width"], loaded.weights("backbone")["intro.weight"].shape, loaded.restores
    (4, torch.Size([4, 3, 3, 3]), True)

    Attributes:
        path: of the file.
        backbone: name of the backbone.
        size: its arguments.
        class_names: the label order; empty for published files, which do not contain it.
        step: the number of completed steps; 0 if unknown.
        config: of the run; None for published files.
        params: raw weights as `<network>.<key>`, where network is backbone, classifier or reconstruction.
        params_ema: their EMA, under the same names; empty if there is none.
    """

    path: Path
    backbone: str
    size: Mapping[str, SizeValue]
    class_names: tuple[str, ...]
    step: int
    config: TrainConfig | None
    params: Mapping[str, Tensor]
    params_ema: Mapping[str, Tensor]

    @property
    def restores(self) -> bool:
        """Whether the backbone was trained to restore: fine-tuned, by RAM, or published."""
        return self.config is None or self.config.objective.traits.restores

    def weights(self, network: Part, kind: WeightKind = "params_ema") -> dict[str, Tensor]:
        """
        Return one network's weights under its own keys; empty if the checkpoint does not have the network.

        Args:
            network: backbone, classifier or reconstruction.
            kind: params or params_ema; if one is missing, the other is used, as upstream does.

        Raises:
            UsageError: `network` or `kind` is not one of these.
        """
        if kind not in WEIGHT_KINDS:
            raise UsageError(f"there are no weights {kind!r}: a checkpoint has {' and '.join(WEIGHT_KINDS)}")
        if network not in NETWORKS:
            raise UsageError(f"there is no network {network!r} in a checkpoint: {nearest(network, NETWORKS)}")
        both = (self.params_ema, self.params) if kind == "params_ema" else (self.params, self.params_ema)
        chosen = both[0] or both[1]
        prefix = network + "."
        return {key.removeprefix(prefix): value for key, value in chosen.items() if key.startswith(prefix)}


def checkpoint_folders(run: Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [(int(match[1]), p) for p in folder.iterdir() if (match := _STEP_FOLDER.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def check_same_classes(expected: Iterable[str], checkpoint: Checkpoint, *, what: str) -> None:
    """
    Raise an error for heads that were trained on other labels.

    Raises:
        CheckpointError: the label orders differ; the message shows both.
    """
    wanted = tuple(expected)
    if checkpoint.class_names != wanted:
        raise CheckpointError(
            f"{checkpoint.path}: its labels are {', '.join(checkpoint.class_names) or 'unknown'}; {what} has "
            f'{", ".join(wanted)}. Load only the backbone (init.parts = "backbone"), or use the subset of its training'
        )
