from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch._dynamo.utils

from maskdcpt.config.toml import read_config, to_toml, with_settings
from maskdcpt.networks.networks import Networks, save_memory
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.logs.metrics_log import read_curves, read_metrics
from maskdcpt.training.loop import train
from maskdcpt.training.memory_check import step_bytes
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.checkpoints import STATE, checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import load_state
from tests.maskdcpt.tiny import TYPES, tiny_config, write_shards
from uirdata.errors import UirError, UsageError
from uirdata.images import read_image

FINETUNE = ("objective.kind=finetune", "optimizer.ema_decay=0.9", "optimizer.schedule=cosine", "optimizer.lr=3e-3")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


def everything(run: Path) -> dict[str, object]:
    """Return weights, EMA, moments, generators and position of a run's newest checkpoint."""
    folder = checkpoint_folders(run)[-1]
    checkpoint = load_checkpoint(folder)
    state = load_state(folder)
    flat: dict[str, object] = {f"params.{k}": v for k, v in checkpoint.params.items()}
    flat |= {f"ema.{k}": v for k, v in checkpoint.params_ema.items()}
    for index, moments in state["optimizer"]["state"].items():
        flat |= {f"optimizer.{index}.{k}": v for k, v in moments.items()}
    return flat | {k: state[k] for k in ("step", "samples", "skipped", "torch", "python", "numpy")}


def assert_same(one: dict[str, object], other: dict[str, object]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]  # type: ignore[arg-type]
        assert same, name


def in_a_fresh_process(config: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uir_cli.maskdcpt", "train", "--config", str(config), "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("settings", [("optimizer.ema_decay=0.9",), FINETUNE], ids=["maskdcpt", "finetune"])
def test_stopped_and_resumed_gives_the_same_to_the_bit_with_any_number_of_workers(
    shards: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    train(tiny_config(shards, tmp_path / "whole", *settings))
    config = tiny_config(shards, tmp_path / "broken", *settings)
    stopped = train(with_settings(config, ["data.workers=2"]), stop=stop_after(2))
    assert (stopped.step, stopped.finished) == (2, False)
    resumed = train(config, resume=True)
    assert (resumed.step, resumed.finished) == (6, True)
    assert_same(everything(tmp_path / "whole"), everything(tmp_path / "broken"))


def test_a_killed_run_resumes_in_a_new_process_to_the_same_weights(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path / "whole", *FINETUNE))
    run = tmp_path / "killed"
    train(tiny_config(shards, run, *FINETUNE), stop=stop_after(4))
    # What a killed run leaves: rows of steps that were not saved, and a partly written checkpoint.
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "train", "step": 5, "loss": 1.0}) + '\n{"event": "tra')
    (run / "checkpoints" / ".step-000005.part").mkdir()
    done = in_a_fresh_process(run / "config.toml", run, "--resume", "--set", "data.workers=2")
    assert done.returncode == 0, done.stderr
    assert_same(everything(tmp_path / "whole"), everything(run))
    steps = [row["step"] for row in read_metrics(run) if row["event"] == "train"]
    assert steps == [2, 4, 6]


