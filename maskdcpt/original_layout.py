"""Weights under the names of a network's own authors: the way back of `backbones.importing`, for other programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from uirdata.errors import UsageError


def to_original(backbone: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Rename weights to the layout of NAFNet's or Restormer's authors, which other programs read.

    NAFNet's own norms add 1e-6 where those of these weights add 1e-5: outputs differ by about as much. The Restormer is
    the same network.

    Args:
        backbone: nafnet or restormer.
        weights: in the layout of this release.

    Raises:
        UsageError: the network is another one than its authors': it has no original layout.
    """
    rename = _RENAMED.get(backbone)
    if rename is None:
        raise UsageError(
            f"{backbone} has no original layout: it is not the network of its first authors. {', '.join(_RENAMED)} have"
        )
    return {rename(name): tensor for name, tensor in weights.items()}


def _nafnet(name: str) -> str:
    name = re.sub(r"^decoder(\d+)\.blocks\.", r"decoders.\1.", name)
    return re.sub(r"^(encoders\.\d+|middle_blks)\.blocks\.", r"\1.", name)


def _restormer(name: str) -> str:
    name = re.sub(r"^((?:encoder|decoder)_level\d|latent|refinement)\.blocks\.", r"\1.", name)
    name = re.sub(r"\.(norm\d)\.(weight|bias)$", r".\1.body.\2", name)
    return re.sub(r"^((?:down|up)\d_\d)\.conv\.", r"\1.body.0.", name)


_RENAMED: Mapping[str, Callable[[str], str]] = MappingProxyType({"nafnet": _nafnet, "restormer": _restormer})
