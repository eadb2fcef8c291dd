"""Speed and memory of a network on this machine, plain and masked."""

from __future__ import annotations

import functools
import platform
import statistics
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from maskdcpt.backbones import Backbone
from maskdcpt.compute.devices import chosen_device
from maskdcpt.compute.memory import tensor_bytes
from maskdcpt.masking import BACKENDS, Backend, PatchMask, random_patch_mask
from maskdcpt.networks.networks import build_backbone
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.load import load_checkpoint
from uirdata.errors import UirError, UsageError
from uirdata.progress import Progress, Silent

PLAIN = "plain"


@dataclass(frozen=True)
class TimingSettings:
    """
    What is timed.

    Attributes:
        backbone: name, of the published size with fresh weights.
        checkpoint: checkpoint whose network is timed instead; None for none.
        side: of the images, in pixels; rounded up to a multiple that the network and the mask need.
        batch: images per batch.
        ratio: mask ratio of the masked runs.
        patch: side of the mask's patches, in pixels.
        repeats: of each way, after one that is not counted.
        training: forward and backward; else forward alone.
        half: in bfloat16 by autocast.
    """

    backbone: str = "nafnet"
    checkpoint: str | Path | None = None
    side: int = 256
    batch: int = 1
    ratio: float = 0.5
    patch: int = 16
    repeats: int = 5
    training: bool = False
    half: bool = False


@dataclass(frozen=True)
class BenchRow:
    """
    One way to compute.

    Attributes:
        way: plain, or "masked, <backend>".
        milliseconds: median of the repeats; None where it does not run.
        images_per_second: of the batch in that time.
        over_plain: that time over that of the plain network.
        peak_bytes: of the device's memory on CUDA, else of the tensors of a plain forward; None where unknown.
        problem: why it does not run.
    """

    way: str
    milliseconds: float | None
    images_per_second: float | None
    over_plain: float | None
    peak_bytes: int | None
    problem: str = ""


@dataclass(frozen=True)
class Measured:
    """What was timed, where, and how long each way took."""

    title: str
    rows: tuple[BenchRow, ...]


def measure(settings: TimingSettings, *, device: str = "auto", progress: Progress | None = None) -> Measured:
    """
    Time the plain network and each backend of masked computation.

    Args:
        settings: what.
        device: auto, cpu, cuda, ...
        progress: receives the number of repeats done.

    Raises:
        UsageError: the device or the backbone does not exist.
        CheckpointError: the checkpoint cannot be loaded.
        UirError: the plain network does not run, such as out of memory.
    """
    place = chosen_device(device)
    backbone = _backbone(settings).to(place).train(settings.training)
    side = _fitting(settings.side, backbone.multiple, settings.patch)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(settings.batch, 3, side, side, generator=generator).to(place)
    mask = random_patch_mask(settings.batch, side, side, settings.patch, settings.ratio, generator).to(place)

    def plain() -> Tensor:
        return backbone.encode(images).last

    ways: dict[str, Callable[[], Tensor]] = {PLAIN: plain}
    for name, backend in BACKENDS.items():
        ways[f"masked, {name}"] = functools.partial(_masked, backbone, images, mask, backend)
    problems: dict[str, str] = {}
    times: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, int] = {}
    listener = progress or Silent()
    listener.begin("repeats", settings.repeats + 1)
    for repeat in range(settings.repeats + 1):
        for way, work in ways.items():
            if way in problems:
                continue
            try:
                seconds, peak = _timed(work, backbone, settings, place)
            except (UirError, ValueError, RuntimeError, ImportError) as error:
                problems[way] = textwrap.shorten(str(error), 120, placeholder=" ...")
                continue
            if peak is not None:
                peaks[way] = peak
            # The first compiles, allocates, and lets `auto` choose.
            if repeat:
                times[way].append(seconds)
        listener.advance("repeats")
    listener.end("repeats")
    if PLAIN in problems:
        raise UirError(f"{backbone.name} does not run at {side} x {side} x {settings.batch}: {problems[PLAIN]}")
    if place.type != "cuda" and not settings.training:
        peaks[PLAIN] = tensor_bytes(backbone, settings.batch, side)
    base = statistics.median(times[PLAIN])
    rows = [_row(way, times[way], base, settings.batch, peaks.get(way), problems.get(way, "")) for way in ways]
    return Measured(_title(settings, backbone, side, place), tuple(rows))


def _masked(backbone: Backbone, images: Tensor, mask: PatchMask, backend: Backend) -> Tensor:
    return backbone.encode(images, mask, backend=backend).last


def _timed(
    work: Callable[[], Tensor], backbone: Backbone, settings: TimingSettings, device: torch.device
) -> tuple[float, int | None]:
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    with torch.set_grad_enabled(settings.training), torch.autocast(device.type, torch.bfloat16, settings.half):
        result = work()
        if settings.training:
            result.float().square().mean().backward()  # type: ignore[no-untyped-call]
    if cuda:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    backbone.zero_grad(set_to_none=True)
    return seconds, torch.cuda.max_memory_allocated(device) if cuda else None


def _row(way: str, times: list[float], base: float, batch: int, peak: int | None, problem: str) -> BenchRow:
    if problem or not times:
        return BenchRow(way, None, None, None, None, problem)
    median = statistics.median(times)
    return BenchRow(way, 1000 * median, batch / median, median / base, peak)


def _backbone(settings: TimingSettings) -> Backbone:
    if settings.checkpoint is not None:
        return networks_of(load_checkpoint(settings.checkpoint), "params").backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(settings.backbone, {})


def _fitting(side: int, multiple: int, patch: int) -> int:
    step = max(multiple, patch)
    if step % multiple or step % patch:
        raise UsageError(f"patches of {patch} do not fit a network that needs multiples of {multiple}")
    return -(-side // step) * step


def _title(settings: TimingSettings, backbone: Backbone, side: int, device: torch.device) -> str:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} threads"
    what = "forward and backward" if settings.training else "forward"
    return (
        f"{backbone.name}, {settings.batch} x 3 x {side} x {side}, {settings.ratio:.0%} of {settings.patch}-pixel "
        f"patches hidden, {what}{', bfloat16' if settings.half else ''}; torch {torch.__version__}, {where}{threads}"
    )
