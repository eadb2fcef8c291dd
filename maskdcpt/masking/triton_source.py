# mypy: ignore-errors
"""The kernel of the `triton` way. Imported only where Triton is, which reads it as source."""

import triton
import triton.language as tl


@triton.jit
def depthwise_kernel(x, taps, neighbours, out, count, height, width, channels, BLOCK: tl.constexpr):
    """
    One pixel of one packed patch, BLOCK channels.

    x and out are (count, height, width, channels), taps (9, channels), neighbours (9, count) with `count` for a
    patch that is hidden or outside.
    """
    pixel = tl.program_id(0)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < channels
    patch = pixel // (height * width)
    row = pixel % (height * width) // width
    column = pixel % width
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for tap in tl.static_range(9):
        y = row + tap // 3 - 1
        z = column + tap % 3 - 1
        # Which of the 3x3 neighbouring patches holds the pixel: -1, 0 or 1 each way.
        down = (y >= height).to(tl.int32) - (y < 0).to(tl.int32)
        right = (z >= width).to(tl.int32) - (z < 0).to(tl.int32)
        source = tl.load(neighbours + ((down + 1) * 3 + right + 1) * count + patch)
        # Nothing is read of a patch that is hidden: no channel is below 0.
        readable = channel < tl.where(source < count, channels, 0)
        place = ((source * height + y - down * height) * width + z - right * width) * channels
        value = tl.load(x + place + channel, mask=readable, other=0.0)
        weight = tl.load(taps + tap * channels + channel, mask=inside, other=0.0)
        total += value.to(tl.float32) * weight.to(tl.float32)
    tl.store(out + pixel * channels + channel, total.to(out.dtype.element_ty), mask=inside)
