from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import synthetic_image
from uirdata import open_shards, sample_recipe
from uirdata.errors import NoSamplesError, ShardError, StorageError
from uirdata.images import Window, encode_image, pixel_sha256
from uirdata.records import IN_TAR
from uirdata.storage.shards import (
    INFO,
    Rejected,
    SampleBytes,
    TarWriter,
    list_shards,
    part_path,
    pool_codec,
    shard_keys,
    shard_state,
    write_json,
    write_shard,
)
from uirdata.subsets import Subset, Use


def sample(key: str, seed: int = 0, degradation: str = "noise", split: str = "train") -> SampleBytes:
    gt, lq = synthetic_image(24, 32, seed), synthetic_image(24, 32, seed + 100)
    fields = {
        "key": key,
        "codec": "png",
        "degradation": degradation,
        "level": "gaussian-25",
        "recipe": "{}",
        "source": "here",
        "split": split,
        "real": False,
        "scene": key,
        "gt_path": f"{key}.png",
        "lq_path": "",
        "gt_border": 0,
        "top": 0,
        "left": 0,
        "height": 24,
        "width": 32,
        "overlaps": "",
        "gt_sha256": pixel_sha256(gt),
        "lq_sha256": pixel_sha256(lq),
        "licence": "CC0",
    }
    return SampleBytes(encode_image(gt, "png"), encode_image(lq, "png"), fields)


def pool(folder: Path, count: int = 3) -> Path:
    write_shard(folder, "train/noise/here-00000.tar", [sample(f"s{i}", i) for i in range(count)], "plan", [])
    return folder


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=5))
def test_tarfile_reads_what_the_writer_wrote_and_finds_it_at_the_offsets(contents: list[bytes]) -> None:
    buffer = io.BytesIO()
    tar = TarWriter(buffer)
    offsets = [tar.add(f"member{i}.gt.png", data) for i, data in enumerate(contents)]
    size, sha256 = tar.close()
    raw = buffer.getvalue()
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (size, sha256)
    for offset, data in zip(offsets, contents, strict=True):
        assert raw[offset : offset + len(data)] == data
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:", format=tarfile.USTAR_FORMAT) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == [f"member{i}.gt.png" for i in range(len(contents))]
        assert [m.offset_data for m in members] == offsets
        assert all((m.mtime, m.uid, m.gid, m.mode) == (0, 0, 0, 0o644) for m in members)
        assert [archive.extractfile(m).read() for m in members] == contents  # type: ignore[union-attr]


def test_a_header_is_the_one_that_tarfile_writes() -> None:
    buffer = io.BytesIO()
    TarWriter(buffer).add("a.json", b"x" * 700)
    theirs = tarfile.TarInfo("a.json")
    theirs.size, theirs.mode = 700, 0o644
    header = bytearray(theirs.tobuf(tarfile.USTAR_FORMAT))
    # Device numbers: tarfile writes zeros as text, we leave the field empty; both are USTAR.
    header[329:345] = bytes(16)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    assert buffer.getvalue()[:512] == bytes(header)


def test_a_name_that_ustar_cannot_hold_is_refused() -> None:
    with pytest.raises(ShardError, match="100 bytes"):
        TarWriter(io.BytesIO()).add("k" * 101, b"")


def test_members_stand_together_in_the_order_of_webdataset(tmp_path: Path) -> None:
    pool(tmp_path, 2)
    with tarfile.open(tmp_path / "train/noise/here-00000.tar") as archive:
        assert archive.getnames() == ["s0.gt.png", "s0.json", "s0.lq.png", "s1.gt.png", "s1.json", "s1.lq.png"]
        document = json.load(archive.extractfile("s0.json"))  # type: ignore[arg-type]
    assert tuple(sorted(document)) == tuple(sorted(IN_TAR))


