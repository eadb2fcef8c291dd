"""
The model of a degradation: named levels, the operations that they parametrise, and the recipe that replays them.

A *level* is a named setting ("gaussian-25"); each of its parameters is a fixed value or a range. Drawing from
a level gives a *recipe*: operations with fixed parameters, and a seed. A recipe turns a GT into its LQ, the same bytes
at every replay.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeVar

import cv2
import numpy as np

from uirdata.errors import RecipeError, nearest
from uirdata.images import RgbImage
from uirdata.validators import load_json, shown

RECIPE_VERSION = 1
"""Increases when the format of recipes changes. What an operation computes is versioned by its own `revision`."""

RELEASE = "0.1.0"
"""The release that is written into recipes; a test compares it with the version in pyproject.toml."""

LARGEST = 1_000_000
"""The upper limit of all numeric parameters, beyond any useful value."""

MOST_STEPS = 32
"""Most operations of a recipe; those of this project have up to eight."""

MOST_RECIPE_BYTES = 1 << 16
"""Longest JSON of a recipe; those of this project have less than a kilobyte."""

Value = int | float | str | bool
_T = TypeVar("_T")
_KEYS = frozenset({"version", "degradation", "level", "release", "seed", "steps"})


class Draw(Protocol):
    """A range that a parameter is drawn from."""

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw a value; a plain Python type, so that JSON keeps it unchanged."""
        ...

    def holds(self, value: Value) -> bool:
        """Return whether the range contains a value."""
        ...


@dataclass(frozen=True)
class Uniform:
    """A real number between `low` and `high`, rounded to six digits, so that JSON contains the value that is used."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a value."""
        return round(float(rng.uniform(self.low, self.high)), 6)

    def holds(self, value: Value) -> bool:
        """Return whether the range contains a value, up to the rounding."""
        return isinstance(value, float) and self.low - 1e-6 <= value <= self.high + 1e-6


@dataclass(frozen=True)
class LogUniform:
    """A real number between `low` and `high`, both positive, uniform in its logarithm, rounded to six digits."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a value."""
        return round(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), 6)

    def holds(self, value: Value) -> bool:
        """Return whether the range contains a value, up to the rounding."""
        return isinstance(value, float) and self.low - 1e-6 <= value <= self.high + 1e-6


@dataclass(frozen=True)
class Integer:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int

    def draw(self, rng: np.random.Generator) -> int:
        """Draw a value."""
        return int(rng.integers(self.low, self.high + 1))

    def holds(self, value: Value) -> bool:
        """Return whether the range contains a value."""
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of several values, each with its weight (equal if no weights are given)."""

    values: tuple[Value, ...]
    weights: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw a value."""
        if not self.weights:
            return self.values[int(rng.integers(len(self.values)))]
        return self.values[_weighted(self.weights, rng)]

    def holds(self, value: Value) -> bool:
        """Return whether a value is one of the values."""
        return value in self.values


@dataclass(frozen=True)
class Mixture:
    """A value from one of several ranges, each with its weight."""

    draws: tuple[Draw, ...]
    weights: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> Value:
        """Draw a value."""
        return self.draws[_weighted(self.weights, rng)].draw(rng)

    def holds(self, value: Value) -> bool:
        """Return whether one of the ranges contains a value."""
        return any(draw.holds(value) for draw in self.draws)


Operation = Callable[..., RgbImage]
"""
A function `(image, rng, *, parameters...)`: (H, W, 3) RGB uint8 to a new image of the same size; the argument is not
modified, and every random number is drawn from the generator. It raises ValueError for an invalid parameter.
"""


@dataclass(frozen=True)
class NamedOperation:
    """
    An operation as recipes refer to it.

    Attributes:
        name: its name in recipes, such as "gaussian-noise"; unique over all degradations.
        apply: the function.
        revision: increases when the function gives other bytes for the same parameters and seed.
        resizes: the function may change the image's size, and gets the GT's size by the keywords `gt_height` and
            `gt_width`. A recipe must end at the size that it began with.
    """

    name: str
    apply: Operation
    revision: int = 1
    resizes: bool = False


@dataclass(frozen=True)
class StepTemplate:
    """An operation with parameters that are values or ranges."""

    operation: str
    parameters: Mapping[str, Value | Draw] = field(default_factory=dict)


