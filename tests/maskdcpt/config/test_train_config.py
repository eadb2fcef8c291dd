from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskdcpt.backbones.awareness import AWARE
from maskdcpt.config.experiments import experiments
from maskdcpt.config.preset_values import VARIANTS
from maskdcpt.config.presets import PRESETS, find_preset
from maskdcpt.config.toml import (
    checked,
    config_from_toml,
    differences,
    json_schema,
    keys_of,
    read_config,
    to_toml,
    with_settings,
)
from maskdcpt.config.train_config import Aware, TrainConfig
from maskdcpt.evaluation.paper_tables import load_table
from uirdata.errors import UsageError

SETTINGS = [
    "optimizer.lr=1e-4",
    "model.size.width=16",
    "model.size.enc_blk_nums=[1, 2]",
    "data.repeat.haze=3",
    "data.repeat.rain-streak=300",
    "data.stages=[{start = 5, crop = 16, batch = 4}]",
    'out=runs/with "quotes"',
    "objective.pixel=charbonnier",
]


def test_a_written_configuration_reads_back_as_itself() -> None:
    config = with_settings(TrainConfig(), SETTINGS)
    assert config.model.size == {"width": 16, "enc_blk_nums": (1, 2)}
    assert config.data.repeat == {"haze": 3, "rain-streak": 300}
    assert config_from_toml(to_toml(config), where="here") == config


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example('runs/😀 "quoted" \\ \\ud83d\\ude00 \n\x1b\x7f')
def test_any_name_of_a_folder_is_written_so_that_it_reads_back(name: str) -> None:
    config = replace(TrainConfig(), out=name)
    assert config_from_toml(to_toml(config), where="here").out == name


def test_the_layout_stays_that_of_the_files_that_are_there() -> None:
    text = to_toml(with_settings(TrainConfig(), SETTINGS))
    for part in (
        'name = ""\nout = "runs/with \\"quotes\\""\n\n[model]\nbackbone = "nafnet"\n',
        "\nstages = [{ start = 5, crop = 16, batch = 4, ",
        "\n\n[data.repeat]\nhaze = 3\nrain-streak = 300\n\n[objective]\n",
        "\nbetas = [0.9, 0.999]\n",
        "\nfinal_lr = 1e-06\n",
    ):
        assert part in text


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("runs/😀\\\\😀")
@example("\x7f \\ud83d\\ude00")
@example("\\\\ud83d\\ude00 😀")
def test_what_earlier_versions_wrote_reads_back(name: str) -> None:
    # Earlier versions escaped strings as JSON does, which tomllib refuses for characters beyond U+FFFF.
    text = to_toml(TrainConfig()).replace('out = ""', f"out = {json.dumps(name)}")
    assert config_from_toml(text, where="here").out == name


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_toml_and_has_the_origin_of_its_values(name: str) -> None:
    preset = find_preset(name)
    text = to_toml(preset.config, preset.origin)
    assert config_from_toml(text, where=name) == preset.config
    assert all(preset.origin.values())
    assert set(keys_of(preset.config)) <= preset.origin.keys()
    changed = [key for key in differences(preset.config, TrainConfig()) if key in keys_of(preset.config)]
    assert not [key for key in changed if preset.origin[key] == "ours: the default"]
    shown = [line for line in text.splitlines() if "  # " in line]
    assert len(shown) == len(preset.origin)


