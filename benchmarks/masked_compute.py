"""
Speed of masked stages: a NAFNet block in five forms, whole networks plain and with each backend, and both decoders.

    python benchmarks/masked_compute.py block [--threads 1] [--rounds 15]
    python benchmarks/masked_compute.py networks [--threads 1] [--rounds 3]
    python benchmarks/masked_compute.py decoders [--threads 1] [--rounds 5]
    python benchmarks/masked_compute.py compiled [--threads 1] [--rounds 5]

`networks` has a row for spconv if it is installed, and a remark if it is not. `compiled` compares torch.compile
(inductor, static shapes) with eager, on small networks.

Times are forward and backward. Forms are run one after the other in each round, and ratios are medians over rounds of
the ratio within a round, in processor time, so that other load on the machine affects all forms equally. The process
restarts itself with an allocator that keeps its memory: with the defaults of glibc the dense forms spend most of their
time on page faults, which would favour every other form.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskdcpt.backbones import BACKBONES, Backbone, Encoded, create_backbone
from maskdcpt.backbones.nafnet import NAFBlock
from maskdcpt.masking import BACKENDS, DENSE, GATHER, BackendError, PatchMask, random_patch_mask
from maskdcpt.networks.decoder import decoder_for, literal_reconstruction

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "1000000000",
    "MALLOC_ARENA_MAX": "1",
}
BATCH, SIZE, PATCH = 2, 256, 16

TRANSFORMER: dict[str, Any] = {"dim": 16, "num_blocks": [1] * 4, "num_refinement_blocks": 1, "heads": [1, 2, 2, 4]}
SMALL: dict[str, dict[str, Any]] = {
    "nafnet": {"width": 16, "enc_blk_nums": [1, 2, 1], "dec_blk_nums": [1, 1, 2]},
    "swinir": {"embed_dim": 24, "depths": [1, 2], "num_heads": [2, 3]},
    "restormer": TRANSFORMER,
    "promptir": {**TRANSFORMER, "prompt_dims": [8, 8, 12], "prompt_sizes": [9, 6, 4]},
}
"""Networks to compile: small, but with each kind of layer, as the compiler takes minutes even for these on a CPU."""


def main() -> None:
    """Parse the command line, and restart with the allocator."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["block", "networks", "decoders", "compiled", "one"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--network", default="", help="only this network")
    parser.add_argument("--way", default="plain")
    arguments = parser.parse_args()
    if os.environ.get("MALLOC_ARENA_MAX") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    torch.set_num_threads(arguments.threads)
    if arguments.what == "block":
        block_table(arguments.threads, arguments.rounds, arguments.ratio)
    elif arguments.what == "decoders":
        decoder_table(arguments.threads, arguments.rounds)
    elif arguments.what == "compiled":
        compiled_table(arguments.threads, arguments.rounds, arguments.network)
    elif arguments.what == "one":
        print(json.dumps(one_network(arguments.network, arguments.way, arguments.rounds)))
    else:
        network_table(arguments.threads, arguments.rounds)


def usual(block: NAFBlock, x: Tensor, mask: Tensor, count: Tensor) -> Tensor:
    """Run the block as it is usually written, NCHW, multiplied by the mask where pixels are mixed."""

    def norm(x: Tensor, layer: Any) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        y = (x - mean) / (variance + layer.eps).sqrt()
        return layer.weight.view(1, -1, 1, 1) * y + layer.bias.view(1, -1, 1, 1)

    return _dense(block, x, mask, count, norm)


def best_dense(block: NAFBlock, x: Tensor, mask: Tensor, count: Tensor) -> Tensor:
    """Run the same with channels last and the fused norm."""

    def norm(x: Tensor, layer: Any) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), layer.weight.shape, layer.weight, layer.bias, layer.eps)
        return y.permute(0, 3, 1, 2)

    return _dense(block, x, mask, count, norm)


def _dense(block: NAFBlock, x: Tensor, mask: Tensor, count: Tensor, norm: Callable[[Tensor, Any], Tensor]) -> Tensor:
    y = block.conv2(block.conv1(norm(x, block.norm1)) * mask)
    a, b = y.chunk(2, 1)
    y = a * b
    y = y * block.attention((y * mask).sum((2, 3), keepdim=True) / count)
    x = x + block.beta * block.conv3(y)
    a, b = block.conv4(norm(x, block.norm2)).chunk(2, 1)
    return (x + block.gamma * block.conv5(a * b)) * mask


