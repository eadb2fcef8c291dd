from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import maskdcpt
from maskdcpt.compute.memory import bytes_per_pixel
from maskdcpt.images import to_tensor
from maskdcpt.pages.restored_page import RestoredPage
from maskdcpt.restoring.files import restore_bytes, restore_files
from maskdcpt.restoring.image_files import ImageFile, decode_image_file, encode_image_file
from maskdcpt.restoring.restorer import Restorer
from maskdcpt.training.loop import train
from maskdcpt.weights.build import networks_of
from maskdcpt.weights.load import load_checkpoint
from tests.maskdcpt.tiny import TYPES, random_image, tiny_config, write_shards
from uirdata.errors import UirError, UsageError
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
def test_an_image_of_any_size_keeps_its_size(runs: dict[str, Path], height: int, width: int) -> None:
    image = random_image(0, 256, 256)[:height, :width]
    restored = maskdcpt.restore(image, runs["fine"])
    assert restored.shape == image.shape
    assert restored.dtype == np.uint8


def test_the_result_is_that_of_the_network_clipped_and_rounded(runs: dict[str, Path]) -> None:
    image = random_image(1)
    with torch.no_grad():
        raw = networks_of(load_checkpoint(runs["fine"])).backbone.restore(to_tensor(image))
    expected = to_uint8(raw[0].permute(1, 2, 0).numpy() * 255.0)
    assert np.array_equal(maskdcpt.restore(image, load_checkpoint(runs["fine"])), expected)


def test_tiles_give_nearly_the_image_that_the_whole_gives(runs: dict[str, Path]) -> None:
    image = random_image(2, 150, 130)
    whole, tiled = Restorer(runs["fine"], tile_px=0).restore(image), Restorer(runs["fine"], tile_px=64).restore(image)
    difference = np.abs(whole.astype(int) - tiled.astype(int))
    assert tiled.shape == whole.shape
    # The channel attention of NAFNet averages over each tile, so the values change a little.
    assert 0 < difference.mean() < 6


def test_a_self_ensemble_turns_with_the_image(runs: dict[str, Path]) -> None:
    both = Restorer(runs["fine"], self_ensemble=True)
    image = random_image(3, 32, 32)
    turned = np.ascontiguousarray(np.rot90(image)[:, ::-1])
    again = np.rot90(both.restore(turned)[:, ::-1], -1)
    assert np.abs(both.restore(image).astype(int) - again.astype(int)).max() <= 1


def test_pre_trained_networks_do_not_restore_but_name(runs: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="pre-trained, not fine-tuned"):
        Restorer(runs["pre"])
    assert Restorer(runs["fine"]).name(random_image(0)) == ""
    assert Restorer(runs["fine"], classifier=runs["pre"]).name(random_image(0)) in TYPES
    with pytest.raises(UsageError, match="has no classifier"):
        Restorer(runs["fine"], classifier=runs["fine"])


