"""Moire: a camera photographs the image on a screen, and the screen's pixels interfere with the camera's."""

from __future__ import annotations

import math
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Choice, Degradation, Draw, Mixture, NamedOperation, Uniform, Value, one_step_level
from uirdata.degradations.light import from_light, look_up_levels, to_light
from uirdata.degradations.resampling import look_up, to_steps
from uirdata.images import RgbImage

_PROFILE_STEPS = 64
# Start and width of the three stripes of a screen pixel; the rest is black. A pixel is lit from 0.06 to
# 0.94 of its height.
_STRIPES = ((0.03, 0.27), (0.363, 0.27), (0.696, 0.27))
_ROW = (0.06, 0.88)
# Side of the light-sensitive part of a camera pixel, relative to its pitch.
_FILL = 0.8
_PHASES = {"rggb": ((0, 1), (1, 2)), "grbg": ((1, 0), (2, 1)), "gbrg": ((1, 2), (0, 1)), "bggr": ((2, 1), (1, 0))}


def moire(
    image: RgbImage,
    rng: np.random.Generator,
    *,
    scale: float,
    rotation: float,
    tilt: float = 0.04,
    barrel: float = 0.01,
    lens: float = 0.3,
    noise: float = 0.01,
    gain: float = 1.0,
    contrast: float = 1.0,
    phase: str = "rggb",
) -> RgbImage:
    """
    Show the image on a screen and photograph it.

    As in Liu et al., "Demoireing of Camera-Captured Screen Images Using Deep Convolutional Neural Network" (2018): the
    screen shows every pixel as three stripes, the camera views them at an angle through a lens that distorts, its
    pixels average over their area and are under a Bayer filter, the colours are interpolated, and the photograph is
    warped back to the image's grid. The paper enlarges and draws the screen; here the average of the stripes over a
    camera pixel is computed at the exact position of that pixel, which is equivalent and takes a tenth of the time.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the direction of the tilt, the offset of the two grids and the noise are drawn from it.
        scale: camera pixels per screen pixel; near 1 and 2 the moire pattern is the coarsest.
        rotation: between the grids, degrees.
        tilt: perspective: relative difference of scale between the two sides of the image.
        barrel: distortion of the lens at the corners, relative.
        lens: sigma of the lens' blur, camera pixels. The finer the camera's pixels, the larger it must be to hide the
            stripes themselves.
        noise: standard deviation in linear light, relative to white.
        gain: the exposure.
        contrast: exponent on the light, for the screen's own curve.
        phase: of the Bayer filter.
    """
    if not 0.5 <= scale <= 3 or lens < 0 or noise < 0 or phase not in _PHASES:
        raise ValueError(
            f"expected a scale of 0.5 to 3, a lens and a noise of at least 0, and a phase of {', '.join(_PHASES)}"
        )
    height, width = image.shape[:2]
    to_camera, camera_height, camera_width = _camera(height, width, rng, scale, rotation, tilt)
    screen_x, screen_y = _screen_places(
        np.linalg.inv(to_camera).astype(np.float64), camera_height, camera_width, barrel
    )
    light = to_light(image)
    raw = _photograph(light, screen_x, screen_y, 1 / scale, lens, phase, rng)
    raw += np.float32(noise) * rng.standard_normal(raw.shape, dtype=np.float32)
    colours = _demosaic(np.clip(raw, 0, 1), phase)
    seen = _back_to_screen(colours, to_camera, height, width, barrel)
    return _develop(seen, gain, contrast)


def _develop(light: NDArray[np.float32], gain: float, contrast: float) -> RgbImage:
    """Return the grey levels of gain * light^contrast, by a table."""
    root = np.arange(65536, dtype=np.float64) / 65535
    return look_up_levels(light, from_light((gain * root ** (2 * contrast)).astype(np.float32)))


