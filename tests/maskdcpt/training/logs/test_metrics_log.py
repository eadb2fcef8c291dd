from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from maskdcpt.images import image_grid, to_rgb, write_image
from maskdcpt.studies.figures import draw_curves
from maskdcpt.training.logs.metrics_log import MetricsLog, read_curves, read_metrics
from maskdcpt.training.logs.trackers import open_trackers
from uirdata.errors import UirError, UsageError
from uirdata.images import read_image


def test_rows_are_read_back_and_nan_is_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", 10, loss=0.5, pixel=float("nan"))
    log.write("train", 20, loss=0.25)
    log.write("validation", 20, psnr=30.0, **{"psnr/noise": 31.0})
    assert read_metrics(tmp_path)[0] == {"event": "train", "step": 10, "loss": 0.5, "pixel": None}
    curves = read_curves(tmp_path)
    assert (curves["loss"].steps, curves["loss"].values) == ((10, 20), (0.5, 0.25))
    assert curves["validation/psnr/noise"].values == (31.0,)
    assert "pixel" not in curves


def test_a_resumed_log_drops_repeated_steps_and_a_new_one_all(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write("train", step, loss=1.0)
    MetricsLog(tmp_path, from_step=2).write("train", 3, loss=2.0)
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    MetricsLog(tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_process_that_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    MetricsLog(tmp_path, writes=False).write("train", 1, loss=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_last_line_is_ignored_and_another_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "train", "step": 1}\n{"event": "tr')
    assert len(read_metrics(path)) == 1
    path.write_text('{"event": "tr\n{"event": "train", "step": 1}\n')
    with pytest.raises(UirError, match="line 1 is not valid JSON"):
        read_metrics(path)
    path.write_text('{"event": "train", "step": 1, "note": "a\u2028b"}\n')
    assert len(read_metrics(path)) == 1
    wrong = {
        b"[1]": "is a list, expected an object",
        b'{"event": "train"}': "has no 'step'",
        b'{"event": "train", "step": -1}': "has no valid 'step'",
        b'{"event": "train", "step": true}': "has no valid 'step'",
        b'{"event": "train", "step": 1, "loss": 1' + b"0" * 400 + b"}": "has no valid 'loss'",
        b'{"event": 5, "step": 1}': "has no valid 'event'",
        b'{"event": "train", "step": 1, "loss": NaN}': "holds NaN",
        b'{"event": "tr\xff", "step": 1}': "is not UTF-8",
        b"[" * 100_000: "is nested too deeply",
        b"\0\0\0": "is not valid JSON",
    }
    for line, words in wrong.items():
        path.write_bytes(b'{"event": "train", "step": 1}\n' + line + b'\n{"event": "train", "step": 2}\n')
        with pytest.raises(UirError, match=rf"metrics\.jsonl: line 2 {words}"):
            read_metrics(path)


def test_a_resumed_log_leaves_damaged_lines_out_and_says_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"event": "train", "step": 1}\n\0\0\0\n{"step": 2}\n{"event": "train", "step": 3}\n{"ev')
    MetricsLog(tmp_path, from_step=2)
    assert path.read_text() == '{"event": "train", "step": 1}\n'
    (message,) = caplog.messages
    assert "damaged lines are left out: 2; the first is line 2 is not valid JSON" in message


def test_a_folder_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(UirError, match="pass the folder of a run"):
        read_metrics(tmp_path / "nothing")


def test_a_grid_shows_the_images_in_rows_and_clips_them(tmp_path: Path) -> None:
    black, white = torch.full((3, 5, 7), -1.0), torch.full((3, 5, 7), 2.0)
    grid = image_grid([[black, white], [white, black]], gap=2)
    assert grid.shape == (12, 16, 3)
    assert grid[:5, :7].max() == 0
    assert grid[:5, 9:].min() == 255
    assert to_rgb(torch.full((3, 1, 1), 0.5)).tolist() == [[[128, 128, 128]]]
    write_image(tmp_path / "a" / "b.png", grid)
    assert (read_image(tmp_path / "a" / "b.png") == grid).all()


def test_curves_go_to_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tracker,) = open_trackers(tmp_path, name="run", tensorboard=True, tracker="", config={})
    tracker.scalars(3, {"loss": 0.5})
    tracker.image(3, "samples", image_grid([[torch.zeros(3, 4, 4)]]))
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]
    assert events.Tags()["images"] == ["samples"]


def wandb(calls: list[tuple[str, Any]]) -> ModuleType:
    """Return a fake wandb with the functions that are used, with wandb's names of arguments."""
    service = ModuleType("wandb")

    def init(*, project: str, name: str, config: dict[str, Any], id: str, resume: str, dir: str) -> None:
        assert Path(dir).is_dir()
        sys.stdout.write("a greeting")
        calls.append(("init", (project, name.removesuffix(f"-{id}"), config, id, resume, dir)))

    def log(data: dict[str, Any], step: int | None = None) -> None:
        if step == 5:
            raise ConnectionError("the server is gone")
        calls.append(("log", (data, step)))

    service.init, service.log = init, log  # type: ignore[attr-defined]
    service.finish = lambda: calls.append(("finish", None))  # type: ignore[attr-defined]
    service.Image = lambda image: image.shape  # type: ignore[attr-defined]
    return service


def test_curves_go_to_a_service_and_nothing_of_it_to_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", wandb(calls))
    (tracker,) = open_trackers(tmp_path, name="run", tensorboard=False, tracker="wandb", config={"a": 1})
    tracker.scalars(3, {"loss": 0.5})
    tracker.image(4, "samples", image_grid([[torch.zeros(3, 4, 4)]]))
    tracker.close()
    (_, (*words, key, resume, folder)), *rest = calls
    assert folder == str(tmp_path)
    assert (words, len(key), resume) == (["maskdcpt", "run", {"a": 1}], 8, "allow")
    assert rest == [("log", ({"loss": 0.5}, 3)), ("log", ({"samples": (4, 4, 3)}, 4)), ("finish", None)]
    assert capsys.readouterr().out == ""


def test_a_resumed_run_keeps_its_id_at_a_service_and_a_new_one_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", wandb(calls))
    for resume in (False, True, False):
        open_trackers(tmp_path, name="run", tensorboard=False, tracker="wandb", config={}, resume=resume)
    first, resumed, fresh = (values[3] for name, values in calls)
    assert first == resumed != fresh
    (tmp_path / "tracker-key.txt").write_bytes(b"\xff../x\n")
    open_trackers(tmp_path, name="run", tensorboard=False, tracker="wandb", config={}, resume=True)
    assert re.fullmatch("[0-9a-f]{8}", calls[-1][1][3])
    assert "holds no key of 8 hexadecimal digits" in caplog.text


def test_a_service_that_fails_during_a_run_is_reported_once_and_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[tuple[str, Any]] = []
    monkeypatch.setitem(sys.modules, "wandb", wandb(calls))
    (tracker,) = open_trackers(tmp_path, name="run", tensorboard=False, tracker="wandb", config={})
    for step in (4, 5, 6):
        tracker.scalars(step, {"loss": 0.5})
    tracker.close()
    assert [name for name, _ in calls] == ["init", "log"]
    assert caplog.messages == ["wandb fails (the server is gone); the run continues without it"]


def test_a_service_that_does_not_start_is_misuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = ModuleType("trackio")

    def init(*, project: str, name: str, config: dict[str, Any], resume: str) -> None:
        raise PermissionError("not logged in")

    service.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trackio", service)
    with pytest.raises(UsageError, match=r"does not start \(not logged in\)"):
        open_trackers(tmp_path, name="run", tensorboard=False, tracker="trackio", config={})


def test_a_service_that_is_not_installed_is_misuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UsageError, match="pip install trackio"):
        open_trackers(tmp_path, name="run", tensorboard=False, tracker="trackio", config={})


def test_curves_of_several_runs_are_drawn_in_one_figure(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = [json.dumps({"event": "train", "step": step, "loss": 1 / step}) for step in (1, 2, 3)]
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    out = tmp_path / "figures" / "loss.svg"
    assert draw_curves([tmp_path / "one", tmp_path / "two"], "loss", out) == ["one", "two"]
    assert out.read_text().count("<path") > 2
    with pytest.raises(UsageError, match="did you mean 'loss'"):
        draw_curves([tmp_path / "one"], "los", out)
    with pytest.raises(UsageError, match=r"\.png, \.svg or \.pdf"):
        draw_curves([tmp_path / "one"], "loss", tmp_path / "x.txt")
