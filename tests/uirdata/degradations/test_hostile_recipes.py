from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uirdata import Recipe, degradations, degrade, sample_recipe
from uirdata.degradations.base import MOST_RECIPE_BYTES, MOST_STEPS, Step
from uirdata.errors import RecipeError

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)


def written(**changes: Any) -> str:
    document = json.loads(sample_recipe("noise", np.random.default_rng(0), "gaussian-25").to_json())
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[" * 50_000 + "]" * 50_000,
        '{"a":' * 20_000 + "1" + "}" * 20_000,
        written(seed=10**25),
        written(seed=True),
        written(seed="1"),
        written(version=10**400),
        written(steps={}),
        written(steps=[5]),
        written(steps=[{"operation": "jpeg"}]),
        written(steps=[{"operation": "jpeg", "revision": 1, "quality": float("nan")}]),
        written(steps=[{"operation": "jpeg", "revision": 1, "quality": [10**9]}]),
        written(steps=[{"operation": "jpeg", "revision": 1, "quality": 50}] * (MOST_STEPS + 1)),
        written(level="x" * MOST_RECIPE_BYTES),
        written(extra=1),
    ],
)
def test_what_is_no_recipe_is_an_error_of_one_line(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_json(text)
    assert len(str(caught.value)) < 500


def numbers(operation: str) -> list[tuple[Step, str]]:
    """Return the steps of an operation's first level, each with the name of a number in it."""
    for degradation in degradations().values():
        for level in degradation.levels:
            for step in sample_recipe(degradation.name, np.random.default_rng(0), level.name).steps:
                if step.operation == operation:
                    names = [n for n, v in step.parameters.items() if isinstance(v, (int, float)) and v is not True]
                    return [(step, name) for name in names if not isinstance(step.parameters[name], bool)]
    return []


OPERATIONS = sorted({operation.name for kind in degradations().values() for operation in kind.operations})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_number_of_a_recipe_takes_long_or_much_memory(operation: str) -> None:
    for step, name in numbers(operation):
        kind = type(step.parameters[name])
        for value in (1e6, 150, float("nan")):
            if kind is int and not abs(value) < 1e7:
                continue
            recipe = Recipe((Step(operation, {**step.parameters, name: kind(value)}, step.revision),), 1)
            start = time.process_time()
            with suppress(RecipeError):
                assert degrade(IMAGE, recipe).shape == IMAGE.shape
            assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("rain-streak", {"density": 50_000.0, "length": 400.0, "width": 400.0, "angle": 0.0, "opacity": 1.0}),
        ("snow", {"density": 50_000.0, "size": 400.0, "travel": 400.0, "angle": 0.0}),
        ("raindrop", {"density": 2000.0, "size": 300.0, "spread": 3.0}),
    ],
)
def test_marks_that_would_take_hours_together_are_refused(operation: str, parameters: dict[str, float]) -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    start = time.process_time()
    with pytest.raises(RecipeError, match="over a pixel"):
        degrade(image, Recipe((Step(operation, parameters, 1),), 1))
    assert time.process_time() - start < 5


def test_an_image_is_not_enlarged_beyond_all_memory() -> None:
    image = np.zeros((4096, 4096, 3), np.uint8)
    step = Step("rescale", {"factor": 8.0, "method": "bilinear"}, 1)
    with pytest.raises(RecipeError, match="at most 268,435,456 pixels"):
        degrade(image, Recipe((step, step), 1))


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.integers(), max_size=2)
)
STEPS = st.dictionaries(st.sampled_from(["operation", "revision", "quality", "image", "rng", "x"]), VALUES, max_size=5)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "version": VALUES,
            "degradation": VALUES,
            "level": VALUES,
            "release": VALUES,
            "seed": VALUES | st.just(5),
            "steps": VALUES | st.lists(STEPS | VALUES, max_size=3),
        },
    )
)
@settings(max_examples=150)
def test_any_json_is_a_recipe_or_an_error(changes: dict[str, Any]) -> None:
    try:
        degrade(IMAGE, Recipe.from_json(written(**changes)))
    except RecipeError as error:
        reason = str(error)
    else:
        reason = ""
    assert len(reason) < 2000