def _camera(
    height: int, width: int, rng: np.random.Generator, scale: float, rotation: float, tilt: float
) -> tuple[NDArray[np.float64], int, int]:
    """Return the map from screen to camera pixels, and the size of the camera's image, which holds the whole screen."""
    side = math.hypot(height, width)
    turn = math.radians(rotation)
    direction = rng.uniform(0, 2 * math.pi)
    centre = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    view = np.array(
        [
            [scale * math.cos(turn), -scale * math.sin(turn), 0],
            [scale * math.sin(turn), scale * math.cos(turn), 0],
            [tilt * math.cos(direction) / side, tilt * math.sin(direction) / side, 1],
        ]
    )
    matrix = view @ centre
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    placed = np.column_stack([corners, np.ones(4)]) @ matrix.T
    placed = placed[:, :2] / placed[:, 2:]
    offset = rng.random(2) * 2
    margin = 4
    low = placed.min(axis=0) - margin - offset
    matrix = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]]) @ matrix
    size = np.ceil(placed.max(axis=0) - low + margin).astype(int)
    # Whole cells of the Bayer filter.
    return matrix, int(size[1] + size[1] % 2), int(size[0] + size[0] % 2)


def _screen_places(
    matrix: NDArray[np.float64], height: int, width: int, barrel: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the position on the screen of every camera pixel."""
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    if barrel:
        stretch = _stretch(x, y, height, width, barrel)
        x = (x - np.float32(width / 2)) * stretch + np.float32(width / 2)
        y = (y - np.float32(height / 2)) * stretch + np.float32(height / 2)
    m = matrix.astype(np.float32)
    depth = 1 / (m[2, 0] * x + m[2, 1] * y + m[2, 2])
    return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) * depth, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) * depth


def _stretch(
    x: NDArray[np.float32], y: NDArray[np.float32], height: int, width: int, barrel: float
) -> NDArray[np.float32]:
    unit = np.float32(4 * barrel / (height**2 + width**2))
    return np.asarray(1 + unit * ((x - np.float32(width / 2)) ** 2 + (y - np.float32(height / 2)) ** 2))


def _photograph(
    light: NDArray[np.float32],
    screen_x: NDArray[np.float32],
    screen_y: NDArray[np.float32],
    camera_pixel: float,
    lens: float,
    phase: str,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the value of each camera pixel under its filter: the image at its position, times the stripes there."""
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(to_steps(light), 2, 0)]
    start = rng.random(2, dtype=np.float32) * np.float32(_PROFILE_STEPS)
    rows = _profile(*_ROW, _FILL * camera_pixel, lens * camera_pixel)
    columns = [_profile(begin, share, _FILL * camera_pixel, lens * camera_pixel) for begin, share in _STRIPES]
    raw = np.empty(screen_x.shape, dtype=np.float32)
    # A camera pixel has one colour, so only that one is looked up there.
    for row in (0, 1):
        for column in (0, 1):
            site = (slice(row, None, 2), slice(column, None, 2))
            channel = _PHASES[phase][row][column]
            x, y = np.ascontiguousarray(screen_x[site]), np.ascontiguousarray(screen_y[site])
            seen = look_up(planes[channel][:, :, None], x, y)[:, :, 0]
            raw[site] = seen * columns[channel][_profile_steps(x, start[0])] * rows[_profile_steps(y, start[1])]
    return raw


def _profile_steps(place: NDArray[np.float32], start: np.float32) -> NDArray[np.int32]:
    return (place * np.float32(_PROFILE_STEPS) + start).astype(np.int32) & (_PROFILE_STEPS - 1)


