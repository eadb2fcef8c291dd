from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import maskdcpt
from maskdcpt.checkpoints import load_checkpoint
from maskdcpt.networks import networks_of
from maskdcpt.restoring import Restorer, restore_bytes, restore_files
from maskdcpt.training import train
from maskdcpt.validation import to_tensor
from tests.maskdcpt.tiny import TYPES, picture, tiny_config, write_shards
from uirdata.errors import UsageError
from uirdata.images import read_image, to_uint8


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    shards = write_shards(folder / "shards", train=2, test=1)
    kinds = {"fine": "finetune", "pre": "maskdcpt"}
    return {
        name: train(tiny_config(shards, folder / name, f"objective.kind={kind}", "loop.steps=1")).run
        for name, kind in kinds.items()
    }


@pytest.fixture(scope="module")
def restorer(runs: dict[str, Path]) -> Restorer:
    return Restorer(runs["fine"])


@pytest.mark.parametrize(("height", "width"), [(37, 53), (1, 1), (5, 200), (64, 64)])
def test_a_picture_of_any_size_keeps_its_size(runs: dict[str, Path], height: int, width: int) -> None:
    image = picture(0, 256, 256)[:height, :width]
    restored = maskdcpt.restore(image, runs["fine"])
    assert restored.shape == image.shape
    assert restored.dtype == np.uint8


def test_the_result_is_that_of_the_network_clipped_and_rounded(runs: dict[str, Path]) -> None:
    image = picture(1)
    with torch.no_grad():
        raw = networks_of(load_checkpoint(runs["fine"])).backbone.restore(to_tensor(image))
    expected = to_uint8(raw[0].permute(1, 2, 0).numpy() * 255.0)
    assert np.array_equal(maskdcpt.restore(image, load_checkpoint(runs["fine"])), expected)


def test_tiles_give_nearly_the_picture_that_the_whole_gives(runs: dict[str, Path]) -> None:
    image = picture(2, 150, 130)
    whole, tiled = Restorer(runs["fine"], tile_px=0).restore(image), Restorer(runs["fine"], tile_px=64).restore(image)
    difference = np.abs(whole.astype(int) - tiled.astype(int))
    assert tiled.shape == whole.shape
    # The channel attention of NAFNet sees each tile by itself, so the values move a little.
    assert 0 < difference.mean() < 6


def test_a_self_ensemble_turns_with_the_picture(runs: dict[str, Path]) -> None:
    both = Restorer(runs["fine"], self_ensemble=True)
    image = picture(3, 32, 32)
    turned = np.ascontiguousarray(np.rot90(image)[:, ::-1])
    again = np.rot90(both.restore(turned)[:, ::-1], -1)
    assert np.abs(both.restore(image).astype(int) - again.astype(int)).max() <= 1


def test_pre_trained_networks_do_not_restore_but_name(runs: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="pre-trained, not fine-tuned"):
        Restorer(runs["pre"])
    assert Restorer(runs["fine"]).name(picture(0)) == ""
    assert Restorer(runs["fine"], classifier=runs["pre"]).name(picture(0)) in TYPES
    with pytest.raises(UsageError, match="has no classifier"):
        Restorer(runs["fine"], classifier=runs["fine"])


def write_pictures(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    good = Image.fromarray(picture(4, 20, 30))
    paths = {name: folder / name for name in ("a.png", "b.jpg", "cut.png", "empty.jpg", "text.png", "moving.gif")}
    good.save(paths["a.png"])
    good.save(paths["b.jpg"])
    paths["cut.png"].write_bytes(paths["a.png"].read_bytes()[:200])
    paths["empty.jpg"].write_bytes(b"")
    paths["text.png"].write_text("hello")
    good.save(paths["moving.gif"], save_all=True, append_images=[Image.fromarray(picture(5, 20, 30))])
    return paths


def test_bad_files_are_told_of_and_the_others_restored(restorer: Restorer, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in")
    out = tmp_path / "out"
    results = {r.source.name: r for r in restore_files([*paths.values(), tmp_path / "missing.png"], out, restorer)}
    assert {name for name, r in results.items() if not r.problem} == {"a.png", "b.jpg"}
    for name in ("cut.png", "empty.jpg", "text.png", "moving.gif", "missing.png"):
        assert name in results[name].problem
        assert results[name].target is None
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.png"]
    assert read_image(out / "a.png").shape == (20, 30, 3)


def test_nothing_is_written_over_unless_told(restorer: Restorer, tmp_path: Path) -> None:
    source = write_pictures(tmp_path / "in")["a.png"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    (kept,) = restore_files([source], out, restorer)
    assert "--overwrite" in kept.problem
    assert (out / "a.png").read_text() == "mine"
    (done,) = restore_files([source], out, restorer, overwrite=True)
    assert done.problem == ""
    assert read_image(out / "a.png").shape == (20, 30, 3)


def test_two_files_of_one_name_do_not_take_each_others_place(restorer: Restorer, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture(6, 16, 16)).save(tmp_path / folder / "same.png")
    results = restore_files([tmp_path / "x", tmp_path / "y"], tmp_path / "out", restorer, overwrite=True)
    assert [bool(r.problem) for r in results] == [False, True]
    assert "another file of the same name" in results[1].problem


def test_orientation_profile_and_alpha_are_kept(restorer: Restorer) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.tile(np.arange(30, dtype=np.uint8), (20, 1))
    source = Image.fromarray(np.dstack([picture(7, 20, 30), alpha]))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    source.save(buffer, "PNG", icc_profile=profile, exif=exif)
    png, known = restore_bytes(buffer.getvalue(), "turned.png", restorer)
    with Image.open(io.BytesIO(png)) as result:
        assert result.size == (20, 30)
        assert result.info["icc_profile"] == profile
        assert np.array_equal(np.asarray(result)[:, :, 3], np.rot90(alpha, -1))
        assert not result.getexif().get(0x0112)
    assert (known.height, known.width) == (30, 20)


@pytest.mark.parametrize("mode", ["CMYK", "P", "L", "1", "LA", "I;16"])
def test_other_modes_are_restored_too(restorer: Restorer, tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture(8, 16, 16))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    else:
        image = image.convert(mode)
    image.save(tmp_path / "x.tif")
    (result,) = restore_files([tmp_path / "x.tif"], tmp_path / "out", restorer)
    assert result.problem == ""


def test_a_folder_without_pictures_is_misuse(restorer: Restorer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no picture"):
        restore_files([tmp_path], tmp_path / "out", restorer)
