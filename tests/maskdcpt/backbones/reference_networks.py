"""
Reference implementations of the four networks, from their descriptions, as functions of a state dict.

Slow and literal on purpose: loops over windows, sums written out by einsum, one convolution after the other. No code is
shared with the package.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def conv(s: State, key: str, x: Tensor, *, stride: int = 1, groups: int = 1) -> Tensor:
    weight = s[f"{key}.weight"]
    padding = 0 if stride > 1 else weight.shape[-1] // 2
    return F.conv2d(x, weight, s.get(f"{key}.bias"), stride=stride, padding=padding, groups=groups)


def norm(s: State, key: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).square().mean(1, keepdim=True)
    shape = (1, -1, 1, 1)
    return (x - mean) / (variance + eps).sqrt() * s[f"{key}.weight"].view(shape) + s[f"{key}.bias"].view(shape)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def count(s: State, prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in s if key.startswith(prefix)})


def naf_block(s: State, b: str, inp: Tensor) -> Tensor:
    x = conv(s, f"{b}.conv1", norm(s, f"{b}.norm1", inp))
    x = conv(s, f"{b}.conv2", x, groups=x.shape[1])
    half = x.shape[1] // 2
    x = x[:, :half] * x[:, half:]
    x = x * conv(s, f"{b}.sca.1", x.flatten(2).mean(2)[:, :, None, None])
    y = inp + s[f"{b}.beta"] * conv(s, f"{b}.conv3", x)
    x = conv(s, f"{b}.conv4", norm(s, f"{b}.norm2", y))
    x = conv(s, f"{b}.conv5", x[:, :half] * x[:, half:])
    return y + s[f"{b}.gamma"] * x


def naf_blocks(s: State, prefix: str, x: Tensor) -> Tensor:
    for i in range(count(s, f"{prefix}.blocks.")):
        x = naf_block(s, f"{prefix}.blocks.{i}", x)
    return x


def nafnet(s: State, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    x = conv(s, "intro", image)
    skips: list[Tensor] = []
    levels = count(s, "encoders.")
    for i in range(levels):
        x = naf_blocks(s, f"encoders.{i}", x)
        skips.append(x)
        x = conv(s, f"downs.{i}", x, stride=2)
    x = naf_blocks(s, "middle_blks", x)
    features = []
    for i in range(levels):
        x = F.pixel_shuffle(conv(s, f"ups.{i}.0", x), 2) + skips.pop()
        x = naf_blocks(s, f"decoder{i}", x)
        features.append(x)
    return conv(s, "ending", x) + image, features


def mdta(s: State, b: str, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    heads = s[f"{b}.temperature"].shape[0]
    qkv = conv(s, f"{b}.qkv", x)
    qkv = conv(s, f"{b}.qkv_dwconv", qkv, groups=3 * channels)
    q, k, v = qkv.reshape(batch, 3, heads, channels // heads, height * width).unbind(1)
    q = q / q.square().sum(-1, keepdim=True).sqrt()
    k = k / k.square().sum(-1, keepdim=True).sqrt()
    scores = torch.einsum("bhin,bhjn->bhij", q, k) * s[f"{b}.temperature"]
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    out = torch.einsum("bhij,bhjn->bhin", weights, v).reshape(batch, channels, height, width)
    return conv(s, f"{b}.project_out", out)


def transformer_block(s: State, b: str, x: Tensor) -> Tensor:
    x = x + mdta(s, f"{b}.attn", norm(s, f"{b}.norm1", x))
    h = conv(s, f"{b}.ffn.project_in", norm(s, f"{b}.norm2", x))
    h = conv(s, f"{b}.ffn.dwconv", h, groups=h.shape[1])
    half = h.shape[1] // 2
    return x + conv(s, f"{b}.ffn.project_out", gelu(h[:, :half]) * h[:, half:])


def level(s: State, prefix: str, x: Tensor) -> Tensor:
    for i in range(count(s, f"{prefix}.blocks.")):
        x = transformer_block(s, f"{prefix}.blocks.{i}", x)
    return x


def down(s: State, key: str, x: Tensor) -> Tensor:
    return F.pixel_unshuffle(conv(s, f"{key}.conv", x), 2)


def up(s: State, key: str, x: Tensor) -> Tensor:
    return F.pixel_shuffle(conv(s, f"{key}.conv", x), 2)


def restormer(s: State, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    e1 = level(s, "encoder_level1", conv(s, "patch_embed.proj", image))
    e2 = level(s, "encoder_level2", down(s, "down1_2", e1))
    e3 = level(s, "encoder_level3", down(s, "down2_3", e2))
    x = level(s, "latent", down(s, "down3_4", e3))
    x = conv(s, "reduce_chan_level3", torch.cat([up(s, "up4_3", x), e3], 1))
    d3 = level(s, "decoder_level3", x)
    x = conv(s, "reduce_chan_level2", torch.cat([up(s, "up3_2", d3), e2], 1))
    d2 = level(s, "decoder_level2", x)
    d1 = level(s, "decoder_level1", torch.cat([up(s, "up2_1", d2), e1], 1))
    return conv(s, "output", level(s, "refinement", d1)) + image, [d3, d2, d1]


def prompt(s: State, key: str, x: Tensor) -> Tensor:
    scores = x.mean((2, 3)) @ s[f"{key}.linear_layer.weight"].T + s[f"{key}.linear_layer.bias"]
    weights = scores.exp() / scores.exp().sum(1, keepdim=True)
    mixed = (weights[:, :, None, None, None] * s[f"{key}.prompt_param"]).sum(1)
    resized = F.interpolate(mixed, x.shape[2:], mode="bilinear", align_corners=False)
    return conv(s, f"{key}.conv3x3", resized)


def promptir(s: State, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    e1 = level(s, "encoder_level1", conv(s, "patch_embed.proj", image))
    e2 = level(s, "encoder_level2", down(s, "down1_2", e1))
    e3 = level(s, "encoder_level3", down(s, "down2_3", e2))
    x = level(s, "latent", down(s, "down3_4", e3))
    x = transformer_block(s, "noise_level3", torch.cat([x, prompt(s, "prompt3", x)], 1))
    f3 = conv(s, "reduce_noise_level3", x)
    x = level(s, "decoder_level3", conv(s, "reduce_chan_level3", torch.cat([up(s, "up4_3", f3), e3], 1)))
    x = transformer_block(s, "noise_level2", torch.cat([x, prompt(s, "prompt2", x)], 1))
    f2 = conv(s, "reduce_noise_level2", x)
    x = level(s, "decoder_level2", conv(s, "reduce_chan_level2", torch.cat([up(s, "up3_2", f2), e2], 1)))
    x = transformer_block(s, "noise_level1", torch.cat([x, prompt(s, "prompt1", x)], 1))
    f1 = conv(s, "reduce_noise_level1", x)
    x = level(s, "decoder_level1", torch.cat([up(s, "up2_1", f1), e1], 1))
    return conv(s, "output", level(s, "refinement", x)) + image, [f3, f2, f1]


def window_attention(s: State, b: str, x: Tensor, window: int, shift: int, heads: int) -> Tensor:
    batch, channels, height, width = x.shape
    tokens = x.permute(0, 2, 3, 1) @ s[f"{b}.qkv.weight"].T + s[f"{b}.qkv.bias"]
    out = torch.empty(batch, height, width, channels, dtype=x.dtype)
    size = channels // heads
    for top in range(0, height, window):
        for left in range(0, width, window):
            # A shifted window starts `shift` pixels later and continues at the opposite border.
            rows = (torch.arange(top, top + window) + shift) % height
            columns = (torch.arange(left, left + window) + shift) % width
            part = tokens[:, rows][:, :, columns].reshape(batch, window * window, 3, heads, size)
            q, k, v = part.unbind(2)
            scores = torch.einsum("bihc,bjhc->bhij", q, k) / size**0.5
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            mixed = torch.einsum("bhij,bjhc->bihc", weights, v).reshape(batch, window, window, channels)
            out[:, rows[:, None], columns[None, :]] = mixed
    return (out @ s[f"{b}.proj.weight"].T + s[f"{b}.proj.bias"]).permute(0, 3, 1, 2)


def swin_layer(s: State, prefix: str, x: Tensor, window: int, heads: int) -> Tensor:
    y = x
    for i in range(count(s, f"{prefix}.residual_group.blocks.")):
        b = f"{prefix}.residual_group.blocks.{i}"
        shift = window // 2 if i % 2 else 0
        y = y + window_attention(s, f"{b}.attn", norm(s, f"{b}.norm1", y), window, shift, heads)
        h = norm(s, f"{b}.norm2", y).permute(0, 2, 3, 1) @ s[f"{b}.mlp.fc1.weight"].T + s[f"{b}.mlp.fc1.bias"]
        y = y + (gelu(h) @ s[f"{b}.mlp.fc2.weight"].T + s[f"{b}.mlp.fc2.bias"]).permute(0, 3, 1, 2)
    return conv(s, f"{prefix}.conv", y) + x


def swinir(s: State, image: Tensor, window: int, heads: list[int]) -> tuple[Tensor, list[Tensor]]:
    mean = torch.tensor([0.4488, 0.4371, 0.4040], dtype=image.dtype).view(1, 3, 1, 1)
    x = image - mean
    first = conv(s, "conv_first", x)
    y = norm(s, "patch_embed.norm", first)
    layers = [f"encode_layers.{i}" for i in range(count(s, "encode_layers."))]
    layers += [f"decode_layers{i}" for i in range(len(heads) - len(layers))]
    features = []
    for prefix, head in zip(layers, heads, strict=True):
        y = swin_layer(s, prefix, y, window, head)
        if prefix.startswith("decode"):
            features.append(y)
    y = conv(s, "conv_after_body", norm(s, "norm", y)) + first
    return x + conv(s, "conv_last", y) + mean, features


def bottleneck(s: State, b: str, x: Tensor) -> Tensor:
    y = torch.relu(norm(s, f"{b}.conv1.norm", conv(s, f"{b}.conv1", x), 1e-6))
    y = torch.relu(norm(s, f"{b}.conv2.norm", conv(s, f"{b}.conv2", y), 1e-6))
    y = norm(s, f"{b}.conv3.norm", conv(s, f"{b}.conv3", y), 1e-6)
    return torch.relu(x + y)


def classifier(s: State, features: list[Tensor]) -> Tensor:
    """Return the logits for features (B, C, H, W), finest first, already of the sizes that the levels need."""
    weights = s["mixing_weights"].exp() / s["mixing_weights"].exp().sum()
    z: Tensor | float = 0.0
    for i, feature in enumerate(features):
        z = z + weights[i] * feature
        for block in range(count(s, f"bottleneck_layers.{i}.")):
            z = bottleneck(s, f"bottleneck_layers.{i}.{block}", z)
        z = torch.relu(F.max_pool2d(conv(s, f"downsample_layers.{i}.0", z), 2))
    for block in range(count(s, "last_stage.")):
        z = bottleneck(s, f"last_stage.{block}", z)
    return z.mean((2, 3)) @ s["fc.weight"].T + s["fc.bias"]
