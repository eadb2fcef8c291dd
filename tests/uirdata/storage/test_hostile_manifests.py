from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import uirdata
from tests.cli.commands import uir
from tests.uirdata.storage.hostile_shards import (
    TAR,
    honest_pool,
    set_column,
    set_info,
    set_metadata,
)
from uirdata.errors import ShardError, UirError
from uirdata.pipeline.publishing.publication import describe
from uirdata.storage.manifest_rows import MANIFEST_SCHEMA, check_sizes, read_manifest
from uirdata.storage.pool_info import checked_info, read_info
from uirdata.storage.shard_states import list_parts
from uirdata.storage.shards import INFO, MANIFEST, list_shards, part_path, shard_state
from uirdata.storage.tables import read_table
from uirdata.validators import InvalidValue


@pytest.mark.parametrize("field", ["samples", "size"])
@pytest.mark.parametrize("value", ["-1", "1e3", "\u0661", "9" * 30, "nan", "", "0x10"])
def test_a_number_of_a_part_is_a_number_that_can_be(tmp_path: Path, field: str, value: str) -> None:
    pool = honest_pool(tmp_path)
    set_metadata(pool, **{field: value})
    with pytest.raises(ShardError, match=r"here-00000\.parquet: "):
        list_shards(pool)


@pytest.mark.parametrize(
    "rejected",
    ["{}", "[1]", "[" * 100_000, "nul", '[{"key": 1}]', '[{"key": "a", "__class__": "b"}]', "[NaN]"],
)
def test_rejected_samples_of_a_part_are_as_they_were_written(tmp_path: Path, rejected: str) -> None:
    pool = honest_pool(tmp_path)
    set_metadata(pool, rejected=rejected)
    with pytest.raises(ShardError, match=r"here-00000\.parquet: "):
        list_shards(pool)


UNFIT: dict[str, list[Any]] = {
    "key": ["", "a.b", "a/b", "a b", "a\nb", "x" * 91],
    "shard": ["train/noise/here-00001.tar", "/etc/passwd"],
    "gt_offset": [0, -1, 10**9, 2**62],
    "gt_size": [0, -5, 10**9, 2**62],
    "lq_offset": [-1, 10**9],
    "lq_size": [-1, 10**9, 2**62],
    "codec": ["jpeg", "", "../x"],
    "degradation": ["nois", "haze"],
    "recipe": ["x" * (1 << 17)],
    "source": ["there", "../x"],
    "split": ["test", "all"],
    "scene": ["x" * 5000],
    "gt_path": ["", "/etc/passwd", "a/../../b", "..", "a//b", "./a", "a/.", "a\0b"],
    "lq_path": ["/etc/passwd", "../a"],
    "gt_border": [-1, 2**40],
    "top": [-1, 2**40],
    "left": [-1],
    "height": [0, -1, 2**40],
    "width": [0, 2**40],
    "gt_sha256": ["", "x" * 64, "A" * 64, "a" * 63, "../" + "a" * 61],
    "lq_sha256": ["a" * 65],
    "licence": ["x" * 5000],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in UNFIT.items() for value in values])
def test_every_value_of_a_record_is_checked_when_shards_are_opened(tmp_path: Path, name: str, value: Any) -> None:
    pool = honest_pool(tmp_path)
    before = pq.read_table(part_path(pool, TAR))[name].to_pylist()
    set_column(pool, name, pa.array([before[0], value], MANIFEST_SCHEMA.field(name).type))
    with pytest.raises(ShardError, match=MANIFEST):
        uirdata.open_shards(pool)
    with pytest.raises(ShardError, match=MANIFEST):
        read_manifest(pool, [name])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("key", pa.array([None, "a"])),
        ("real", pa.array([None, True])),
        ("height", pa.array([None, 24])),
        ("height", pa.array([24, 24], pa.int32())),
        ("height", pa.array([24.0, float("nan")])),
        ("codec", pa.array(["png", "png"]).dictionary_encode()),
        ("key", pa.array(["a", "b"], pa.large_string())),
        ("key", pa.array([b"a", b"\xff"], pa.binary())),
        ("scene", pa.array([["a"], ["b"]])),
        ("scene", pa.array([{"a": 1}, {"a": 2}])),
        ("recipe", pa.nulls(2)),
    ],
)
def test_a_column_of_another_type_or_without_values_is_refused(tmp_path: Path, name: str, values: pa.Array) -> None:
    pool = honest_pool(tmp_path)
    set_column(pool, name, values)
    with pytest.raises(ShardError, match=MANIFEST):
        uirdata.open_shards(pool)


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path)
    set_column(pool, "scene", pa.array([b"\xff\xfe", b"a"], pa.binary()).view(pa.string()))
    with pytest.raises(ShardError, match="scene"):
        uirdata.open_shards(pool)


def test_a_column_that_is_missing_or_there_twice_is_refused(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path)
    part = part_path(pool, TAR)
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["scene"]), part)
    with pytest.raises(ShardError, match="lacks scene"):
        uirdata.open_shards(pool)
    pq.write_table(table.append_column("scene", table["scene"]), part)
    with pytest.raises(ShardError, match="several columns scene"):
        uirdata.open_shards(pool)


def test_an_lq_that_is_neither_stored_nor_made_is_refused(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path)
    set_column(pool, "lq_size", pa.array([0, 0]))
    set_column(pool, "recipe", pa.array(["", ""]))
    with pytest.raises(ShardError, match="neither an LQ nor a recipe"):
        uirdata.open_shards(pool)