@dataclass(frozen=True)
class OneOf:
    """
    One of several sequences of operations, each with its weight. An empty sequence makes the step optional.

    >>> OneOf(((StepTemplate("blur"),), ()), (0.8, 0.2)).weights
    (0.8, 0.2)
    """

    alternatives: tuple[tuple[StepTemplate | OneOf, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Level:
    """
    A named setting of a degradation.

    Attributes:
        name: such as "gaussian-25"; unique within its degradation, without dots, since file names contain it.
        steps: the operations in order.
        note: source of the setting, for readers.
    """

    name: str
    steps: tuple[StepTemplate | OneOf, ...]
    note: str = ""


def one_step_level(operation: str, name: str, note: str = "", /, **parameters: Value | Draw) -> Level:
    """
    Return a level of a single operation.

    >>> one_step_level("jpeg", "quality-10", quality=10).steps
    (StepTemplate(operation='jpeg', parameters={'quality': 10}),)
    """
    return Level(name, (StepTemplate(operation, parameters),), note)


@dataclass(frozen=True)
class Degradation:
    """
    One of the nineteen types.

    >>> import uirdata
    >>> noise = uirdata.degradations()["noise"]
    >>> noise.abbreviation, noise.kind, noise.level("gaussian-25").name
    ('GN', 'single', 'gaussian-25')

    Attributes:
        name: such as "motion-blur".
        abbreviation: the paper's, such as "MB"; the mixed types have none there, so these are ours.
        kind: single or mixed.
        levels: its settings, in a natural order.
        paper_pairs: pairs in the paper's UIR-2.5M, synthetic rows.
        paper_pairs_real: pairs in the paper's UIR-2.5M, real rows.
        operations: the operations of its levels.
    """

    name: str
    abbreviation: str
    kind: Literal["single", "mixed"]
    levels: tuple[Level, ...] = ()
    paper_pairs: int = 0
    paper_pairs_real: int = 0
    operations: tuple[NamedOperation, ...] = ()

    def level(self, name: str) -> Level:
        """
        Return a level by name.

        Raises:
            RecipeError: there is no such level; the message suggests the most similar name.
        """
        for level in self.levels:
            if level.name == name:
                return level
        known = [level.name for level in self.levels]
        raise RecipeError(f"{self.name} has no level {name!r}: {nearest(name, known)}")


@dataclass(frozen=True)
class Step:
    """An operation with its parameter values. `revision` is that of the operation when the recipe was drawn."""

    operation: str
    parameters: Mapping[str, Value]
    revision: int = 1


@dataclass(frozen=True)
class Recipe:
    """
    The complete and replayable description of how a GT becomes an LQ.

    >>> import uirdata
    >>> recipe = uirdata.sample_recipe("haze", np.random.default_rng(0))
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True

    Attributes:
        steps: the operations in order.
        seed: 0 to 2**63 - 1; step i draws from a generator seeded with (seed, i).
        degradation: the type for which it was drawn.
        level: name of the level from which it was drawn.
        release: release of this program that drew it.
    """

    steps: tuple[Step, ...]
    seed: int
    degradation: str = ""
    level: str = ""
    release: str = RELEASE

    def to_json(self) -> str:
        """Return one line of JSON with sorted keys, so that equal recipes are equal texts."""
        steps = [{"operation": s.operation, "revision": s.revision, **dict(s.parameters)} for s in self.steps]
        document = {
            "version": RECIPE_VERSION,
            "degradation": self.degradation,
            "level": self.level,
            "release": self.release,
            "seed": self.seed,
            "steps": steps,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Recipe:
        """
        Return the recipe that `to_json` wrote.

        Raises:
            RecipeError: the text is not a recipe, or has a newer format than this release can read.
        """
        try:
            document = load_json(text, most_bytes=MOST_RECIPE_BYTES)
            version = _expect(document["version"], int, "version")
            release = _expect(document.get("release", ""), str, "release")
            if version > RECIPE_VERSION:
                raise RecipeError(
                    f"the recipe has format {version}, this release reads up to {RECIPE_VERSION}: "
                    f"install release {release or 'of a later date'}"
                )
            if version < 1 or not document.keys() <= _KEYS:
                raise ValueError(f"format {version} and the keys {sorted(document)}; expected {sorted(_KEYS)}")
            written = _expect(document["steps"], list, "steps")
            if len(written) > MOST_STEPS:
                raise ValueError(f"it has {len(written)} steps, expected at most {MOST_STEPS}")
            steps = tuple(_read_step(step) for step in written)
            seed = _expect(document["seed"], int, "seed")
            if not 0 <= seed < 2**63:
                raise ValueError(f"the seed is {seed}, expected 0 to 2**63 - 1")
            kind, level = (_expect(document[name], str, name) for name in ("degradation", "level"))
            return Recipe(steps, seed, kind, level, release)
        except KeyError as error:
            raise RecipeError(f"this is not a recipe: {shown(text)} (it lacks {error})") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise RecipeError(f"this is not a recipe: {shown(text)} ({str(error)[:200]})") from error


def _read_step(step: dict[str, Any]) -> Step:
    parameters = {k: v for k, v in step.items() if k not in ("operation", "revision")}
    for name, value in parameters.items():
        if not isinstance(value, (int, float, str, bool)):
            raise TypeError(f"{name} is {value!r}, expected a number, a text, true or false")
    return Step(_expect(step["operation"], str, "operation"), parameters, _expect(step["revision"], int, "revision"))


def _expect(value: Any, kind: type[_T], name: str) -> _T:
    # In Python True is an int.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, expected {kind.__name__}")
    return value


def draw_steps(
    templates: Sequence[StepTemplate | OneOf], revisions: Mapping[str, int], rng: np.random.Generator
) -> tuple[Step, ...]:
    """Draw a value from every range of some templates, in the order in which they are written."""
    steps: list[Step] = []
    for template in templates:
        if isinstance(template, OneOf):
            steps += draw_steps(template.alternatives[_weighted(template.weights, rng)], revisions, rng)
            continue
        parameters = {
            name: value if isinstance(value, (int, float, str, bool)) else value.draw(rng)
            for name, value in template.parameters.items()
        }
        steps.append(Step(template.operation, parameters, revisions[template.operation]))
    return tuple(steps)


def replay(image: RgbImage, recipe: Recipe, operations: Mapping[str, NamedOperation]) -> RgbImage:
    """
    Return the result of a recipe on an image.

    Args:
        image: (H, W, 3) RGB uint8; not modified.
        recipe: the recipe to replay.
        operations: by name; those of all degradations.

    Raises:
        RecipeError: an operation is unknown, has another revision, or refuses its parameters.
        ValueError: the image is not a (H, W, 3) uint8 array with pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected (H, W, 3) uint8 with pixels, got {image.shape} {image.dtype}")
    if len(recipe.steps) > MOST_STEPS:
        raise RecipeError(f"the recipe has {len(recipe.steps)} steps, expected at most {MOST_STEPS}")
    _keep_freed_memory()
    result = image
    for index, step in enumerate(recipe.steps):
        operation = operations.get(step.operation)
        if operation is None:
            raise RecipeError(
                f"the operation {step.operation!r} is not in release {RELEASE}; use release {recipe.release}, "
                "which made the recipe"
            )
        if operation.revision != step.revision:
            raise RecipeError(
                f"{step.operation} is at revision {operation.revision} in release {RELEASE}, the recipe was made with "
                f"{step.revision}: the pixels would differ. Use release {recipe.release}, which made it"
            )
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([recipe.seed, index])))
        size = {"gt_height": image.shape[0], "gt_width": image.shape[1]} if operation.resizes else {}
        result = _run(operation, result, rng, {**step.parameters, **size})
    if result.shape != image.shape:
        raise RecipeError(
            f"the recipe turns {image.shape[:2]} into {result.shape[:2]}; its last step must restore the size"
        )
    return result if recipe.steps else image.copy()


@lru_cache(maxsize=1)
def _keep_freed_memory() -> None:
    """
    Keep the memory that one image frees in this process for the next: up to twice as fast for small images.

    glibc returns freed memory to the system above a threshold, and derives the threshold from the largest block below
    32 MiB that was freed. This block is never accessed, so it costs nothing; up to 62 MiB are kept.
    """
    np.empty(31 * 2**20, dtype=np.uint8)


def _run(
    operation: NamedOperation, image: RgbImage, rng: np.random.Generator, parameters: Mapping[str, Value]
) -> RgbImage:
    # Checked before the call, so that a TypeError inside an operation is not hidden: it would be a bug.
    try:
        inspect.signature(operation.apply).bind(image, rng, **parameters)
    except TypeError as error:
        raise RecipeError(f"{operation.name} does not take these parameters: {error}") from error
    for name, value in parameters.items():
        _check(operation, name, value)
    try:
        return operation.apply(image, rng, **parameters)
    except ValueError as error:
        raise RecipeError(f"{operation.name} refuses {dict(parameters)}: {error}") from error
    except (ArithmeticError, MemoryError, cv2.error) as error:
        raise RecipeError(f"{operation.name} cannot compute {dict(parameters)} here: {error}") from error


def _check(operation: NamedOperation, name: str, value: object) -> None:
    """Raise RecipeError if a value is not of the parameter's type, is NaN or infinite, or exceeds `LARGEST`."""
    wanted = inspect.signature(operation.apply).parameters[name].annotation.removesuffix(" | None")
    kinds = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}[wanted]
    fits = isinstance(value, kinds) and (wanted == "bool" or not isinstance(value, bool))
    if not fits or (isinstance(value, (int, float)) and not abs(value) <= LARGEST):
        raise RecipeError(
            f"{operation.name}: {name} is {value!r}, expected {wanted}"
            + (f" of at most {LARGEST:,} in magnitude" if wanted in ("float", "int") else "")
        )


def _weighted(weights: Sequence[float], rng: np.random.Generator) -> int:
    shares = np.cumsum(weights)
    return min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), len(weights) - 1)
