"""The weights of a network in what a program saved: wrapped in dicts of many names, under prefixes of many wrappers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uirdata.validators import InvalidValue, shown

logger = logging.getLogger(__name__)

_FIRST_LAYERS = ("intro.weight", "conv_first.weight", "patch_embed.proj.weight")
"""The first layers of the networks, in all releases: what stands before such a name is a prefix of all names."""

_WRAPPERS = (
    "params", "state_dict", "model_state_dict", "model", "net", "network", "params_g", "net_g", "netG", "generator",
    "module", "weights",
)  # fmt: skip
"""Names of a dict of weights, in the order of preference where there are several."""

_MOST_LEVELS = 3


@dataclass(frozen=True)
class StateDicts:
    """
    The weights of one network.

    Attributes:
        params: the raw weights, by their own names; where no network was found, what has tensors.
        params_ema: their EMA; empty if there is none.
    """

    params: Mapping[str, Tensor]
    params_ema: Mapping[str, Tensor]


def find_state_dicts(content: Mapping[Any, object], where: str) -> StateDicts:
    """
    Return the weights in the content of a file.

    The prefixes `module.` (DataParallel), `_orig_mod.` (torch.compile), and those of Lightning modules such as `net.`
    are removed. Weights beside those of the network, such as those of a loss, are left out with a warning.

    Args:
        content: a state dict, or a dict that holds one, such as {"state_dict": ..., "epoch": 3}.
        where: the file, for the warning.

    Raises:
        InvalidValue: there are several networks, or a tensor is not one of weights.
    """
    holders = {path: tensors for path, tensors in _dicts(content, ()) if _prefixes(tensors)}
    if not holders:
        tensors = next((tensors for _, tensors in _dicts(content, ()) if tensors), {})
        return StateDicts(_checked(tensors), {})
    averaged = {path: tensors for path, tensors in holders.items() if _is_ema(".".join(path))}
    raw = {path: tensors for path, tensors in holders.items() if path not in averaged}
    one = _without_prefix(_chosen(raw or averaged), where)
    if averaged:
        return StateDicts(one.params, _without_prefix(_chosen(averaged), where).params)
    return one


def _dicts(
    content: Mapping[Any, object], path: tuple[str, ...], seen: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield each dict with the tensors that are directly in it; one that is under several names once."""
    known = set() if seen is None else seen
    if id(content) in known:
        return
    known.add(id(content))
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    yield path, {key.replace("_orig_mod.", ""): value for key, value in tensors.items()}
    if len(path) < _MOST_LEVELS:
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, Mapping):
                yield from _dicts(value, (*path, name), known)


def _prefixes(tensors: Mapping[str, Tensor]) -> list[str]:
    found = {key.removesuffix(layer) for key in tensors for layer in _FIRST_LAYERS if key.endswith(layer)}
    return sorted(prefix for prefix in found if not prefix or prefix.endswith("."))


def _is_ema(name: str) -> bool:
    return "ema" in name.lower().replace("-", "_").replace(".", "_").split("_") or name.lower().endswith("ema")


def _chosen(holders: Mapping[tuple[str, ...], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    if len(holders) == 1:
        return next(iter(holders.values()))
    ranked = sorted(holders, key=lambda path: (len(path), _rank(path)))
    first, second = ranked[:2]
    if first and (len(first), _rank(first)) == (len(second), _rank(second)):
        names = ", ".join(shown(".".join(path)) for path in ranked[:9])
        raise InvalidValue(f"contains several networks ({names}); save the state dict of one alone")
    return holders[first]


def _rank(path: tuple[str, ...]) -> int:
    return _WRAPPERS.index(path[-1]) if path and path[-1] in _WRAPPERS else len(_WRAPPERS)


def _without_prefix(tensors: Mapping[str, Tensor], where: str) -> StateDicts:
    prefixes = _prefixes(tensors)
    averaged = [prefix for prefix in prefixes if _is_ema(prefix.rstrip("."))]
    raw = [prefix for prefix in prefixes if prefix not in averaged] or averaged
    if "" in raw:
        raw = [""]
    if len(raw) > 1 or len(averaged) > 1:
        names = ", ".join(shown(prefix.rstrip(".")) for prefix in prefixes[:9])
        raise InvalidValue(f"contains several networks ({names}); save the state dict of one alone")
    kept = {key.removeprefix(raw[0]): value for key, value in tensors.items() if key.startswith(raw[0])}
    ema = (
        {key.removeprefix(averaged[0]): v for key, v in tensors.items() if key.startswith(averaged[0])}
        if averaged
        else {}
    )
    if not raw[0] and averaged:
        kept = {key: value for key, value in kept.items() if not key.startswith(averaged[0])}
    others = [key for key in tensors if not key.startswith((raw[0], *averaged))]
    if others:
        logger.warning(
            "%s: %d weights beside those of the network are left out; the first is %s",
            where,
            len(others),
            shown(others[0]),
        )
    return StateDicts(_checked(kept), _checked(ema))


def _checked(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """
    Refuse weights that are no floats, and tensors that claim more elements than the file holds for them.

    Integers beside floats are no weights: counts and tables of indices, of which the networks here have none.
    """
    if tensors and not any(tensor.is_floating_point() for tensor in tensors.values()):
        _check_float(*next(iter(tensors.items())))
    held: dict[int, int] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type == "meta":
            raise InvalidValue(f"{shown(name)} is a {tensor.layout} tensor on {tensor.device}, expected all its values")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InvalidValue(f"{shown(name)} has {tensor.numel()} elements, more than the file holds for it")
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > sum(held.values()):
        raise InvalidValue(f"its tensors have {claimed} bytes, but the file holds {sum(held.values())} for them")
    return tensors


def check_values(weights: Mapping[str, Tensor]) -> None:
    """
    Refuse weights with which a network computes nothing.

    Raises:
        InvalidValue: some are no floats, or are NaN or infinite.
    """
    for name, tensor in weights.items():
        _check_float(name, tensor)
    # In float32, as torch has no such test for some of the types that are stored.
    broken = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor.float()).all())]
    if broken:
        raise InvalidValue(
            f"{len(broken)} of {len(weights)} weights are NaN or infinite, such as {shown(broken[0])}: the training "
            "that wrote them did not converge; take an earlier checkpoint"
        )


def _check_float(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InvalidValue(f"{shown(name)} is of {kind}, expected floats; quantised weights cannot be loaded")
