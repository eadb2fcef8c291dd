"""maskdcpt train: pre-train and fine-tune."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from uirdata.errors import UsageError

from ..console import Console
from ..options import CHECKPOINT_HELP, DRY_RUN, CheckpointPlace, ShardPlace, common

if TYPE_CHECKING:
    from maskdcpt.config.train_config import TrainConfig
    from uirdata.subsets import Subset

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--shards", type=ShardPlace(), help="A shard folder, or hf://datasets/OWNER/NAME.")
@click.option("--preset", metavar="NAME", help="An experiment of the paper, or a small one; --presets lists them.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML; a run's config.toml repeats it.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one value, such as loop.steps=1000."
)
@click.option("--init", type=CheckpointPlace(), help="Initial weights. " + CHECKPOINT_HELP)
@click.option("--out", type=_FOLDER, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Resume the run in --out; same weights as without interruption.")
@click.option("--presets", "list_presets", is_flag=True, help="List the presets; exit.")
@click.option("--print-config", is_flag=True, help="Print the whole configuration as TOML, with origins; exit.")
@click.option("--print-schema", is_flag=True, help="Print the JSON schema of a configuration, for editors; exit.")
@DRY_RUN
@common
def train(
    shards: str | Path | None,
    preset: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    init: str | Path | None,
    out: Path | None,
    resume: bool,
    list_presets: bool,
    print_config: bool,
    print_schema: bool,
    dry_run: bool,
    console: Console,
) -> None:
    """
    Pre-train or fine-tune on shards.

    Writes into --out only: config.toml, metrics.jsonl, checkpoints, samples. After Ctrl-C, SIGTERM or Slurm's
    pre-emption the current step is finished, a checkpoint is written and the exit code is 130 or 3; --resume continues
    exactly there. On several GPUs: torchrun --nproc-per-node 4 --no-python maskdcpt train ...

    \b
    Examples:
      maskdcpt train --presets
      maskdcpt train --shards DIR --preset pretrain-sample --out runs/pre
      maskdcpt train --shards DIR --preset finetune-sample --init runs/pre --out runs/fine
      maskdcpt train --out runs/fine --resume
      maskdcpt train --shards DIR --preset pretrain-5d-nafnet --set data.accumulate=4 --print-config
    """
    if list_presets:
        _list_presets(console)
        return
    if print_schema:
        _print_schema()
        return
    if out is not None and not (resume or preset or config or shards) and (out / "config.toml").exists():
        raise UsageError(f"{out} already holds a run: continue it with --resume")
    if out is not None and resume and not (preset or config or (out / "config.toml").exists()):
        raise UsageError(f"{out} holds no run to resume; omit --resume to start one")
    named, origin = _configuration(preset, config, out if resume else None)
    chosen = _with_options(named, shards, init, out, settings)
    if resume:
        _check_place(chosen.data.shards)
    if print_config:
        from maskdcpt.config.preset_values import YOURS
        from maskdcpt.config.toml import differences, to_document, to_toml

        yours = dict.fromkeys(differences(named, chosen), YOURS) if origin else {}
        console.data({**to_document(chosen), "origin": {**origin, **yours}} if origin else to_document(chosen))
        console.line(to_toml(chosen, {**origin, **yours}).rstrip())
        return
    # The configuration holds only the subset's name, which is resolved here.
    from uirdata.pipeline.choosing import subset_of_shards

    subset = subset_of_shards(chosen.data.shards, chosen.data.subset) if chosen.data.shards else None
    if dry_run:
        _show_plan(chosen, subset, console)
        return
    _train(chosen, subset, resume, console)


def _check_place(shards: str) -> None:
    """Refuse the relative path of shards that an earlier release stored, where it leads nowhere from here."""
    from uirdata.pipeline.opening import is_remote

    if shards and not is_remote(shards) and not Path(shards).is_absolute() and not Path(shards).exists():
        raise UsageError(
            f"the run names its shards {shards!r}, relative to the folder that it was started in; give --shards"
        )


def _train(config: TrainConfig, subset: Subset | None, resume: bool, console: Console) -> None:
    from maskdcpt.training.loop import train as run_training

    with console.progress() as progress, interruptions() as caught:
        result = run_training(config, subset=subset, resume=resume, progress=progress, stop=lambda: bool(caught))
    console.data(
        {
            "run": str(result.run),
            "step": result.step,
            "finished": result.finished,
            "checkpoint": str(result.checkpoint),
            "skipped": result.skipped,
        }
    )
    console.line(f"{result.checkpoint}: step {result.step:,} of {config.loop.steps:,}")
    if not result.finished:
        console.remark(f"stopped; continue with: maskdcpt train --out {result.run} --resume")
        raise SystemExit(130 if caught[0] == signal.SIGINT else 3)


def _configuration(preset: str | None, file: Path | None, resumed: Path | None) -> tuple[TrainConfig, dict[str, str]]:
    """Return the configuration that the options name, and the origin of its values."""
    from maskdcpt.config.presets import find_preset
    from maskdcpt.config.toml import read_config
    from maskdcpt.config.train_config import TrainConfig

    if preset and file:
        raise UsageError("--preset and --config cannot be combined; --set changes single values of either")
    if file is not None:
        return read_config(file), {}
    if preset is not None:
        found = find_preset(preset)
        return found.config, dict(found.origin)
    if resumed is not None and (resumed / "config.toml").exists():
        return read_config(resumed / "config.toml"), {}
    return TrainConfig(), {}


def _with_options(
    config: TrainConfig, shards: str | Path | None, init: str | Path | None, out: Path | None, settings: tuple[str, ...]
) -> TrainConfig:
    from maskdcpt.config.toml import with_settings

    # Absolute, so that the configuration that is written next to the weights repeats the run from anywhere.
    if shards is not None:
        place = shards if isinstance(shards, str) else str(shards.resolve())
        config = replace(config, data=replace(config.data, shards=place))
    if init is not None:
        config = replace(config, init=replace(config.init, checkpoint=_absolute(init)))
    if out is not None:
        config = replace(config, out=str(out.resolve()))
    return with_settings(config, settings)


def _absolute(place: str | Path) -> str:
    """Return an address unchanged, and a path as an absolute path, with the release before it if there is one."""
    from maskdcpt.weights.load import split_release

    if isinstance(place, str):
        return place
    release, rest = split_release(str(place))
    return f"{release}:{Path(rest).resolve()}" if release else str(place.resolve())


def _list_presets(console: Console) -> None:
    from maskdcpt.config.experiments import ROMAN, experiments
    from maskdcpt.config.presets import PRESETS

    rows = [{"preset": name, "what": make().summary} for name, make in PRESETS.items()]
    of_tables = experiments()
    console.data({"presets": rows, "experiments": [{**vars(one), "commands": one.commands} for one in of_tables]})
    console.table(rows)
    console.table(
        [
            {"table": ROMAN[one.table], "row": one.row, "pre-train": one.pretrain or "-", "fine-tune": one.finetune}
            for one in of_tables
        ],
        title="Rows of the paper's tables; --json has the commands of each",
    )


def _print_schema() -> None:
    from maskdcpt.config.toml import json_schema

    Console(as_json=True).data(json_schema())


def _show_plan(config: TrainConfig, subset: Subset | None, console: Console) -> None:
    from maskdcpt.training.dry_run import plan_run

    plan = plan_run(config, subset)
    rows: list[dict[str, Any]] = [{"what": name, "value": value} for name, value in plan.items()]
    console.data(plan)
    console.table([{"what": row["what"], "value": str(row["value"])} for row in rows])


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Return a context that collects SIGINT, SIGTERM and SIGUSR1 instead of ending; a second Ctrl-C ends at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught and number == signal.SIGINT:
            previous = before[signal.SIGINT]
            if callable(previous):
                # Ends the process if it is called once more, while this one ends.
                previous(number, frame)
            raise KeyboardInterrupt
        caught.append(number)

    # Slurm's --signal=USR1@120 sends SIGUSR1 before the time limit.
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
