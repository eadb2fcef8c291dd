"""Raindrops on the glass before the lens: each is a small lens itself and shows the scene, upside down and blurred."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Degradation, Draw, Level, NamedOperation, StepTemplate, Uniform, Value
from uirdata.degradations.kernels import smooth
from uirdata.degradations.light import from_light, to_light
from uirdata.degradations.resampling import look_up, resize, to_steps
from uirdata.images import RgbImage

# The scene is looked up in a picture of this share of the size: a drop shows nearly all of it on a few pixels.
_SHRINK = 8


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
    Put drops on the glass.

    A drop on the window refracts rays from nearly the whole scene into the few pixels that it covers (Roser and Geiger,
    "Video-based Raindrop Detection for Improved Image Registration", 2009; Qian et al., "Attentive Generative
    Adversarial Network for Raindrop Removal from a Single Image", 2018, section 3): its picture is the scene turned
    upside down, so the sky lies at its lower end, compressed towards the rim, which is darker because light that comes
    at a grazing angle is reflected. The camera focuses on the scene, therefore the drops themselves are blurred.
    Everything is mixed in linear light.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: number, places, sizes and shapes are drawn from it.
        density: drops per 100,000 pixels.
        size: median radius, pixels.
        spread: of the radii: standard deviation of their logarithm.
        blur: sigma of the drops' defocus, pixels; 0 for a camera that focuses on the glass.
        view: share of the scene that a drop shows, 0 to 1.
        sky: how much of the light above the picture's upper border comes in at the drop's lower end, 0 to 1.
        opacity: of a drop, 0 to 1.
    """
    if (
        density < 0
        or size <= 0
        or spread < 0
        or blur < 0
        or not (0 <= view <= 1 and 0 <= sky <= 1 and 0 <= opacity <= 1)
    ):
        raise ValueError("expected nothing below 0, and view, sky and opacity up to 1")
    height, width = image.shape[:2]
    light = to_light(image)
    pane = _draw_drops(height, width, rng, density=density, size=size, spread=spread, view=view)
    scene = to_steps(to_light(resize(image, max(1, height // _SHRINK), max(1, width // _SHRINK), "area")))
    inside = look_up(
        scene,
        pane.column * np.float32(scene.shape[1] / width) - np.float32(0.5),
        pane.row * np.float32(scene.shape[0] / height) - np.float32(0.5),
    )
    # The sky is unknown; the brightest twentieth of the scene is the best guess at it.
    pixels = scene.reshape(-1, 3)
    brightest = np.argsort(pixels.sum(axis=1), kind="stable")[-max(1, len(pixels) // 20) :]
    sky_colour = pixels[brightest].mean(axis=0)
    cover = pane.cover * np.float32(opacity)
    sky_share, weight = np.float32(sky) * pane.sky, pane.brightness * cover
    # Plane by plane: several times as fast as to broadcast one plane over three channels.
    planes = [(plane + (colour - plane) * sky_share) * weight for plane, colour in zip(_split(inside), sky_colour, strict=True)]
    layer = np.asarray(cv2.merge([*planes, cover]), dtype=np.float32)
    if blur:
        layer = smooth(layer, blur, steps=4096)
    *colours, cover = _split(layer)
    through = 1 - cover
    seen = cv2.merge([own * through + added for own, added in zip(_split(light), colours, strict=True)])
    return from_light(np.asarray(seen, dtype=np.float32))


def _split(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [np.asarray(plane, dtype=np.float32) for plane in cv2.split(image)]


@dataclass(frozen=True)
class _Pane:
    """
    Per pixel, (H, W) float32 each.

    Attributes:
        cover: share of the pixel that a drop covers.
        row: of the point of the scene that is seen there.
        column: of that point.
        brightness: of what is seen, relative.
        sky: share of what is seen that comes from above the picture.
    """

    cover: NDArray[np.float32]
    row: NDArray[np.float32]
    column: NDArray[np.float32]
    brightness: NDArray[np.float32]
    sky: NDArray[np.float32]


def _draw_drops(
    height: int, width: int, rng: np.random.Generator, *, density: float, size: float, spread: float, view: float
) -> _Pane:
    margin = 2 * size
    count = int(rng.poisson(density * (height + 2 * margin) * (width + 2 * margin) / 100_000))
    y, x = rng.uniform(-margin, height + margin, count), rng.uniform(-margin, width + margin, count)
    radius = np.minimum(size * np.exp(spread * rng.standard_normal(count)), 4 * size)
    # Gravity draws large drops out downwards; surface tension keeps small ones round.
    tall = 1 + 0.35 * rng.random(count) * np.minimum(1.0, radius / 12)
    waves, phases = rng.uniform(0.02, 0.10, (3, count)), rng.uniform(0, 2 * math.pi, (3, count))
    drop, row, column = _windows(height, width, y, x, np.ceil(radius * tall * 1.35) + 1)

    dy, dx = (row - y[drop]) / (radius * tall)[drop], (column - x[drop]) / radius[drop]
    distance = np.sqrt(dx * dx + dy * dy)
    # The outline is at 1, give or take 0.3.
    near = distance < 1.35
    drop, row, column = drop[near], row[near], column[near]
    dy, dx, distance = dy[near], dx[near], distance[near]
    # The outline wanders by a few percent, with two to four bulges.
    # cos(k turn + phase) is the real part of a power of the direction, which is far cheaper than the angle.
    direction = (dx + 1j * dy) / np.maximum(distance, 1e-9)
    bulges = (waves * np.exp(1j * phases))[:, drop]
    rim = 1 + (((bulges[2] * direction + bulges[1]) * direction + bulges[0]) * direction * direction).real
    distance /= rim
    edge = np.clip((1 - distance) * radius[drop] + 0.5, 0, 1)

    places = row * width + column
    cover = np.zeros(height * width, dtype=np.float32)
    np.maximum.at(cover, places, edge.astype(np.float32))
    # Where drops overlap, the last one lies on top.
    top = np.full(height * width, -1)
    visible = np.flatnonzero(edge > 0)
    top[places[visible]] = visible
    seen = top[top >= 0]
    distance = np.clip(distance[seen], 1e-3, 1)
    # From the middle of the drop to its rim, the view turns from the scene's middle to its far side, ever faster
    # towards the rim, as rays do on a sphere.
    bent = np.arcsin(distance) / (math.pi / 2) / distance
    at_y, at_x = y[drop[seen]], x[drop[seen]]

    def spread_out(values: NDArray[np.float64], elsewhere: float) -> NDArray[np.float32]:
        full = np.full(height * width, elsewhere, dtype=np.float32)
        full[places[seen]] = values
        return full.reshape(height, width)

    return _Pane(
        cover=cover.reshape(height, width),
        row=spread_out(height / 2 + (at_y - height / 2) * (1 - view) - dy[seen] * bent * (view * height / 2), 0),
        column=spread_out(width / 2 + (at_x - width / 2) * (1 - view) - dx[seen] * bent * (view * width / 2), 0),
        # The fifth power of Schlick's approximation, for the reflection at grazing angles.
        brightness=spread_out(1.1 - 0.55 * distance**5, 1),
        # A drop looks out over nearly a half space, the camera over a small part of it.
        sky=spread_out(np.clip(0.35 + 0.75 * dy[seen], 0, 1), 0),
    )


def _windows(
    height: int, width: int, y: NDArray[np.float64], x: NDArray[np.float64], extent: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """List the pixels of the square around each drop that lie in the image: drop, row and column."""
    top, bottom = (np.clip(y + sign * extent + (sign > 0), 0, height).astype(np.int64) for sign in (-1, 1))
    left, right = (np.clip(x + sign * extent + (sign > 0), 0, width).astype(np.int64) for sign in (-1, 1))
    widths = np.maximum(right - left, 1)
    areas = np.maximum(bottom - top, 0) * np.maximum(right - left, 0)
    drop = np.repeat(np.arange(len(y)), areas)
    index = np.arange(len(drop)) - np.repeat(np.cumsum(areas) - areas, areas)
    return drop, top[drop] + index // widths[drop], left[drop] + index % widths[drop]


def _level(name: str, note: str = "", **parameters: Value | Draw) -> Level:
    return Level(name, (StepTemplate("raindrop", parameters),), note)


DEGRADATION = Degradation(
    name="raindrop",
    abbreviation="RD",
    kind="single",
    # The row of real drops (RainDS) is not ticked as real in the paper, though it was captured.
    paper_pairs=1_861,
    paper_pairs_real=150,
    operations=(NamedOperation("raindrop", raindrop),),
    levels=(
        _level("few-small", density=25.0, size=6.0, blur=Uniform(1.5, 3.0)),
        _level("many-small", density=90.0, size=6.0, blur=Uniform(1.5, 3.0)),
        _level("few-large", density=8.0, size=16.0, blur=Uniform(3.0, 6.0)),
        _level("many-large", density=25.0, size=16.0, blur=Uniform(3.0, 6.0)),
        _level("mixed-sizes", density=45.0, size=8.0, spread=0.8, blur=Uniform(2.0, 4.0)),
        _level("out-of-focus", "far out of focus, as Qian et al.", density=20.0, size=12.0, blur=Uniform(5.0, 9.0)),
        _level("in-focus", "the camera focuses on the glass", density=35.0, size=10.0, blur=0.8, spread=0.7),
        _level("narrow-view", "flat drops", density=40.0, size=9.0, view=0.35, blur=Uniform(1.5, 3.0)),
        _level(
            "any",
            density=Uniform(10.0, 80.0),
            size=Uniform(5.0, 15.0),
            spread=Uniform(0.3, 0.8),
            blur=Uniform(1.0, 6.0),
            view=Uniform(0.3, 0.9),
        ),
    ),
)
