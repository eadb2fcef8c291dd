"""Detection of the network that weights belong to, from their keys and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from maskdcpt.config.train_config import SizeValue

_MOST_STAGES = 16
"""Each stage halves the image: with more there would be nothing left of the largest one."""


@dataclass(frozen=True)
class Identity:
    """
    A backbone as `create_backbone` takes it.

    Attributes:
        backbone: its name.
        size: its arguments, as far as they follow from the shapes.
    """

    backbone: str
    size: Mapping[str, SizeValue]


def identify(weights: Mapping[str, Tensor]) -> Identity | None:
    """
    Return the network of weights in the published layout; None if it is none of the four.

    The number of heads of Restormer and PromptIR is read from their temperatures. SwinIR's heads and window do not
    follow from its shapes: 30 channels per head and a window of 8 are assumed, as published.
    """
    try:
        return _known(weights)
    except (KeyError, IndexError, ZeroDivisionError):
        # Many networks begin with a conv_first; without the rest of the layout, or without width, it is none of these.
        return None


def _known(weights: Mapping[str, Tensor]) -> Identity | None:
    if "intro.weight" in weights and "ending.weight" in weights:
        return _nafnet(weights)
    if "conv_first.weight" in weights:
        return _swinir(weights)
    if "patch_embed.proj.weight" in weights:
        return _promptir(weights) if "prompt1.prompt_param" in weights else _restormer(weights)
    return None


def _nafnet(weights: Mapping[str, Tensor]) -> Identity:
    stages = _count(weights, r"encoders\.(\d+)\.")
    if stages > _MOST_STAGES:
        raise IndexError(stages)
    size: dict[str, SizeValue] = {
        "width": weights["intro.weight"].shape[0],
        "enc_blk_nums": tuple(_count(weights, rf"encoders\.{i}\.blocks\.(\d+)\.") for i in range(stages)),
        "middle_blk_num": _count(weights, r"middle_blks\.blocks\.(\d+)\."),
        "dec_blk_nums": tuple(_count(weights, rf"decoder{i}\.blocks\.(\d+)\.") for i in range(stages)),
    }
    return Identity("nafnet", size)


def _swinir(weights: Mapping[str, Tensor]) -> Identity:
    embed_dim = weights["conv_first.weight"].shape[0]
    depths = [_count(weights, rf"encode_layers\.{i}\.residual_group\.blocks\.(\d+)\.") for i in range(3)]
    depths += [_count(weights, rf"decode_layers{i}\.residual_group\.blocks\.(\d+)\.") for i in range(3)]
    hidden = weights["encode_layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape[0]
    heads = max(1, embed_dim // 30)
    return Identity(
        "swinir",
        {"embed_dim": embed_dim, "depths": tuple(depths), "num_heads": (heads,) * 6, "mlp_ratio": hidden / embed_dim},
    )


def _restormer(weights: Mapping[str, Tensor]) -> Identity:
    return Identity("restormer", {**_transformer(weights), "bias": "output.bias" in weights})


def _promptir(weights: Mapping[str, Tensor]) -> Identity:
    return Identity("promptir", {**_transformer(weights), "bias": "output.bias" in weights})


def _transformer(weights: Mapping[str, Tensor]) -> dict[str, SizeValue]:
    levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    return {
        "dim": weights["patch_embed.proj.weight"].shape[0],
        "num_blocks": tuple(_count(weights, rf"{level}\.blocks\.(\d+)\.") for level in levels),
        "num_refinement_blocks": _count(weights, r"refinement\.blocks\.(\d+)\."),
        "heads": tuple(weights[f"{level}.blocks.0.attn.temperature"].shape[0] for level in levels),
    }


def _count(keys: Iterable[str], pattern: str) -> int:
    """Return how many members a list of layers has, by the numbers in keys; LookupError for numbers with gaps."""
    numbers = {match[1] for key in keys if (match := re.match(pattern, key))}
    if any(str(number) not in numbers for number in range(len(numbers))):
        raise IndexError(pattern)
    return len(numbers)
