"""Restoration of one image, whole or in tiles."""

from __future__ import annotations

import gc
import hashlib
import math
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskdcpt.compute.devices import chosen_device, free_bytes
from maskdcpt.compute.memory import bytes_per_pixel
from maskdcpt.images import to_tensor
from maskdcpt.networks.classify import named_classes
from maskdcpt.networks.networks import Networks
from maskdcpt.restoring.image_files import ImageFile, Pixels
from maskdcpt.restoring.tiling import check_tile, restored_image
from maskdcpt.weights.build import classifier_before, networks_of
from maskdcpt.weights.checkpoints import Checkpoint
from maskdcpt.weights.load import load_checkpoint
from uirdata.errors import UirError, UsageError
from uirdata.images import RgbImage

IMAGE_BYTES = 64
"""Bytes per pixel of the image outside the network: the image, the blended sum, the weights, the result."""


def fitting_tile(height: int, width: int, *, per_pixel: float, budget: int, multiple: int, least: int) -> int:
    """
    Return the side of square tiles in pixels; 0 where the whole image fits.

    >>> fitting_tile(600, 800, per_pixel=2000, budget=2 * 10**9, multiple=16, least=256)
    0
    >>> fitting_tile(4000, 6000, per_pixel=2000, budget=4 * 10**9, multiple=16, least=256)
    1104

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        per_pixel: bytes per pixel that the network needs.
        budget: bytes available for the network and the image.
        multiple: the side is a multiple of this.
        least: the smallest side, in pixels; it is used even where it exceeds the budget.
    """
    left = budget - IMAGE_BYTES * height * width
    whole = (height + multiple) * (width + multiple)
    if whole * per_pixel <= left:
        return 0
    side = math.isqrt(max(0, int(left / per_pixel)))
    return max(side - side % multiple, math.ceil(least / multiple) * multiple)


SMALL_PX = 512 * 512
"""An image of at most this many pixels is restored whole, without a check of the free memory."""


NAMED_PX = 1024
"""Largest side of the middle window that is classified, in pixels."""


LEAST_TILE_PX = 128


TRAINED_PX = 256
"""Side of training crops, in pixels, assumed for a checkpoint without a configuration."""


