"""Raindrops on the glass before the lens: each is a small lens itself and shows the scene, upside down and blurred."""

from __future__ import annotations

import math

import cv2
import numpy as np

from uirdata.degradations.base import Degradation, Draw, Level, NamedOperation, StepTemplate, Uniform, Value
from uirdata.degradations.light import from_light, to_light
from uirdata.degradations.resampling import look_up, resize
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
    drops = _Drops(height, width)
    reach = 2 * size
    area = (height + 2 * reach) * (width + 2 * reach)
    for _ in range(int(rng.poisson(density * area / 100_000))):
        drops.add(rng, reach, size, spread, view)
    small = (max(1, height // _SHRINK), max(1, width // _SHRINK))
    scene = to_light(resize(image, *small, "area"))
    inside = look_up(
        scene,
        drops.column * np.float32(small[1] / width) - np.float32(0.5),
        drops.row * np.float32(small[0] / height) - np.float32(0.5),
    )
    # The sky is unknown; the brightest twentieth of the scene is the best guess at it.
    pixels = scene.reshape(-1, 3)
    brightest = np.argsort(pixels.sum(axis=1), kind="stable")[-max(1, len(pixels) // 20) :]
    share = np.float32(sky) * drops.sky
    inside = inside + (pixels[brightest].mean(axis=0) - inside) * share[:, :, None]
    layer = np.concatenate([inside * drops.brightness[:, :, None], drops.cover], axis=2)
    layer[:, :, :3] *= drops.cover
    if blur:
        blurred = cv2.GaussianBlur(layer, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
        layer = np.asarray(blurred, dtype=np.float32).reshape(layer.shape)
    cover = layer[:, :, 3:]
    seen = light * (1 - np.float32(opacity) * cover) + np.float32(opacity) * layer[:, :, :3]
    return from_light(np.asarray(seen, dtype=np.float32))


class _Drops:
    """What the drops on a pane cover, and which point of the scene each of their pixels shows."""

    def __init__(self, height: int, width: int) -> None:
        self.cover = np.zeros((height, width, 1), dtype=np.float32)
        self.brightness = np.ones((height, width), dtype=np.float32)
        self.sky = np.zeros((height, width), dtype=np.float32)
        self.row = np.zeros((height, width), dtype=np.float32)
        self.column = np.zeros((height, width), dtype=np.float32)

    def add(self, rng: np.random.Generator, reach: float, size: float, spread: float, view: float) -> None:
        """Draw one drop and lay it over those that are there."""
        height, width = self.row.shape
        y, x = rng.uniform(-reach, height + reach), rng.uniform(-reach, width + reach)
        radius = min(size * math.exp(spread * rng.standard_normal()), 4 * size)
        # Gravity draws large drops out downwards; surface tension keeps small ones round.
        tall = 1 + 0.35 * rng.random() * min(1.0, radius / 12)
        waves = rng.uniform(0.02, 0.10, 3)
        phases = rng.uniform(0, 2 * math.pi, 3)
        extent = math.ceil(radius * tall * 1.35) + 1
        top, bottom = max(0, int(y) - extent), min(height, int(y) + extent + 1)
        left, right = max(0, int(x) - extent), min(width, int(x) + extent + 1)
        if top >= bottom or left >= right:
            return
        window = (slice(top, bottom), slice(left, right))
        dy = ((np.arange(top, bottom, dtype=np.float32) - np.float32(y)) / np.float32(radius * tall))[:, None]
        dx = ((np.arange(left, right, dtype=np.float32) - np.float32(x)) / np.float32(radius))[None, :]
        turn = np.arctan2(dy, dx)
        # The outline wanders by a few percent, with two to four bulges.
        rim = 1 + sum(
            np.float32(wave) * np.cos(np.float32(k) * turn + np.float32(phase))
            for k, wave, phase in zip((2, 3, 4), waves, phases, strict=True)
        )
        distance = np.sqrt(dx * dx + dy * dy) / rim
        edge = np.clip((1 - distance) * np.float32(radius) + np.float32(0.5), 0, 1)
        inside = edge > 0
        # From the middle of the drop to its rim, the view turns from the scene's middle to its far side: like the sine
        # of a sphere, ever faster towards the rim.
        bent = np.arcsin(np.clip(distance, 0, 1)) / np.float32(math.pi / 2) / np.maximum(distance, np.float32(1e-3))
        reach_y, reach_x = np.float32(view * height / 2), np.float32(view * width / 2)
        centre_y = np.float32(height / 2 + (y - height / 2) * (1 - view))
        centre_x = np.float32(width / 2 + (x - width / 2) * (1 - view))
        self.row[window] = np.where(inside, centre_y - dy * bent * reach_y, self.row[window])
        self.column[window] = np.where(inside, centre_x - dx * bent * reach_x, self.column[window])
        # Schlick's power for the reflection at grazing angles; the top is darker, for its light comes from the ground.
        fade = 1.1 - 0.55 * np.clip(distance, 0, 1) ** 5
        self.brightness[window] = np.where(inside, fade, self.brightness[window])
        # A drop looks out over nearly a half space, the camera over a small part of it.
        self.sky[window] = np.where(inside, np.clip(0.35 + 0.75 * dy, 0, 1), self.sky[window])
        self.cover[window] = np.maximum(self.cover[window], edge[:, :, None])


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
