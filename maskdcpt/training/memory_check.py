"""Whether a run's largest step fits into memory, checked before the first step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from maskdcpt.compute.devices import free_bytes
from maskdcpt.compute.memory import peak_bytes
from maskdcpt.config.objective_kinds import ObjectiveTraits
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.step_masks import step_mask
from maskdcpt.training.stages import Stage, stages_of

MOST_PER_PIXEL = 400_000
"""More bytes per pixel than any published network takes in a step (SwinIR 380,000); if these fit, no count is made."""

Forward = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""A function from LQ, GT, label and visible patches to the loss, as the loop computes it."""


def largest_stage(config: TrainConfig, ranks: int = 1) -> tuple[Stage, int]:
    """Return the stage with the most pixels in a forward pass, and the number of crops of that pass."""

    def piece(stage: Stage) -> int:
        return max(1, stage.batch // (stage.accumulate * ranks))

    largest = max(stages_of(config), key=lambda stage: piece(stage) * stage.crop**2)
    return largest, piece(largest)


def shortage(
    config: TrainConfig, networks: Networks, forward: Forward, device: torch.device, *, ranks: int = 1, local: int = 1
) -> str:
    """
    Return why the largest step of a run does not fit into memory; "" if it fits.

    On a GPU that step is run on images of noise and its gradients are discarded, because the memory that the kernels
    take cannot be known in another way. On a CPU, where too much memory ends with a kill and not with an error, the
    step is traced without values and the sizes of the tensors that live at the same time are added up; masked feature
    maps are counted as whole maps.

    Args:
        config: of the run.
        networks: their weights do not change.
        forward: as the loop calls it.
        device: where the networks are.
        ranks: the number of processes of the run.
        local: the number of those that share this machine's memory; on a GPU each has its own.
    """
    stage, crops = largest_stage(config, ranks)
    if device.type == "cuda":
        return _try_on_gpu(config, networks, forward, device, stage, crops)
    free = free_bytes(device) // local
    if crops * stage.crop**2 * MOST_PER_PIXEL <= free:
        return ""
    need = step_bytes(config, networks, crop=stage.crop, crops=crops)
    return "" if need <= free else _message(stage, crops, need, free)


def step_bytes(config: TrainConfig, networks: Networks, *, crop: int, crops: int) -> int:
    """
    Return the peak memory of a step in bytes, besides the weights: gradients, moments, EMA, the backward pass.

    Nothing is computed or allocated. Masked feature maps are counted as whole maps, so a masked step takes less.

    Args:
        config: of the run.
        networks: of the run; they are not changed.
        crop: side of the crops, in pixels.
        crops: the number of crops in a forward pass.
    """
    trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]

    def step() -> None:
        images = torch.empty(crops, 3, crop, crop)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.loop.precision == "bfloat16"):
            loss = _unmasked(networks, images, config.objective.traits)
        torch.autograd.grad(loss, trained, allow_unused=True)

    moments = sum(2 * parameter.numel() * parameter.element_size() for parameter in trained)
    average = moments // 2 if config.optimizer.ema_decay else 0
    return peak_bytes(step, slack=0.01) + moments + average


def _unmasked(networks: Networks, images: Tensor, traits: ObjectiveTraits) -> Tensor:
    if traits.restores:
        return networks.backbone(images).float().abs().mean()  # type: ignore[no-any-return]
    encoded = networks.encode(images)
    loss = encoded.last.float().mean()
    if networks.classifier is not None:
        loss = loss + networks.classify(encoded.features).float().mean()
    if networks.reconstruction is not None:
        loss = loss + networks.reconstruction(encoded).float().abs().mean()
    if traits.whole_backbone:
        loss = loss + networks.backbone(images).float().abs().mean()
    return loss


def _try_on_gpu(
    config: TrainConfig, networks: Networks, forward: Forward, device: torch.device, stage: Stage, crops: int
) -> str:
    generator = torch.Generator(device).manual_seed(0)
    images = torch.rand(crops, 3, stage.crop, stage.crop, device=device, generator=generator)
    labels = torch.zeros(crops, dtype=torch.int64, device=device)
    mask = step_mask(config, 0, crops, stage.crop)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.reset_peak_memory_stats(device)
    try:
        loss = forward(images, images, labels, None if mask is None else mask.visible.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        moments = sum(2 * p.numel() * p.element_size() for p in networks.parameters() if p.grad is not None)
        need = torch.cuda.max_memory_allocated(device) + moments
        return "" if need <= total else _message(stage, crops, need, total)
    except torch.OutOfMemoryError:
        return _message(stage, crops, 0, total)
    finally:
        networks.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _message(stage: Stage, crops: int, need: int, free: int) -> str:
    takes = f"about {need / 1e9:.1f} GB" if need else "more"
    when = f", from step {stage.start:,} on," if stage.start else ""
    return (
        f"not enough memory: a step of {crops} crops of {stage.crop}{when} takes {takes}, and {free / 1e9:.1f} GB are "
        "free. The run was not started. Set data.accumulate (of that stage) to 2 or more, loop.checkpointing to true, "
        "or a smaller crop"
    )
