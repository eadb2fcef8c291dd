"""
Pictures restored: one in memory, or many files.

The module is not called `restore`, as that is the function's name and a module of it would hide the function.
"""

from __future__ import annotations

import gc
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskdcpt.checkpoints import Checkpoint, load_checkpoint
from maskdcpt.distributed import chosen_device
from maskdcpt.judging import classifier_before, named_classes
from maskdcpt.memory import bytes_per_pixel, fitting_tile, free_bytes
from maskdcpt.networks import Networks, networks_of
from maskdcpt.pictures import Picture, Pixels, decode_picture, encode_picture
from maskdcpt.tiling import restore_in_tiles
from maskdcpt.validation import to_tensor
from uirdata.errors import ImageError, StorageError, UirError, UsageError
from uirdata.images import IMAGE_SUFFIXES, RgbImage
from uirdata.progress import Progress, Silent
from uirdata.storage.tables import storage_error, writing

SMALL_PX = 512 * 512
"""Pixels of a picture that is restored whole without asking how much memory is free."""

NAMED_PX = 1024
"""Largest side of the middle window by which a degradation is named."""

OVERLAP_PX = 64
LEAST_TILE_PX = 128
TRAINED_PX = 256
"""Taken for the side of training crops where a checkpoint does not tell."""


@dataclass(frozen=True)
class Restored:
    """
    One file.

    Attributes:
        source: that was read.
        target: that was written; None where something went wrong.
        height: in pixels.
        width: in pixels.
        degradation: what the classifier sees in it; "" without a classifier.
        problem: why it was not restored; "" where it was.
        remark: what was changed on reading; "" for nothing.
    """

    source: Path
    target: Path | None
    height: int = 0
    width: int = 0
    degradation: str = ""
    problem: str = ""
    remark: str = ""


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
        return np.asarray(self.restore_picture(Picture(image)), dtype=np.uint8)

    @torch.inference_mode()
    def restore_picture(self, picture: Picture) -> Pixels:
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


def restore_files(
    files: Sequence[Path],
    out: Path,
    restorer: Restorer,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_picture: Callable[[Restored, Picture, Pixels], None] | None = None,
) -> list[Restored]:
    """
    Restore files one after the other; a bad one is told of and the others go on.

    Results are PNG under the name of the source, those of a folder at the same place below `out`. They are upright;
    16 bits, colour profile, EXIF and an alpha channel are kept.

    Args:
        files: pictures, folders of them, or patterns such as photos/*.jpg.
        out: folder for the results; made where it is missing.
        restorer: the networks.
        overwrite: replace files that are there.
        progress: told about files.
        on_picture: gets each picture that was restored, and its restored pixels.

    Returns:
        One for each picture, and one for each word that names none, in order.

    Raises:
        UsageError: nothing was given.
        StorageError: the folder cannot be made.
    """
    listener = progress or Silent()
    planned = plan_files(files, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    results = []
    listener.begin("restore", len(planned))
    for plan in planned:
        try:
            if plan.problem:
                raise UsageError(plan.problem)
            results.append(_restore_file(plan, restorer, overwrite, on_picture))
        except UirError as error:
            listener.note(str(error))
            results.append(replace(plan, target=None, problem=str(error)))
        listener.advance("restore")
    listener.end("restore")
    return results


def restore_bytes(data: bytes, name: str, restorer: Restorer) -> tuple[bytes, Restored]:
    """
    Restore one picture in memory, as `restore_files` does.

    Returns:
        The PNG, and what is known of it.

    Raises:
        ImageError: the data is no picture that can be read whole.
    """
    picture = decode_picture(data, name)
    restored = restorer.restore_picture(picture)
    return encode_picture(restored, picture), _described(Restored(Path(name), None), picture, restorer)


def plan_files(files: Sequence[Path], out: Path) -> list[Restored]:
    """
    Name the result of each picture, without reading any.

    Returns:
        One for each picture; those that cannot be restored have a problem.

    Raises:
        UsageError: nothing was given.
    """
    taken: dict[Path, Path] = {}
    planned = []
    for source, place, problem in _pictures(files):
        target = out / place.with_suffix(".png")
        if not problem and target in taken:
            problem = (
                f"{source}: its result would be {target}, as that of {taken[target]}; restore it into another --out"
            )
        if not problem and _same_file(source, target):
            problem = f"{source}: its result would replace it; choose another --out"
        if not problem:
            taken[target] = source
        planned.append(Restored(source, None if problem else target, problem=problem))
    if not planned:
        raise UsageError("no picture was given")
    return planned


def _restore_file(
    plan: Restored,
    restorer: Restorer,
    overwrite: bool,
    on_picture: Callable[[Restored, Picture, Pixels], None] | None,
) -> Restored:
    assert plan.target is not None
    if plan.target.exists() and not overwrite:
        raise UsageError(f"{plan.target}: is there already; --overwrite replaces it")
    try:
        data = plan.source.read_bytes()
    except OSError as error:
        raise ImageError(f"{plan.source}: cannot be read: {error.strerror or error}") from error
    picture = decode_picture(data, str(plan.source))
    _check_writable(plan.target.parent)
    pixels = restorer.restore_picture(picture)
    with writing(plan.target) as partial:
        partial.write_bytes(encode_picture(pixels, picture))
    result = _described(plan, picture, restorer)
    if on_picture is not None:
        on_picture(result, picture, pixels)
    return result


def _check_writable(folder: Path) -> None:
    """Refuse a folder that is not ours before the work, which may take minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise StorageError(f"{folder}: cannot be written; choose another --out, or change its rights")


def _described(plan: Restored, picture: Picture, restorer: Restorer) -> Restored:
    height, width = picture.pixels.shape[:2]
    eight_bits = picture.pixels if picture.most == 255 else picture.pixels // 257
    degradation = restorer.name(np.asarray(eight_bits, dtype=np.uint8))
    return replace(plan, height=height, width=width, degradation=degradation, remark=picture.remark)


def _pictures(files: Sequence[Path]) -> Iterator[tuple[Path, Path, str]]:
    """Give each picture, where it lies below what was named, and what is wrong with the name."""
    for path in files:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            yield from ((p, p.relative_to(path), "") for p in inside)
            if not inside:
                yield path, Path(path.name), f"{path}: holds no picture"
        elif not path.exists() and glob.has_magic(str(path)):
            found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())  # noqa: PTH207
            yield from ((p, Path(p.name), "") for p in found)
            if not found:
                yield path, Path(path.name), f"{path}: no file has such a name"
        else:
            yield path, Path(path.name), "" if path.exists() else f"{path}: no such file"


def _same_file(source: Path, target: Path) -> bool:
    return source.exists() and target.exists() and source.samefile(target)
