"""Names, order and shapes of weights equal those of the published files."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import nn

from maskdcpt.backbones import BACKBONES, create_backbone
from maskdcpt.networks.classifier import DegradationClassifier, classifier_for
from uirdata.errors import UsageError

# Entries, parameters, and the sha256 of the lines "key shape" in state_dict order, of the published classes.
PUBLISHED = {
    "swinir": (454, 11455563, "e95302ebf9e611bd97b45748d6e3c298c717007605e29fe19bcbc534c1ad7b8f"),
    "nafnet": (664, 67888835, "562f9cccb5e25d76302276fbf675dbed84820d0ae22ad09a94a2696481eda8a8"),
    "restormer": (494, 26126644, "af1e06c0fed09dfa6375e876a56ddedc7c7818851fa6705272882c2fcefaf2ac"),
    "promptir": (830, 35539290, "1472ff7b3feb707dad42d7522718ec1f25b7ee3ebd42e6cf149118a52deb5996"),
}
PROMPTIR_WITHOUT_BIAS = (542, 35376967, "c55ec540f7fc444729af7a78f37e9a0c1a5669141d8dbc489277fe6ef177ee10")
CLASSIFIERS = {
    "swinir": (78, 10480508, "2b4cfdd7808bf1ad54cba104406a883035ca26a593119f3162017cb523eba94e"),
    "nafnet": (97, 49290505, "6d65f0d065e9f2c7de2c4c3d95dec30c9b054bfaa94e7e9d784ac1bc58b7823e"),
    "restormer": (78, 7449800, "577ae8daeb3818ff377dd2160eeeca7e8b8f757bc6526d94a83eaf0e4cfd5871"),
    "promptir": (78, 9691208, "a5de48b0cf5bd1006bea4f5f369c1da28c4a3b84564d67646eba208096572f26"),
}
PUBLISHED_ARGUMENTS: dict[str, dict[str, Any]] = {
    "swinir": {
        "embed_dim": 180,
        "depths": [6] * 6,
        "num_heads": [6] * 6,
        "mlp_ratio": 2.0,
        "window_size": 8,
        "upscale": 1,
    },
    "nafnet": {
        "width": 64,
        "enc_blk_nums": [1, 1, 1, 28],
        "middle_blk_num": 1,
        "dec_blk_nums": [1, 1, 1, 1],
        "window_size": 16,
    },
    "restormer": {"window_size": 8},
    "promptir": {"window_size": 8},
}
SOME_ENTRIES = {
    "swinir": [
        ("patch_embed.norm.weight", (180,)),
        ("encode_layers.2.residual_group.blocks.5.attn.qkv.weight", (540, 180)),
        ("decode_layers0.residual_group.blocks.0.mlp.fc1.weight", (360, 180)),
        ("decode_layers2.conv.weight", (180, 180, 3, 3)),
        ("conv_after_body.bias", (180,)),
    ],
    "nafnet": [
        ("encoders.3.blocks.27.sca.1.weight", (512, 512, 1, 1)),
        ("middle_blks.blocks.0.beta", (1, 1024, 1, 1)),
        ("decoder0.blocks.0.conv2.weight", (1024, 1, 3, 3)),
        ("ups.0.0.weight", (2048, 1024, 1, 1)),
        ("downs.3.weight", (1024, 512, 2, 2)),
    ],
    "restormer": [
        ("encoder_level1.blocks.0.attn.temperature", (1, 1, 1)),
        ("latent.blocks.7.ffn.project_in.weight", (2042, 384, 1, 1)),
        ("down3_4.conv.weight", (96, 192, 3, 3)),
        ("reduce_chan_level2.weight", (96, 192, 1, 1)),
        ("output.weight", (3, 96, 3, 3)),
    ],
    "promptir": [
        ("prompt3.prompt_param", (1, 5, 320, 16, 16)),
        ("noise_level3.ffn.project_in.weight", (3744, 704, 1, 1)),
        ("reduce_noise_level2.weight", (192, 320, 1, 1)),
        ("up4_3.conv.weight", (384, 192, 3, 3)),
        ("output.bias", (3,)),
    ],
}


def identity(module: nn.Module) -> tuple[int, int, str]:
    state = module.state_dict()
    lines = "".join(f"{key} {'x'.join(map(str, tensor.shape))}\n" for key, tensor in state.items())
    parameters = sum(tensor.numel() for tensor in state.values())
    return len(state), parameters, hashlib.sha256(lines.encode()).hexdigest()


def test_every_backbone_of_the_list_is_compared_with_its_published_keys() -> None:
    assert set(BACKBONES) == set(PUBLISHED) == set(CLASSIFIERS)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("arguments", [True, False], ids=["published arguments", "defaults"])
def test_keys_shapes_and_their_order_are_the_published_ones(name: str, arguments: bool) -> None:
    with torch.device("meta"):
        network = create_backbone(name, **(PUBLISHED_ARGUMENTS[name] if arguments else {}))
    assert identity(network) == PUBLISHED[name]
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for key, shape in SOME_ENTRIES[name]:
        assert shapes[key] == shape
    assert not list(network.buffers())
    assert network.multiple == (16 if name == "nafnet" else 8)


def test_promptir_without_bias_has_the_keys_of_the_published_masked_class() -> None:
    with torch.device("meta"):
        network = create_backbone("promptir", bias=False)
    assert identity(network) == PROMPTIR_WITHOUT_BIAS


@pytest.mark.parametrize("name", BACKBONES)
def test_the_classifier_of_a_backbone_has_the_published_keys(name: str) -> None:
    with torch.device("meta"):
        classifier = classifier_for(create_backbone(name), num_classes=5)
    assert identity(classifier) == CLASSIFIERS[name]


def test_a_classifier_is_made_by_its_published_arguments() -> None:
    with torch.device("meta"):
        classifier = DegradationClassifier(feature_dims=[180, 180, 180], num_classes=5, downsample=True)
    assert identity(classifier) == CLASSIFIERS["swinir"]


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'nafnet'"):
        create_backbone("nafnett")


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'width'"):
        create_backbone("nafnet", widht=32)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("nafnet", {"enc_blk_nums": [1, 1], "dec_blk_nums": [1]}),
        ("nafnet", {"window_size": 12}),
        ("restormer", {"num_blocks": [1, 1, 1]}),
        ("restormer", {"dim": 50, "heads": [4, 4, 4, 4]}),
        ("promptir", {"prompt_dims": [64, 128]}),
        ("swinir", {"depths": [6]}),
        ("swinir", {"embed_dim": 100, "num_heads": [6] * 6}),
        ("swinir", {"upscale": 2}),
        ("swinir", {"masked_keys": "none"}),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(name: str, size: dict[str, Any]) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"\d|not|prompt"):
        create_backbone(name, **size)
