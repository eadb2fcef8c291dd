"""Images, masks and layouts that one does not expect: the right result, or a clear refusal."""

from __future__ import annotations

import pytest
import torch

from maskdcpt.backbones import BACKBONES
from maskdcpt.masking import DENSE, GATHER, Backend, masked, random_patch_mask
from tests.maskdcpt.small_networks import random_image, small


@pytest.mark.parametrize("name", BACKBONES)
def test_batches_that_a_mask_is_not_for_are_refused(name: str) -> None:
    network = small(name)
    with torch.no_grad():
        for backend in (DENSE, GATHER):
            for batch in (1, 3):
                with pytest.raises(ValueError, match=f"the mask is for {batch} images, the batch has 2"):
                    network.encode(random_image(2, 32, 32), random_patch_mask(batch, 32, 32, 8), backend=backend)
        with pytest.raises(ValueError, match="but the batch is empty"):
            network.restore(random_image(0, 32, 32))


def test_a_wrapped_network_refuses_them_too() -> None:
    # One mask would be spread over both images in the first layer and be unknown in all others.
    wrapped = masked(torch.nn.Conv2d(3, 4, 3, padding=1).double())
    with pytest.raises(ValueError, match="the mask is for 1 images, the batch has 2"):
        wrapped(random_image(2, 32, 32), random_patch_mask(1, 32, 32, 8))


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("backend", [DENSE, GATHER], ids=["dense", "gather"])
def test_nothing_and_everything_hidden_and_any_layout_in_memory(name: str, backend: Backend) -> None:
    network, image = small(name), random_image(1, 32, 48)
    mask = random_patch_mask(1, 32, 48, 8, 0.5, torch.Generator().manual_seed(0))
    spread = torch.zeros(1, 6, 64, 96, dtype=image.dtype)[:, ::2, ::2, ::2].copy_(image)
    with torch.no_grad():
        plain = network.encode(image)
        nothing = network.encode(image, random_patch_mask(1, 32, 48, 8, 0.0), backend=backend)
        for found, expected in zip([*nothing.features, nothing.last], [*plain.features, plain.last], strict=True):
            assert torch.equal(found, expected)
        everything = network.encode(image, random_patch_mask(1, 32, 48, 8, 1.0), backend=backend)
        assert not any(found.any() for found in (*everything.features, everything.last))
        expected = network.encode(image, mask, backend=backend).last
        for laid_out in (image.to(memory_format=torch.channels_last), spread):
            torch.testing.assert_close(
                network.encode(laid_out, mask, backend=backend).last, expected, rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(1, 1), (37, 53)])
def test_odd_sizes_are_restored(name: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        restored = small(name).restore(random_image(1, *size))
    assert restored.shape == (1, 3, *size)
    assert restored.isfinite().all()
