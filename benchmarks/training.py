"""
Cost of the training loop and the loader compared with the bare step: forward, backward, optimiser on the same tensors.

    python benchmarks/training.py [--shards DIR] [--preset NAME ...] [--set KEY=VALUE ...] [--steps 40] [--rounds 5]

Both run in one process, alternately. The bare step has its batch in memory as floats, and neither clips gradients nor
updates the EMA; the loop reads, crops, flips, moves to the device, clips, updates the EMA, counts and logs. Without
--shards it builds shards of the sample photographs. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from maskdcpt.compute.distributed import joined
from maskdcpt.config.presets import find_preset
from maskdcpt.config.toml import with_settings
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.crops import Crops
from maskdcpt.data.samples import open_samples, repeat_ratios
from maskdcpt.data.sampling import Stream, epoch_slots
from maskdcpt.objectives.step_masks import step_mask
from maskdcpt.training.learner import Learner
from maskdcpt.training.loop import train
from maskdcpt.training.run_state import prepare_state
from uirdata.pipeline.choosing import subset_of_shards

WARM = 8
"""Steps that are not counted: the loader's processes start, and the batches that they read ahead are used up."""


@dataclass(frozen=True)
class Cost:
    """Cost of a step: wall-clock seconds, and processor seconds of this process (without the loader's processes)."""

    wall: float
    processor: float


def bare(config: TrainConfig, steps: int) -> Cost:
    """Return the cost of a step on the first batch of the run, with tensors in memory."""
    subset = subset_of_shards(config.data.shards, config.data.subset)
    samples = open_samples(config.data.shards, config.data.split, subset)
    with joined(config.loop.device, config.loop.threads) as process:
        state = prepare_state(config, samples.class_names, process.device)
        learner = Learner(state.networks, config)
        ratios = repeat_ratios(config.data.repeat, subset, samples)
        slots = epoch_slots(samples.degradations, ratios, config.data.sampling)
        stream = Stream(slots, config.loop.seed)
        crops = Crops(samples, config.data.crop, config.loop.seed, config.data.augment)
        batch = crops.__getitems__([stream[number] for number in range(config.data.batch)]).unpack(process.device)
        mask = step_mask(config, 0, config.data.batch, config.data.crop)
        visible = None if mask is None else mask.visible.to(process.device)

        def step() -> None:
            learner(batch.lq, batch.gt, batch.label, visible)[0].backward()
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)

        for _ in range(WARM):
            step()
        _wait(process.device)
        start = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step()
        _wait(process.device)
        return Cost((time.perf_counter() - start[0]) / steps, (time.process_time() - start[1]) / steps)


def looped(config: TrainConfig, steps: int) -> Cost:
    """Return the cost of a step of `train`, without start and checkpoint."""
    out = Path(tempfile.mkdtemp(prefix="training-"))
    times: list[tuple[float, float]] = []

    def note() -> bool:
        times.append((time.perf_counter(), time.process_time()))
        return False

    try:
        run = replace(config, out=str(out / "run"), loop=replace(config.loop, steps=steps + WARM + 1))
        train(run, stop=note)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    first, last = times[WARM - 1], times[WARM + steps - 1]
    return Cost((last[0] - first[0]) / steps, (last[1] - first[1]) / steps)


def compare(config: TrainConfig, steps: int, rounds: int) -> str:
    """Return a table row: medians, and medians of the ratios within a round."""
    pairs = [(bare(config, steps), looped(config, steps)) for _ in range(rounds)]
    one, two = (1e3 * statistics.median(pair[side].wall for pair in pairs) for side in (0, 1))
    wall = statistics.median(b.wall / a.wall for a, b in pairs)
    processor = statistics.median(b.processor / a.processor for a, b in pairs)
    spread = f"{min(b.wall / a.wall for a, b in pairs):.2f} to {max(b.wall / a.wall for a, b in pairs):.2f}"
    data = config.data
    cells = (config.name, f"{data.batch} x {data.crop}", data.workers, f"{one:.1f}", f"{two:.1f}")
    return f"| {' | '.join(map(str, cells))} | {wall:.3f} ({spread}) | {processor:.3f} |"


@contextmanager
def shards_of(given: str | None) -> Iterator[str]:
    """Return the given shard folder, or build one of the sample photographs that exists while the block runs."""
    if given is not None:
        yield str(Path(given).resolve())
        return
    with tempfile.TemporaryDirectory(prefix="training-shards-") as root:
        for words in (("fetch", "sample"), ("build-shards", "--subset", "sample", "--workers", "1")):
            subprocess.run([sys.executable, "-m", "cli.uir", *words, "--root", root, "-q"], check=True, stdout=2)
        yield f"{root}/shards"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards")
    parser.add_argument("--preset", action="append", dest="presets")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    quiet = ["loop.sample_every=0", "loop.validate_images=0", "loop.checkpoint_every=1000000", "loop.tensorboard=false"]
    load = os.getloadavg()[0]
    print(f"Cores: {os.cpu_count()}, load at the start: {load:.1f}, {platform.machine()}, torch {torch.__version__}.\n")
    print("| preset | batch | loaders | bare, ms | loop, ms | loop / bare (rounds) | the same in processor time |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    with shards_of(arguments.shards) as shards:
        for name in arguments.presets or ["pretrain-sample", "finetune-sample"]:
            config = find_preset(name).config
            config = replace(config, data=replace(config.data, shards=shards))
            # One thread and one loader process: one core each, as with a GPU and its CPU.
            settings = ["data.workers=1", "loop.threads=1", *quiet, *arguments.settings]
            print(compare(with_settings(config, settings), arguments.steps, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
