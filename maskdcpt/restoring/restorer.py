"""One image restored, whole or in tiles."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskdcpt.compute.devices import chosen_device, free_bytes
from maskdcpt.compute.memory import bytes_per_pixel
from maskdcpt.images import to_tensor
from maskdcpt.networks.naming import named_classes
from maskdcpt.networks.networks import Networks
from maskdcpt.restoring.image_files import ImageFile, Pixels
from maskdcpt.restoring.tiling import restore_in_tiles
from maskdcpt.weights.build import classifier_before, networks_of
from maskdcpt.weights.checkpoints import Checkpoint, load_checkpoint
from uirdata.errors import UirError, UsageError
from uirdata.images import RgbImage

IMAGE_BYTES = 64
"""Bytes that a pixel of the picture itself takes beside the network: itself, the blended sum, weights, the result."""


def fitting_tile(height: int, width: int, *, per_pixel: float, budget: int, multiple: int, least: int) -> int:
    """
    Choose the side of square tiles; 0 where the whole picture fits.

    >>> fitting_tile(600, 800, per_pixel=2000, budget=2 * 10**9, multiple=16, least=256)
    0
    >>> fitting_tile(4000, 6000, per_pixel=2000, budget=4 * 10**9, multiple=16, least=256)
    1104

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        per_pixel: bytes that the network takes.
        budget: bytes that it may take, with the picture itself.
        multiple: the side is a multiple of this.
        least: no smaller than this, whatever the budget: then it may not be kept.
    """
    left = budget - IMAGE_BYTES * height * width
    whole = (height + multiple) * (width + multiple)
    if whole * per_pixel <= left:
        return 0
    side = math.isqrt(max(0, int(left / per_pixel)))
    return max(side - side % multiple, math.ceil(least / multiple) * multiple)


SMALL_PX = 512 * 512
"""Pixels of a picture that is restored whole without asking how much memory is free."""


NAMED_PX = 1024
"""Largest side of the middle window by which a degradation is named."""


OVERLAP_PX = 64


LEAST_TILE_PX = 128


TRAINED_PX = 256
"""Taken for the side of training crops where a checkpoint does not tell."""


class Restorer:
    """
    Networks that are ready to restore.

    Args:
        checkpoint: fine-tuned or published; or where it lies.
        classifier: checkpoint whose classifier names the degradation; when None the checkpoint's own, or that of the
            pre-training it started from, where one is there.
        device: auto, cpu, cuda, ...
        tile_px: side of tiles; None takes pictures whole where they fit into the memory and else the largest tiles
            that do, 0 never cuts.
        self_ensemble: average over the eight flips and turns: slower by eight, a little better.
        memory: bytes that restoring may take beside the weights; None takes half of what is free.

    Raises:
        UsageError: the checkpoint was pre-trained only, the tiles are too small, or the device is not there.
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
            raise UsageError(f"{loaded.path}: was pre-trained, not fine-tuned: it does not restore")
        self.device = chosen_device(device)
        self._networks = networks_of(loaded).to(self.device).eval()
        backbone = self._networks.backbone
        self._multiple = backbone.multiple
        trained_px = TRAINED_PX if loaded.config is None else loaded.config.data.crop
        # Smaller tiles would have other means than any image that the network was trained on.
        self._least_px = max(LEAST_TILE_PX, trained_px if backbone.sees_whole else 0)
        if tile_px and tile_px < 4 * backbone.multiple:
            raise UsageError(f"tiles of {tile_px} are too small for {backbone.name}: {4 * backbone.multiple} at least")
        self._tile_px = tile_px
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
        Restore a picture of any size.

        Args:
            image: (H, W, 3) RGB uint8.

        Returns:
            The same size, clipped and rounded.
        """
        return np.asarray(self.restore_image_file(ImageFile(image)), dtype=np.uint8)

    @torch.inference_mode()
    def restore_image_file(self, picture: ImageFile) -> Pixels:
        """
        Restore a picture of any size and depth.

        Returns:
            (H, W, 3) RGB of the picture's depth, clipped and rounded.

        Raises:
            UirError: the memory does not do for the smallest tile.
        """
        scaled = torch.from_numpy(picture.pixels.astype(np.float32)).permute(2, 0, 1)[None] / picture.most
        restored = self._restored(scaled.to(self.device))[0].clamp_(0, 1)
        values = restored.permute(1, 2, 0).cpu().numpy().astype(np.float64) * picture.most
        rounded = np.rint(values)
        return rounded.astype(np.uint8) if picture.most == 255 else rounded.astype(np.uint16)

    @torch.inference_mode()
    def name(self, image: RgbImage) -> str:
        """Name the degradation of (H, W, 3) RGB uint8, from its middle megapixel at most; "" without a classifier."""
        if self._namer is None:
            return ""
        top, left = max(0, image.shape[0] - NAMED_PX) // 2, max(0, image.shape[1] - NAMED_PX) // 2
        window = to_tensor(image[top : top + NAMED_PX, left : left + NAMED_PX]).to(self.device)
        return self.class_names[named_classes(self._namer, window)[0]]

    def tile_for(self, height: int, width: int) -> int:
        """
        Say how large tiles of a picture of this size are; 0 where it is restored whole.

        As the user asked. Else whole, as in training and in the papers, where the memory does; else the largest tiles
        that fit, no smaller than the crops of training for a network that takes means over the whole of what it sees.
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
            # Half a side is a quarter of the memory; kept for the pictures to come, which would fail in the same way.
            smaller = (tile_px or max(lq.shape[-2:])) // 2
            if smaller < min(LEAST_TILE_PX, 4 * self._multiple):
                raise UirError(
                    f"the memory of {self.device} does not do for a tile of {tile_px} pixels; close what else uses it, "
                    "or take --device cpu"
                )
            tile_px = self._tile_px = smaller
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _attempt(self, lq: Tensor, tile_px: int) -> Tensor | None:
        """Restore in tiles; None where the memory does not do."""
        network = self._networks.backbone.restore
        if not tile_px:
            tile_px = max(lq.shape[-2:])
        overlap = min(OVERLAP_PX, tile_px // 4)
        try:
            return restore_in_tiles(
                network,
                lq,
                tile_px=tile_px,
                overlap_px=overlap,
                multiple=self._multiple,
                rim_px=overlap // 4,
            )
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            # What torch says on a CPU has no class of its own.
            if "alloc" in str(error) and "memory" in str(error):
                return None
            raise


def restore(image: RgbImage, checkpoint: Checkpoint | str | Path, *, device: str = "auto") -> RgbImage:
    """
    Restore a picture of any size.

    For many pictures make one `Restorer`: this loads the network each time.

    Args:
        image: (H, W, 3) RGB uint8.
        checkpoint: what `load_checkpoint` gave, or where it lies.
        device: auto, cpu, cuda, ...

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        UsageError: it does not restore.
    """
    return Restorer(checkpoint, device=device).restore(image)
