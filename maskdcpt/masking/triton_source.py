# mypy: ignore-errors
"""The kernels of the `triton` backend, compiled by Triton from this source; imported only where Triton is installed."""

import triton
import triton.language as tl


@triton.jit
def depthwise_kernel(x, taps, neighbours, out, count, height, width, channels, BLOCK: tl.constexpr):
    """
    Convolve one pixel of one packed patch, BLOCK channels.

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
        # Nothing is read from a hidden patch: no channel is below 0.
        readable = channel < tl.where(source < count, channels, 0)
        place = ((source * height + y - down * height) * width + z - right * width) * channels
        value = tl.load(x + place + channel, mask=readable, other=0.0)
        weight = tl.load(taps + tap * channels + channel, mask=inside, other=0.0)
        total += value.to(tl.float32) * weight.to(tl.float32)
    tl.store(out + pixel * channels + channel, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def norm_kernel(x, weight, bias, out, means, scales, count, channels, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """
    Normalise the channels of ROWS pixels, in float32 for any dtype of input and output.

    x and out are (count, channels), means and scales (count,) of float32; BLOCK is at least `channels`.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    inside = (row < count)[:, None] & (channel < channels)[None, :]
    place = row[:, None].to(tl.int64) * channels + channel[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=1) / channels
    centred = tl.where(inside, value - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=1) / channels + eps)
    gain = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    result = centred * scale[:, None] * gain[None, :] + shift[None, :]
    tl.store(out + place, result.to(out.dtype.element_ty), mask=inside)
    tl.store(means + row, mean, mask=row < count)
    tl.store(scales + row, scale, mask=row < count)


@triton.jit
def norm_gradient_kernel(
    x,
    grad,
    weight,
    means,
    scales,
    for_x,
    for_weight,
    for_bias,
    count,
    channels,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """
    Compute the gradients of `norm_kernel`: of its input, and of weight and bias summed over ROWS pixels.

    for_x has the shape of x; for_weight and for_bias are (programs, channels) of float32, a row for each program.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    inside = (row < count)[:, None] & (channel < channels)[None, :]
    place = row[:, None].to(tl.int64) * channels + channel[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    given = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
    mean = tl.load(means + row, mask=row < count, other=0.0)
    scale = tl.load(scales + row, mask=row < count, other=0.0)
    gain = tl.load(weight + channel, mask=channel < channels, other=0.0).to(tl.float32)
    normed = tl.where(inside, (value - mean[:, None]) * scale[:, None], 0.0)
    scaled = given * gain[None, :]
    along = tl.sum(scaled * normed, axis=1) / channels
    level = tl.sum(scaled, axis=1) / channels
    result = (scaled - normed * along[:, None] - level[:, None]) * scale[:, None]
    tl.store(for_x + place, result.to(for_x.dtype.element_ty), mask=inside)
    own = tl.program_id(0) * channels + channel
    tl.store(for_weight + own, tl.sum(given * normed, axis=0), mask=channel < channels)
    tl.store(for_bias + own, tl.sum(given, axis=0), mask=channel < channels)
