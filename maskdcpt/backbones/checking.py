"""A check, for any network, that it meets the contract of `Backbone`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from maskdcpt.masking import MASK_KINDS, PatchMask
from uirdata.errors import UsageError

ATTRIBUTES = ("multiple", "feature_channels", "feature_strides", "last_channels")
METHODS = ("encode", "features", "head", "restore", "forward")
PATCH = 16
CONTRACT = "attributes and methods of a backbone"


@dataclass(frozen=True)
class Property:
    """
    One property that the contract requires.

    Attributes:
        name: a phrase, such as "any size is restored".
        problems: what is wrong, a sentence each; empty when the property holds.
    """

    name: str
    problems: tuple[str, ...]


def check_backbone(module: nn.Module) -> list[str]:
    """
    Check everything that training and evaluation rely on, with perturbed weights, on small random images.

    Returns:
        What is wrong, a sentence each; empty when nothing is. `examine_backbone` returns it by property.
    """
    return [problem for found in examine_backbone(module) for problem in found.problems]


def examine_backbone(module: nn.Module) -> list[Property]:
    """
    Return for each property of the contract whether it holds.

    What is checked: the attributes and methods of `Backbone`; that features have the announced channels and strides,
    finest last; that any size is restored; that with a mask hidden pixels change nothing, hidden sites are exactly 0,
    no gradient reaches a hidden pixel, and a mask that hides nothing changes no bit. The checks run in evaluation mode;
    mode and weights are restored afterwards. Where attributes or methods are missing, nothing else is checked.
    """
    missing = [name for name in (*ATTRIBUTES, *METHODS) if not hasattr(module, name)]
    contract = Property(CONTRACT, tuple(f"it has no {name}: see maskdcpt.backbones.base.Backbone" for name in missing))
    if missing:
        return [contract]
    if next(module.parameters(), None) is None:
        return [Property(CONTRACT, ("it has no weights",))]
    kept = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    training = module.training
    try:
        module.eval()
        with torch.no_grad():
            for weight in module.parameters():
                # Fresh weights hide mistakes, in a branch or a bias that starts at zero.
                weight.add_(torch.randn(weight.shape, generator=generator).to(weight) * 0.1)
        tried = [Property(name, tuple(_run(check, module, generator))) for check, name in _CHECKS.items()]
        return [contract, *tried]
    finally:
        module.train(training)
        with torch.no_grad():
            for name, weight in module.named_parameters():
                weight.copy_(kept[name])


def load_class(place: str, arguments: Mapping[str, object] | None = None) -> nn.Module:
    """
    Return the network that `module:Class` or `module:function` returns when called with `arguments`.

    The current folder is searched first, as `python -m` does.

    Raises:
        UsageError: there is no such module or name, or the call with these arguments fails.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise UsageError(f"{place!r} is not module:Class; write it like my_network:MyNetwork")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module_name), name)(**(arguments or {}))
    except Exception as error:  # the user's own code: whatever it raises
        raise UsageError(f"{place} cannot be created ({type(error).__name__}: {error})") from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{place} returns a {type(made).__name__}, not a torch.nn.Module")
    return made


Check = Callable[[nn.Module, Tensor, PatchMask], Iterator[str]]


def _run(check: Check, module: nn.Module, generator: torch.Generator) -> list[str]:
    weight = next(module.parameters())
    try:
        side = _side(module)
        image = torch.rand(2, 3, side, 2 * side, generator=generator).to(weight)
        mask = MASK_KINDS["random"](2, side, 2 * side, PATCH, 0.5, generator).to(weight.device)
        return list(check(module, image, mask))
    except Exception as error:  # the user's own code may raise anything; every error is a problem to report
        return [f"{type(error).__name__}: {error}"]


def _side(module: nn.Module) -> int:
    multiple = int(module.multiple)  # type: ignore[arg-type]
    if not 1 <= multiple <= 256:
        raise ValueError(f"multiple is {multiple}; sizes are padded to it, so it must be 1 to 256")
    side = PATCH
    while side % multiple or side < 32:
        side += PATCH
    return side


