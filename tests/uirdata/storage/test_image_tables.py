from __future__ import annotations

import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.uirdata.storage.test_shards import sample
from uirdata.errors import ShardError, StorageError
from uirdata.storage import image_tables
from uirdata.storage.image_tables import FACTS, write_image_table
from uirdata.storage.shards import ShardState, write_shard

PATH = "train/noise/here-00000.tar"


@pytest.fixture
def shard(tmp_path: Path) -> ShardState:
    return write_shard(tmp_path, PATH, [sample(f"s-{n}", n) for n in range(5)], "plan", [])


def test_a_table_has_the_bytes_of_the_tar_and_what_is_known_of_each_sample(tmp_path: Path, shard: ShardState) -> None:
    target = tmp_path / "t.parquet"
    size, _ = write_image_table(tmp_path, shard, target)
    assert size == target.stat().st_size
    table = pq.read_table(target)
    assert table.column_names == ["lq", "gt", "label", *FACTS]
    with tarfile.open(tmp_path / PATH) as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        for row in table.to_pylist():
            for name in ("lq", "gt"):
                file = members[row[name]["path"]]
                assert file is not None
                assert row[name]["bytes"] == file.read()
    assert set(table["label"].to_pylist()) == {"noise"}
    assert table["key"].to_pylist() == [f"s-{n}" for n in range(5)]


def test_the_same_shard_gives_the_same_bytes_in_groups_of_bounded_size(
    tmp_path: Path, shard: ShardState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_tables, "_GROUP_ROWS", 2)
    found = [write_image_table(tmp_path, shard, tmp_path / name) for name in ("a.parquet", "b.parquet")]
    assert found[0] == found[1]
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [2, 2, 1]
    # Images are stored uncompressed, so that storage with deduplication stores equal parts once.
    data = (tmp_path / "a.parquet").read_bytes()
    for row in pq.read_table(tmp_path / "a.parquet").to_pylist():
        assert row["gt"]["bytes"] in data


def test_a_tar_that_was_changed_or_lost_gives_no_table(tmp_path: Path, shard: ShardState) -> None:
    target = tmp_path / "t.parquet"
    data = bytearray((tmp_path / PATH).read_bytes())
    data[600] ^= 1
    (tmp_path / PATH).write_bytes(data)
    with pytest.raises(ShardError, match=r"it was changed since it was built"):
        write_image_table(tmp_path, shard, target)
    (tmp_path / PATH).unlink()
    with pytest.raises(ShardError, match=r"cannot be read"):
        write_image_table(tmp_path, shard, target)
    assert not target.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, shard: ShardState) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file/t.parquet: cannot be written"):
        write_image_table(tmp_path, shard, tmp_path / "file/t.parquet")
