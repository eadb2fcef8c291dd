"""The nineteen degradation types. To add one: write a file with a DEGRADATION, and name it in `DEGRADATIONS`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from uirdata.degradations import (
    gaussian_blur,
    jpeg,
    low_light,
    mosaic,
    motion_blur,
    noise,
)
from uirdata.degradations.base import (
    Degradation,
    NamedOperation,
    Recipe,
    draw_steps,
    replay,
)
from uirdata.errors import RecipeError, UsageError, nearest
from uirdata.images import RgbImage

__all__ = ["DEGRADATIONS", "Degradation", "Recipe", "degradations", "degrade", "find_degradation", "sample_recipe"]

# What has no file yet: its place in the order is taken.
_real_noise = Degradation("real-noise", "RN", "single", paper_pairs_real=30_608)
_defocus_blur = Degradation("defocus-blur", "DB", "single", paper_pairs=18_261)
_haze = Degradation("haze", "H", "single", paper_pairs=72_030)
_rain_streak = Degradation("rain-streak", "RS", "single", paper_pairs=28_422, paper_pairs_real=11_150)
_raindrop = Degradation("raindrop", "RD", "single", paper_pairs=1_861, paper_pairs_real=150)
_rain_streak_raindrop = Degradation("rain-streak-raindrop", "RSD", "single", paper_pairs=1_000, paper_pairs_real=150)
_snow = Degradation("snow", "S", "single", paper_pairs=73_005)
_moire = Degradation("moire", "MR", "single", paper_pairs=63_180)
_blur_jpeg = Degradation("blur-jpeg", "BJ", "mixed", paper_pairs=8_878, paper_pairs_real=12_636)
_blur_rain = Degradation("blur-rain", "BR", "mixed", paper_pairs_real=14_490)
_low_light_blur_noise = Degradation("low-light-blur-noise", "LBN", "mixed", paper_pairs=20_400)
_low_light_haze_rain_snow = Degradation("low-light-haze-rain-snow", "LHRS", "mixed", paper_pairs=8_281)
_downsample = Degradation("downsample-noise-blur-jpeg", "DNBJ", "mixed", paper_pairs=643_328)

DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {
        degradation.name: degradation
        for degradation in (
            noise.DEGRADATION,
            _real_noise,
            motion_blur.DEGRADATION,
            _defocus_blur,
            gaussian_blur.DEGRADATION,
            jpeg.DEGRADATION,
            _haze,
            _rain_streak,
            _raindrop,
            _rain_streak_raindrop,
            _snow,
            mosaic.DEGRADATION,
            low_light.DEGRADATION,
            _moire,
            _blur_jpeg,
            _blur_rain,
            _low_light_blur_noise,
            _low_light_haze_rain_snow,
            _downsample,
        )
    }
)
"""All types by name. Their order is the label order of a full-set run: append, never reorder."""

_OPERATIONS: Mapping[str, NamedOperation] = MappingProxyType(
    {operation.name: operation for d in DEGRADATIONS.values() for operation in d.operations}
)


def degradations() -> Mapping[str, Degradation]:
    """Give all nineteen types by name, in label order."""
    return DEGRADATIONS


def sample_recipe(degradation: str | Degradation, rng: np.random.Generator, level: str | None = None) -> Recipe:
    """
    Draw a recipe.

    Args:
        degradation: the type, or its name.
        rng: the level (unless given), its ranges and the recipe's seed are drawn from it, in this order.
        level: the name of one of the type's levels; without it each is as likely as the next.

    Raises:
        UsageError: there is no such type.
        RecipeError: the type has no such level.
    """
    chosen = find_degradation(degradation) if isinstance(degradation, str) else degradation
    if not chosen.levels:
        raise RecipeError(f"{chosen.name} cannot be made here; it comes from published pairs only")
    setting = chosen.levels[int(rng.integers(len(chosen.levels)))] if level is None else chosen.level(level)
    revisions = {name: operation.revision for name, operation in _OPERATIONS.items()}
    steps = draw_steps(setting.steps, revisions, rng)
    return Recipe(steps, int(rng.integers(2**63)), chosen.name, setting.name)


def degrade(gt: RgbImage, recipe: Recipe) -> RgbImage:
    """
    Turn a GT into its LQ.

    Args:
        gt: (H, W, 3) RGB uint8; stays as it is.
        recipe: from `sample_recipe` or `Recipe.from_json`.

    Returns:
        (H, W, 3) RGB uint8, the same bytes for the same recipe, always.

    Raises:
        RecipeError: another release made the recipe and this one would give other pixels.
    """
    return replay(gt, recipe, _OPERATIONS)


def find_degradation(name: str) -> Degradation:
    """
    Find a type by name.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    found = DEGRADATIONS.get(name)
    if found is None:
        raise UsageError(f"there is no degradation {name!r}: {nearest(name, DEGRADATIONS)}")
    return found
