"""The metadata of a checkpoint, which may be a stranger's: types and bounds are checked before anything is built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from maskdcpt.backbones import BACKBONES
from maskdcpt.config.toml import config_from_toml
from maskdcpt.config.train_config import SizeValue, TrainConfig
from uirdata.errors import UsageError
from uirdata.validators import InvalidValue, json_list, json_object, load_json, one_of, shown, text, whole_number

MOST_CLASSES = 1000
"""Most labels that a checkpoint may have; the largest published setting has 19."""

MOST_MULTIPLE = 1024
"""Largest padding that a network may ask for, in pixels; that of the published networks is 16 at most."""

_MOST_TEXT = 1 << 20
_MOST_NAME = 200
_MOST_SIDE = 1 << 20
_MOST_STAGES = 64
_BLOCKS = ("enc_blk_nums", "middle_blk_num", "dec_blk_nums", "depths", "num_blocks", "num_refinement_blocks")


@dataclass(frozen=True)
class Metadata:
    """What the metadata of a checkpoint say; see `Checkpoint`."""

    backbone: str
    size: Mapping[str, SizeValue]
    class_names: tuple[str, ...]
    step: int
    config: TrainConfig


def read_metadata(metadata: Mapping[str, str]) -> Metadata:
    """
    Return the metadata of `model.safetensors`, from the texts of its header.

    Raises:
        InvalidValue: an entry is missing, or is not what this project writes.
    """
    missing = [key for key in ("backbone", "size", "class_names", "step", "config") if key not in metadata]
    if missing:
        raise InvalidValue(f"{missing[0]!r} is missing in its metadata")
    backbone = one_of(metadata["backbone"], BACKBONES)
    digits = metadata["step"]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise InvalidValue(f"step {shown(digits)} is not a whole number")
    names = json_list(load_json(metadata["class_names"], most_bytes=_MOST_TEXT), most=MOST_CLASSES)
    class_names = tuple(text(name, most=_MOST_NAME) for name in names)
    if len(set(class_names)) != len(class_names) or "" in class_names:
        raise InvalidValue("class_names has an empty name, or the same one twice")
    try:
        config = config_from_toml(metadata["config"], where="config", drop_unknown=True)
    except UsageError as error:
        raise InvalidValue(f"its configuration cannot be read: {error}") from error
    size = json_object(load_json(metadata["size"], most_bytes=_MOST_TEXT))
    return Metadata(backbone, checked_size(backbone, size), class_names, int(digits), config)


def checked_size(backbone: str, size: Mapping[str, Any]) -> dict[str, SizeValue]:
    """
    Return the arguments of a network, with tuples for lists.

    >>> checked_size("nafnet", {"width": 8, "enc_blk_nums": [1, 1]})
    {'width': 8, 'enc_blk_nums': (1, 1)}

    Raises:
        InvalidValue: the network has no such argument, or it has another type or is out of bounds.
    """
    import pydantic

    kinds = _arguments(backbone)
    found: dict[str, SizeValue] = {}
    for name, value in size.items():
        one_of(name, kinds)
        plain = tuple(value) if isinstance(value, list) else value
        try:
            kinds[name].validate_python(plain, strict=True)
        except pydantic.ValidationError as error:
            raise InvalidValue(f"{backbone}'s {name} is {shown(value)}: {error.errors()[0]['msg'].lower()}") from error
        members = plain if isinstance(plain, tuple) else (plain,)
        if len(members) > _MOST_STAGES:
            raise InvalidValue(f"{backbone}'s {name} has {len(members)} values, expected at most {_MOST_STAGES}")
        for member in members:
            if isinstance(member, float) and not (math.isfinite(member) and member >= 0):
                raise InvalidValue(f"{backbone}'s {name} is {member}, expected a finite number of at least 0")
            if isinstance(member, int) and not isinstance(member, bool):
                whole_number(member, 0 if name in _BLOCKS else 1, _MOST_SIDE)
        found[name] = plain
    return found


def check_blocks(size: Mapping[str, SizeValue], tensors: int) -> None:
    """
    Refuse sizes with more blocks than there are tensors, as building them would take hours.

    Raises:
        InvalidValue: there are more.
    """
    counts = [size[name] for name in _BLOCKS if name in size]
    blocks = sum(
        sum(count) if isinstance(count, tuple) else int(count) for count in counts if not isinstance(count, str)
    )
    if blocks > tensors:
        raise InvalidValue(f"its size asks for {blocks} blocks, but it has only {tensors} tensors for them")


@cache
def _arguments(backbone: str) -> dict[str, Any]:
    import pydantic

    cls = BACKBONES[backbone]
    hints = get_type_hints(cls.__init__)
    names = list(inspect.signature(cls.__init__).parameters)[1:]
    return {name: pydantic.TypeAdapter(hints[name]) for name in names}
