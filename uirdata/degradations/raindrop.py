"""Raindrops on glass in front of the lens: each is a small lens that shows the scene upside down and blurred."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Degradation, LogUniform, NamedOperation, Uniform, one_step_level
from uirdata.degradations.kernels import smooth
from uirdata.degradations.light import from_light, to_light
from uirdata.degradations.resampling import look_up, resize, to_steps
from uirdata.images import RgbImage

# The scene is looked up in an image reduced by this factor: a drop shows nearly all of it on a few pixels.
_MOST_OVERLAPS = 50
_SHRINK = 8
# Number of steps of the tables that depend on the distance from the centre of a drop.
_RIM_STEPS = 4096
# Largest extent of a drop from its centre, in radii.
_REACH = 1.35


def raindrop(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    density: float,
    size: float,
    spread: float = 0.5,
    blur: float = 3.0,
    view: float = 0.8,
    sky: float = 0.5,
    opacity: float = 0.95,
) -> RgbImage:
    """
    Add drops on the glass.

    A drop on the window refracts rays from nearly the whole scene into the few pixels that it covers (Roser and Geiger,
    "Video-based Raindrop Detection for Improved Image Registration", 2009; Qian et al., "Attentive Generative
    Adversarial Network for Raindrop Removal from a Single Image", 2018, section 3): it shows the scene upside down, so
    the sky is at its lower end, compressed towards the rim, which is darker because light at a grazing angle is
    reflected. The camera focuses on the scene, therefore the drops themselves are blurred. Everything is blended in
    linear light.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: number, positions, sizes and shapes are drawn from it.
        density: drops per 100,000 pixels.
        size: median radius, pixels.
        spread: of the radii: standard deviation of their logarithm.
        blur: sigma of the drops' defocus, pixels; 0 for a camera that focuses on the glass.
        view: share of the scene that a drop shows, 0 to 1.
        sky: share of light from above the image's upper border at the drop's lower end, 0 to 1.
        opacity: of a drop, 0 to 1.
    """
    if (
        density < 0
        or size <= 0
        or spread < 0
        or blur < 0
        or not (0 <= view <= 1 and 0 <= sky <= 1 and 0 <= opacity <= 1)
    ):
        raise ValueError("expected all parameters to be at least 0, and view, sky and opacity up to 1")
    if density > 2000 or size > 300 or spread > 3:
        raise ValueError("expected a density up to 2,000, a size up to 300 and a spread up to 3")
    height, width = image.shape[:2]
    overlaps = density / 100_000 * min(height * width, math.pi * size**2 * math.exp(2 * spread**2))
    if overlaps > _MOST_OVERLAPS:
        # A recipe of others must not take hours, or all memory.
        raise ValueError(
            f"expected at most {_MOST_OVERLAPS} drops over a pixel, got {overlaps:.0f}: fewer or smaller ones"
        )
    light = to_light(image)
    drops = _draw_drops(height, width, rng, density=density, size=size, spread=spread, view=view)
    cover = drops.cover * np.float32(opacity)
    layer = np.zeros((height * width, 4), dtype=np.float32)
    layer[drops.where, :3] = _scene_in_drops(image, drops, sky) * (drops.brightness * cover)[:, None]
    layer[drops.where, 3] = cover
    layer = layer.reshape(height, width, 4)
    if blur:
        layer = _defocus(layer, blur)
    *colours, cover = _split(layer)
    through = 1 - cover
    # Plane by plane: several times as fast as broadcasting one plane over three channels.
    planes = _split(light)
    for plane, colour in zip(planes, colours, strict=True):
        plane *= through
        plane += colour
    return from_light(np.asarray(cv2.merge(planes), dtype=np.float32))


def _scene_in_drops(image: RgbImage, drops: _Drops, sky: float) -> NDArray[np.float32]:
    """Return the light, (N, 3), that enters at each pixel of a drop."""
    height, width = image.shape[:2]
    scene = to_steps(to_light(resize(image, max(1, height // _SHRINK), max(1, width // _SHRINK), "area")))
    inside = look_up(
        scene,
        _in_lines(drops.column * np.float32(scene.shape[1] / width) - np.float32(0.5)),
        _in_lines(drops.row * np.float32(scene.shape[0] / height) - np.float32(0.5)),
    ).reshape(-1, 3)[: len(drops.where)]
    # The sky is unknown; the brightest twentieth of the scene is the best estimate of it.
    pixels = scene.reshape(-1, 3)
    brightest = np.argsort(pixels.sum(axis=1), kind="stable")[-max(1, len(pixels) // 20) :]
    inside += (pixels[brightest].mean(axis=0) - inside) * (np.float32(sky) * drops.sky)[:, None]
    return np.asarray(inside, dtype=np.float32)


def _in_lines(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a long list reshaped into lines and padded by zeros: OpenCV accepts no line of over 32,767 pixels."""
    lines = np.zeros((len(values) // 1024 + 1, 1024), dtype=np.float32)
    lines.reshape(-1)[: len(values)] = values
    return lines


def _defocus(layer: NDArray[np.float32], blur: float) -> NDArray[np.float32]:
    """Blur; from a sigma of 4 at half of the resolution, which gives no visible difference in a fifth of the time."""
    if blur < 4:
        return smooth(layer, blur, steps=4096)
    height, width = layer.shape[:2]
    even = cv2.copyMakeBorder(layer, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    # Integers in units of 2^-14 again: then the mean of four and the weights of the enlargement are exact.
    # OpenCV's own resizing has nothing to round here.
    half = cv2.resize(to_steps(np.asarray(even, dtype=np.float32)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    # The mean over two pixels and the interpolation between them also blur, with a variance of 1.
    half = smooth(np.asarray(half, dtype=np.float32), math.sqrt(blur**2 - 1) / 2, steps=4096)
    # Each pixel becomes two, a quarter of a pixel to either side, bilinearly.
    twice = cv2.resize(half, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    row = np.array([0.25, 0.5, 0.25], dtype=np.float32)
    enlarged = cv2.sepFilter2D(twice, cv2.CV_32F, row, row, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(enlarged, dtype=np.float32)[:height, :width]


def _split(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [np.asarray(plane, dtype=np.float32) for plane in cv2.split(image)]


@dataclass(frozen=True)
class _Drops:
    """
    The pixels covered by drops, N of them.

    Attributes:
        where: (N,) indices into the flattened image.
        cover: (N,) float32 as all that follow: covered share of the pixel.
        row: row of the point of the scene that is seen there.
        column: of that point.
        brightness: relative brightness of what is seen.
        sky: share of light from above the image.
    """

    where: NDArray[np.int64]
    cover: NDArray[np.float32]
    row: NDArray[np.float32]
    column: NDArray[np.float32]
    brightness: NDArray[np.float32]
    sky: NDArray[np.float32]


def _draw_drops(
    height: int, width: int, rng: np.random.Generator, *, density: float, size: float, spread: float, view: float
) -> _Drops:
    margin = 2 * size
    count = int(rng.poisson(density * (height + 2 * margin) * (width + 2 * margin) / 100_000))
    y, x = rng.uniform(-margin, height + margin, count), rng.uniform(-margin, width + margin, count)
    radius = np.minimum(size * np.exp(spread * rng.standard_normal(count)), 4 * size)
    # Gravity stretches large drops downwards; surface tension keeps small ones round.
    tall = 1 + 0.35 * rng.random(count) * np.minimum(1.0, radius / 12)
    waves, phases = rng.uniform(0.02, 0.10, (3, count)), rng.uniform(0, 2 * math.pi, (3, count))
    # The outline is at one radius, plus or minus the waves and half a pixel.
    reach = np.minimum(_REACH, (1 + waves.sum(axis=0)) * (1 + 0.51 / radius))
    drop, row, column, dy, dx = _pixels(height, width, y, x, radius * tall, radius, reach)
    distance = np.sqrt(dx * dx + dy * dy)
    # The outline varies by a few percent, with two to four bulges: the cosines and sines of multiples of the
    # direction are polynomials of its own, which is far cheaper than the angle.
    away = np.maximum(distance, np.float32(1e-6))
    cos, sin = dx / away, dy / away
    cos2, sin2 = cos * cos - sin * sin, 2 * cos * sin
    turns = (
        (cos2, sin2),
        (cos2 * cos - sin2 * sin, cos2 * sin + sin2 * cos),
        (cos2 * cos2 - sin2 * sin2, 2 * cos2 * sin2),
    )
    rim = np.ones_like(distance)
    for (cos_k, sin_k), wave, phase in zip(turns, waves, phases, strict=True):
        rim += (wave * np.cos(phase)).astype(np.float32)[drop] * cos_k
        rim -= (wave * np.sin(phase)).astype(np.float32)[drop] * sin_k
    distance /= rim
    edge = np.clip((1 - distance) * radius.astype(np.float32)[drop] + np.float32(0.5), 0, 1)

    visible = np.flatnonzero(edge > 0)
    places, edge = row[visible] * width + column[visible], edge[visible]
    cover = np.zeros(height * width, dtype=np.float32)
    np.maximum.at(cover, places, edge)
    # Where drops overlap, the last one is on top.
    top = np.full(height * width, -1)
    top[places] = visible
    where = np.flatnonzero(top >= 0)
    seen = top[where]
    step = (np.minimum(distance[seen], 1) * np.float32(_RIM_STEPS) + np.float32(0.5)).astype(np.int32)
    bent, dimmed = (table[step] for table in _rim_tables())
    dx, dy, drop = dx[seen], dy[seen], drop[seen]

    def scene_place(middle: NDArray[np.float64], length: int, offset: NDArray[np.float32]) -> NDArray[np.float32]:
        straight = (length / 2 + (middle - length / 2) * (1 - view)).astype(np.float32)
        return np.asarray(straight[drop] - offset * bent * np.float32(view * length / 2), dtype=np.float32)

    return _Drops(
        where=where,
        cover=cover[where],
        row=scene_place(y, height, dy),
        column=scene_place(x, width, dx),
        brightness=dimmed,
        # A drop sees nearly a half space, the camera a small part of it.
        sky=np.clip(np.float32(0.35) + np.float32(0.75) * dy, 0, 1),
    )


@lru_cache(maxsize=1)
def _rim_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the refraction and the brightness of a drop at some steps from its centre to its rim."""
    distance = np.maximum(np.arange(_RIM_STEPS + 1) / _RIM_STEPS, 1e-3)
    # From the centre of the drop to its rim, the view turns from the scene's centre to its far side, increasingly
    # fast towards the rim, as for rays in a sphere.
    bent = np.arcsin(distance) / (math.pi / 2) / distance
    # The fifth power of Schlick's approximation, for the reflection at grazing angles.
    return bent.astype(np.float32), (1.1 - 0.55 * distance**5).astype(np.float32)


def _pixels(
    height: int,
    width: int,
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    radius_y: NDArray[np.float64],
    radius_x: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return the pixels that a drop may cover: drop, row, column, and the offset from its centre in radii."""
    # Line by line of each drop.
    high = radius_y * reach
    top, bottom = (np.clip(np.floor(y + sign * high) + (sign > 0), 0, height).astype(np.int64) for sign in (-1, 1))
    lines = np.maximum(bottom - top, 0)
    drop = np.repeat(np.arange(len(y)), lines)
    row = _count_up(top, lines)
    dy = (row - y[drop]) / radius_y[drop]
    half = radius_x[drop] * np.sqrt(np.maximum(reach[drop] ** 2 - dy * dy, 0))
    left, right = (np.clip(np.floor(x[drop] + sign * half) + 1, 0, width).astype(np.int64) for sign in (-1, 1))
    pixels = np.maximum(right - left, 0)
    column = _count_up(left, pixels)
    line_x, scale = (np.repeat(values[drop].astype(np.float32), pixels) for values in (x, 1 / radius_x))
    dx = (column.astype(np.float32) - line_x) * scale
    return np.repeat(drop, pixels), np.repeat(row, pixels), column, np.repeat(dy.astype(np.float32), pixels), dx


def _count_up(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start[0], start[0] + 1, ... for each start, as many as its length."""
    before = np.cumsum(length) - length
    return np.asarray(np.arange(int(length.sum())) + np.repeat(start - before, length), dtype=np.int64)


_level = partial(one_step_level, "raindrop")

DEGRADATION = Degradation(
    name="raindrop",
    abbreviation="RD",
    kind="single",
    # The row of real drops (RainDS) is not ticked as real in the paper, although it was captured.
    paper_pairs=1_861,
    paper_pairs_real=150,
    operations=(NamedOperation("raindrop", raindrop),),
    levels=(
        _level("few-small", density=25.0, size=6.0, blur=Uniform(1.5, 3.0)),
        _level("many-small", density=90.0, size=6.0, blur=Uniform(1.5, 3.0)),
        _level("few-large", density=8.0, size=16.0, blur=Uniform(3.0, 6.0)),
        _level("many-large", density=25.0, size=16.0, blur=Uniform(3.0, 6.0)),
        _level("mixed-sizes", density=45.0, size=8.0, spread=0.8, blur=Uniform(2.0, 4.0)),
        _level(
            "out-of-focus",
            "far out of focus, as Qian et al.",
            density=14.0,
            size=Uniform(14.0, 26.0),
            spread=0.6,
            blur=Uniform(6.0, 11.0),
            opacity=Uniform(0.7, 0.95),
        ),
        _level("in-focus", "the camera focuses on the glass", density=35.0, size=10.0, blur=0.8, spread=0.7),
        _level("narrow-view", "flat drops", density=40.0, size=9.0, view=0.35, blur=Uniform(1.5, 3.0)),
        _level(
            "any",
            density=LogUniform(8.0, 60.0),
            size=LogUniform(5.0, 22.0),
            spread=Uniform(0.3, 0.8),
            blur=Uniform(1.0, 9.0),
            view=Uniform(0.3, 0.9),
            opacity=Uniform(0.7, 0.95),
        ),
    ),
)
