from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from uir_cli.maskdcpt import program

from maskdcpt.config.toml import read_config, to_toml, with_settings
from tests.maskdcpt.tiny import random_image, tiny_config, write_shards
from uirdata.images import read_image


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(program, [str(arg) for arg in args], input=stdin)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with shards, a pre-trained and a fine-tuned run, created by the commands."""
    root = tmp_path_factory.mktemp("learning")
    write_shards(root / "shards", train=2, test=3)
    (root / "pre.toml").write_text(to_toml(tiny_config(root / "shards", root / "pre", "loop.steps=2")))
    assert run("train", "--config", root / "pre.toml", "-q").exit_code == 0
    fine = tiny_config(root / "shards", root / "fine", "objective.kind=finetune", "loop.steps=2")
    (root / "fine.toml").write_text(to_toml(fine))
    assert run("train", "--config", root / "fine.toml", "--init", root / "pre", "-q").exit_code == 0
    return root


def test_help_imports_nothing_that_is_slow() -> None:
    code = (
        "import sys\nfrom uir_cli.maskdcpt import program\n"
        "try:\n    program.main(args=sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert 'click' in sys.modules\n"
        "assert not {'torch', 'pyarrow', 'numpy', 'cv2', 'pydantic'} & set(sys.modules), sorted(sys.modules)\n"
    )
    for args in (["--help"], ["train", "--help"], ["restore", "--help"], ["train", "--presets"]):
        if args[-1] == "--presets":
            code = code.replace(", 'numpy', 'cv2', 'pydantic'", "")
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize("command", ["train", "plot", "reproduce", "eval", "restore", "probe", "export"])
def test_every_command_has_an_example_in_its_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert f"maskdcpt {command}" in result.output


def test_an_unknown_command_names_the_nearest() -> None:
    result = run("trian")
    assert result.exit_code == 2
    assert "did you mean 'train'" in result.output


def test_train_writes_a_run_and_says_where(folder: Path) -> None:
    for name in ("pre", "fine"):
        run_folder = folder / name
        assert (run_folder / "checkpoints" / "step-000002" / "model.safetensors").exists()
        assert (run_folder / "config.toml").exists()
        assert (run_folder / "metrics.jsonl").exists()


def test_a_finished_run_is_not_overwritten_and_continues_with_resume(folder: Path, tmp_path: Path) -> None:
    again = run("train", "--config", folder / "pre.toml")
    assert again.exit_code == 2
    assert "continue it with --resume" in again.output
    nothing = run("train", "--out", tmp_path / "nothing", "--resume")
    assert nothing.exit_code == 2
    assert "holds no run to resume" in nothing.output
    config = tmp_path / "own.toml"
    config.write_text(to_toml(tiny_config(folder / "shards", tmp_path / "own", "loop.steps=1")))
    assert run("train", "--config", config, "-q").exit_code == 0
    more = run("train", "--out", tmp_path / "own", "--resume", "--set", "loop.steps=3", "--json", "-q")
    assert more.exit_code == 0, more.output
    assert json.loads(more.stdout)["step"] == 3


def test_presets_are_listed_and_printed_with_their_origins(folder: Path) -> None:
    listed = run("train", "--presets", "--json")
    assert "pretrain-5d-nafnet" in [row["preset"] for row in json.loads(listed.stdout)["presets"]]
    assert "Rows of the paper's tables" in run("train", "--presets").stdout
    shown = run("train", "--preset", "pretrain-5d-nafnet", "--set", "loop.steps=5", "--print-config")
    assert "lr = 0.0003  # paper" in shown.stdout
    assert "steps = 5  # yours" in shown.stdout
    assert not [line for line in shown.stdout.splitlines() if " = " in line and "  # " not in line]
    assert "additionalProperties" in run("train", "--print-schema").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--preset", "pretrain-5d-nafne"], "did you mean 'pretrain-5d-nafnet"),
        (["--set", "optimizer.lrr=3"], "did you mean 'lr'"),
        (["--set", "loop.steps=3"], "no shards are named"),
        (["--preset", "pretrain-sample", "--config", "x.toml"], "--set changes single values of either"),
    ],
)
def test_misuse_ends_with_2(args: list[str], says: str, tmp_path: Path) -> None:
    result = run("train", *args, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(to_toml(tiny_config(folder / "shards", tmp_path / "run")))
    result = run("train", "--config", config, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["samples in an epoch"] == "6"
    assert not (tmp_path / "run").exists()


def test_a_dry_run_refuses_what_the_run_would_and_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(to_toml(tiny_config(folder / "shards", tmp_path / "run", "data.validation_split=vla")))
    result = run("train", "--config", config, "--dry-run")
    assert result.exit_code == 2
    assert "data.validation_split is 'vla': did you mean 'val'" in result.output
    said = run("train", "--config", config, "--set", "data.validation_split=val", "--dry-run", "--json")
    assert json.loads(said.stdout)["samples for validation"].startswith("none: ")
    batch = run("train", "--config", config, "--set", "data.accumulate=3", "--dry-run")
    assert "does not divide into" in batch.output


def test_a_run_of_an_earlier_release_whose_shards_are_relative_says_how_to_name_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(shutil.copytree(folder / "pre", tmp_path / "own"))
    config = with_settings(read_config(own / "config.toml"), ["data.shards=shards", "out=pre"])
    (own / "config.toml").write_text(to_toml(config))
    monkeypatch.chdir(tmp_path)
    result = run("train", "--out", own, "--resume")
    assert result.exit_code == 2
    assert "names its shards 'shards', relative to the folder that it was started in" in result.output
    monkeypatch.chdir(folder)
    assert run("train", "--out", own, "--resume", "--set", "loop.steps=3", "-q").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert run("train", "--out", own, "--resume", "--set", "loop.steps=4", "-q").exit_code == 0


def test_shards_that_are_not_there_end_with_1(tmp_path: Path) -> None:
    result = run("train", "--preset", "pretrain-sample", "--shards", tmp_path / "none", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "no such folder" in result.output


def test_eval_prints_a_row_for_each_degradation(folder: Path, tmp_path: Path) -> None:
    shown = run("eval", "--checkpoint", folder / "fine", "--shards", folder / "shards", "-q")
    assert shown.exit_code == 0, shown.output
    for word in ("noise", "gaussian-blur", "low-light", "mean", "LQ PSNR", "gain"):
        assert word in shown.stdout
    document = run("eval", "--checkpoint", folder / "pre", "--shards", folder / "shards", "--json", "--out", tmp_path)
    assert json.loads(document.stdout)["mean"]["accuracy"] >= 0
    assert (tmp_path / "images.parquet").exists()


def test_restore_skips_bad_files_and_ends_with_3(folder: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(random_image(1, 17, 23)).save(good)
    bad.write_text("no image")
    args = ["restore", bad, good, "--checkpoint", folder / "fine", "--classifier", folder / "pre"]
    result = run(*args, "--out", tmp_path / "out", "--json", "-q")
    assert result.exit_code == 3
    rows = json.loads(result.stdout)
    assert [bool(row["problem"]) for row in rows] == [True, False]
    assert rows[1]["degradation"]
    assert read_image(tmp_path / "out" / "good.png").shape == (17, 23, 3)


def test_restore_reads_stdin_and_writes_stdout(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(random_image(1, 17, 23)).save(tmp_path / "in.png")
    result = run("restore", "-", "--checkpoint", folder / "fine", stdin=(tmp_path / "in.png").read_bytes())
    assert result.exit_code == 0
    (tmp_path / "out.png").write_bytes(result.stdout_bytes)
    assert read_image(tmp_path / "out.png").shape == (17, 23, 3)


def test_restore_needs_an_output_and_a_network_that_restores(folder: Path, tmp_path: Path) -> None:
    assert run("restore", "x.png", "--checkpoint", folder / "fine").exit_code == 2
    result = run("restore", "x.png", "--checkpoint", folder / "pre", "--out", tmp_path)
    assert result.exit_code == 2
    assert "pre-trained, not fine-tuned" in result.output


def test_restore_shows_what_it_would_write(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(random_image(1, 17, 23)).save(tmp_path / "x.jpg")
    args = ["--checkpoint", folder / "fine", "--out", tmp_path / "o", "--dry-run", "--json"]
    planned = json.loads(run("restore", tmp_path / "x.jpg", "none.jpg", *args).stdout)
    assert [plan["target"] for plan in planned] == [str(tmp_path / "o" / "x.png"), None]
    assert planned[1]["problem"] == "none.jpg: no such file"
    assert not (tmp_path / "o").exists()


def test_probe_export_and_plot_work_on_runs(folder: Path, tmp_path: Path) -> None:
    args = ["--shards", folder / "shards", "--checkpoint", folder / "pre", "--crop", "32", "--patch", "8"]
    probed = run("probe", *args, "--ratios", "0,0.5", "--json", "-q")
    assert [row["ratio"] for row in json.loads(probed.stdout)] == [0.0, 0.5]
    assert run("probe", *args, "--ratios", "0,2").exit_code == 2
    exported = run("export", "--checkpoint", folder / "fine", "--out", tmp_path / "net.pth")
    assert exported.exit_code == 0, exported.output
    assert run("eval", "--checkpoint", tmp_path / "net.pth", "--shards", folder / "shards", "-q").exit_code == 0
    plotted = run("plot", folder / "pre", folder / "fine", "--out", tmp_path / "curves.png")
    assert plotted.exit_code == 0, plotted.output
    assert read_image(tmp_path / "curves.png").shape[2] == 3
    assert "did you mean" in run("plot", folder / "pre", "--quantity", "los", "--out", tmp_path / "x.png").output


@pytest.mark.parametrize("arguments", [["train", "--shards", "x", "--out", "y"], ["restore", "x.png", "--out", "y"]])
def test_without_torch_the_extra_that_installs_it_is_named(arguments: list[str]) -> None:
    if arguments[0] == "restore":
        arguments = [*arguments, "--checkpoint", "none"]
    code = f"import sys; sys.modules['torch'] = None; sys.argv[1:] = {arguments!r}\n"
    code += "from uir_cli.maskdcpt import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs torch, which is not installed: pip install 'universal-image-restoration[train]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--tile", "3", "tiles of 3 are too small for nafnet"),
        ("--crop-border", "5000", "a crop border of 5000 leaves no"),
    ],
)
def test_eval_refuses_what_leaves_nothing_to_compute(folder: Path, option: str, value: str, message: str) -> None:
    result = run("eval", "--checkpoint", folder / "fine", "--shards", folder / "shards", option, value, "-q")
    assert result.exit_code == 2
    assert message in result.stderr