def write_images(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    good = Image.fromarray(random_image(4, 20, 30))
    paths = {name: folder / name for name in ("a.png", "b.jpg", "cut.png", "empty.jpg", "text.png", "moving.gif")}
    good.save(paths["a.png"])
    good.save(paths["b.jpg"])
    paths["cut.png"].write_bytes(paths["a.png"].read_bytes()[:200])
    paths["empty.jpg"].write_bytes(b"")
    paths["text.png"].write_text("hello")
    good.save(paths["moving.gif"], save_all=True, append_images=[Image.fromarray(random_image(5, 20, 30))])
    return paths


def test_bad_files_are_told_of_and_the_others_restored(restorer: Restorer, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in")
    out = tmp_path / "out"
    results = {r.source.name: r for r in restore_files([*paths.values(), tmp_path / "missing.png"], out, restorer)}
    assert {name for name, r in results.items() if not r.problem} == {"a.png", "b.jpg"}
    for name in ("cut.png", "empty.jpg", "text.png", "moving.gif", "missing.png"):
        assert name in results[name].problem
        assert results[name].target is None
    assert sorted(p.name for p in out.glob("*.png")) == ["a.png", "b.png"]
    assert read_image(out / "a.png").shape == (20, 30, 3)


def test_a_failure_that_nobody_foresaw_ends_one_image_alone(
    restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(random_image(1, 16, 16)).save(tmp_path / "in" / f"{name}.png")

    def failing(data: bytes, name: str, **_: object) -> ImageFile:
        if name.endswith("b.png"):
            raise TypeError("a bug")
        return decode_image_file(data, name)

    monkeypatch.setattr("maskdcpt.restoring.files.decode_image_file", failing)
    results = restore_files([tmp_path / "in"], tmp_path / "out", restorer)
    assert [bool(result.problem) for result in results] == [False, True, False]
    assert "b.png" in results[1].problem
    assert "TypeError" in results[1].problem


def test_existing_files_are_not_overwritten_without_the_option(restorer: Restorer, tmp_path: Path) -> None:
    source = write_images(tmp_path / "in")["a.png"]
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
        Image.fromarray(random_image(6, 16, 16)).save(tmp_path / folder / "same.png")
    results = restore_files([tmp_path / "x", tmp_path / "y"], tmp_path / "out", restorer, overwrite=True)
    assert [bool(r.problem) for r in results] == [False, True]
    assert f"as that of {tmp_path / 'x' / 'same.png'}" in results[1].problem


def test_orientation_profile_and_alpha_are_kept(restorer: Restorer) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.tile(np.arange(30, dtype=np.uint8), (20, 1))
    source = Image.fromarray(np.dstack([random_image(7, 20, 30), alpha]))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    source.save(buffer, "PNG", icc_profile=profile, exif=exif)
    png, known = restore_bytes(buffer.getvalue(), "turned.png", restorer)
    with Image.open(io.BytesIO(png)) as result:
        assert result.size == (20, 30)
        assert result.info["icc_profile"] == profile
        assert np.array_equal(np.asarray(result)[:, :, 3], np.rot90(alpha, -1))
        assert result.getexif()[0x0112] == 1
    assert (known.height, known.width) == (30, 20)


@pytest.mark.parametrize("mode", ["CMYK", "P", "L", "1", "LA", "I;16"])
def test_other_modes_are_restored_too(restorer: Restorer, tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(random_image(8, 16, 16))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    else:
        image = image.convert(mode)
    image.save(tmp_path / "x.tif")
    (result,) = restore_files([tmp_path / "x.tif"], tmp_path / "out", restorer)
    assert result.problem == ""


def test_a_folder_without_images_and_a_pattern_without_files_are_reported(restorer: Restorer, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = write_images(tmp_path / "good")["a.png"]
    results = restore_files([tmp_path / "in", source, tmp_path / "*.xyz"], tmp_path / "out", restorer)
    assert [r.problem for r in results] == [
        f"{tmp_path / 'in'}: no image in this folder",
        "",
        f"{tmp_path / '*.xyz'}: no file matches this pattern",
    ]


def test_patterns_and_folders_are_followed_and_folders_keep_their_shape(restorer: Restorer, tmp_path: Path) -> None:
    for name in ("in/a/1.png", "in/b/1.png", "2.png", "3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(6, 16, 16)).save(tmp_path / name)
    results = restore_files([tmp_path / "in", tmp_path / "[0-9].png"], tmp_path / "out", restorer)
    targets = [r.target.relative_to(tmp_path / "out").as_posix() for r in results if r.target]
    assert targets == ["a/1.png", "b/1.png", "2.png", "3.png"]


def test_a_result_never_takes_the_place_of_its_source(restorer: Restorer, tmp_path: Path) -> None:
    Image.fromarray(random_image(6, 16, 16)).save(tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    (result,) = restore_files([tmp_path / "x.png"], tmp_path, restorer, overwrite=True)
    assert "would replace the file itself" in result.problem
    assert (tmp_path / "x.png").read_bytes() == before


def test_a_folder_that_cannot_be_written_stops_its_images_alone(restorer: Restorer, tmp_path: Path) -> None:
    for name in ("in/a/1.png", "in/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_image(6, 16, 16)).save(tmp_path / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a file stands here")
    results = restore_files([tmp_path / "in"], tmp_path / "out", restorer)
    assert ["cannot be written" in r.problem for r in results] == [True, False]


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_stay_sixteen_with_alpha_profile_and_orientation(
    runs: dict[str, Path], restorer: Restorer, ending: str
) -> None:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    _, data = cv2.imencode(f".{ending}", rgba[:, :, [2, 1, 0, 3]])
    read = decode_image_file(data.tobytes(), "deep")
    assert np.array_equal(read.pixels, rgba[:, :, :3])
    assert read.alpha is not None
    assert np.array_equal(read.alpha, rgba[:, :, 3])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    written = encode_image_file(restorer.restore_image_file(read), replace(read, icc=profile, exif=exif.tobytes()))
    again = decode_image_file(written, "again")
    assert again.pixels.dtype == np.uint16
    assert np.array_equal(again.alpha, rgba[:, :, 3])
    assert again.icc == profile
    with Image.open(io.BytesIO(written)) as image:
        assert image.getexif()[0x010F] == "maker"
    with torch.no_grad():
        scaled = torch.from_numpy(rgba[:, :, :3].astype(np.float32) / 65535).permute(2, 0, 1)[None]
        raw = networks_of(load_checkpoint(runs["fine"])).backbone.restore(scaled).clamp(0, 1)
    expected = raw[0].permute(1, 2, 0).double().numpy() * 65535
    assert np.abs(again.pixels - expected).max() <= 0.51


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_images_are_turned_as_pillow_turns_shallow_ones(orientation: int) -> None:
    rgb = random_image(3, 12, 17)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow, deep = io.BytesIO(), cv2.imencode(".png", rgb[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()
    Image.fromarray(rgb).save(shallow, "PNG", exif=exif)
    deep = encode_image_file(decode_image_file(deep, "x").pixels, ImageFile(rgb, exif=exif.tobytes()))
    wide = decode_image_file(deep, "deep").pixels
    assert np.array_equal(wide // 257, decode_image_file(shallow.getvalue(), "shallow").pixels)


def test_photographs_of_phones_with_a_second_image_behind_are_restored(restorer: Restorer) -> None:
    buffer = io.BytesIO()
    first, second = (Image.fromarray(random_image(seed, 24, 32)) for seed in (1, 2))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    read = decode_image_file(buffer.getvalue(), "phone.jpg")
    assert np.abs(read.pixels.astype(int) - random_image(1, 24, 32).astype(int)).mean() < 6


def test_cmyk_becomes_rgb_and_says_so() -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(buffer, "TIFF")
    read = decode_image_file(buffer.getvalue(), "press.tif")
    assert read.remark == "was CMYK, is RGB now"
    assert read.pixels[0, 0].tolist() == [255, 0, 0]


def test_a_gray_profile_is_not_put_on_colours() -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"GRAY"
    buffer = io.BytesIO()
    Image.fromarray(random_image(1, 8, 8)[:, :, 0]).save(buffer, "PNG", icc_profile=bytes(profile))
    assert decode_image_file(buffer.getvalue(), "gray.png").icc is None


def test_an_image_is_cut_only_when_the_memory_is_not_enough(runs: dict[str, Path]) -> None:
    plenty, little = Restorer(runs["fine"], memory=2**40), Restorer(runs["fine"], memory=200_000_000)
    assert plenty.tile_for(4000, 6000) == 0
    assert little.tile_for(37, 53) == 0
    tile = little.tile_for(1200, 1500)
    assert tile % networks_of(load_checkpoint(runs["fine"])).backbone.multiple == 0
    assert 128 <= tile < 1200
    assert Restorer(runs["fine"], memory=1).tile_for(1200, 1500) == 128
    with pytest.raises(UsageError, match="too small for nafnet"):
        Restorer(runs["fine"], tile_px=8)


def test_memory_that_runs_out_halves_the_tiles(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(runs["fine"])
    image = random_image(9, 300, 260)
    whole = restorer.restore(image)
    backbone = restorer._networks.backbone
    real = type(backbone).restore
    seen: list[int] = []

    def restore(self: object, x: torch.Tensor) -> torch.Tensor:
        seen.append(max(x.shape[-2:]))
        if seen[-1] > 160:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(backbone, x)

    monkeypatch.setattr(type(backbone), "restore", restore)
    tiled = restorer.restore(image)
    assert seen[0] == 300
    assert max(seen[1:]) <= 160
    assert tiled.shape == whole.shape

    def fail(self: object, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(type(backbone), "restore", fail)
    with pytest.raises(UirError, match="out of memory on cpu for a tile"):
        restorer.restore(image)


def test_the_memory_of_a_network_is_found_without_computing() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 10, 3, padding=1)

        def restore(self, x: torch.Tensor) -> torch.Tensor:
            wide = self.conv(x)
            return (wide.relu() + 1)[:, :3]

    # The image, ten maps, their positive parts, and those plus one while the others are still in memory.
    assert bytes_per_pixel(Twice()) == 4 * (3 + 10 + 10 + 10)


def test_a_page_shows_before_and_after(restorer: Restorer, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in")
    page = RestoredPage(tmp_path / "page.html", "runs/fine")
    results = restore_files([paths["a.png"], paths["cut.png"]], tmp_path / "out", restorer, on_image=page.add)
    page.write(results)
    text = (tmp_path / "page.html").read_text()
    assert text.count('class="slider"') == 1
    assert text.count("data:image/webp;base64,") == 2
    assert "a.png: 30 x 20" in text
    assert "cut.png" in text.partition("Not restored")[2]
    assert "http" not in text