def test_a_termination_signal_saves_and_ends_with_3(shards: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(to_toml(tiny_config(shards, tmp_path / "run", "loop.steps=100000", "data.workers=1")))
    command = [sys.executable, "-m", "uir_cli.maskdcpt", "train", "--config", str(config), "-q"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_for(lambda: bool(checkpoint_folders(tmp_path / "run")))
        # To the whole process group, as Slurm sends it: the loader's workers get it too.
        os.killpg(process.pid, signal.SIGTERM)
        _, output = process.communicate(timeout=60)
    assert process.returncode == 3, output
    last = checkpoint_folders(tmp_path / "run")[-1]
    assert load_state(last)["step"] == read_metrics(tmp_path / "run")[-1]["step"]


def test_training_lowers_the_loss_and_learns_the_labels(shards: Path, tmp_path: Path) -> None:
    settings = ("loop.steps=60", "loop.log_every=10", "loop.checkpoint_every=60", "optimizer.lr=3e-3", "data.batch=6")
    result = train(tiny_config(shards, tmp_path / "run", *settings, "optimizer.lr_decoders=3e-3"))
    curves = read_curves(result.run)
    assert curves["pixel"].values[-1] < 0.6 * curves["pixel"].values[0]
    assert curves["accuracy"].values[-1] > 0.6
    assert curves["loss"].steps == (10, 20, 30, 40, 50, 60)


def test_fine_tuning_starts_from_the_pre_trained_backbone_and_nothing_else(shards: Path, tmp_path: Path) -> None:
    pre = train(tiny_config(shards, tmp_path / "pre", "optimizer.ema_decay=0.9"))
    config = tiny_config(shards, tmp_path / "fine", *FINETUNE, f"init.checkpoint={pre.run}", "optimizer.lr=0")
    fine = train(config)
    before, after = load_checkpoint(pre.run), load_checkpoint(fine.run)
    assert all(torch.equal(before.params[name], weight) for name, weight in after.params.items())
    assert {name.split(".")[0] for name in after.params} == {"backbone"}
    assert after.restores
    assert not before.restores


def test_the_ema_of_fine_tuning_starts_from_the_pre_trained_ema(shards: Path, tmp_path: Path) -> None:
    pre = train(tiny_config(shards, tmp_path / "pre", "optimizer.ema_decay=0.5", "optimizer.lr=0.01"))
    settings = (
        *FINETUNE,
        f"init.checkpoint={pre.run}",
        "optimizer.lr=0",
        "optimizer.ema_decay=0.999999",
        "loop.steps=1",
    )
    fine = train(tiny_config(shards, tmp_path / "fine", *settings))
    before, after = load_checkpoint(pre.run), load_checkpoint(fine.run)
    name = "backbone.intro.weight"
    assert not torch.equal(before.params[name], before.params_ema[name])
    torch.testing.assert_close(after.params_ema[name], before.params_ema[name], rtol=0, atol=1e-6)


def test_weights_of_another_size_are_refused_by_name(shards: Path, tmp_path: Path) -> None:
    pre = train(tiny_config(shards, tmp_path / "pre"))
    config = tiny_config(shards, tmp_path / "fine", *FINETUNE, f"init.checkpoint={pre.run}", "model.size.width=8")
    with pytest.raises(UirError, match=r"its backbone \(nafnet .*does not match the network"):
        train(config)


def test_heads_of_another_label_order_are_refused(shards: Path, tmp_path: Path) -> None:
    other = write_shards(tmp_path / "two", train=2, types=TYPES[:2])
    pre = train(tiny_config(other, tmp_path / "pre", "loop.steps=1"))
    config = tiny_config(shards, tmp_path / "next", f"init.checkpoint={pre.run}", "init.parts=all")
    with pytest.raises(UirError, match=r"labels are noise, gaussian-blur; the run has noise, gaussian-blur, low-light"):
        train(config)


def test_a_run_is_not_overwritten_and_not_resumed_as_another(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run", "loop.steps=1")
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        train(config, resume=True)
    train(config)
    with pytest.raises(UsageError, match="already holds a run"):
        train(config)
    with pytest.raises(UsageError, match=r"other values of optimizer\.lr;"):
        train(with_settings(config, ["optimizer.lr=1e-5", "loop.steps=2"]), resume=True)
    assert train(with_settings(config, ["loop.steps=2"]), resume=True).step == 2


def test_what_is_refused_changes_nothing_on_the_disk(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run", "optimizer.ema_decay=0.9")
    train(config, stop=stop_after(2))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    # What another folder of shards may hold.
    other = write_shards(tmp_path / "other", types=TYPES[:2])
    with pytest.raises(UirError, match="its labels are"):
        train(with_settings(config, [f"data.shards={other}"]), resume=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    with pytest.raises(UirError, match="does not match the network"):
        train(tiny_config(shards, tmp_path / "new", f"init.checkpoint={tmp_path / 'run'}", "model.size.width=6"))
    assert not (tmp_path / "new").exists()


def test_the_configuration_beside_the_weights_repeats_the_run(shards: Path, tmp_path: Path) -> None:
    first = train(tiny_config(shards, tmp_path / "first", "loop.steps=2"))
    again = train(with_settings(read_config(first.run / "config.toml"), [f"out={tmp_path / 'second'}"]))
    assert_same(everything(first.run), everything(again.run))


def test_a_nan_step_changes_no_weight_and_too_many_end_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import maskdcpt.training.learner as module

    real, bad = module.losses_of, {1, 3, 4}
    calls = iter(range(100))

    def sometimes_nan(networks: Networks, *rest: object) -> object:
        losses = real(networks, *rest)  # type: ignore[arg-type]
        number = next(calls)
        if number in bad:
            # Like an output that overflows: the loss is infinite, its gradient is not.
            spoilt = losses.total + float("inf") if number == 3 else losses.total * float("nan")
            object.__setattr__(losses, "total", spoilt)
        return losses

    monkeypatch.setattr(module, "losses_of", sometimes_nan)
    result = train(tiny_config(shards, tmp_path / "run", *FINETUNE, "loop.nan_limit=3"))
    assert result.skipped == 3
    assert all(torch.isfinite(weight).all() for weight in load_checkpoint(result.run).params.values())
    skipped = [row for row in read_metrics(result.run) if row["event"] == "skipped"]
    assert [row["step"] for row in skipped] == [2, 4, 5]
    assert all(len(row["samples"]) == 4 for row in skipped)

    bad.update(range(100))
    with pytest.raises(TrainingError, match="NaN or infinite in 3 steps in a row, up to step 3"):
        train(tiny_config(shards, tmp_path / "bad", *FINETUNE, "loop.nan_limit=3"))
    kept = torch.load(tmp_path / "bad" / "bad-batch-step-3-rank-0.pt", weights_only=True)
    assert kept["lq"].shape == (4, 3, 32, 32)


def test_a_batch_in_pieces_updates_the_weights_as_a_whole_one(shards: Path, tmp_path: Path) -> None:
    settings = ("optimizer.lr=1e-3", "loop.steps=3")
    whole = load_checkpoint(train(tiny_config(shards, tmp_path / "whole", *settings)).run)
    pieces = load_checkpoint(train(tiny_config(shards, tmp_path / "pieces", *settings, "data.accumulate=4")).run)
    for name, weight in whole.params.items():
        torch.testing.assert_close(pieces.params[name], weight, rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize("kind", ["dcpt", "ram", "reconstruction", "classification"])
def test_every_other_objective_trains_and_resumes(shards: Path, tmp_path: Path, kind: str) -> None:
    settings = (f"objective.kind={kind}", "loop.steps=2", "loop.checkpoint_every=1", "loop.sample_every=1")
    result = train(tiny_config(shards, tmp_path / "run", *settings), stop=stop_after(1))
    assert result.step == 1
    assert train(read_config(result.run / "config.toml"), resume=True).step == 2
    if kind != "classification":
        assert (result.run / "samples" / "step-000002.png").exists()


def test_stages_change_crop_and_batch_and_resume_in_the_middle(shards: Path, tmp_path: Path) -> None:
    stages = "data.stages=[{start = 2, crop = 16, batch = 2}, {start = 4, crop = 40, batch = 1}]"
    whole = train(tiny_config(shards, tmp_path / "whole", *FINETUNE, stages))
    assert load_state(whole.checkpoint)["samples"] == 2 * 4 + 2 * 2 + 2 * 1
    config = tiny_config(shards, tmp_path / "broken", *FINETUNE, stages)
    train(config, stop=stop_after(3))
    train(config, resume=True)
    assert_same(everything(whole.run), everything(tmp_path / "broken"))


def test_validation_uses_held_out_samples_and_the_best_checkpoint_is_kept(shards: Path, tmp_path: Path) -> None:
    settings = (
        *FINETUNE,
        "data.validation_split=test",
        "loop.validate_every=2",
        "loop.checkpoint_every=2",
        "loop.keep=1",
    )
    result = train(tiny_config(shards, tmp_path / "run", *settings, "init.identity=true", "loop.steps=8"))
    curves = read_curves(result.run)
    assert curves["validation/psnr"].steps == (2, 4, 6, 8)
    assert {f"validation/psnr/{kind}" for kind in TYPES} <= curves.keys()
    scores = dict(zip(curves["validation/psnr"].steps, curves["validation/psnr"].values, strict=True))
    kept = {load_state(folder)["step"] for folder in checkpoint_folders(result.run)}
    assert kept == {8, max(scores, key=lambda step: scores[step])}


def test_an_identity_start_returns_the_image(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path / "run", *FINETUNE, "init.identity=true", "optimizer.lr=0", "loop.steps=1")
    networks = networks_of(load_checkpoint(train(config).run))
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(networks.backbone(image), image)


def test_a_start_with_contrast_responds_to_edges_and_hardly_to_brightness(shards: Path, tmp_path: Path) -> None:
    networks = {}
    for name in ("false", "true"):
        settings = (f"init.contrast={name}", "optimizer.lr=0", "loop.steps=1")
        networks[name] = networks_of(load_checkpoint(train(tiny_config(shards, tmp_path / name, *settings)).run))
    flat, edge = torch.full((1, 3, 8, 8), 0.5), torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1.0
    convolutions = {name: made.backbone.intro for name, made in networks.items()}
    inner = {
        (name, kind): (conv(image) - conv(torch.zeros_like(image)))[..., 2:6, 3:5].abs().mean()
        for name, conv in convolutions.items()
        for kind, image in (("flat", flat), ("edge", edge))
    }
    assert inner["true", "flat"] < 0.5 * inner["false", "flat"]
    assert inner["true", "edge"] > 2 * inner["false", "edge"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.crop=30", "a crop of 30 is not a multiple of 4, which the backbone nafnet needs"),
        ("objective.mask_patch=5", "a crop of 32 is not a multiple of 5"),
        ("data.batch=5", "a batch of 5 does not divide"),
        ("data.repeat={haze = 2}", "names 'haze', of which the shards hold no sample"),
        ("loop.device=cuda:7", "finds no GPU" if not torch.cuda.is_available() else ""),
        ("data.split=val", "has no split 'val'"),
    ],
)
def test_settings_that_do_not_match_are_refused_before_the_first_step(
    shards: Path, tmp_path: Path, setting: str, says: str
) -> None:
    more = ("data.accumulate=2",) if setting == "data.batch=5" else ()
    with pytest.raises(UirError, match=says):
        train(tiny_config(shards, tmp_path / "run", setting, *more))


def test_a_truncated_shard_ends_the_run_with_its_name(shards: Path, tmp_path: Path) -> None:
    own = write_shards(tmp_path / "cut", train=2)
    tar = own / "train" / "noise" / "tiny-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(UirError, match=r"train/noise/tiny-00000\.tar"):
        train(tiny_config(own, tmp_path / "run"))


def test_a_shard_that_breaks_during_the_run_loses_no_step(shards: Path, tmp_path: Path) -> None:
    own = write_shards(tmp_path / "own", train=6)
    whole = {tar: tar.read_bytes() for tar in (own / "train").rglob("*.tar")}
    asked = iter(range(100))

    def broken_after_two_steps() -> bool:
        if next(asked) == 1:
            for tar, content in whole.items():
                tar.write_bytes(bytes(len(content)))
        return False

    config = tiny_config(own, tmp_path / "run", "loop.checkpoint_every=100")
    with pytest.raises(UirError, match=r"tiny-00000\.tar"):
        train(config, stop=broken_after_two_steps)
    assert load_state(checkpoint_folders(tmp_path / "run")[-1])["step"] == 2
    for tar, content in whole.items():
        tar.write_bytes(content)
    train(config, resume=True)
    train(tiny_config(own, tmp_path / "whole"))
    assert_same(everything(tmp_path / "whole"), everything(tmp_path / "run"))


def test_a_broken_image_ends_a_run_with_workers_with_one_line_of_error(shards: Path, tmp_path: Path) -> None:
    own = write_shards(tmp_path / "own", types=TYPES[:1])
    (tar,) = (own / "train").rglob("*.tar")
    content = tar.read_bytes()
    # The same number of bytes: the error shows only when a sample is read.
    tar.write_bytes(bytes(len(content)))
    config = tmp_path / "config.toml"
    config.write_text(to_toml(tiny_config(own, tmp_path / "run", "data.workers=1")))
    done = in_a_fresh_process(config, tmp_path / "run", "-q")
    assert done.returncode == 1
    assert "tiny-00000.tar" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_step_that_does_not_fit_is_refused_before_the_first_with_its_stage(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskdcpt.training.memory_check.free_bytes", lambda _device: 10_000_000)
    stages = ("data.stages=[{start = 3, crop = 128, batch = 8}]",)
    with pytest.raises(TrainingError, match=r"8 crops of 128, from step 3 on, takes about .* data\.accumulate"):
        train(tiny_config(shards, tmp_path / "run", *stages))
    assert not checkpoint_folders(tmp_path / "run")
    train(tiny_config(shards, tmp_path / "small", "data.crop=16", "data.batch=1", "loop.steps=1"))


def test_the_memory_of_a_step_grows_with_crops_and_shrinks_with_checkpointing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, tmp_path, "model.size.enc_blk_nums=[4, 4]", "objective.kind=finetune")
    networks = Networks.create(config, 3)
    one, two = (step_bytes(config, networks, crop=32, crops=count) for count in (1, 2))
    assert one < two < 2 * one
    # An activation of the first level is 4 channels of 32 x 32 floats, and each block keeps several.
    assert two - one > 20 * 4 * 32 * 32 * 4
    save_memory(networks.backbone)
    assert step_bytes(config, networks, crop=32, crops=2) < 0.8 * two
    assert all(parameter.grad is None for parameter in networks.parameters())


def test_nothing_outside_of_the_run_is_touched(shards: Path, tmp_path: Path) -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(tiny_config(shards, tmp_path / "run", "loop.steps=1"))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_the_state_contains_everything_that_changes(shards: Path, tmp_path: Path) -> None:
    run = train(tiny_config(shards, tmp_path / "run", *FINETUNE, "loop.steps=1")).checkpoint
    assert isinstance(torch.load(run / STATE, weights_only=True)["optimizer"], dict)
    assert {"step", "samples", "skipped", "torch", "cuda", "python", "numpy", "class_names"} <= load_state(run).keys()


def stop_after(steps: int):  # type: ignore[no-untyped-def]
    """Return a function that stops a run after a number of steps."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= steps


def wait_for(ready, timeout_s: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "size",
    [
        ("model.size.width=4",),
        ("model.backbone=restormer", "model.size={dim = 8, num_blocks = [1, 1, 1, 1], num_refinement_blocks = 1}"),
    ],
    ids=["nafnet", "restormer"],
)
def test_gradient_checkpointing_changes_no_weight(shards: Path, tmp_path: Path, size: tuple[str, ...]) -> None:
    settings = ("loop.steps=2", *size)
    plain = train(tiny_config(shards, tmp_path / "plain", *settings))
    saving = train(tiny_config(shards, tmp_path / "saving", *settings, "loop.checkpointing=true"))
    assert_same(everything(plain.run), everything(saving.run))


def test_bfloat16_and_channels_last_reach_about_the_same_loss(shards: Path, tmp_path: Path) -> None:
    plain = train(tiny_config(shards, tmp_path / "plain", *FINETUNE, "loop.log_every=1"))
    half = ("loop.precision=bfloat16", "loop.channels_last=true", "loop.log_every=1")
    other = train(tiny_config(shards, tmp_path / "half", *FINETUNE, *half))
    losses = read_curves(plain.run)["loss"].values, read_curves(other.run)["loss"].values
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert all(weight.dtype == torch.float32 for weight in load_checkpoint(other.run).params.values())


def test_compiled_steps_are_the_same_and_do_not_change_names(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    # Everything that the compiler does except code generation, which takes minutes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    settings = ("objective.kind=reconstruction", "objective.reconstruction=head", "model.size.width=2")
    settings += ("model.size.enc_blk_nums=[1]", "model.size.dec_blk_nums=[1]", "loop.log_every=1", "loop.steps=3")
    train(tiny_config(shards, tmp_path / "plain", *settings))
    config = tiny_config(shards, tmp_path / "compiled", *settings)
    torch._dynamo.utils.counters.clear()
    graphs: list[int] = []

    def after_two_steps() -> bool:
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        return len(graphs) == 2

    train(with_settings(config, ["loop.compile=true"]), stop=after_two_steps)
    # The second step has other visible patches and compiles nothing new for them.
    assert graphs[0] == graphs[1] > 0
    # The rest of a compiled run may be trained without compilation.
    train(config, resume=True)
    one, other = read_curves(tmp_path / "plain")["loss"], read_curves(tmp_path / "compiled")["loss"]
    assert other.values == pytest.approx(one.values, rel=1e-5)
    assert everything(tmp_path / "plain").keys() == everything(tmp_path / "compiled").keys()


def test_a_compiled_run_may_change_the_size_of_its_crops(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    settings = ["objective.kind=classification", "model.size.width=2", "model.size.enc_blk_nums=[1]"]
    settings += ["model.size.dec_blk_nums=[1]", "loop.log_every=1", "loop.steps=3"]
    settings += ["data.stages=[{start=1,crop=16,batch=4},{start=2,crop=48,batch=2}]"]
    train(tiny_config(shards, tmp_path / "plain", *settings))
    train(tiny_config(shards, tmp_path / "compiled", *settings, "loop.compile=true"))
    one, other = read_curves(tmp_path / "plain")["loss"], read_curves(tmp_path / "compiled")["loss"]
    assert other.values == pytest.approx(one.values, rel=1e-5)


def test_example_images_show_visible_patches_and_outputs(shards: Path, tmp_path: Path) -> None:
    result = train(tiny_config(shards, tmp_path / "run", "loop.steps=1", "loop.sample_every=1"))
    image = read_image(result.run / "samples" / "step-000001.png")
    # Four rows of LQ, its visible patches, output, and GT, four pixels apart.
    assert image.shape == (4 * 32 + 3 * 4, 4 * 32 + 3 * 4, 3)
    seen = image[:32, 36:68]
    assert 0.4 < (seen == 0).all(axis=2).mean() < 0.6
