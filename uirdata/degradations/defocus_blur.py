"""Defocus blur: every point becomes an image of the aperture, the larger the farther it is from the plane in focus."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Choice, Degradation, NamedOperation, Uniform, one_step_level
from uirdata.degradations.depth import draw_depth
from uirdata.degradations.kernels import Kernel, convolve, disk_kernel
from uirdata.degradations.light import from_light, to_light
from uirdata.images import RgbImage


def defocus(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - the aperture is in the recipe
    *,
    radius: float,
    blades: int = 0,
    rotation: float = 0.0,
    curve: str = "srgb",
) -> RgbImage:
    """
    Blur the whole image with one aperture, in linear light, so that bright points become bright disks.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: not used.
        radius: of the circle of confusion, pixels.
        blades: of the aperture: 0 for round, 3 or more for a polygon.
        rotation: of the polygon, degrees.
        curve: the camera's, see `light.to_light`.
    """
    if radius < 0:
        raise ValueError("expected a radius of at least 0")
    blurred = convolve(to_light(image, curve), disk_kernel(radius, blades=blades, rotation=rotation))
    return from_light(blurred.astype(np.float32), curve)


def depth_defocus(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    radius: float,
    focus: float,
    blades: int = 0,
    rotation: float = 0.0,
    curve: str = "srgb",
) -> RgbImage:
    """
    Blur by a depth map that is drawn for the image.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the depth is drawn from it, see `depth.draw_depth`.
        radius: circle of confusion of the points farthest from the plane in focus, pixels.
        focus: 0 for the near end of the scene, 1 for the far end.
        blades: as in `defocus`.
        rotation: as in `defocus`.
        curve: as in `defocus`.
    """
    if radius < 0 or not 0 <= focus <= 1:
        raise ValueError("expected a radius of at least 0 and a focus from 0 to 1")
    depth = draw_depth(image, rng, near=0.0, far=1.0, roughness=0.7)
    return blur_by_depth(image, depth, radius=radius, focus=focus, blades=blades, rotation=rotation, curve=curve)


def blur_by_depth(
    image: RgbImage,
    depth: NDArray[np.floating],
    *,
    radius: float,
    focus: float,
    blades: int = 0,
    rotation: float = 0.0,
    layers: int = 3,
    curve: str = "srgb",
) -> RgbImage:
    """
    Blur by a known depth map.

    The scene is split into layers. Each is blurred together with its own coverage and composed over those behind it, so
    that a sharp edge in front stays sharp and takes no colour from the blurred scene behind it (no halo). Where a
    nearer layer hides it, a layer is extended by the mean colour of its visible surroundings.

    Args:
        image: (H, W, 3) RGB uint8.
        depth: (H, W), 0 (near) to 1 (far).
        radius: of the largest circle of confusion, pixels.
        focus: the depth that is sharp.
        blades: of the aperture: 0 for round, 3 or more for a polygon.
        rotation: of the polygon, degrees.
        layers: number of layers, at least 1; all have the same width in depth.
        curve: the camera's, see `light.to_light`.
    """
    light = to_light(image, curve)
    index = np.clip((depth * layers).astype(np.int32), 0, layers - 1)
    # The whole layer is drawn with the blur of its middle; within half a layer of the focus it counts as sharp.
    distances = np.maximum(np.abs((np.arange(layers) + 0.5) / layers - focus) - 0.5 / layers, 0)
    radii = radius * distances / max(float(distances.max()), 1e-9)
    reach = 2 * int(radius) + 3
    seen = np.zeros_like(light)
    nearest, farthest = int(index.min()), int(index.max())
    for layer in range(farthest, nearest - 1, -1):
        own = (index == layer).astype(np.float32)
        if not own.any():
            continue
        kernel = disk_kernel(float(radii[layer]), blades=blades, rotation=rotation)
        colour = light * _thrice(own)
        paint, visible = _blur(colour, kernel), _blur(own, kernel)
        weight, opaque = visible, visible
        if layer > nearest:
            # The layer itself, and its extension behind nearer layers.
            hidden = np.float32(0.2) * (1 - np.clip(visible, 0, 1))
            weight = visible + hidden * _box(own, reach)
            paint += _box(colour, reach) * _thrice(hidden)
            opaque = _blur((index <= layer).astype(np.float32), kernel)
        paint /= _thrice(np.maximum(weight, np.float32(1e-6)))
        if layer < farthest:
            paint *= _thrice(opaque)
            paint += seen * _thrice(1 - opaque)
        cv2.copyTo(paint, (weight > 1e-5).astype(np.uint8), seen)
    return from_light(seen, curve)


def _thrice(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a plane repeated for three channels; numpy's own broadcasting in a product is several times as slow."""
    return np.asarray(cv2.merge([plane, plane, plane]), dtype=np.float32)


def _blur(values: NDArray[np.float32], kernel: Kernel) -> NDArray[np.float32]:
    return convolve(values, kernel).astype(np.float32) if kernel.size > 1 else values


def _box(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    once = cv2.blur(values, (size, size), borderType=cv2.BORDER_REPLICATE)
    twice = cv2.blur(once, (size, size), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(twice, dtype=np.float32).reshape(values.shape)


_disk_level = partial(one_step_level, "defocus")
_depth_level = partial(one_step_level, "depth-defocus")
_BLADES = Choice((0, 5, 6, 7, 8, 9))
_ROTATION = Uniform(0.0, 72.0)

DEGRADATION = Degradation(
    name="defocus-blur",
    abbreviation="DB",
    kind="single",
    paper_pairs=18_261,
    operations=(NamedOperation("defocus", defocus), NamedOperation("depth-defocus", depth_defocus)),
    levels=(
        *(_disk_level(f"disk-{radius}", radius=float(radius)) for radius in (1, 2, 3, 4, 5, 7, 10)),
        *(
            _disk_level(f"blades-{blades}", radius=Uniform(3.0, 8.0), blades=blades, rotation=_ROTATION)
            for blades in (5, 6, 8)
        ),
        *(
            _depth_level(
                f"{side}-focus-{radius}",
                "a drawn depth, as in LFDOF and DPDD",
                radius=float(radius),
                focus=focus,
                blades=_BLADES,
                rotation=_ROTATION,
            )
            for side, focus in (("near", Uniform(0.0, 0.2)), ("far", Uniform(0.8, 1.0)))
            for radius in (3, 6, 9)
        ),
        _depth_level(
            "any-depth",
            radius=Uniform(2.0, 10.0),
            focus=Uniform(0.0, 1.0),
            blades=_BLADES,
            rotation=_ROTATION,
        ),
        _disk_level("any-disk", radius=Uniform(1.0, 10.0), blades=_BLADES, rotation=_ROTATION),
    ),
)