def test_items_come_back_by_number_with_their_pixels(tmp_path: Path) -> None:
    dataset = open_shards(pool(tmp_path))
    assert len(dataset) == 3
    for index in (2, 0, -1):
        item = dataset[index]
        number = index % 3
        assert item.key == f"s{number}"
        assert np.array_equal(item.gt, synthetic_image(24, 32, number))
        assert np.array_equal(item.lq, synthetic_image(24, 32, number + 100))
        dataset.check(index)
    with pytest.raises(IndexError):
        dataset[3]


def test_labels_follow_the_order_of_all_types_when_no_subset_is_known(tmp_path: Path) -> None:
    write_shard(tmp_path, "train/jpeg/here-00000.tar", [sample("j", 1, "jpeg")], "plan", [])
    write_shard(tmp_path, "train/noise/here-00000.tar", [sample("n", 2, "noise")], "plan", [])
    dataset = open_shards(tmp_path)
    assert dataset.class_names == ("noise", "jpeg")
    assert dict(zip(dataset.degradations, dataset.labels, strict=True)) == {"noise": 0, "jpeg": 1}


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    write_shard(tmp_path, "train/noise/here-00000.tar", [sample("a")], "plan", [])
    write_shard(tmp_path, "test/noise/here-00000.tar", [sample("b", split="test")], "plan", [])
    assert [r.key for r in open_shards(tmp_path, "test").records] == ["b"]
    with pytest.raises(Exception, match="did you mean 'train'"):
        open_shards(tmp_path, "trian")


def test_a_shard_cut_short_is_named_before_the_first_sample(tmp_path: Path) -> None:
    tar = pool(tmp_path) / "train/noise/here-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-600])
    with pytest.raises(
        ShardError, match=r"here-00000\.tar: has [\d,]+ bytes, the manifest says [\d,]+: it was truncated"
    ):
        open_shards(tmp_path)
    assert shard_state(tmp_path, "train/noise/here-00000.tar") is None


def test_a_missing_shard_and_a_folder_without_shards_are_named(tmp_path: Path) -> None:
    (pool(tmp_path / "pool") / "train/noise/here-00000.tar").unlink()
    with pytest.raises(ShardError, match="is missing"):
        open_shards(tmp_path / "pool")
    with pytest.raises(ShardError, match=r"no manifest\.parquet here"):
        open_shards(tmp_path)
    with pytest.raises(ShardError, match="no such folder"):
        open_shards(tmp_path / "nowhere")


def test_shards_of_another_release_are_recognised_by_their_columns(tmp_path: Path) -> None:
    part = part_path(pool(tmp_path), "train/noise/here-00000.tar")
    table = pyarrow.parquet.read_table(part)
    pyarrow.parquet.write_table(table.drop_columns(["gt_border"]), part)
    with pytest.raises(ShardError, match=r"lacks gt_border: another release built these shards"):
        open_shards(tmp_path)


def test_changed_pixels_are_found_by_check(tmp_path: Path) -> None:
    dataset = open_shards(pool(tmp_path))
    record = dataset.record(1)
    tar = tmp_path / record.shard
    raw = bytearray(tar.read_bytes())
    other = encode_image(synthetic_image(24, 32, 55), "png")[: record.gt_size]
    raw[record.gt_offset : record.gt_offset + len(other)] = other
    tar.write_bytes(raw)
    with pytest.raises(Exception, match="s1"):
        open_shards(tmp_path).check(1)


def test_a_broken_image_in_a_shard_is_named_with_the_way_to_repair_it(tmp_path: Path) -> None:
    record = open_shards(pool(tmp_path)).record(1)
    with (tmp_path / record.shard).open("r+b") as file:
        file.seek(record.lq_offset)
        file.write(b"\xff" * record.lq_size)
    assert open_shards(tmp_path)[0].key == "s0"
    with pytest.raises(ShardError, match=r"here-00000\.tar: s1\.lq\.png: is not the image .* delete the tar"):
        open_shards(tmp_path)[1]


