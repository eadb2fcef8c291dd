"""Small data and settings for training: shards of images made from a seed, and networks of a few channels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from maskdcpt.config.toml import with_settings
from maskdcpt.config.train_config import TrainConfig
from uirdata.images import RgbImage, encode_image, pixel_sha256, to_uint8
from uirdata.records import Record
from uirdata.storage.shards import SampleBytes, write_shard

TYPES = ("noise", "gaussian-blur", "low-light")
"""In the order of the 19 degradations, which is the label order of shards that were built without a subset."""


def random_image(seed: int, height: int = 40, width: int = 48) -> RgbImage:
    """Return a smooth coloured image with some edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / rng.uniform(3, 9) + y / rng.uniform(3, 9) + rng.uniform(0, 6)) for _ in range(3)]
    image = 128 + 80 * np.stack(waves, axis=2)
    top, left = rng.integers(height // 2), rng.integers(width // 2)
    image[top : top + 12, left : left + 12] = rng.uniform(30, 220, 3)
    return to_uint8(image)


def degraded(gt: RgbImage, kind: str, seed: int) -> RgbImage:
    """Return a strong degradation of one of the three types, easy to classify."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return to_uint8(gt + rng.normal(0, 30, gt.shape))
    if kind == "low-light":
        return to_uint8(gt * 0.4)
    rows = [np.roll(gt.astype(float), shift, axis=0) for shift in range(-2, 3)]
    return to_uint8(np.mean(rows, axis=0))


def sample(key: str, split: str, kind: str, gt: RgbImage, lq: RgbImage) -> SampleBytes:
    # Fields that do not matter here have the empty value of their type.
    nothing = {"str": "", "int": 0, "bool": False}
    fields = {field.name: nothing[str(field.type)] for field in dataclasses.fields(Record)} | {
        "key": key,
        "codec": "png",
        "degradation": kind,
        "level": "only",
        "source": "tiny",
        "split": split,
        "scene": key,
        "gt_path": f"{key}.png",
        "height": gt.shape[0],
        "width": gt.shape[1],
        "gt_sha256": pixel_sha256(gt),
        "lq_sha256": pixel_sha256(lq),
        "licence": "CC0",
    }
    return SampleBytes(encode_image(gt, "png"), encode_image(lq, "png"), fields)


def write_shards(folder: Path, train: int = 6, test: int = 2, types: tuple[str, ...] = TYPES) -> Path:
    """Write a shard of each type for each split, with `train` and `test` samples."""
    seed = 0
    for split, count in (("train", train), ("test", test)):
        for kind in types:
            samples = []
            for number in range(count):
                seed += 1
                # The second image of each type is smaller than a crop of 32, so it must be padded.
                gt = random_image(seed, *((20, 48) if number == 1 else (40, 48)))
                samples.append(sample(f"{split}-{kind}-{number}", split, kind, gt, degraded(gt, kind, seed)))
            write_shard(folder, f"{split}/{kind}/tiny-00000.tar", samples, "plan", [])
    return folder


def tiny_config(shards: Path, out: Path, *settings: str) -> TrainConfig:
    """Return the settings of a network of four channels on crops of 32: a step takes milliseconds."""
    return with_settings(
        TrainConfig(name="tiny", out=str(out)),
        [
            f"data.shards={shards}",
            "model.size.width=4",
            "model.size.enc_blk_nums=[1, 1]",
            "model.size.middle_blk_num=1",
            "model.size.dec_blk_nums=[1, 1]",
            "objective.mask_patch=8",
            "data.crop=32",
            "data.batch=4",
            "data.workers=0",
            'data.validation_split=""',
            "loop.steps=6",
            "loop.threads=1",
            "loop.log_every=2",
            "loop.checkpoint_every=3",
            "loop.sample_every=0",
            "loop.tensorboard=false",
            'loop.device="cpu"',
            *settings,
        ],
    )
