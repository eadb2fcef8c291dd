"""
The nineteen degradation types. To add one: write a file with a DEGRADATION, and name it in `DEGRADATIONS`.

>>> import uirdata
>>> list(uirdata.degradations())[:3]
['noise', 'real-noise', 'motion-blur']
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType

import numpy as np

from uirdata.degradations import (
    blur_jpeg,
    blur_rain,
    defocus_blur,
    downsample_noise_blur_jpeg,
    gaussian_blur,
    haze,
    jpeg,
    low_light,
    low_light_blur_noise,
    low_light_haze_rain_snow,
    moire,
    mosaic,
    motion_blur,
    noise,
    rain_streak,
    rain_streak_raindrop,
    raindrop,
    real_noise,
    snow,
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

DEGRADATIONS: Mapping[str, Degradation] = MappingProxyType(
    {
        module.DEGRADATION.name: module.DEGRADATION
        for module in (
            noise,
            real_noise,
            motion_blur,
            defocus_blur,
            gaussian_blur,
            jpeg,
            haze,
            rain_streak,
            raindrop,
            rain_streak_raindrop,
            snow,
            mosaic,
            low_light,
            moire,
            blur_jpeg,
            blur_rain,
            low_light_blur_noise,
            low_light_haze_rain_snow,
            downsample_noise_blur_jpeg,
        )
    }
)
"""All types by name. Their order is the label order of a full-set run: append, never reorder."""

_OPERATIONS: Mapping[str, NamedOperation] = MappingProxyType(
    {operation.name: operation for d in DEGRADATIONS.values() for operation in d.operations}
)


def degradations() -> Mapping[str, Degradation]:
    """
    Return all nineteen types by name, in label order.

    >>> import uirdata
    >>> len(uirdata.degradations())
    19
    """
    return DEGRADATIONS


def sample_recipe(degradation: str | Degradation, rng: np.random.Generator, level: str | None = None) -> Recipe:
    """
    Draw a recipe of a type.

    >>> recipe = sample_recipe("noise", np.random.default_rng(0), "gaussian-25")
    >>> recipe.degradation, recipe.level
    ('noise', 'gaussian-25')

    Args:
        degradation: the type, or its name.
        rng: the level (unless given), its parameters and the recipe's seed are drawn from it, in this order.
        level: name of one of the type's levels; None draws one, all with equal probability.

    Raises:
        UsageError: there is no such type.
        RecipeError: the type has no such level.
    """
    chosen = find_degradation(degradation) if isinstance(degradation, str) else degradation
    if not chosen.levels:
        raise RecipeError(f"{chosen.name} cannot be synthesised; it has published pairs only")
    setting = chosen.levels[int(rng.integers(len(chosen.levels)))] if level is None else chosen.level(level)
    revisions = {name: operation.revision for name, operation in _OPERATIONS.items()}
    revisions.update({operation.name: operation.revision for operation in chosen.operations})
    steps = draw_steps(setting.steps, revisions, rng)
    return Recipe(steps, int(rng.integers(2**63)), chosen.name, setting.name)


def degrade(gt: RgbImage, recipe: Recipe) -> RgbImage:
    """
    Return the LQ that a recipe makes of a GT.

    >>> gt = np.full((64, 64, 3), 128, np.uint8)
    >>> recipe = sample_recipe("noise", np.random.default_rng(0), "gaussian-25")
    >>> lq = degrade(gt, recipe)
    >>> lq.shape, bool((degrade(gt, recipe) == lq).all())
    ((64, 64, 3), True)

    Args:
        gt: (H, W, 3) RGB uint8; not modified.
        recipe: from `sample_recipe` or `Recipe.from_json`.

    Returns:
        (H, W, 3) RGB uint8, always the same bytes for the same recipe.

    Raises:
        RecipeError: another release made the recipe and this one would give other pixels.
    """
    return replay(gt, recipe, _OPERATIONS)


def find_degradation(name: str) -> Degradation:
    """
    Return a type by name.

    Raises:
        UsageError: there is no such type; the message suggests the most similar name.
    """
    found = DEGRADATIONS.get(name)
    if found is None:
        raise UsageError(f"there is no degradation {name!r}: {nearest(name, DEGRADATIONS)}")
    return found


class _CallableModule(ModuleType):
    """A module that is called like its function of the same name."""

    def __call__(self) -> Mapping[str, Degradation]:
        """As `degradations`."""
        return degradations()

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Return it as its name: it is exported as a function, and functions can be pickled and copied."""
        return import_module, (self.__name__,)


# Once it is imported, this package stands where `uirdata.degradations`, the public function, is looked up.
sys.modules[__name__].__class__ = _CallableModule
