"""
What a degradation is: named levels, the operations that they draw parameters for, and the recipe that replays them.

A *level* is a setting that has a name ("gaussian-25"); each of its parameters is a fixed value or a range. Drawing from
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

import numpy as np

from uirdata.errors import RecipeError, nearest
from uirdata.images import RgbImage

RECIPE_VERSION = 1
"""Counts up when the form of a recipe changes. What an operation computes is versioned by its own `revision`."""

RELEASE = "0.1.0"
"""The release that recipes are stamped with; a test holds it equal to the version in pyproject.toml."""

LARGEST = 1_000_000
"""No parameter of any operation has a use for a larger number."""

Value = int | float | str | bool
_T = TypeVar("_T")
_KEYS = frozenset({"version", "degradation", "level", "release", "seed", "steps"})


class Draw(Protocol):
    """A range that a parameter is drawn from."""

    def draw(self, rng: np.random.Generator) -> Value:
        """Take one value; plain Python, so that it survives JSON unchanged."""
        ...

    def holds(self, value: Value) -> bool:
        """Tell whether the range has this value."""
        ...


@dataclass(frozen=True)
class Uniform:
    """A real number between `low` and `high`, rounded to six digits: what JSON shows is what is used."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Take one value."""
        return round(float(rng.uniform(self.low, self.high)), 6)

    def holds(self, value: Value) -> bool:
        """Tell whether the range has this value, but for the rounding."""
        return isinstance(value, float) and self.low - 1e-6 <= value <= self.high + 1e-6


@dataclass(frozen=True)
class LogUniform:
    """A real number between `low` and `high`, both positive, each octave as likely as the next; six digits."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Take one value."""
        return round(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), 6)

    def holds(self, value: Value) -> bool:
        """Tell whether the range has this value, but for the rounding."""
        return isinstance(value, float) and self.low - 1e-6 <= value <= self.high + 1e-6


@dataclass(frozen=True)
class Integer:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    def draw(self, rng: np.random.Generator) -> int:
        """Take one value."""
        return int(rng.integers(self.low, self.high + 1))

    def holds(self, value: Value) -> bool:
        """Tell whether the range has this value."""
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of some values, each with its weight (equal when none are given)."""

    values: tuple[Value, ...]
    weights: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator) -> Value:
        """Take one value."""
        if not self.weights:
            return self.values[int(rng.integers(len(self.values)))]
        return self.values[_weighted(self.weights, rng)]

    def holds(self, value: Value) -> bool:
        """Tell whether it is one of the values."""
        return value in self.values


@dataclass(frozen=True)
class Mixture:
    """One of some ranges, each with its weight, and then a value of it."""

    draws: tuple[Draw, ...]
    weights: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> Value:
        """Take one value."""
        return self.draws[_weighted(self.weights, rng)].draw(rng)

    def holds(self, value: Value) -> bool:
        """Tell whether one of the ranges has this value."""
        return any(draw.holds(value) for draw in self.draws)


Operation = Callable[..., RgbImage]
"""
A function `(image, rng, *, parameters...)`: (H, W, 3) RGB uint8 to a new image of the same size; the argument stays as
it is, and every random number is taken from the generator. It raises ValueError for a parameter that cannot be.
"""


@dataclass(frozen=True)
class NamedOperation:
    """
    An operation as recipes know it.

    Attributes:
        name: how recipes call it, such as "gaussian-noise"; unique over all degradations.
        apply: the function.
        revision: counts up when the function gives other bytes for the same parameters and seed.
        resizes: the function may change the image's size, and is told the GT's size by the keywords `gt_height` and
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
    One of some sequences of operations, each with its weight. An empty sequence is a step that may be left out.

    >>> OneOf(((StepTemplate("blur"),), ()), (0.8, 0.2)).weights
    (0.8, 0.2)
    """

    alternatives: tuple[tuple[StepTemplate | OneOf, ...], ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Level:
    """
    One setting of a degradation.

    Attributes:
        name: such as "gaussian-25"; unique within its degradation, without dots, as it becomes part of file names.
        steps: the operations in order.
        note: where the setting comes from, for people.
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
        levels: its settings, in the order that people expect.
        paper_pairs: pairs in the paper's UIR-2.5M, synthetic rows.
        paper_pairs_real: pairs in the paper's UIR-2.5M, real rows.
        operations: what its levels call.
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
        Find a level by name.

        Raises:
            RecipeError: there is none of that name; the message names the nearest.
        """
        for level in self.levels:
            if level.name == name:
                return level
        known = [level.name for level in self.levels]
        raise RecipeError(f"{self.name} has no level {name!r}: {nearest(name, known)}")


@dataclass(frozen=True)
class Step:
    """An operation with the values it was given. `revision` is that of the operation when the recipe was drawn."""

    operation: str
    parameters: Mapping[str, Value]
    revision: int = 1


@dataclass(frozen=True)
class Recipe:
    """
    What turns a GT into an LQ, complete and replayable.

    >>> import uirdata
    >>> recipe = uirdata.sample_recipe("haze", np.random.default_rng(0))
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True

    Attributes:
        steps: the operations in order.
        seed: 0 to 2**63 - 1; step i draws from a generator seeded with (seed, i).
        degradation: the type that it was drawn for.
        level: the name of the level that it was drawn from.
        release: of this program, which drew it.
    """

    steps: tuple[Step, ...]
    seed: int
    degradation: str = ""
    level: str = ""
    release: str = RELEASE

    def to_json(self) -> str:
        """Write as one line of JSON with sorted keys, so that equal recipes are equal texts."""
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
        Read what `to_json` wrote.

        Raises:
            RecipeError: the text is no recipe, or one of a newer form than this release knows.
        """
        try:
            document = json.loads(text)
            version = _expect(document["version"], int, "version")
            release = _expect(document.get("release", ""), str, "release")
            if version > RECIPE_VERSION:
                raise RecipeError(
                    f"the recipe has form {version}, this release reads up to {RECIPE_VERSION}: "
                    f"install release {release or 'of a later date'}"
                )
            if version < 1 or not document.keys() <= _KEYS:
                raise ValueError(f"form {version} and the keys {sorted(document)}; expected {sorted(_KEYS)}")
            steps = tuple(_read_step(step) for step in _expect(document["steps"], list, "steps"))
            seed = _expect(document["seed"], int, "seed")
            if not 0 <= seed < 2**63:
                raise ValueError(f"the seed is {seed}, expected 0 to 2**63 - 1")
            kind, level = (_expect(document[name], str, name) for name in ("degradation", "level"))
            return Recipe(steps, seed, kind, level, release)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RecipeError(f"this is no recipe: {text[:80]!r} ({error})") from error