def block_table(threads: int, rounds: int, ratio: float) -> None:
    """Print the times of the forms of a block at widths 32 and 64."""
    print(
        f"NAFNet block, {BATCH}x{SIZE}x{SIZE}, patches of {PATCH}, {ratio:.0%} hidden, float32, {threads} thread(s), "
    )
    print(f"forward and backward, medians of {rounds} rounds; torch {torch.__version__}\n")
    print("| width | form | ms (processor) | times the usual | times the best dense | largest difference |")
    print("|---|---|---|---|---|---|")
    for width in (32, 64):
        for line in block_lines(width, rounds, ratio):
            print(line)


def block_lines(width: int, rounds: int, ratio: float) -> list[str]:
    """Return the times of the forms of a block, one table row each."""
    torch.manual_seed(0)
    block = NAFBlock(width)
    with torch.no_grad():
        for weight in block.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    mask = random_patch_mask(BATCH, SIZE, SIZE, PATCH, ratio, torch.Generator().manual_seed(0))
    factor = mask.at(SIZE, SIZE).float()
    count = factor.sum((2, 3), keepdim=True)
    x = torch.randn(BATCH, width, SIZE, SIZE) * factor
    x_last = x.contiguous(memory_format=torch.channels_last)
    (dense,), (packed,) = DENSE.stages(mask, SIZE, SIZE, 1), GATHER.stages(mask, SIZE, SIZE, 1)
    forms: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
        "dense NCHW times mask (usual)": (x, lambda x: usual(block, x, factor, count)),
        "dense channels_last, F.layer_norm (best dense)": (x_last, lambda x: best_dense(block, x, factor, count)),
        "backend dense": (x_last, lambda x: block(x, dense)),
        "backend gather": (packed.enter(x_last), lambda x: block(x, packed)),
        "backend gather, packing included": (x_last, lambda x: packed.leave(block(packed.enter(x), packed))),
    }
    with torch.no_grad():
        expected = usual(block, x, factor, count)
        errors = {}
        for name, (value, form) in forms.items():
            found = form(value)
            found = found if found.shape == expected.shape else packed.leave(found)
            errors[name] = float((found - expected).abs().max())
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds + 2):
        for name, (value, form) in forms.items():
            leaf = value.detach().requires_grad_()
            start = time.process_time()
            form(leaf).sum().backward()
            times[name].append(time.process_time() - start)
            block.zero_grad()
    first, second = list(forms)[:2]
    lines = []
    for name, seconds in times.items():
        ratios = [
            statistics.median(a / b for a, b in zip(times[base][2:], seconds[2:], strict=True))
            for base in (first, second)
        ]
        milliseconds = 1000 * statistics.median(seconds[2:])
        lines.append(
            f"| {width} | {name} | {milliseconds:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} | {errors[name]:.1e} |"
        )
    return lines


def network_table(threads: int, rounds: int) -> None:
    """Print the times of the published networks, each way in its own process because of its peak memory."""
    from torch.utils.flop_counter import FlopCounterMode

    print(f"Published sizes, one 64x64 image, {threads} thread(s), median of {rounds} steps; memory: the peak.")
    print("A masked step has half of the 16x16 patches hidden and the reconstruction decoder on top.\n")
    ways = ["plain", "dense", "gather"]
    try:
        BACKENDS["spconv"].stages(random_patch_mask(1, 64, 64, PATCH), 64, 64, 1)
        ways.append("spconv")
    except BackendError as error:
        print(f"No row for spconv: {error}\n")
    print("| network | parameters | GFLOP forward (plain, 256x256) | way | s per step (processor) | GB |")
    print("|---|---|---|---|---|---|")
    for name in BACKBONES:
        with torch.device("meta"):
            network = create_backbone(name)
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(1, 3, 256, 256))
        size = sum(p.numel() for p in network.parameters()) / 1e6
        for way in ways:
            command = [sys.executable, __file__, "one", "--network", name, "--way", way]
            command += ["--threads", str(threads), "--rounds", str(rounds)]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"| {name} | {size:.2f} M | {counter.get_total_flops() / 1e9:.0f} | {way} "
                f"| {result['seconds']:.2f} | {result['gigabytes']:.2f} |",
                flush=True,
            )


