from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from torch import Tensor

import maskdcpt.metrics.pyiqa_engine as engine_module
from maskdcpt.metrics import LEARNED, LearnedMetric
from maskdcpt.metrics.learned import LearnedScorer, learned_metrics, missing_files, unlike_published
from maskdcpt.metrics.pyiqa_engine import VERSION, PyiqaEngine, tensors_alone
from tests.maskdcpt.small_networks import random_image
from uirdata.errors import UirError, UsageError


class FakeEngine:
    """Returns the mean of the restored images, and records its calls."""

    name = "fake 1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Tensor, Tensor | None]] = []

    def of_images(self, metric: LearnedMetric) -> Callable[[Tensor, Tensor | None], Tensor]:
        def score(restored: Tensor, gt: Tensor | None) -> Tensor:
            self.asked.append((metric.name, restored, gt))
            return restored.mean((1, 2, 3)).double()

        return score

    def of_sets(self, metric: LearnedMetric) -> Callable[[Path, Path], float]:
        def distance(restored: Path, gt: Path) -> float:
            return float(len(list(restored.glob("*.png"))))

        return distance


def weights(folder: Path) -> Path:
    for metric in LEARNED.values():
        for file in metric.files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.path).write_bytes(file.path.encode())
    return folder


def scorer(folder: Path, engine: FakeEngine, *names: str) -> LearnedScorer:
    return LearnedScorer(learned_metrics(names or tuple(LEARNED)), weights(folder), torch.device("cpu"), engine)


def test_every_metric_pins_its_variant_and_says_where_its_weights_are() -> None:
    for name, metric in LEARNED.items():
        assert metric.name == name
        assert len(metric.pinned) > 20
        assert all(file.url.startswith("https://") and file.url.endswith(Path(file.path).name) for file in metric.files)
        assert not metric.file_option or metric.files
    # The library's own defaults change these values by 0.05 and more.
    assert LEARNED["niqe"].options["color_space"] == "yiq"
    assert LEARNED["lpips"].options == {"net": "alex", "version": "0.1"}
    assert LEARNED["fid"].options["mode"] == "clean"


def test_missing_weights_are_reported_before_anything_is_done(tmp_path: Path) -> None:
    engine = FakeEngine()
    with pytest.raises(UirError) as caught:
        LearnedScorer(learned_metrics(["lpips", "piqe"]), tmp_path, torch.device("cpu"), engine)
    for file in LEARNED["lpips"].files:
        assert str(tmp_path / file.path) in str(caught.value)
        assert file.url in str(caught.value)
    assert missing_files(learned_metrics(["piqe"]), tmp_path) == []


def test_images_are_scored_in_a_batch_as_their_protocol_says(tmp_path: Path) -> None:
    engine = FakeEngine()
    a, b = random_image(3, 200, 210).float(), random_image(3, 200, 210, seed=5).float()
    found = scorer(tmp_path, engine, "lpips", "niqe").score(a, b)
    assert found["lpips"] == pytest.approx(a.mean((1, 2, 3)).tolist())
    (_, given, gt), (_, blind, none) = engine.asked
    assert torch.equal(given, a)
    assert gt is not None
    assert torch.equal(gt, b)
    # Metrics of saved files get values rounded to eight bits.
    assert torch.equal(blind, (a.clamp(0, 1) * 255).round() / 255)
    assert none is None


def test_what_cannot_be_scored_has_no_value(tmp_path: Path) -> None:
    made = scorer(tmp_path, FakeEngine(), "lpips", "brisque", "niqe")
    found = made.score(random_image(2, 100, 100).float(), None)
    assert found["lpips"] == [None, None]
    assert found["niqe"] == [None, None]
    assert all(isinstance(value, float) for value in found["brisque"])


