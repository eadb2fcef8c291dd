"""
State dicts converted between this release's layout and those of the networks' authors and DCPT, in both directions.

Weights whose network computes something else here are refused. Pure functions on state dicts; files are read elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from uirdata.errors import UirError, UsageError, nearest

Release = Literal["maskdcpt", "original", "dcpt"]
"""Who published the weights: MaskDCPT, the network's own authors, or DCPT (February 2025)."""

RELEASES: tuple[Release, ...] = ("maskdcpt", "original", "dcpt")


class WeightsError(UirError):
    """Weights are not of the stated release, or are not compatible with the networks of this release."""


@dataclass(frozen=True)
class ImportedWeights:
    """
    Weights in this release's layout.

    Attributes:
        weights: for `load_state_dict` with strict=True.
        arguments: of `create_backbone`, without sizes, with which the network computes the same as the original.
        dropped: removed keys, which the network never used.
    """

    weights: Mapping[str, Tensor]
    arguments: Mapping[str, float | bool] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


def import_weights(backbone: str, release: Release, weights: Mapping[str, Tensor]) -> ImportedWeights:
    """
    Convert the weights of a release to this release's layout.

    Args:
        backbone: as in `create_backbone`.
        release: one of `RELEASES`. It does not follow from the keys: DCPT's Restormer has the names of the original but
            another attention.
        weights: a state dict.

    Raises:
        UsageError: no such backbone or release.
        WeightsError: the weights are not compatible with this release's network; the message has the reason.
    """
    if release not in RELEASES:
        raise UsageError(f"no release {release!r}: {nearest(release, RELEASES)}")
    convert = _CONVERTERS.get((backbone, release))
    if convert is None:
        known = sorted({name for name, _ in _CONVERTERS})
        raise UsageError(f"no backbone {backbone!r}: {nearest(backbone, known)}")
    return convert(weights)


def foreign_backbone(weights: Mapping[str, Tensor]) -> str | None:
    """Return the network of weights that have the names of its authors or of DCPT; None for other names."""
    names = list(weights)
    if any(name.startswith("layers.0.residual_group.") or "relative_position_bias" in name for name in names):
        return "swinir"
    if "intro.weight" in weights:
        return "nafnet" if any(re.match(r"(encoders|decoders|decoder)\.?\d+\.\d", name) for name in names) else None
    if any(re.search(r"\.norm\d\.body\.weight$", name) for name in names):
        return "promptir" if "prompt1.prompt_param" in weights else "restormer"
    return None


def release_of(backbone: str, weights: Mapping[str, Tensor]) -> Release:
    """
    Return the release of weights, if it follows from their names or makes no difference.

    Raises:
        WeightsError: the release does not follow from the names, and the networks of the releases differ.
    """
    if backbone in ("nafnet", "swinir"):
        # Both releases of NAFNet are the same network. Both of SwinIR are refused; the reason depends on the release.
        biased = any("relative_position_bias" in name for name in weights)
        return "original" if backbone == "nafnet" or biased else "dcpt"
    raise WeightsError(
        f"the weights have the names of {backbone}'s authors, which DCPT also uses, for a network with another "
        "attention. State the release: original:FILE, or dcpt:FILE"
    )


def _as_is(weights: Mapping[str, Tensor]) -> ImportedWeights:
    return ImportedWeights(dict(weights))


def _nafnet(weights: Mapping[str, Tensor]) -> ImportedWeights:
    """encoders.3.0.x, middle_blks.0.x, decoders.0.0.x; the norms were trained with eps 1e-6."""
    renamed = {}
    for name, tensor in weights.items():
        name = re.sub(r"^(encoders\.\d+|middle_blks|decoder\d+)\.(\d+\.)", r"\1.blocks.\2", name)
        name = re.sub(r"^decoders\.(\d+)\.(\d+\.)", r"decoder\1.blocks.\2", name)
        renamed[name] = tensor
    return ImportedWeights(renamed, {"norm_eps": 1e-6})


def _restormer(weights: Mapping[str, Tensor]) -> ImportedWeights:
    """Levels are plain lists; norms and resampling have a `body`."""
    _refuse_bias_free(weights)
    if "skip_conv.weight" in weights:
        raise WeightsError(
            "these are weights for dual-pixel defocus (skip_conv), an input that this network does not support"
        )
    return ImportedWeights({_transformer_name(name): tensor for name, tensor in weights.items()})


