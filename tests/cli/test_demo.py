from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import CliRunner
from uir_cli.maskdcpt import program as maskdcpt

from maskdcpt import demo
from maskdcpt.config.presets import Preset, find_preset
from tests.cli.commands import uir
from uirdata.subsets import Subset, Use


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use two degradations, few crops, three steps: the same pipeline, in seconds."""
    uses = [
        use
        for name, level in (("noise", "gaussian-25"), ("jpeg", "q10"))
        for use in (
            Use("sample", name, "train", (level,), 1, 256, 4096),
            Use("sample", name, "test", (level,), 1, 96, 4096),
        )
    ]
    subset = Subset("sample", "a small sample", demo.load_subset("sample").classes, MappingProxyType({}), tuple(uses))

    def short(name: str) -> Preset:
        preset = find_preset(name)
        config = preset.config
        size = {"width": 4, "enc_blk_nums": (1,), "middle_blk_num": 1, "dec_blk_nums": (1,)}
        model = replace(config.model, size=size)
        return replace(preset, config=replace(config, model=model, loop=replace(config.loop, steps=3, log_every=1)))

    monkeypatch.setattr(demo, "load_subset", lambda _: subset)
    monkeypatch.setattr(demo, "find_preset", short)


@pytest.mark.usefixtures("small")
def test_the_demo_runs_the_whole_pipeline_and_reports_its_results(tmp_path: Path) -> None:
    result = uir("demo", "--root", str(tmp_path), "--json", "-q", "--workers", "1")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["degradation"] for row in report["rows"]] == ["noise", "jpeg", "mean"]
    # Three steps are too few to learn: the rows that are not better than the LQ are listed, and no others.
    worse = [row["degradation"] for row in report["rows"] if row["restored"] <= row["lq"]]
    assert report["not_better"] == worse
    assert report["chance"] == 1 / 6
    assert sorted(report["seconds"]) == sorted(demo.STEPS)
    # Gaussian noise of sigma 25: 20 log10(255 / 25) = 20.17 dB, more where black and white clip it, never less.
    assert 20.1 < report["rows"][0]["lq"] < 21.5
    page = Path(report["page"]).read_text()
    assert page.count("data:image/webp;base64,") >= 2 * 3 + 1
    assert not re.search(r"(src|href)=.?https?:", page)
    assert f"{report['rows'][0]['lq']:.2f}" in page
    assert Path(report["checkpoint"]).is_dir()
    # Its runs are runs as any other: their page is written from anywhere.
    run = tmp_path / "demo" / "runs" / "finetune"
    paged = CliRunner().invoke(maskdcpt, ["report", str(run), "--shards", str(tmp_path / "demo" / "shards"), "-q"])
    assert paged.exit_code == 0, paged.output
    assert (run / "report.html").exists()
    assert json.loads((run / "test" / "report.json").read_text())["shards"] == str(tmp_path / "demo" / "shards")


def test_a_dry_run_names_the_steps_and_writes_nothing(tmp_path: Path) -> None:
    result = uir("demo", "--root", str(tmp_path / "root"), "--dry-run")
    assert result.exit_code == 0
    assert all(step in result.output for step in demo.STEPS)
    assert not (tmp_path / "root").exists()