def _read_step(step: dict[str, Any]) -> Step:
    parameters = {k: v for k, v in step.items() if k not in ("operation", "revision")}
    for name, value in parameters.items():
        if not isinstance(value, (int, float, str, bool)):
            raise TypeError(f"{name} is {value!r}, expected a number, a text, or true or false")
    return Step(_expect(step["operation"], str, "operation"), parameters, _expect(step["revision"], int, "revision"))


def _expect(value: Any, kind: type[_T], name: str) -> _T:
    # True is an int to Python, and to nobody else.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, expected {kind.__name__}")
    return value


def draw_steps(
    templates: Sequence[StepTemplate | OneOf], revisions: Mapping[str, int], rng: np.random.Generator
) -> tuple[Step, ...]:
    """Fix every range of some templates, in the order in which they are written."""
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
    Run a recipe on an image.

    Args:
        image: (H, W, 3) RGB uint8; stays as it is.
        recipe: what to run.
        operations: by name; those of all degradations.

    Raises:
        RecipeError: an operation is not known here, has another revision, or refuses its parameters.
        ValueError: the image is no (H, W, 3) uint8 array with pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected (H, W, 3) uint8 with pixels, got {image.shape} {image.dtype}")
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
    Let this process keep the memory that one picture frees for the next: up to twice as fast for small pictures.

    glibc gives freed memory back to the system above a threshold, and sets the threshold by the largest piece below
    32 MiB that was freed. This piece is never touched, so it costs nothing; up to 62 MiB are kept.
    """
    np.empty(31 * 2**20, dtype=np.uint8)


def _run(
    operation: NamedOperation, image: RgbImage, rng: np.random.Generator, parameters: Mapping[str, Value]
) -> RgbImage:
    # Checked before the call, so that a TypeError inside an operation stays what it is: a fault of ours.
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
    except (OverflowError, MemoryError) as error:
        raise RecipeError(f"{operation.name} cannot compute {dict(parameters)} here: {error}") from error


def _check(operation: NamedOperation, name: str, value: object) -> None:
    """Refuse what is not of the parameter's type, is no number, or is larger than any use that there is."""
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