def _promptir(weights: Mapping[str, Tensor]) -> ImportedWeights:
    """Names as in Restormer; some convolutions are in the file but not used in the forward pass."""
    _refuse_bias_free(weights)
    unused = re.compile(r"^(chnl_reduce|reduce_noise_channel_)\d\.")
    dropped = tuple(name for name in weights if unused.match(name))
    kept = {_transformer_name(name): tensor for name, tensor in weights.items() if name not in dropped}
    return ImportedWeights(kept, {"bias": any(name.endswith("qkv.bias") for name in kept)}, dropped)


def _transformer_name(name: str) -> str:
    levels = r"^((?:encoder|decoder)_level\d|latent|refinement)\.(?:body\.)?(\d+\.)"
    name = re.sub(levels, r"\1.blocks.\2", name)
    name = re.sub(r"\.(norm\d)\.body\.", r".\1.", name)
    return re.sub(r"^((?:down|up)\d_\d)\.body\.0\.", r"\1.conv.", name)


def _refuse_bias_free(weights: Mapping[str, Tensor]) -> None:
    norms = [name for name in weights if re.search(r"\.norm\d\.body\.weight$", name)]
    if norms and norms[0].replace("weight", "bias") not in weights:
        raise WeightsError(
            "these weights have norms without bias (LayerNorm_type BiasFree), which do not subtract the mean; the "
            "norms of this network do, so the weights are not compatible. Use weights with WithBias norms"
        )


def _refused(reason: str) -> Callable[[Mapping[str, Tensor]], ImportedWeights]:
    def refuse(weights: Mapping[str, Tensor]) -> ImportedWeights:
        raise WeightsError(f"{reason}: the {len(weights)} tensors do not fit. Use those of MaskDCPT's release")

    return refuse


_CONVERTERS: Mapping[tuple[str, Release], Callable[[Mapping[str, Tensor]], ImportedWeights]] = MappingProxyType(
    {
        ("nafnet", "maskdcpt"): _as_is,
        ("nafnet", "original"): _nafnet,
        ("nafnet", "dcpt"): _nafnet,
        ("restormer", "maskdcpt"): _as_is,
        ("restormer", "original"): _restormer,
        ("restormer", "dcpt"): _refused("DCPT's Restormer uses ReLU attention, this one softmax"),
        ("promptir", "maskdcpt"): _as_is,
        ("promptir", "original"): _promptir,
        ("promptir", "dcpt"): _refused("DCPT's PromptIR may use ReLU attention like its Restormer; it is not known"),
        ("swinir", "maskdcpt"): _as_is,
        ("swinir", "original"): _refused(
            "the original SwinIR adds a position bias and masks shifted windows, this one does neither"
        ),
        ("swinir", "dcpt"): _refused("DCPT's SwinIR may have a position bias, as the original has; it is not known"),
    }
)


def to_original(backbone: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Return weights renamed to the layout of NAFNet's or Restormer's authors, which other programs read.

    The eps of the norms is 1e-6 in the authors' NAFNet and 1e-5 for these weights: outputs differ by about as much.
    The Restormer is the same network.

    Args:
        backbone: nafnet or restormer.
        weights: in the layout of this release.

    Raises:
        UsageError: the network has no original layout, because it differs from that of its authors.
    """
    rename = _RENAMED.get(backbone)
    if rename is None:
        raise UsageError(
            f"{backbone} has no original layout: it differs from its authors' network. {', '.join(_RENAMED)} have one"
        )
    return {rename(name): tensor for name, tensor in weights.items()}


def _nafnet_original(name: str) -> str:
    name = re.sub(r"^decoder(\d+)\.blocks\.", r"decoders.\1.", name)
    return re.sub(r"^(encoders\.\d+|middle_blks)\.blocks\.", r"\1.", name)


def _restormer_original(name: str) -> str:
    name = re.sub(r"^((?:encoder|decoder)_level\d|latent|refinement)\.blocks\.", r"\1.", name)
    name = re.sub(r"\.(norm\d)\.(weight|bias)$", r".\1.body.\2", name)
    return re.sub(r"^((?:down|up)\d_\d)\.conv\.", r"\1.body.0.", name)


_RENAMED: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"nafnet": _nafnet_original, "restormer": _restormer_original}
)
