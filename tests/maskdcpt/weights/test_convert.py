"""State dicts of other releases are renamed if they are compatible, and refused if they are not."""

from __future__ import annotations

import re

import pytest
import torch

from maskdcpt.weights.convert import WeightsError, import_weights
from tests.maskdcpt.small_networks import random_image, small
from uirdata.errors import UsageError


def old_name(name: str, key: str) -> str:
    """Return the name of our `key` in the release of a network's authors."""
    if name == "nafnet":
        key = re.sub(r"^decoder(\d+)\.blocks\.", r"decoders.\1.", key)
        return re.sub(r"^(encoders\.\d+|middle_blks)\.blocks\.", r"\1.", key)
    key = re.sub(r"^(\w+_level\d|latent|refinement)\.blocks\.", r"\1.", key)
    key = re.sub(r"\.(norm\d)\.", r".\1.body.", key)
    return re.sub(r"^((?:down|up)\d_\d)\.conv\.", r"\1.body.0.", key)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("nafnet", "encoders.0.0.conv1.weight"),
        ("restormer", "latent.0.norm1.body.bias"),
        ("promptir", "latent.0.norm1.body.bias"),
    ],
)
def test_weights_of_the_original_release_load_strictly(name: str, key: str) -> None:
    network = small(name)
    theirs = {old_name(name, key): tensor for key, tensor in network.state_dict().items()}
    assert key in theirs
    if name == "promptir":
        theirs["chnl_reduce1.weight"] = torch.zeros(64, 64, 1, 1)
    imported = import_weights(name, "original", theirs)
    assert imported.dropped == (("chnl_reduce1.weight",) if name == "promptir" else ())
    other = small(name, seed=1)
    other.load_state_dict(imported.weights, strict=True)
    assert torch.equal(other(random_image(1, 32, 32)), network(random_image(1, 32, 32)))


def test_weights_of_nafnets_authors_keep_their_eps() -> None:
    assert import_weights("nafnet", "original", {"intro.weight": torch.zeros(1)}).arguments == {"norm_eps": 1e-6}
    tight, loose = small("nafnet", norm_eps=1e-6), small("nafnet")
    assert not torch.equal(tight(random_image(1, 32, 32)), loose(random_image(1, 32, 32)))


@pytest.mark.parametrize(
    ("name", "release", "reason"),
    [
        ("restormer", "dcpt", "ReLU"),
        ("swinir", "original", "position bias"),
        ("promptir", "dcpt", "not known"),
        ("swinir", "dcpt", "not known"),
    ],
)
def test_incompatible_weights_are_refused(name: str, release: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        import_weights(name, release, {"x": torch.zeros(1)})


def test_norms_without_bias_are_refused() -> None:
    with pytest.raises(WeightsError, match="BiasFree"):
        import_weights("restormer", "original", {"latent.0.norm1.body.weight": torch.zeros(8)})


def test_an_unknown_release_names_the_choices() -> None:
    with pytest.raises(UsageError, match="did you mean 'original'"):
        import_weights("restormer", "orignal", {})
