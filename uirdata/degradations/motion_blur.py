"""Motion blur: along a straight line, along a random path, and as the mean of the frames of a moving camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Choice, Degradation, Integer, NamedOperation, Uniform, one_step_level
from uirdata.degradations.kernels import LONGEST, convolve, line_kernel, path_kernel, round_levels
from uirdata.degradations.light import from_light, to_light
from uirdata.degradations.resampling import AffineMap, affine_map, move
from uirdata.images import RgbImage

_LINES = 64


def linear_motion(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - the line is in the recipe
    *,
    length: float,
    angle: float,
) -> RgbImage:
    """
    Blur along a straight line, at constant speed.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: not used.
        length: pixels, at least 1.
        angle: degrees, counter-clockwise from the right.
    """
    if length < 1:
        raise ValueError("expected a length of at least 1 pixel")
    return round_levels(convolve(image, line_kernel(length, angle)))


def random_trajectory(image: RgbImage, rng: np.random.Generator, *, length: float, shake: float = 0.5) -> RgbImage:
    """
    Blur along a random path, the same for the whole image.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the path is drawn from it, see `trajectory`.
        length: of the path, pixels.
        shake: 0 for a straight path, 1 for a very irregular one.
    """
    if length <= 0 or not 0 <= shake <= 1:
        raise ValueError("expected a length above 0 and a shake from 0 to 1")
    return round_levels(convolve(image, path_kernel(trajectory(rng, length=length, shake=shake))))


def trajectory(rng: np.random.Generator, *, length: float, shake: float, samples: int = 512) -> NDArray[np.float64]:
    """
    Return the random path of a hand-held camera.

    A particle with inertia is pushed by white noise, pulled back to its start, and sometimes jerks: the
    model of Boracchi and Foi, "Modeling the Performance of Image Restoration from Motion Blur" (2012), which Kupyn et
    al., "DeblurGAN" (2018), use for training. Here the path is scaled to the requested length.

    Args:
        rng: 4 * samples + 1 numbers are drawn.
        length: of the path, pixels.
        shake: 0 to 1, how much of the push is noise and how often it jerks.
        samples: points, at equal times.

    Returns:
        (samples, 2) as (x, y), pixels, around the centroid.
    """
    heading = rng.random() * 2 * math.pi
    push = rng.standard_normal((samples, 2))
    jerks = rng.random(samples) < 0.01 * shake
    turns = rng.random(samples) * math.pi + math.pi / 2
    velocity = complex(math.cos(heading), math.sin(heading))
    position, path = 0j, np.empty(samples, dtype=np.complex128)
    for i in range(samples):
        path[i] = position
        velocity += shake * (0.12 * complex(*push[i]) - 0.004 * position)
        if jerks[i]:
            velocity *= 2 * complex(math.cos(turns[i]), math.sin(turns[i]))
        # The force of a hand is bounded: the speed is kept, only the direction varies.
        velocity /= abs(velocity)
        position += velocity
    path *= length / np.abs(np.diff(path)).sum()
    path -= path.mean()
    return np.stack([path.real, path.imag], axis=1)


def average_frames(frames: Sequence[RgbImage], *, curve: str = "srgb") -> RgbImage:
    """
    Return the mean of frames in linear light, as a longer exposure would record it.

    Nah et al., "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring" (2017), section 2, for
    frames of a 240 Hz camera (GoPro, curve "gamma-2p2"); REDS does the same with a measured curve.

    Args:
        frames: at least one, (H, W, 3) RGB uint8, all of one size.
        curve: the camera's, see `light.to_light`.
    """
    total = to_light(frames[0], curve).copy()
    for frame in frames[1:]:
        total += to_light(frame, curve)
    return from_light(total / np.float32(len(frames)), curve)


def camera_shake(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    length: float,
    turn: float = 0.0,
    zoom: float = 0.0,
    shake: float = 0.5,
    frames: int = 11,
    curve: str = "gamma-2p2",
) -> RgbImage:
    """
    Move a camera over the image, and average its views in linear light: blur that varies over the image.

    The middle frame is the image itself, so that the pair stays aligned, as in GoPro.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the path is drawn from it.
        length: of the path across the image, pixels.
        turn: rotation of the camera around its axis over the whole time, degrees.
        zoom: change of scale over the whole time, such as 0.02.
        shake: see `trajectory`.
        frames: number of averaged frames, odd.
        curve: the camera's, see `light.to_light`.
    """
    if not 3 <= frames <= 999 or frames % 2 == 0:
        raise ValueError("expected an odd number of frames, from 3 to 999")
    if not 0 < length <= LONGEST or abs(turn) > 180 or abs(zoom) > 1:
        raise ValueError(f"expected a length up to {LONGEST:,} pixels, a turn up to 180 degrees and a zoom up to 1")
    height, width = image.shape[:2]
    path = trajectory(rng, length=length, shake=shake)
    path = path[np.linspace(0, len(path) - 1, frames).round().astype(int)]
    path -= path[frames // 2]
    maps = []
    for i, (x, y) in enumerate(path):
        time = i / (frames - 1) - 0.5
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn * time, 1 + zoom * time)
        matrix[:, 2] += (x, y)
        if i != frames // 2:
            maps.append(affine_map(np.asarray(matrix, dtype=np.float64), height, width))
    # Linear light in 14 bits, as from a sensor: every sum below is exact, so all processors round alike.
    light = np.rint(to_light(image, curve) * np.float32(2**14 - 1))
    return from_light(_mean_of_moved(light, maps) * np.float32(1 / (2**14 - 1)), curve)


def _mean_of_moved(light: NDArray[np.float32], maps: Sequence[AffineMap]) -> NDArray[np.float32]:
    """Return the mean of an image, (H, W, 3), and its copies moved by some maps (see `resampling.move`)."""
    mean = np.empty_like(light)
    # OpenCV looks up pixels of four values faster than pixels of three.
    light = np.asarray(cv2.cvtColor(light, cv2.COLOR_RGB2RGBA), dtype=np.float32)
    # Some lines of all frames at a time, so that the sum fits into the cache.
    for top in range(0, len(light), _LINES):
        lines = slice(top, top + _LINES)
        total = light[lines].astype(np.float64)
        for where in maps:
            cv2.accumulate(move(light, where, lines), total)
        mean[lines] = total[:, :, :3] * (1 / (len(maps) + 1))
    return mean


_linear_level = partial(one_step_level, "linear-motion")
_trajectory_level = partial(one_step_level, "random-trajectory")
_shake_level = partial(one_step_level, "camera-shake")
_ANY_ANGLE = Uniform(0.0, 180.0)

DEGRADATION = Degradation(
    name="motion-blur",
    abbreviation="MB",
    kind="single",
    paper_pairs=217_702,
    paper_pairs_real=8_878,
    operations=(
        NamedOperation("linear-motion", linear_motion),
        NamedOperation("random-trajectory", random_trajectory),
        NamedOperation("camera-shake", camera_shake),
    ),
    levels=(
        *(
            _linear_level(f"linear-{length}", length=float(length), angle=_ANY_ANGLE)
            for length in (5, 9, 15, 21, 31, 41)
        ),
        *(
            _trajectory_level(f"trajectory-{length}", length=float(length), shake=Uniform(0.3, 1.0))
            for length in (10, 20, 30, 45, 60, 90)
        ),
        *(
            _shake_level(
                f"camera-{length}",
                "frames averaged in linear light, as GoPro and REDS",
                length=float(length),
                turn=Uniform(-1.0, 1.0),
                zoom=Uniform(-0.02, 0.02),
                frames=11,
            )
            for length in (8, 16, 24, 36)
        ),
        _shake_level("camera-turn", length=4.0, turn=Choice((-4.0, -2.5, 2.5, 4.0)), frames=Choice((11, 13, 15))),
        _shake_level("camera-zoom", length=4.0, zoom=Choice((-0.08, -0.05, 0.05, 0.08)), frames=13),
        _trajectory_level("any", length=Uniform(5.0, 60.0), shake=Uniform(0.0, 1.0)),
        _linear_level("any-line", length=Integer(5, 41), angle=_ANY_ANGLE),
    ),
)