def test_the_papers_pre_training_is_the_default() -> None:
    preset = find_preset("pretrain-5d-nafnet").config
    assert (preset.optimizer.lr, preset.optimizer.lr_decoders, preset.optimizer.weight_decay) == (3e-4, 1e-4, 0.0)
    assert (preset.loop.steps, preset.data.crop, preset.data.batch) == (100_000, 256, 16)
    assert (preset.objective.mask_patch, preset.objective.mask_ratio, preset.objective.focal_gamma) == (16, 0.5, 2.0)
    assert preset.optimizer == TrainConfig().optimizer
    assert preset.objective == TrainConfig().objective


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'pretrain-5d-nafnet'"):
        find_preset("pretrain-5d-nafnt")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("optimizer.lrr=1", r"unknown key 'optimizer\.lrr'; did you mean 'lr'"),
        ("optmizer.lr=1", "unknown key 'optmizer'; did you mean 'optimizer'"),
        ("data.stages=[{start=5, crop=16, bach=1}]", "data.stages"),
        ("optimizer.lr=abc", r"optimizer\.lr is 'abc'"),
        ("data.batch=true", r"data\.batch is True"),
        ("data.crop=1.5", r"data\.crop is 1\.5"),
        ("data.crop=3", r"data\.crop is 3; expected at least 8"),
        ("loop.steps=0", r"loop\.steps is 0; expected at least 1"),
        ("objective.kind=maskdcp", r"objective\.kind is 'maskdcp'.*'maskdcpt'"),
        ("objective.mask_ratio=1.0", "a share from 0 to below 1"),
        ("optimizer.ema_decay=1.0", "from 0 to below 1"),
        ("data.stages=[{start=9, crop=16, batch=1}, {start=5, crop=16, batch=1}]", "they must increase"),
        ("loop", "is not KEY=VALUE"),
        ("name.inner=1", "is a single value, not a table"),
    ],
)
def test_an_invalid_value_is_refused_with_its_key(setting: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        with_settings(TrainConfig(), [setting])


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(UsageError, match=r"run\.toml: cannot be read"):
        read_config(path)
    path.write_text("[optimizer\n")
    with pytest.raises(UsageError, match=r"run\.toml: is not valid TOML"):
        read_config(path)
    path.write_text("[optimizer]\nlr = nan\n")
    with pytest.raises(UsageError, match=r"run\.toml: "):
        read_config(path)


def test_differences_name_the_keys() -> None:
    other = with_settings(TrainConfig(), ["optimizer.lr=1e-4", "model.size.width=8"])
    assert differences(TrainConfig(), other) == ["model.size.width", "optimizer.lr"]
    assert differences(other, other) == []


def test_the_schema_describes_every_key() -> None:
    text = json.dumps(json_schema())
    for key in ("mask_ratio", "lr_decoders", "nan_limit", "stages", "additionalProperties"):
        assert key in text


OURS_TO_TRAIN = {
    1: r"(SwinIR|NAFNet|Restormer|PromptIR)(\+(RAM|DCPT|MaskDCPT))?",
    2: "(Mask)?DCPT",
    3: r"(SwinIR|NAFNet|Restormer|PromptIR)(-5D)?(\+(RAM|DCPT|MaskDCPT))?(-12D)?",
    4: "(Mask)?DCPT-NAFNet",
    5: "((Mask)?DCPT-)?Restormer",
    6: "(Mask)?DCPT-NAFNet",
    **dict.fromkeys((7, 8, 9, 10), ".*"),
    11: ".*",
}
"""The rows of each table with networks and pre-trainings of this project; the others are other authors' programs."""


def test_every_row_of_the_papers_tables_that_is_ours_to_train_has_its_presets() -> None:
    for table in (load_table(number) for number in range(1, 12)):
        ours = {row.method for row in table.rows if re.fullmatch(OURS_TO_TRAIN[table.number], row.method)}
        found = [one for one in experiments() if one.table == table.number]
        assert {one.row for one in found} == ours, table.title
        for one in found:
            finetune = find_preset(one.finetune).config
            assert finetune.objective.kind == "finetune"
            if one.pretrain:
                pretrain = find_preset(one.pretrain).config
                assert pretrain.model == finetune.model
                assert pretrain.objective.kind != "finetune"
                assert f"--init runs/{one.pretrain}" in one.commands[1]


def test_every_preset_is_in_a_row_or_is_a_small_one() -> None:
    named = {name for one in experiments() for name in (one.pretrain, one.finetune)}
    sizes = ("sample", "small", "medium")
    small = {f"{what}-{size}" for what in ("pretrain", "finetune") for size in sizes}
    assert {name for name in PRESETS if name not in named} == small
    for size in sizes:
        assert find_preset(f"pretrain-{size}").config.model == find_preset(f"finetune-{size}").config.model


def test_presets_of_table_xi_name_networks_that_exist_and_survive_being_written_down() -> None:
    for name, values in VARIANTS.items():
        config = find_preset(f"finetune-5d-{name}").config
        assert config.model.size == {"aware": values["model.size.aware"][0]}
        assert config_from_toml(to_toml(config), where="here") == config
    kinds = {values["model.size.aware"][0] for values in VARIANTS.values()}
    assert kinds == set(AWARE) == set(get_args(Aware)) - {"none"}


@pytest.mark.parametrize("table", ["model", "data", "objective", "optimizer", "init", "loop"])
def test_every_choice_of_every_table_is_checked_in_python_too(table: str) -> None:
    part = getattr(TrainConfig(), table)
    choices = {name for name, hint in get_type_hints(type(part)).items() if get_origin(hint) is Literal}
    assert choices
    for name in choices:
        with pytest.raises(UsageError, match=rf"{table}\.{name} is 'no-such-choice'"):
            replace(part, **{name: "no-such-choice"})


def test_a_configuration_made_in_python_is_checked_as_one_from_a_file_is() -> None:
    config = TrainConfig()
    as_paths: Any = replace(config, data=replace(config.data, shards=Path("a")))
    assert checked(as_paths).data.shards == "a"
    wrong: list[tuple[Any, str]] = [
        ("config.toml", "expected a TrainConfig"),
        (replace(config, data=replace(config.data, shards={1})), "no file can hold"),
        (replace(config, optimizer=replace(config.optimizer, lr=float("nan"))), "optimizer.lr is nan"),
        (replace(config, out="runs/\udce9"), "out .* not valid Unicode"),
        (replace(config, data=replace(config.data, batch=2.5)), "data.batch"),
    ]
    for value, words in wrong:
        with pytest.raises(UsageError, match=words):
            checked(value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_configuration_that_an_editor_of_windows_saved_is_read_or_refused_in_words(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes('name = "Übung"\r\n[loop]\r\nsteps = 7\r\n'.encode(encoding))
    if encoding == "utf-16-le":
        # Without a byte order mark nothing says which encoding it is.
        with pytest.raises(UsageError, match=r"config\.toml: is not"):
            read_config(path)
    else:
        assert (read_config(path).name, read_config(path).loop.steps) == ("Übung", 7)


def test_a_configuration_of_absurd_depth_size_or_bytes_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    wrong = {
        b"name = '\xff'": "is not UTF-8 text",
        b"x = " + b"[" * 100_000: "nested too deeply",
        b"x = " + b"[" * 60 + b"]" * 60: "nested deeper than 50 levels",
        b"a." * 1_000 + b"b = 1": "nested",
        b"[loop]\nsteps = " + b"9" * 5_000: "is not valid TOML",
        b"[loop]\nsteps = " + b"9" * 400: r"loop\.steps is an integer of 1329 bits",
        b"[data]\nstages = [{start = 1, batch = 1, crop = "
        + b"9" * 400
        + b"}]": r"data\.stages\.0\.crop is an integer",
        b"[optimizer]\nbetas = [nan, 0.9]": r"optimizer\.betas\.0 is nan",
        b"[loop]\nsteps = 2026-01-01": "not JSON serializable",
    }
    for data, words in wrong.items():
        path.write_bytes(data)
        with pytest.raises(UsageError, match=rf"config\.toml: .*{words}"):
            read_config(path)
    for setting in ("a." * 3_000 + "b=1", "data.stages=" + "[" * 100_000, "loop.steps=" + "9" * 6_000):
        with pytest.raises(UsageError) as error:
            with_settings(TrainConfig(), [setting])
        assert len(str(error.value)) < 300
