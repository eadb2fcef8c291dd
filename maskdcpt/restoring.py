"""
Pictures restored: one in memory, or many files.

The module is not called `restore`, as that is the function's name and a module of it would hide the function.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maskdcpt.benchmarks import named_class, restored_image
from maskdcpt.checkpoints import Checkpoint, load_checkpoint
from maskdcpt.distributed import chosen_device
from maskdcpt.networks import Networks, networks_of
from maskdcpt.tracking import to_rgb
from maskdcpt.validation import to_tensor
from uirdata.errors import ImageError, UirError, UsageError
from uirdata.images import IMAGE_SUFFIXES, RgbImage, decode_image
from uirdata.progress import Progress, Silent
from uirdata.storage.tables import storage_error, writing

LARGEST_WHOLE_PX = 1024 * 1024
"""Pixels of a picture that is still restored whole; larger ones go tile by tile, in bounded memory."""

TILE_PX = 512


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
    """

    source: Path
    target: Path | None
    height: int = 0
    width: int = 0
    degradation: str = ""
    problem: str = ""


class Restorer:
    """
    Networks that are ready to restore.

    Args:
        checkpoint: fine-tuned or published; or where it lies.
        classifier: checkpoint whose classifier names the degradation; the checkpoint's own when None, if it has one.
        device: auto, cpu, cuda, ...
        tile_px: side of tiles; None cuts pictures over a megapixel into tiles of 512, 0 never cuts.
        self_ensemble: average over the eight flips and turns: slower by eight, a little better.

    Raises:
        UsageError: the checkpoint was pre-trained only, or the device is not there.
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
    ) -> None:
        loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
        if not loaded.restores:
            raise UsageError(f"{loaded.path}: was pre-trained, not fine-tuned: it does not restore")
        self.device = chosen_device(device)
        self._networks = networks_of(loaded).to(self.device).eval()
        self._tile_px = tile_px
        self._self_ensemble = self_ensemble
        self._namer: Networks | None = self._networks if self._networks.classifier is not None else None
        self.class_names = loaded.class_names
        if classifier is not None:
            naming = classifier if isinstance(classifier, Checkpoint) else load_checkpoint(classifier)
            named = networks_of(naming).to(self.device).eval()
            if named.classifier is None:
                raise UsageError(f"{naming.path}: has no classifier; give a pre-trained checkpoint")
            self._namer, self.class_names = named, naming.class_names

    @torch.inference_mode()
    def restore(self, image: RgbImage) -> RgbImage:
        """
        Restore a picture of any size.

        Args:
            image: (H, W, 3) RGB uint8.

        Returns:
            The same size, clipped and rounded.
        """
        return to_rgb(self._restored(to_tensor(image).to(self.device))[0])

    @torch.inference_mode()
    def name(self, image: RgbImage) -> str:
        """Name the degradation of (H, W, 3) RGB uint8, from its middle megapixel at most; "" without a classifier."""
        if self._namer is None:
            return ""
        side = int(LARGEST_WHOLE_PX**0.5)
        top, left = max(0, image.shape[0] - side) // 2, max(0, image.shape[1] - side) // 2
        window = to_tensor(image[top : top + side, left : left + side]).to(self.device)
        return self.class_names[named_class(self._namer, window)]

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
        tile_px = self._tile_px
        if tile_px is None:
            tile_px = TILE_PX if lq.shape[-2] * lq.shape[-1] > LARGEST_WHOLE_PX else 0
        try:
            return restored_image(self._networks, lq, tile_px)
        except torch.OutOfMemoryError:
            smaller = (tile_px or max(lq.shape[-2:])) // 2
            if smaller < 64:
                raise
        # Outside of the handler, which would hold on to the memory of the attempt.
        torch.cuda.empty_cache()
        self._tile_px = smaller
        return self._tiled(lq)


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
) -> list[Restored]:
    """
    Restore files one after the other; a bad one is told of and the others go on.

    Results are PNG under the name of the source. Orientation is applied, the colour profile is kept, and so is an alpha
    channel, unchanged.

    Args:
        files: pictures, or folders of them.
        out: folder for the results; made where it is missing.
        restorer: the networks.
        overwrite: replace files that are there.
        progress: told about files.

    Returns:
        One for each picture, in order.

    Raises:
        UsageError: a folder holds no picture, or nothing was given.
        StorageError: the folder cannot be made.
    """
    listener = progress or Silent()
    targets = plan_files(files, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(out, error) from error
    results = []
    listener.begin("restore", len(targets))
    for source, target in targets:
        try:
            results.append(_restore_file(source, target, restorer, overwrite))
        except UirError as error:
            listener.note(str(error))
            results.append(Restored(source, None, problem=str(error)))
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
    image, extras = _decoded(data, name)
    restored = restorer.restore(image)
    return _encoded(restored, extras), Restored(Path(name), None, image.shape[0], image.shape[1], restorer.name(image))


def _restore_file(source: Path, target: Path | None, restorer: Restorer, overwrite: bool) -> Restored:
    if target is None:
        raise UsageError(f"{source}: another file of the same name comes before it; restore it into another folder")
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: is there already; --overwrite replaces it")
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: cannot be read: {error.strerror or error}") from error
    png, known = restore_bytes(data, str(source), restorer)
    with writing(target) as partial:
        partial.write_bytes(png)
    return Restored(source, target, known.height, known.width, known.degradation)


def plan_files(files: Sequence[Path], out: Path) -> list[tuple[Path, Path | None]]:
    """
    Name the result of each picture; None where an earlier one has that name.

    Raises:
        UsageError: a folder holds no picture, or nothing was given.
    """
    taken: set[Path] = set()
    targets: list[tuple[Path, Path | None]] = []
    for source in _pictures(files):
        target = out / f"{source.stem}.png"
        targets.append((source, None if target in taken else target))
        taken.add(target)
    if not targets:
        raise UsageError("no picture was given")
    return targets


def _pictures(files: Sequence[Path]) -> Iterator[Path]:
    for path in files:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not inside:
            raise UsageError(f"{path}: holds no picture")
        yield from inside


def _decoded(data: bytes, name: str) -> tuple[RgbImage, Mapping[str, Any]]:
    """Give the pixels, and what a result should carry over: the colour profile and the alpha channel."""
    pixels = decode_image(data, name=name)
    with Image.open(io.BytesIO(data)) as image:
        extras: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise ImageError(f"{name}: is an animation of {frames} pictures; restore its frames one by one")
        if image.mode in ("CMYK", "YCbCr", "LAB"):
            # Pixels are RGB now, so a profile of another space would be wrong.
            extras["icc_profile"] = None
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            turned = _upright(image)
            extras["alpha"] = np.asarray(turned.convert("RGBA"))[:, :, 3]
    return pixels, extras


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _encoded(image: RgbImage, extras: Mapping[str, Any]) -> bytes:
    pixels = image
    if "alpha" in extras:
        pixels = np.dstack([image, extras["alpha"]])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3, icc_profile=extras["icc_profile"])
    return buffer.getvalue()
