"""A backbone with the heads of its objective, as one module, which is trained, saved and loaded."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maskdcpt.backbones import Backbone, Encoded, create_backbone
from maskdcpt.config.train_config import ObjectiveConfig, SizeValue, TrainConfig
from maskdcpt.masking import BACKENDS, DENSE, Backend, PatchMask
from maskdcpt.networks.classifier import DegradationClassifier, classifier_for
from maskdcpt.networks.decoder import ReconstructionDecoder, decoder_for

Part = Literal["backbone", "classifier", "reconstruction"]

NETWORKS: tuple[Part, ...] = ("backbone", "classifier", "reconstruction")
"""The parts, as they are named in checkpoints."""


class Networks(nn.Module):
    """
    A backbone and its heads.

    >>> from maskdcpt.config.train_config import ModelConfig
    >>> size = {"width": 8, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)}
    >>> networks = Networks.create(TrainConfig(model=ModelConfig(size=size)), classes=5)
    >>> networks.classify(networks.encode(torch.rand(2, 3, 32, 32)).features).shape
    torch.Size([2, 5])

    Attributes:
        backbone: restores images, and returns features.
        classifier: features to logits of the degradation; None where the objective has none.
        reconstruction: masked features to the whole image; None where the objective has none.
        backend: how masked stages are computed.
        objective: that they were trained with, if the checkpoint contains it; a classifier needs the same masks.
    """

    def __init__(
        self,
        backbone: Backbone,
        classifier: DegradationClassifier | None = None,
        reconstruction: ReconstructionDecoder | None = None,
        *,
        backend: Backend = DENSE,
        objective: ObjectiveConfig | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.reconstruction = reconstruction
        self.backend = backend
        self.objective = objective

    @staticmethod
    def create(config: TrainConfig, classes: int) -> Networks:
        """
        Return the networks of a run with new weights, the same for the same seed.

        Args:
            config: contains backbone, size and objective; its seed determines the weights.
            classes: the number of labels.

        Raises:
            UsageError: no such backbone, or an argument that it does not have.
        """
        # The state of the process's generator is restored afterwards, for the caller.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.loop.seed)
            backbone = build_backbone(config.model.backbone, config.model.size)
            heads = _heads(backbone, config.objective, classes)
            return Networks(backbone, *heads, backend=BACKENDS[config.model.masking])

    def encode(self, image: Tensor, mask: PatchMask | None = None) -> Encoded:
        """Return the backbone's features before its last layer; masked stages run on the backend of `model.masking`."""
        return self.backbone.encode(image, mask, backend=self.backend)

    def classify(self, features: list[Tensor]) -> Tensor:
        """
        Return (B, K) logits of the degradation from a backbone's features (finest last).

        Raises:
            ValueError: there is no classifier.
        """
        if self.classifier is None:
            raise ValueError("these networks have no degradation classifier")
        logits: Tensor = self.classifier(features[::-1])
        return logits

    def reconstruct(self, encoded: Encoded, mask: PatchMask) -> Tensor:
        """Return the whole image, (B, 3, H, W), computed by the decoder, else by the backbone's last layer."""
        if self.reconstruction is None:
            return self.backbone.head(encoded.last)
        image: Tensor = self.reconstruction(encoded, mask)
        return image

    def named_weights(self) -> dict[str, Tensor]:
        """Return the weights by `<network>.<key>`."""
        return dict(self.named_parameters())

    @contextmanager
    def using(self, weights: Mapping[str, Tensor] | None) -> Iterator[Networks]:
        """Return a context in which the networks have other weights, such as an EMA; None changes nothing."""
        if weights is None:
            yield self
            return
        own = {name: parameter for name, parameter in self.named_parameters() if name in weights}
        kept = {name: parameter.data for name, parameter in own.items()}
        try:
            for name, parameter in own.items():
                parameter.data = weights[name]
            yield self
        finally:
            for name, parameter in own.items():
                parameter.data = kept[name]


def save_memory(backbone: Backbone) -> None:
    """
    Turn on gradient checkpointing: inner results of blocks are computed again in the backward pass (Chen et al., 2016).

    Keys do not change. A step takes about a third more time.
    """
    for block in blocks_of(backbone):
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the blocks of a network in the order of computation: the members of its module lists named `blocks`."""
    lists = (getattr(module, "blocks", None) for module in backbone.modules())
    return [block for found in lists if isinstance(found, nn.ModuleList) for block in found]


def build_backbone(name: str, size: Mapping[str, SizeValue]) -> Backbone:
    """Return a new backbone for the name and size of a configuration or checkpoint; errors as `create_backbone`."""
    return create_backbone(
        name, **{key: list(value) if isinstance(value, tuple) else value for key, value in size.items()}
    )


def _heads(
    backbone: Backbone, objective: ObjectiveConfig, classes: int
) -> tuple[DegradationClassifier | None, ReconstructionDecoder | None]:
    classifier, reconstruction = None, None
    if objective.traits.classifies:
        classifier = classifier_for(backbone, classes)
    if objective.traits.reconstructs and objective.reconstruction == "decoder":
        reconstruction = decoder_for(backbone)
    return classifier, reconstruction
