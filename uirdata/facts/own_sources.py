"""A user's own folder as a source: clean photographs, or an LQ and a GT folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from uirdata.errors import UsageError, nearest
from uirdata.manifest_syntax.pair_rules import TYPES, PairRule
from uirdata.manifest_syntax.toml_writer import toml_text
from uirdata.sources import ID, Source

FOLDER_NAMES: tuple[tuple[str, str, str], ...] = (
    ("lq", "gt", ""),
    ("lq", "hq", ""),
    ("lr", "hr", ""),
    ("input", "target", ""),
    ("input", "gt", ""),
    ("input", "groundtruth", ""),
    ("input", "ground_truth", ""),
    ("source", "target", ""),
    ("degraded", "clean", ""),
    ("hazy", "clear", "haze"),
    ("hazy", "gt", "haze"),
    ("haze", "clear", "haze"),
    ("blur", "sharp", "motion-blur"),
    ("blur", "gt", "motion-blur"),
    ("noisy", "clean", "noise"),
    ("noisy", "gt", "noise"),
    ("low", "high", "low-light"),
    ("low", "normal", "low-light"),
    ("rainy", "gt", "rain-streak"),
    ("rain", "norain", "rain-streak"),
    ("snow", "gt", "snow"),
    ("moire", "gt", "moire"),
)
"""Usual names of LQ and GT folders, and the degradation that they imply; "" for none."""


def local_source(
    name: str,
    folder: Path,
    *,
    lq: str = "",
    gt: str = "",
    degradation: str = "",
    real: bool = True,
    test_share: float = 0.0,
    title: str = "",
    licence: str = "unknown",
) -> Source:
    """
    Return a source that describes a folder. Its files are not moved.

    Without `lq` and `gt`, two folders directly below it with usual names (hazy/clear, blur/sharp, lq/gt, ...) are taken
    as LQ and GT; without such folders, every image below the folder is a clean photograph.

    Args:
        name: id of the source.
        folder: folder of the images, at any depth.
        lq: folder of the LQ, below `folder`; requires `gt`.
        gt: folder of the GT. A GT has the name of its LQ, apart from the suffix.
        degradation: type of the LQ; may be left out if the folder names imply it.
        real: the LQ are captured, not synthesised.
        test_share: share of the scenes, 0 to 1, that go to the test split; their names decide which.
        title: title for readers.
        licence: of the images.

    Raises:
        UsageError: the name cannot be an id, the folder does not exist, or its contents are ambiguous.
    """
    if not ID.fullmatch(name):
        raise UsageError(f"the source id is {name!r}: use lower-case letters, digits and hyphens")
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the folder that holds the images")
    if not 0.0 <= test_share < 1.0:
        raise UsageError(f"the test share is {test_share}, it must be at least 0 and less than 1")
    if bool(lq) != bool(gt):
        raise UsageError("LQ and GT folders must be given together; give both, or neither for clean photographs")
    if not lq:
        lq, gt, inferred = _usual_folders(folder)
        degradation = degradation or inferred
    if lq:
        rule = _paired_rule(folder, lq, gt, degradation, real, test_share)
    elif degradation:
        raise UsageError(
            f"{folder} has no pair of folders with usual LQ and GT names; name them, "
            f"or leave {degradation} out to take its images as clean photographs"
        )
    else:
        rule = PairRule("train", "", real, "{path:.+}.{image}", "", test_share=test_share)
    return Source(
        id=name,
        title=title or f"the folder {folder.name}",
        licence=licence,
        files=(),
        pairs=(rule,),
        local_dir=folder,
    )


def source_to_toml(source: Source) -> str:
    """Return a source as the text of a manifest, which `sources.read_source` reads back as an equal source."""
    values = _items(source)
    sections = [name for name, value in values.items() if isinstance(value, tuple) and value and is_dataclass(value[0])]
    return toml_text(_plain(source), sections=sections)


def _usual_folders(folder: Path) -> tuple[str, str, str]:
    present = {child.name.lower(): child.name for child in folder.iterdir() if child.is_dir()}
    for lq, gt, inferred in FOLDER_NAMES:
        if lq in present and gt in present:
            return present[lq], present[gt], inferred
    return "", "", ""


def _paired_rule(folder: Path, lq: str, gt: str, degradation: str, real: bool, test_share: float) -> PairRule:
    if not degradation:
        raise UsageError(f"{folder}: the degradation of {lq} is missing; expected one of: {', '.join(TYPES)}")
    if degradation not in TYPES:
        raise UsageError(f"there is no degradation {degradation!r}: {nearest(degradation, TYPES)}")
    below = [_below(folder, name) for name in (lq, gt)]
    if below[0] == below[1]:
        raise UsageError(f"the LQ and the GT folder are both {lq}; they must differ")
    return PairRule(
        split="train",
        degradation=degradation,
        real=real,
        gt=f"{below[1]}/{{path}}.{{image}}",
        lq=f"{below[0]}/{{path:.+}}.{{image}}",
        test_share=test_share,
    )


def _below(folder: Path, name: str) -> str:
    path = (folder / name).resolve()
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder")
    if not path.is_relative_to(folder) or path == folder:
        raise UsageError(f"{path} is not below {folder}; give the folder that holds both LQ and GT")
    relative = path.relative_to(folder).as_posix()
    if any(character in relative for character in "{}*"):
        raise UsageError(f"{path}: {{, }} and * are not allowed in folder names; rename it")
    return relative


def _is_default(value: Any, name: str) -> bool:
    field = next(f for f in fields(value) if f.name == name)
    if field.default is not MISSING:
        return bool(getattr(value, name) == field.default)
    return field.default_factory is not MISSING and bool(getattr(value, name) == field.default_factory())


def _items(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value) if not _is_default(value, f.name)}


def _plain(value: Any) -> Any:
    """Return a value as TOML knows it; of dataclasses only what differs from the default."""
    if is_dataclass(value):
        return {name: _plain(item) for name, item in _items(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