def test_a_set_of_one_image_has_no_distance(tmp_path: Path) -> None:
    made = scorer(tmp_path / "weights", FakeEngine(), "fid")
    for folder in ("restored", "gt"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    assert made.distances(tmp_path / "restored", tmp_path / "gt") == {"fid": None}
    (tmp_path / "restored" / "b.png").touch()
    assert made.distances(tmp_path / "restored", tmp_path / "gt") == {"fid": 2.0}


def test_weights_are_known_by_their_digest(tmp_path: Path) -> None:
    made = scorer(tmp_path, FakeEngine(), "lpips", "brisque")
    path = LEARNED["lpips"].files[0].path
    assert made.digests[path] == hashlib.sha256(path.encode()).hexdigest()
    assert unlike_published(made.digests) == [file.path for file in LEARNED["lpips"].files]
    assert unlike_published({path: "df73285e" + "0" * 56}) == []


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'lpips'"):
        learned_metrics(["lpip"])


def test_without_the_library_the_licence_and_the_extra_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(engine_module, "version", missing)
    with pytest.raises(UirError, match=r"non-commercial use alone: pip install 'universal-image-restoration\[eval\]'"):
        PyiqaEngine(tmp_path, torch.device("cpu"))
    monkeypatch.setattr(engine_module, "version", {"pyiqa": "0.2.0"}.get)
    with pytest.raises(UirError, match=f"but the protocols are those of {VERSION}"):
        PyiqaEngine(tmp_path, torch.device("cpu"))


def test_the_library_is_handed_what_is_pinned_and_kept_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A stand-in with pyiqa's names: the real one is not installed for the tests.
    package, utils, downloads = (type(sys)(name) for name in ("pyiqa", "pyiqa.utils", "pyiqa.utils.download_util"))
    asked = []

    def quarter(*images: object, **options: object) -> Tensor:
        return torch.full((1, 1), 0.25)

    def create_metric(name: str, **options: object) -> Callable[..., Tensor]:
        print("Loading pretrained model")  # noqa: T201 - as the library does
        asked.append((name, options))
        return quarter

    package.create_metric = create_metric  # type: ignore[attr-defined]
    package.utils, utils.download_util = utils, downloads  # type: ignore[attr-defined]
    for module in (package, utils, downloads):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(engine_module, "version", {"pyiqa": VERSION}.get)
    monkeypatch.setattr(torch.hub, "set_dir", lambda folder: asked.append(("hub", {"dir": folder})))
    made = PyiqaEngine(tmp_path, torch.device("cpu"))
    assert made.of_images(LEARNED["lpips"])(random_image(1, 64, 64), random_image(1, 64, 64)).tolist() == [0.25]
    assert made.of_sets(LEARNED["fid"])(tmp_path, tmp_path) == 0.25
    device = torch.device("cpu")
    file = str(tmp_path / "pyiqa/LPIPS_v0.1_alex-df73285e.pth")
    assert asked == [
        ("hub", {"dir": str(tmp_path)}),
        ("lpips", {"device": device, "net": "alex", "version": "0.1", "pretrained_model_path": file}),
        ("fid", {"device": device}),
    ]
    assert str(tmp_path / "pyiqa") == downloads.DEFAULT_CACHE_DIR  # type: ignore[attr-defined]
    assert capsys.readouterr().out == ""


class Harmful:
    """Pickled as an order to make a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


def test_no_weight_file_of_a_metric_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.save({"weight": torch.ones(2), "more": Harmful(tmp_path / "made")}, tmp_path / "x.pth")
    torch.save((torch.ones(2), torch.zeros(3)), tmp_path / "sound.pth")
    with (
        pytest.raises(UirError, match=r"a weight file of lpips .* other than tensors"),
        tensors_alone("lpips", tmp_path),
    ):
        # As the library loads it.
        torch.load(tmp_path / "x.pth", weights_only=False)
    assert not (tmp_path / "made").exists()
    with tensors_alone("brisque", tmp_path):
        assert len(torch.load(tmp_path / "sound.pth", weights_only=False)) == 2
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
