"""
Masks for any restoration network: `masked(network)` runs it so that hidden pixels stay hidden.

The network is not changed and needs no code for masks. While it runs, hidden sites are set to 0 in the input and the
result of every operation that mixes pixels (convolutions, pooling, resizing, averages over the image), and averages
are taken over visible sites: the rule of the `dense` backend, applied from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from maskdcpt.masking.patches import PatchMask

MIXING = frozenset(
    {
        "conv2d",
        "conv_transpose2d",
        "pixel_shuffle",
        "pixel_unshuffle",
        "interpolate",
        "pad",
        "unfold",
        "max_pool2d",
        "_max_pool2d",
        "max_pool2d_with_indices",
        "avg_pool2d",
    }
)
"""Names of torch functions on (B, C, H, W) maps that mix pixels."""

AVERAGING = frozenset({"mean", "adaptive_avg_pool2d"})
"""Names of torch functions that may average a whole map."""

REFUSED = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)


def masked(module: nn.Module) -> MaskedModule:
    """
    Return a restoration network, (B, C, H, W) to maps or images, wrapped so that it can be run with a mask.

    Convolutional networks, channel attention and attention between channels then follow the submanifold rule exactly.
    In attention between pixels, hidden pixels are still keys, made of biases alone: they carry no information, but they
    take a share of the attention. torch.compile does not see the mask: compile the network for plain runs only.

    Raises:
        ValueError: the network has norms with statistics over pixels, in which hidden zeros would count.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, REFUSED):
            raise ValueError(
                f"{name or 'the network'} is a {type(layer).__name__}, whose statistics run over pixels: hidden zeros "
                "would count in them. Use a norm over the channels of a pixel (maskdcpt.masking.layers.ChannelNorm)"
            )
    return MaskedModule(module)


class MaskedModule(nn.Module):
    """
    A network that takes a mask.

    Args:
        module: the network; shared, not copied.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, mask: PatchMask | None = None) -> Any:
        """
        Run the network.

        Args:
            x: (B, C, H, W).
            mask: the visible patches; None runs the network as it is.

        Returns:
            What the network returns; maps in it, alone or in a list, tuple or dict, have zeros at hidden sites.
        """
        if mask is None:
            return self.module(x)
        rule = _Submanifold(mask, x.shape[2], x.shape[3])
        with rule:
            result = self.module(mask.hide(x))
        return _hidden(result, rule.hide)


class _Submanifold(TorchFunctionMode):
    """A context in which hidden sites are set to 0 before and after each operation that mixes pixels."""

    def __init__(self, mask: PatchMask, height: int, width: int) -> None:
        super().__init__()
        self.mask, self.height, self.width = mask, height, width

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name not in MIXING and name not in AVERAGING:
            return func(*args, **options)
        values = list(args)
        source = "input" if not values else 0
        x = options.get("input") if source == "input" else values[0]
        if not isinstance(x, Tensor):
            return func(*args, **options)
        hidden = self.hide(x)
        if source == "input":
            options["input"] = hidden
        else:
            values[0] = hidden
        result = func(*values, **options)
        if name in AVERAGING:
            return self._rescaled(result, x)
        return _hidden(result, self.hide)

    def hide(self, x: Tensor) -> Tensor:
        """Return the tensor with hidden sites set to 0 where it is a map of some stage, else unchanged."""
        visible = self._visible(x)
        return x if visible is None else x * visible.to(x.dtype)

    def _visible(self, x: Tensor) -> Tensor | None:
        if x.dim() != 4 or not x.is_floating_point() or x.shape[0] != self.mask.batch or 0 in x.shape:
            return None
        height, width = x.shape[2:]
        # A map of a stage is the image or smaller by the same factor both ways, down to the grid's size or below it.
        if self.height * width != self.width * height or self.height % height or self.width % width:
            return None
        rows, columns = self.mask.visible.shape[2:]
        if (height % rows and rows % height) or (width % columns and columns % width) or height == width == 1:
            return None
        return self.mask.at(height, width)

    def _rescaled(self, result: Any, x: Tensor) -> Any:
        """Convert a mean over all sites into one over visible sites."""
        visible = self._visible(x)
        whole_map = isinstance(result, Tensor) and result.numel() == x.shape[0] * x.shape[1]
        if visible is None or not whole_map:
            return result if visible is None else _hidden(result, self.hide)
        shares = visible.double().mean((1, 2, 3)).clamp(min=1e-12)
        return result / shares.to(result.dtype).view(-1, *[1] * (result.dim() - 1))


def _hidden(result: Any, hide: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(result, Tensor):
        return hide(result)
    if isinstance(result, dict):
        return {key: _hidden(value, hide) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return type(result)(_hidden(value, hide) for value in result)
    return result