class Restorer:
    """
    Networks that restore images and classify their degradation.

    >>> restorer = Restorer(checkpoint, device="cpu")
    >>> restorer.restore(np.zeros((50, 70, 3), np.uint8)).shape
    (50, 70, 3)

    Args:
        checkpoint: fine-tuned or published; or its path.
        classifier: checkpoint whose classifier returns the degradation; when None the checkpoint's own classifier, or
            that of the pre-training it started from, if there is one.
        device: auto, cpu, cuda, ...
        tile_px: side of tiles; None restores images whole where they fit into the memory, else in the largest tiles
            that fit; 0 always restores whole images.
        self_ensemble: average over the eight flips and rotations: eight times slower, slightly better.
        memory: bytes available for restoration beside the weights; None uses half of the free memory.

    Raises:
        UsageError: the checkpoint was pre-trained only, the tiles are too small, or the device does not exist.
        CheckpointError: it cannot be loaded.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path,
        *,
        classifier: Checkpoint | str | Path | None = None,
        device: str = "auto",
        tile_px: int | None = None,
        self_ensemble: bool = False,
        memory: int | None = None,
    ) -> None:
        loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
        if not loaded.restores:
            raise UsageError(f"{loaded.path}: was pre-trained, not fine-tuned: it does not restore; fine-tune it first")
        self.device = chosen_device(device)
        self._networks = networks_of(loaded).to(self.device).eval()
        backbone = self._networks.backbone
        self._multiple = backbone.multiple
        trained_px = TRAINED_PX if loaded.config is None else loaded.config.data.crop
        # Means over smaller tiles would differ from those of the images that the network was trained on.
        self._least_px = max(LEAST_TILE_PX, trained_px if backbone.sees_whole else 0)
        check_tile(tile_px or 0, backbone)
        self._size = f"{loaded.backbone} {sorted(loaded.size.items())}"
        # Tiles get smaller where the memory is not enough; what was asked for stays.
        self._tile_px = self._asked_tile = tile_px
        self._memory = memory
        self._per_pixel: float | None = None
        self._self_ensemble = self_ensemble
        self._namer: Networks | None = self._networks if self._networks.classifier is not None else None
        self.class_names = loaded.class_names
        if classifier is None and self._namer is None:
            classifier = classifier_before(loaded)
        if classifier is not None:
            naming = classifier if isinstance(classifier, Checkpoint) else load_checkpoint(classifier)
            named = networks_of(naming).to(self.device).eval()
            if named.classifier is None:
                raise UsageError(f"{naming.path}: has no classifier; give a pre-trained checkpoint")
            self._namer, self.class_names = named, naming.class_names

    def restore(self, image: RgbImage) -> RgbImage:
        """
        Restore an image of any size.

        Args:
            image: (H, W, 3) RGB uint8.

        Returns:
            The same size, clipped and rounded.
        """
        return np.asarray(self.restore_image_file(ImageFile(image)), dtype=np.uint8)

    @torch.inference_mode()
    def restore_image_file(self, image: ImageFile) -> Pixels:
        """
        Restore an image of any size and bit depth.

        Returns:
            (H, W, 3) RGB of the image's depth, clipped and rounded.

        Raises:
            UirError: out of memory, even for the smallest tile, or the output of the network is not finite.
        """
        scaled = torch.from_numpy(image.pixels.astype(np.float32)).permute(2, 0, 1)[None] / image.most
        output = self._restored(scaled.to(self.device))[0]
        broken = int((~torch.isfinite(output)).any(dim=0).sum())
        if broken:
            # Clipped, infinities would be white, and NaN black.
            raise UirError(
                f"the output of the network is NaN or infinite in {broken:,} of {image.pixels.shape[0]} x "
                f"{image.pixels.shape[1]} pixels, so nothing is written; check the weights, or choose --device cpu"
            )
        restored = output.clamp_(0, 1)
        values = restored.permute(1, 2, 0).cpu().numpy().astype(np.float64) * image.most
        rounded = np.rint(values)
        return rounded.astype(np.uint8) if image.most == 255 else rounded.astype(np.uint16)

    @torch.inference_mode()
    def name(self, image: RgbImage) -> str:
        """Return the class of (H, W, 3) RGB uint8, from its middle 1024 x 1024 at most; "" where no class is known."""
        if self._namer is None:
            return ""
        top, left = max(0, image.shape[0] - NAMED_PX) // 2, max(0, image.shape[1] - NAMED_PX) // 2
        window = to_tensor(image[top : top + NAMED_PX, left : left + NAMED_PX]).to(self.device)
        (label,) = named_classes(self._namer, window)
        return "" if label is None else self.class_names[label]

    @cached_property
    def identity(self) -> str:
        """A sha256 of the weights and of the settings that change results by more than rounding."""
        found = hashlib.sha256(f"{self._size} {self._asked_tile} {self._self_ensemble}".encode())
        for networks in (self._networks, self._namer):
            for name, tensor in () if networks is None else sorted(networks.state_dict().items()):
                found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()

    def tile_for(self, height: int, width: int) -> int:
        """
        Return the side of tiles for an image of this size, in pixels; 0 where it is restored whole.

        It is the user's choice, if there is one. Else the image is restored whole, as in training and in the papers,
        where the memory is enough; else in the largest tiles that fit, for a network that takes means over its whole
        input no smaller than the training crops.
        """
        if self._tile_px is not None:
            return self._tile_px
        if height * width <= SMALL_PX:
            return 0
        if self._per_pixel is None:
            self._per_pixel = bytes_per_pixel(self._networks.backbone)
        budget = free_bytes(self.device) // 2 if self._memory is None else self._memory
        return fitting_tile(
            height,
            width,
            per_pixel=self._per_pixel,
            budget=budget,
            multiple=self._multiple,
            least=self._least_px,
        )

    def _restored(self, lq: Tensor) -> Tensor:
        if not self._self_ensemble:
            return self._tiled(lq)
        total = torch.zeros_like(lq)
        for turn in range(8):
            turned = torch.rot90(lq.flip(-1) if turn >= 4 else lq, turn % 4, (-2, -1))
            back = torch.rot90(self._tiled(turned), -(turn % 4), (-2, -1))
            total += back.flip(-1) if turn >= 4 else back
        return total / 8

    def _tiled(self, lq: Tensor) -> Tensor:
        tile_px = self.tile_for(*lq.shape[-2:])
        while True:
            result = self._attempt(lq, tile_px)
            if result is not None:
                return result
            # Half a side needs a quarter of the memory; kept for the next images, which would fail in the same way.
            smaller = (tile_px or max(lq.shape[-2:])) // 2
            if smaller < min(LEAST_TILE_PX, 4 * self._multiple):
                raise UirError(
                    f"out of memory on {self.device} for a tile of {tile_px} pixels; end other programs that use it, "
                    "or choose --device cpu"
                )
            tile_px = self._tile_px = smaller
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _attempt(self, lq: Tensor, tile_px: int) -> Tensor | None:
        """Restore in tiles, or whole where `tile_px` is 0; None when out of memory."""
        try:
            return restored_image(self._networks, lq, tile_px)
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            # On a CPU torch raises no class of its own for this.
            if "alloc" in str(error) and "memory" in str(error):
                return None
            raise


def restore(image: RgbImage, checkpoint: Checkpoint | str | Path, *, device: str = "auto") -> RgbImage:
    """
    Restore an image of any size.

    For many images create one `Restorer`: this function loads the network at each call.

    >>> restored = restore(np.zeros((50, 70, 3), np.uint8), checkpoint, device="cpu")
    >>> restored.shape, restored.dtype.name
    ((50, 70, 3), 'uint8')

    Args:
        image: (H, W, 3) RGB uint8.
        checkpoint: from `load_checkpoint`, or its path.
        device: auto, cpu, cuda, ...

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UsageError: it does not restore.
    """
    return Restorer(checkpoint, device=device).restore(image)