def _shapes(module: nn.Module, image: Tensor, _mask: PatchMask) -> Iterator[str]:
    with torch.no_grad():
        features = module.features(image)  # type: ignore[operator]
        encoded = module.encode(image)  # type: ignore[operator]
        restored = module(image)
        headed = module.head(encoded.last)  # type: ignore[operator]
    channels = tuple(f.shape[1] for f in features)
    if channels != tuple(module.feature_channels):  # type: ignore[arg-type]
        yield f"feature_channels is {module.feature_channels}, features have {channels}"
    strides = tuple(image.shape[2] // f.shape[2] for f in features)
    if strides != tuple(module.feature_strides):  # type: ignore[arg-type]
        yield f"feature_strides is {module.feature_strides}, features have {strides}"
    if list(strides) != sorted(strides, reverse=True):
        yield f"features must be ordered finest last; these have strides {strides}"
    if encoded.last.shape != (*image.shape[:1], module.last_channels, *image.shape[2:]):
        yield f"encode(...).last is {tuple(encoded.last.shape)}, expected {module.last_channels} channels, full size"
    if restored.shape != image.shape or headed.shape != image.shape:
        yield f"forward returns {tuple(restored.shape)}, head {tuple(headed.shape)}, expected {tuple(image.shape)}"


def _any_size(module: nn.Module, image: Tensor, _mask: PatchMask) -> Iterator[str]:
    for height, width in ((1, 1), (17, 5), (image.shape[2], image.shape[3])):
        part = image[..., :height, :width]
        with torch.no_grad():
            shape = tuple(module.restore(part).shape)  # type: ignore[operator]
        if shape != tuple(part.shape):
            yield f"restore returns {shape} for an image of {height}x{width}"


def _nothing_leaks(module: nn.Module, image: Tensor, mask: PatchMask) -> Iterator[str]:
    visible = mask.at(image.shape[2], image.shape[3])
    scribbled = torch.where(visible, image, 100 - 50 * image)
    with torch.no_grad():
        seen, other = (_maps(module, x, mask) for x in (image, scribbled))
    if not all(bool(torch.isfinite(f).all()) for f in seen):
        yield "features are not all finite: NaN or infinity in them"
    elif any(not torch.equal(a, b) for a, b in zip(seen, other, strict=True)):
        yield "hidden pixels change the features: a layer lets them through"


def _hidden_sites(module: nn.Module, image: Tensor, mask: PatchMask) -> Iterator[str]:
    with torch.no_grad():
        seen = _maps(module, image, mask)
    if any(bool(f[~mask.at(*f.shape[2:]).expand_as(f)].any()) for f in seen):
        yield "hidden sites are not exactly 0 in every feature: hide after the last layer with a bias"


def _nothing_hidden(module: nn.Module, image: Tensor, mask: PatchMask) -> Iterator[str]:
    with torch.no_grad():
        plain = _maps(module, image, None)
        nothing = _maps(module, image, PatchMask(torch.ones_like(mask.visible)))
    if any(not torch.equal(a, b) for a, b in zip(plain, nothing, strict=True)):
        yield "a mask that hides nothing changes the features: masked and plain runs must compute the same"


def _gradients(module: nn.Module, image: Tensor, mask: PatchMask) -> Iterator[str]:
    x = image.clone().requires_grad_()
    loss = torch.stack([f.square().sum() for f in _maps(module, x, mask)]).sum()
    (gradient,) = torch.autograd.grad(loss, [x])
    if bool(gradient[~mask.at(*x.shape[2:]).expand_as(x)].any()):
        yield "a gradient reaches hidden pixels"


def _maps(module: nn.Module, x: Tensor, mask: PatchMask | None) -> list[Tensor]:
    encoded = module.encode(x, mask)  # type: ignore[operator]
    return [*encoded.features, encoded.last]


_CHECKS: Mapping[Check, str] = MappingProxyType(
    {
        _shapes: "features, head and result have the announced shapes, finest last",
        _any_size: "any size is restored",
        _nothing_leaks: "hidden pixels change nothing",
        _hidden_sites: "hidden sites are exactly 0",
        _nothing_hidden: "a mask that hides nothing is the plain network to the bit",
        _gradients: "no gradient reaches a hidden pixel",
    }
)