def test_bytes_that_are_no_part_give_an_error_with_its_name(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path)
    part = part_path(pool, TAR)
    sound = part.read_bytes()
    before = uirdata.open_shards(pool).record(0)
    dice = random.Random(0)
    broken = [b"", b"PAR1", sound[:-10], sound[8:], b"PAR1" + bytes(4000) + b"PAR1", b"PAR1\x15\xff\xff\xff\x7fPAR1"]
    for _ in range(150):
        flipped = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
        broken.append(bytes(flipped))
    refused = []
    for data in broken:
        part.write_bytes(data)
        try:
            read = uirdata.open_shards(pool).record(0)
        except ShardError as error:
            refused.append(str(error))
        else:
            assert len(read.gt_sha256) == len(before.gt_sha256)
    assert len(refused) > 100
    assert all(str(tmp_path) in message for message in refused)


def test_a_table_that_claims_more_rows_than_its_bytes_can_hold_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"key": pa.array(np.zeros(3_000_000, np.int8))}), path)
    with pytest.raises(ShardError, match="claims 3,000,000 rows"):
        read_table(path)


def test_text_that_a_short_remote_file_repeats_is_not_unfolded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = honest_pool(tmp_path, 2)
    monkeypatch.setattr("uirdata.storage.manifest_rows._FEW_TEXT_BYTES", 100)
    monkeypatch.setattr("uirdata.storage.manifest_rows._EXPANSION", 0)
    with pytest.raises(ShardError, match="as much text as bytes"):
        check_sizes(pool, list_parts(pool))


def test_other_files_between_the_parts_are_no_rows(tmp_path: Path) -> None:
    pool = honest_pool(tmp_path)
    (pool / MANIFEST / "split=x").mkdir()
    pq.write_table(pq.read_table(part_path(pool, TAR)), pool / MANIFEST / "split=x/a.parquet")
    assert len(uirdata.open_shards(pool)) == 2
    os.mkfifo(pool / MANIFEST / "pipe.parquet")
    with pytest.raises(ShardError, match="is not a file"):
        uirdata.open_shards(pool)


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": [1]},
        {"shards": {TAR: {}}},
        {"shards": {TAR: {"samples": 1, "bytes": 1.5, "sha256": "a" * 64}}},
        {"shards": {"../x": {"samples": 1, "bytes": 1, "sha256": "a" * 64}}},
        {"seed": "0"},
        {"seed": -1},
        {"lazy": "yes"},
        {"subsets": {"a": "noise"}},
        {"subsets": {"a\x1b[2J": [["noise"]]}},
        {"crops": {"train/noise/here": [1]}},
        {"crops": {"train/noise/here": [256, 0]}},
        {"crops": {"train/noise/here": [-1, 2]}},
        {"format": 10**30},
        {"made_by": 5},
        {"seed": float("nan")},
    ],
)
def test_every_field_of_info_json_is_checked(tmp_path: Path, changes: dict[str, Any]) -> None:
    pool = honest_pool(tmp_path)
    set_info(pool, **changes)
    with pytest.raises(ShardError, match=r"info\.json: "):
        read_info(pool)
    with pytest.raises(ShardError, match=r"info\.json: "):
        describe(pool)


@pytest.mark.parametrize("field", ["seed", "crops", "subsets", "lazy"])
def test_a_field_that_a_reader_needs_is_asked_for_by_name(tmp_path: Path, field: str) -> None:
    pool = honest_pool(tmp_path / "pool")
    info = json.loads((pool / INFO).read_text()) | {"lazy": True}
    del info[field]
    (pool / INFO).write_text(json.dumps(info))
    result = uir("build-shards", "--materialise", pool, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "not lazy" in result.output if field == "lazy" else f"lacks {field}" in result.output


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["shards", "seed", "lazy", "subsets", "crops", "format", "libraries", "made_by", "else"]),
        JSON | st.dictionaries(st.sampled_from([TAR, "../a"]), JSON),
    )
    | JSON
)
@settings(max_examples=150)
def test_any_json_is_info_or_invalid(document: Any) -> None:
    with suppress(InvalidValue):
        assert isinstance(checked_info(json.dumps(document).encode()), dict)


@given(st.sampled_from(["path", "samples", "size", "sha256", "plan", "rejected"]), st.text(max_size=20) | JSON.map(str))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_metadata_of_a_part_is_a_shard_or_an_error(tmp_path: Path, field: str, value: str) -> None:
    pool = honest_pool(tmp_path) if not (tmp_path / INFO).exists() else tmp_path
    part = part_path(pool, TAR)
    sound = part.read_bytes()
    try:
        set_metadata(pool, **{field: value.encode("utf-8", "replace").decode()})
        with suppress(ShardError):
            assert [state.path for state in list_shards(pool)] == [TAR]
    finally:
        part.write_bytes(sound)


def test_a_part_that_may_not_be_read_is_not_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = honest_pool(tmp_path)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    for read in (list_shards, lambda folder: shard_state(folder, TAR)):
        with pytest.raises(ShardError, match="Permission denied") as caught:
            read(pool)
        assert "delete" not in str(caught.value)


@pytest.mark.parametrize("recipe", ["{}", "[" * 60_000, '{"version": 1e999}', "nul"])
def test_a_recipe_that_cannot_be_replayed_is_named_with_its_sample(tmp_path: Path, recipe: str) -> None:
    pool = honest_pool(tmp_path)
    set_column(pool, "lq_size", pa.array([0, 0]))
    set_column(pool, "recipe", pa.array([recipe] * 2))
    with pytest.raises(UirError, match="s0: this is not a recipe"):
        uirdata.open_shards(pool)[0]
