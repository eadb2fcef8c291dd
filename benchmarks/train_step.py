"""
What the loop and the loader cost beside the bare step: forward, backward, optimiser on the same tensors.

    python benchmarks/train_step.py --shards DIR [--preset NAME] [--set KEY=VALUE ...] [--steps 60] [--rounds 5]

Both run in one process, in turns. The bare step has its batch in memory as floats; the loop reads, cuts, moves, logs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from maskdcpt.batches import Batch
from maskdcpt.config import TrainConfig
from maskdcpt.configuring import with_settings
from maskdcpt.distributed import joined
from maskdcpt.loading import open_samples
from maskdcpt.presets import find_preset
from maskdcpt.runs import prepare_state
from maskdcpt.stages import step_mask
from maskdcpt.training import Learner, train


def bare(config: TrainConfig, steps: int) -> float:
    """Seconds of a step on tensors that are there already."""
    samples = open_samples(config.data, config.data.split)
    with joined(config.loop.device, config.loop.threads) as process:
        state = prepare_state(config, samples.class_names, process.device, None)
        learner = Learner(state.networks, config)
        size = (config.data.batch, 3, config.data.crop, config.data.crop)
        images = torch.rand(size, device=process.device)
        batch = Batch(images, images.flip(0), torch.zeros(len(images), dtype=torch.int64, device=process.device))
        mask = step_mask(config, 0, config.data.batch, config.data.crop)
        visible = None if mask is None else mask.visible.to(process.device)

        def step() -> None:
            learner(batch.lq, batch.gt, batch.label, visible)[0].backward()
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)

        for _ in range(5):
            step()
        _wait(process.device)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        _wait(process.device)
        return (time.perf_counter() - start) / steps


def looped(config: TrainConfig, steps: int) -> float:
    """Seconds of a step of `train`, start and checkpoint taken out."""
    out = Path(tempfile.mkdtemp(prefix="train-step-"))
    times: list[float] = []

    def note() -> bool:
        times.append(time.perf_counter())
        return False

    try:
        run = replace(config, out=str(out / "run"), loop=replace(config.loop, steps=steps + 6))
        train(run, stop=note)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    return (times[-2] - times[4]) / (len(times) - 6)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--preset", default="pretrain-sample")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    config = find_preset(arguments.preset).config
    config = replace(config, data=replace(config.data, shards=str(Path(arguments.shards).resolve())))
    quiet = ["loop.sample_every=0", "loop.validate_images=0", "loop.checkpoint_every=1000000", "loop.tensorboard=false"]
    config = with_settings(config, [*quiet, *arguments.settings])
    ratios = []
    for number in range(arguments.rounds):
        one, two = bare(config, arguments.steps), looped(config, arguments.steps)
        ratios.append(two / one)
        print(f"round {number + 1}: bare {one * 1e3:.1f} ms, loop {two * 1e3:.1f} ms, {two / one:.3f} times")
    print(f"median of the paired ratios: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