def decoder_table(threads: int, rounds: int) -> None:
    """Print both reconstruction decoders of the published networks, on random features."""
    from torch.utils.flop_counter import FlopCounterMode

    print(f"Beside the published networks, one 128x128 image, forward and backward, {threads} thread(s), medians of ")
    print(f"{rounds} rounds. A is the network's own last convolution, B the decoder that fills hidden patches.\n")
    print("| network | decoder | parameters | share of the network | GFLOP forward (256x256) | s (processor) |")
    print("|---|---|---|---|---|---|")
    for name in BACKBONES:
        with torch.device("meta"):
            network = create_backbone(name)
        decoder = decoder_for(network)
        network.load_state_dict(
            {key: torch.zeros(value.shape) for key, value in network.state_dict().items()}, assign=True
        )
        whole = sum(p.numel() for p in network.parameters())
        mask = random_patch_mask(1, 256, 256, PATCH, 0.5, torch.Generator().manual_seed(0))
        few = random_patch_mask(1, 128, 128, PATCH, 0.5, torch.Generator().manual_seed(0))
        forms: dict[str, tuple[int, Callable[[Encoded, PatchMask], Tensor]]] = {
            "A": (_head_size(network), lambda found, _, network=network: literal_reconstruction(network, found)),
            "B": (sum(p.numel() for p in decoder.parameters()), decoder),
        }
        for form, (size, function) in forms.items():
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                function(_made_up(network, 256), mask)
            seconds = []
            for _ in range(rounds + 1):
                encoded = _made_up(network, 128)
                start = time.process_time()
                function(encoded, few).abs().mean().backward()
                seconds.append(time.process_time() - start)
            print(
                f"| {name} | {form} | {size:,} | {size / whole:.2%} | {counter.get_total_flops() / 1e9:.2f} "
                f"| {statistics.median(seconds[1:]):.3f} |",
                flush=True,
            )


def _head_size(network: Backbone) -> int:
    """Return the number of parameters that the gradient reaches from `head` alone."""
    network.zero_grad()
    network.head(torch.ones(1, network.last_channels, 8, 8)).sum().backward()
    return sum(p.numel() for p in network.parameters() if p.grad is not None)


def _made_up(network: Backbone, side: int) -> Encoded:
    """Return random features of the right shapes that require gradients."""

    def drawn(channels: int, stride: int) -> Tensor:
        return torch.rand(1, channels, side // stride, side // stride).requires_grad_()

    features = [drawn(c, s) for c, s in zip(network.feature_channels, network.feature_strides, strict=True)]
    return Encoded(features, drawn(network.last_channels, 1))


def compiled_table(threads: int, rounds: int, only: str) -> None:
    """Print torch.compile (inductor) compared with eager, for all networks or for one."""
    print(f"Small networks, 2x3x64x64, patches of {PATCH}, half hidden, float32, {threads} thread(s), forward and ")
    print(f"backward, medians of {rounds} rounds, torch.compile(dynamic=False); differences are the largest, over the ")
    print(f"largest value; torch {torch.__version__}\n")
    print("| network | way | one graph | compiled in s | ms eager | ms compiled | output differs by | gradients by |")
    print("|---|---|---|---|---|---|---|---|")
    for name, arguments in SMALL.items():
        if only not in ("", name):
            continue
        for way in ("plain", "dense", "gather"):
            print(compiled_line(name, arguments, way, rounds), flush=True)


def compiled_line(name: str, arguments: dict[str, Any], way: str, rounds: int) -> str:
    """Compile and time one network in one way; return a table row."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    network = create_backbone(name, **arguments)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    image = torch.rand(2, 3, 64, 64)
    mask = random_patch_mask(2, 64, 64, PATCH, 0.5, torch.Generator().manual_seed(0))

    def eager(x: Tensor) -> Tensor:
        return network(x) if way == "plain" else network.encode(x, mask, backend=BACKENDS[way]).last

    def step(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        y = function(image)
        found = torch.autograd.grad(y.square().mean(), list(network.parameters()), allow_unused=True)
        return [y.detach(), *(g for g in found if g is not None)]

    whole = way != "gather"
    compiled = torch.compile(eager, fullgraph=whole, dynamic=False)
    start = time.perf_counter()
    found = step(compiled)
    spent = time.perf_counter() - start
    differences = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, step(eager), strict=True)]
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for seconds, function in zip(times, (eager, compiled), strict=True):
            start = time.process_time()
            step(function)
            seconds.append(1000 * (time.process_time() - start))
    slow, fast = (statistics.median(seconds) for seconds in times)
    return (
        f"| {name} | {way} | {'yes' if whole else 'no'} | {spent:.0f} | {slow:.0f} | {fast:.0f} "
        f"| {differences[0]:.1e} | {max(differences[1:]):.1e} |"
    )


def one_network(name: str, way: str, rounds: int) -> dict[str, float]:
    """Return time and memory of one network in one way."""
    torch.manual_seed(0)
    network = create_backbone(name)
    decoder = decoder_for(network)
    image = torch.rand(1, 3, 64, 64)
    mask: PatchMask = random_patch_mask(1, 64, 64, PATCH, 0.5, torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        if way == "plain":
            loss = network(image).abs().mean()
        else:
            loss = decoder(network.encode(image, mask, backend=BACKENDS[way]), mask).abs().mean()
        loss.backward()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": statistics.median(seconds), "gigabytes": peak / 1e9}


if __name__ == "__main__":
    main()
