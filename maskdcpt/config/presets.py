"""The paper's experiments as configurations, and small ones for a CPU; each value with its origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from maskdcpt.config.preset_values import (
    BACKBONES,
    DCPT,
    DEFAULT,
    FINETUNING_5D,
    FINETUNING_12D,
    FINETUNING_MIXED,
    FINETUNING_SINGLE,
    MEDIUM,
    PAPER,
    PRETRAINING,
    RAM,
    RELEASE,
    SAMPLE,
    SAMPLE_FINETUNING,
    SAMPLE_PRETRAINING,
    SMALL,
    UNUSED,
    VARIANTS,
    YOURS,
    Values,
)
from maskdcpt.config.toml import config_from_document, keys_of
from maskdcpt.config.train_config import TrainConfig
from uirdata.errors import UsageError, nearest


@dataclass(frozen=True)
class Preset:
    """
    A named configuration.

    Attributes:
        name: such as "pretrain-5d-nafnet".
        summary: a description in one sentence.
        config: for `train`; shards and out are set by the user.
        origin: every dotted key to the origin of its value.
    """

    name: str
    summary: str
    config: TrainConfig
    origin: Mapping[str, str]


def find_preset(name: str) -> Preset:
    """
    Return a preset by its name.

    >>> preset = find_preset("pretrain-5d-nafnet")
    >>> preset.config.data.subset, preset.config.objective.kind
    ('5d', 'maskdcpt')

    Raises:
        UsageError: there is no such preset; the message names the most similar one.
    """
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]()


_NETWORKS: Mapping[str, Values] = MappingProxyType({**BACKBONES, **VARIANTS})


def _lr_of(backbone: str) -> Values:
    """Return the paper's learning rates for backbones for which DCPT's release has other ones, with that origin."""
    if backbone == "nafnet":
        return {}
    return {
        "optimizer.lr": (3e-4, "paper; DCPT's release has 2e-4 for this backbone"),
        "optimizer.lr_decoders": (1e-4, "paper; DCPT's release has 5e-5 for this backbone"),
    }


def _pretraining(subset: str, backbone: str, **changes: tuple[Any, str]) -> Values:
    values = {**_NETWORKS[backbone], **PRETRAINING, **_lr_of(backbone), "data.subset": (subset, PAPER)}
    return values | {key.replace("__", "."): value for key, value in changes.items()}


def _finetuning(subset: str, backbone: str) -> Values:
    recipe = {"5d": FINETUNING_5D, "12d": FINETUNING_12D, "mixed": FINETUNING_MIXED}[subset]
    values = {**_NETWORKS[backbone], **recipe, "data.subset": (subset, PAPER)}
    if backbone == "swinir":
        values |= {
            "optimizer.lr": (1.5e-4, RELEASE),
            "optimizer.clip_norm": (0.0, RELEASE),
            "data.batch": (16, "DCPT release: 4 on each of 4 GPUs"),
        }
    return values


def _make(name: str, summary: str, values: Values) -> Callable[[], Preset]:
    def preset() -> Preset:
        document: dict[str, Any] = {"name": name}
        for key, (value, _) in values.items():
            *tables, last = key.split(".")
            table = document
            for part in tables:
                table = table.setdefault(part, {})
            table[last] = value
        config = config_from_document(document, where=f"preset {name}")
        unused = frozenset() if config.objective.traits.pretrains else UNUSED
        origin = {key: "not used in fine-tuning" if key in unused else DEFAULT for key in keys_of(config)}
        origin |= dict.fromkeys(("name", "out", "data.shards"), YOURS)
        origin |= {key: where for key, (_, where) in values.items()}
        return Preset(name, summary, config, MappingProxyType(origin))

    return preset


def _all() -> dict[str, Callable[[], Preset]]:
    found: dict[str, Callable[[], Preset]] = {}

    def add(name: str, summary: str, values: Values) -> None:
        found[name] = _make(name, summary, values)

    add(
        "pretrain-sample",
        "MaskDCPT on the sample photographs, about a minute on two cores.",
        {**PRETRAINING, **SAMPLE, **SAMPLE_PRETRAINING},
    )
    add(
        "finetune-sample",
        "Fine-tuning on the sample photographs, about a minute on two cores; from scratch without init.checkpoint.",
        {**SAMPLE, **SAMPLE_FINETUNING},
    )
    add(
        "pretrain-small",
        "MaskDCPT of a small nafnet on whatever the shards hold, some minutes on a CPU.",
        {**PRETRAINING, **SAMPLE, **SAMPLE_PRETRAINING, **SMALL, "loop.steps": (1_500, "ours")},
    )
    add(
        "finetune-small",
        "Fine-tuning of the same; from scratch without init.checkpoint.",
        {**SAMPLE, **SAMPLE_FINETUNING, **SMALL, "loop.steps": (5_000, "ours")},
    )
    add(
        "pretrain-medium",
        "MaskDCPT of a nafnet of width 32 on whatever the shards hold, for one GPU.",
        {**PRETRAINING, **MEDIUM, "loop.steps": (20_000, "ours")},
    )
    add(
        "finetune-medium",
        "Fine-tuning of the same; from scratch without init.checkpoint.",
        {**FINETUNING_5D, **MEDIUM, "loop.steps": (50_000, "ours")},
    )
    for backbone in BACKBONES:
        add(
            f"pretrain-5d-{backbone}",
            f"Table I: MaskDCPT of {backbone} on five degradations.",
            _pretraining("5d", backbone),
        )
        add(
            f"pretrain-5d-{backbone}-dcpt",
            f"Table I: DCPT of {backbone} on five degradations.",
            _pretraining("5d", backbone, **DCPT),
        )
        add(
            f"finetune-5d-{backbone}",
            f"Table I: {backbone} on five degradations, from init.checkpoint or from scratch.",
            _finetuning("5d", backbone),
        )
    for backbone in ("swinir", "promptir"):
        add(
            f"pretrain-5d-{backbone}-ram",
            f"Table I: RAM of {backbone} on five degradations.",
            _pretraining("5d", backbone, **RAM),
        )
    add("pretrain-12d-nafnet", "Table II: MaskDCPT of nafnet on twelve degradations.", _pretraining("12d", "nafnet"))
    add(
        "pretrain-12d-nafnet-dcpt",
        "Table II: DCPT of nafnet on twelve degradations.",
        _pretraining("12d", "nafnet", **DCPT),
    )
    add("finetune-12d-nafnet", "Tables II and IV: nafnet on twelve degradations.", _finetuning("12d", "nafnet"))
    add(
        "pretrain-12d-restormer",
        "Table XI: MaskDCPT of restormer on twelve degradations.",
        _pretraining("12d", "restormer"),
    )
    add("finetune-12d-restormer", "Table XI: restormer on twelve degradations.", _finetuning("12d", "restormer"))
    for name in VARIANTS:
        for subset, count in (("5d", "five"), ("12d", "twelve")):
            summary = f"{name} on {count} degradations."
            add(f"pretrain-{subset}-{name}", f"Table XI: MaskDCPT of {summary}", _pretraining(subset, name))
            add(f"finetune-{subset}-{name}", f"Table XI: {summary}", _finetuning(subset, name))
    add(
        "finetune-mixed-nafnet",
        "Table VI: nafnet on mixed degradations, from the 5D pre-training.",
        _finetuning("mixed", "nafnet"),
    )
    for task, subset, title in (("gopro", "gopro", "GoPro"), ("rain13k", "rain13k", "Rain13K")):
        add(
            f"finetune-{task}-restormer",
            f"Table V: restormer on {title} alone, with Restormer's progressive schedule.",
            {**BACKBONES["restormer"], **FINETUNING_SINGLE, "data.subset": (subset, PAPER)},
        )
    for ratio in (25, 75):
        add(
            f"pretrain-5d-promptir-ratio-{ratio}",
            f"Table VII: {ratio} % of the patches hidden. Its rows for 0 and 50 are the dcpt and the plain preset.",
            _pretraining("5d", "promptir", objective__mask_ratio=(ratio / 100, PAPER)),
        )
    for patch in (1, 4, 32):
        add(
            f"pretrain-5d-promptir-patch-{patch}",
            f"Table VIII: patches of {patch} pixels. Its row for 16 is the plain preset.",
            _pretraining("5d", "promptir", objective__mask_patch=(patch, PAPER)),
        )
    for method in ("square", "block-wise"):
        add(
            f"pretrain-5d-promptir-{method}",
            f"Table IX: {method} masks. Its row for random ones is the plain preset.",
            _pretraining("5d", "promptir", objective__mask_method=(method, PAPER)),
        )
    return found


PRESETS: Mapping[str, Callable[[], Preset]] = MappingProxyType(_all())
"""Name to a function that returns the preset."""