def _profile(begin: float, share: float, aperture: float, lens: float) -> NDArray[np.float32]:
    """
    Return the response of a camera pixel to a stripe that repeats with period 1, by its position within the period.

    Args:
        begin: start of the stripe.
        share: of the period that is lit.
        aperture: side of the camera pixel, periods.
        lens: sigma of the lens' blur, periods.

    Returns:
        (64,) float32 with mean 1.
    """
    frequency = np.arange(_PROFILE_STEPS // 2 + 1, dtype=np.float64)
    stripe = np.sinc(frequency * share) * np.exp(-2j * math.pi * frequency * (begin + share / 2))
    seen = np.sinc(frequency * aperture) * np.exp(-2 * (math.pi * frequency * lens) ** 2)
    return np.fft.irfft(stripe * seen * _PROFILE_STEPS, _PROFILE_STEPS).astype(np.float32)


def _demosaic(raw: NDArray[np.float32], phase: str) -> NDArray[np.float32]:
    # OpenCV names a pattern after the second and third pixel of its second row.
    code = {
        "rggb": cv2.COLOR_BayerBG2RGB,
        "bggr": cv2.COLOR_BayerRG2RGB,
        "grbg": cv2.COLOR_BayerGB2RGB,
        "gbrg": cv2.COLOR_BayerGR2RGB,
    }[phase]
    # A converter of 14 bits.
    steps = np.rint(raw * np.float32(2**14)).astype(np.uint16)
    return np.asarray(cv2.cvtColor(steps, code), dtype=np.float32) * np.float32(2**-14)


def _back_to_screen(
    colours: NDArray[np.float32], to_camera: NDArray[np.float64], height: int, width: int, barrel: float
) -> NDArray[np.float32]:
    """Return the photograph warped to the image's grid."""
    camera_x, camera_y = _screen_places(to_camera, height, width, 0.0)
    if barrel:
        # The distortion is inverted to first order, which leaves an error below a tenth of a pixel.
        camera_height, camera_width = colours.shape[:2]
        stretch = _stretch(camera_x, camera_y, camera_height, camera_width, barrel)
        stretch = _stretch(
            (camera_x - np.float32(camera_width / 2)) / stretch + np.float32(camera_width / 2),
            (camera_y - np.float32(camera_height / 2)) / stretch + np.float32(camera_height / 2),
            camera_height,
            camera_width,
            barrel,
        )
        camera_x = (camera_x - np.float32(camera_width / 2)) / stretch + np.float32(camera_width / 2)
        camera_y = (camera_y - np.float32(camera_height / 2)) / stretch + np.float32(camera_height / 2)
    return look_up(colours, camera_x, camera_y)


_CAMERA: dict[str, Value | Draw] = {
    "gain": Uniform(0.6, 1.15),
    "contrast": Uniform(0.85, 1.4),
    "phase": Choice(tuple(_PHASES)),
    # Enough distortion for the pattern to bend and to vary over the image.
    "barrel": Uniform(-0.05, 0.05),
    "tilt": Uniform(0.02, 0.15),
}

_level = partial(one_step_level, "moire", **_CAMERA)

DEGRADATION = Degradation(
    name="moire",
    abbreviation="MR",
    kind="single",
    paper_pairs=63_180,
    operations=(NamedOperation("moire", moire),),
    levels=(
        _level(
            "coarse",
            "beats of many pixels",
            scale=Uniform(0.96, 1.06),
            rotation=Uniform(-3.0, 3.0),
            lens=Uniform(0.15, 0.4),
        ),
        _level("middle", scale=Uniform(1.2, 1.6), rotation=Uniform(-6.0, 6.0), lens=Uniform(0.25, 0.4)),
        _level(
            "near",
            "the screen's grid at half of the camera's",
            scale=Uniform(1.85, 2.1),
            rotation=Uniform(-5.0, 5.0),
            lens=Uniform(0.6, 0.75),
        ),
        _level(
            "far",
            "fewer camera pixels than screen pixels",
            scale=Uniform(0.75, 0.92),
            rotation=Uniform(-8.0, 8.0),
            lens=0.1,
        ),
        _level("turned", scale=Uniform(0.9, 1.4), rotation=Uniform(8.0, 30.0), lens=0.15),
        _level("tilted", scale=Uniform(0.95, 1.3), rotation=Uniform(-5.0, 5.0), tilt=0.2, lens=0.2),
        _level("strong", "a very sharp lens", scale=Uniform(1.0, 1.4), rotation=Uniform(-6.0, 6.0), lens=0.1),
        _level("weak", "a soft lens", scale=Uniform(1.1, 1.5), rotation=Uniform(-6.0, 6.0), lens=0.45),
        _level(
            "any",
            scale=Mixture((Uniform(0.9, 1.1), Uniform(0.85, 1.6), Uniform(1.8, 2.1)), (0.4, 0.4, 0.2)),
            rotation=Uniform(-10.0, 10.0),
            tilt=Uniform(0.0, 0.2),
            lens=Uniform(0.15, 0.4),
            noise=Uniform(0.002, 0.015),
        ),
    ),
)