@pytest.mark.parametrize("lazy", [False, True])
def test_a_window_beyond_the_stored_image_is_an_error(tmp_path: Path, lazy: bool) -> None:
    shards = open_shards(pool(tmp_path))
    recipe = sample_recipe("noise", np.random.default_rng(0), "gaussian-25").to_json()
    place = shards.place(0)._replace(recipe=recipe, lq_size=0) if lazy else shards.place(0)
    lq, gt = shards.pair(place, Window(4, 8, 20, 24))
    assert lq.shape == gt.shape == (20, 24, 3)
    with pytest.raises(ShardError, match=r"s0\.gt\.png"):
        shards.pair(place, Window(4, 8, 21, 24))


def test_a_shard_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def samples() -> object:
        yield sample("a")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="the disk is full"):
        write_shard(tmp_path, "train/noise/here-00000.tar", samples(), "plan", [])  # type: ignore[arg-type]
    assert not (tmp_path / "train/noise/here-00000.tar").exists()
    assert not part_path(tmp_path, "train/noise/here-00000.tar").exists()
    with pytest.raises(ShardError):
        list_shards(tmp_path)


@pytest.mark.parametrize("info", [{}, {"codec": "jpeg"}, {"codec": None}])
def test_a_codec_that_this_release_does_not_know_is_refused(tmp_path: Path, info: dict[str, object]) -> None:
    write_json(tmp_path / INFO, {"codec": "png"})
    assert pool_codec(tmp_path) == "png"
    write_json(tmp_path / INFO, info)
    with pytest.raises(ShardError, match=r"the codec is .*, expected webp or png"):
        pool_codec(tmp_path)


def test_samples_that_could_not_be_made_are_read_back_as_they_were_noted(tmp_path: Path) -> None:
    path = "train/noise/here-00000.tar"
    rejected = Rejected("k", path, "here", "gaussian-25", "gt/k.png", "", "gt/k.png: is no image")
    state = write_shard(tmp_path, path, [sample("a")], "plan", [rejected])
    assert state.rejected == (rejected,)
    assert shard_state(tmp_path, path) == state
    assert shard_keys(tmp_path, path) == ("a", "k")
    # These bytes lie in pools that are built and published already.
    assert pyarrow.parquet.read_schema(part_path(tmp_path, path)).metadata[b"uir.rejected"] == (
        b'[{"gt_path": "gt/k.png", "key": "k", "level": "gaussian-25", "lq_path": "", '
        b'"reason": "gt/k.png: is no image", "shard": "train/noise/here-00000.tar", "source": "here"}]'
    )


@pytest.mark.parametrize(("text", "known"), [(b"[]", True), (b"[ ]", True), (b"7", False), (b'[{"key": "k"}]', False)])
def test_a_list_of_rejected_samples_is_empty_however_it_is_written_and_a_broken_one_is_told(
    tmp_path: Path, text: bytes, known: bool
) -> None:
    path = "train/noise/here-00000.tar"
    write_shard(tmp_path, path, [sample("a")], "plan", [])
    part = part_path(tmp_path, path)
    table = pyarrow.parquet.read_table(part)
    pyarrow.parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, b"uir.rejected": text}), part)
    state = shard_state(tmp_path, path)
    assert (state is not None) == known
    assert state is None or not state.rejected


def test_shards_without_a_sample_of_a_subset_are_whole_and_say_so_by_their_error(tmp_path: Path) -> None:
    write_shard(tmp_path, "train/jpeg/here-00000.tar", [sample("j", 1, "jpeg")], "plan", [])
    subset = Subset("other", "", (("noise",),), {}, (Use("elsewhere", "noise", "train"),))
    with pytest.raises(NoSamplesError, match="other"):
        open_shards(tmp_path, subset=subset)


def test_shards_in_a_folder_that_is_not_there_are_an_error_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no such folder; create it with `uir build-shards --out"):
        list_shards(tmp_path / "none")
