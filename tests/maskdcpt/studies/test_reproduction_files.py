from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from maskdcpt.studies.ablation_arms import ARMS, SIZES
from maskdcpt.studies.reproduce import RESULT, Comparison, Outcome, Task, _check_folder, _run, read_outcomes
from maskdcpt.training.loop import train
from maskdcpt.weights.checkpoints import STATE, checkpoint_folders
from maskdcpt.weights.save import load_state
from tests.maskdcpt.tiny import tiny_config, write_shards
from uirdata.errors import UirError

NAME, SIZE = next(iter(SIZES.items()))
TASK = Task(next(iter(SIZE.networks)), next(iter(ARMS)), 0)
OUTCOME = Outcome(TASK, 30.0, {"noise": 30.0}, 20.0, (30.0, 31.0), 0.5, 0.75, 0.25, None, ((1, 29.0), (2, 30.0)))


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return Comparison(tmp_path, SIZE, NAME, (TASK.backbone,), (TASK.arm,), (0,))


def write(comparison: Comparison, document: object) -> None:
    path = TASK.folder(comparison.out) / RESULT
    path.parent.mkdir(parents=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def written() -> dict[str, object]:
    return {name: value for name, value in asdict(OUTCOME).items() if name != "task"}


def test_a_result_is_read_back_as_it_was(comparison: Comparison) -> None:
    write(comparison, written())
    assert read_outcomes(comparison) == [OUTCOME]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({**written(), "psnr": "30"}, "psnr"),
        ({**written(), "curve": [[1]]}, "curve"),
        ({**written(), "images": 5}, "images"),
        ({**written(), "by_degradation": {"noise": None}}, "by_degradation"),
        ({"psnr": 1.0}, "by_degradation"),
        ([1], "expected an object"),
        ('{"psnr": NaN}', "holds NaN"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_damaged_result_is_named_with_what_to_do(comparison: Comparison, document: object, words: str) -> None:
    write(comparison, document)
    with pytest.raises(UirError, match=rf"result\.json: .*{words}.*; delete it, and the same command writes it again"):
        read_outcomes(comparison)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_damaged_settings_are_named(comparison: Comparison, content: bytes) -> None:
    (comparison.out / "settings.json").write_bytes(content)
    with pytest.raises(UirError, match=r"settings\.json: is n.*; delete it"):
        _check_folder(comparison)


def test_a_finished_run_whose_checkpoint_is_damaged_is_trained_to_its_end_again(tmp_path: Path) -> None:
    config = tiny_config(write_shards(tmp_path / "shards"), tmp_path / "run")
    train(config)
    newest = checkpoint_folders(tmp_path / "run")[-1]
    (newest / STATE).write_bytes(b"")
    assert _run(config, "cpu", None, None)
    load_state(newest)
