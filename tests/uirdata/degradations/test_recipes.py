from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import scene
from uirdata.degradations import DEGRADATIONS, degrade, find_degradation, sample_recipe
from uirdata.degradations.base import (
    RECIPE_VERSION,
    RELEASE,
    Choice,
    Degradation,
    Integer,
    Level,
    LogUniform,
    Mixture,
    NamedOperation,
    OneOf,
    Recipe,
    Step,
    StepTemplate,
    Uniform,
    draw_steps,
    replay,
)
from uirdata.errors import RecipeError, UsageError
from uirdata.seeding import rng_for


def rng(purpose="draw"):
    return rng_for(0, "recipes", purpose)


def test_a_recipe_is_this_text():
    recipe = sample_recipe("noise", rng(), "gaussian-25")
    assert recipe.to_json() == (
        '{"degradation":"noise","level":"gaussian-25","release":"0.1.0","seed":7241002119038823819,'
        '"steps":[{"operation":"gaussian-noise","revision":1,"sigma":25.0}],"version":1}'
    )


def test_recipes_carry_the_release_of_the_project():
    pyproject = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert pyproject["project"]["version"] == RELEASE


def test_a_recipe_of_another_revision_is_refused_with_the_release_that_made_it():
    made = json.loads(sample_recipe("noise", rng(), "gaussian-25").to_json())
    made["release"] = "0.9.4"
    made["steps"][0]["revision"] = 3
    with pytest.raises(RecipeError, match=r"revision 1 .* with 3.*0\.9\.4"):
        degrade(scene(), Recipe.from_json(json.dumps(made)))


def test_a_recipe_of_a_newer_form_is_refused_with_the_release_that_made_it():
    made = json.loads(sample_recipe("noise", rng()).to_json())
    made |= {"version": RECIPE_VERSION + 1, "release": "3.0.0"}
    with pytest.raises(RecipeError, match=r"install release 3\.0\.0"):
        Recipe.from_json(json.dumps(made))


def test_an_operation_that_is_not_here_is_refused_with_the_release_that_made_it():
    recipe = Recipe((Step("sandstorm", {}),), 0, release="2.1.0")
    with pytest.raises(RecipeError, match=r"'sandstorm'.*2\.1\.0"):
        degrade(scene(), recipe)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"version":1}', "nonsense"])
def test_a_text_that_is_no_recipe_is_refused(text):
    with pytest.raises(RecipeError, match="this is not a recipe"):
        Recipe.from_json(text)


@pytest.mark.parametrize("parameters", [{"sigma": -1.0}, {"sigma": 5.0, "strength": 2}, {}])
def test_parameters_that_cannot_be_are_refused(parameters):
    with pytest.raises(RecipeError, match="gaussian-noise"):
        degrade(scene(), Recipe((Step("gaussian-noise", parameters),), 0))


def test_a_bug_inside_an_operation_is_not_reported_as_a_bad_recipe():
    def broken(image, rng):
        raise TypeError("a fault of ours")

    with pytest.raises(TypeError, match="a fault of ours"):
        replay(scene(), Recipe((Step("broken", {}),), 0), {"broken": NamedOperation("broken", broken)})


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_a_mistake_of_the_caller(image):
    with pytest.raises(ValueError, match="expected"):
        degrade(image, sample_recipe("noise", rng()))


def test_a_recipe_that_ends_at_another_size_is_refused():
    with pytest.raises(RecipeError, match="restore the size"):
        degrade(scene(), Recipe((Step("rescale", {"factor": 0.5}),), 0))


def test_a_recipe_without_steps_gives_a_copy():
    gt = scene()
    lq = degrade(gt, Recipe((), 0))
    assert np.array_equal(lq, gt)
    assert lq is not gt


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match="motion-blur"):
        find_degradation("moton-blur")
    with pytest.raises(UsageError, match="haze"):
        sample_recipe("hase", rng())
    with pytest.raises(RecipeError, match="gaussian-25"):
        sample_recipe("noise", rng(), "gausian-25")


def test_without_a_level_all_levels_come_up_equally_often():
    levels = DEGRADATIONS["mosaic"].levels
    stream = rng()
    drawn = [sample_recipe("mosaic", stream).level for _ in range(100 * len(levels))]
    counts = [drawn.count(level.name) for level in levels]
    assert min(counts) > 60
    assert max(counts) < 140


def test_steps_draw_from_generators_of_their_own():
    twice = Recipe((Step("gaussian-noise", {"sigma": 20.0}), Step("gaussian-noise", {"sigma": 20.0})), 3)
    gt = np.full((64, 64, 3), 128, np.uint8)
    first = degrade(gt, Recipe(twice.steps[:1], 3)).astype(int) - 128
    second = degrade(gt, twice).astype(int) - 128 - first
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_a_range_gives_plain_python_values_inside_its_bounds():
    ranges = [
        Uniform(0.2, 3.0),
        LogUniform(1.0, 100.0),
        Integer(3, 5),
        Choice(("a", "b"), (1.0, 3.0)),
        Mixture((Uniform(0.0, 1.0), Integer(10, 12)), (0.5, 0.5)),
    ]
    stream = rng()
    for chosen in ranges:
        for _ in range(200):
            value = chosen.draw(stream)
            assert type(value) in (int, float, str, bool)
            assert chosen.holds(value)
            assert json.loads(json.dumps(value)) == value
    assert not Uniform(0.2, 3.0).holds(3.1)
    assert not Integer(3, 5).holds(6)


def test_weights_are_shares():
    stream = rng()
    drawn = [Choice((1, 2, 3), (0.2, 0.7, 0.1)).draw(stream) for _ in range(4000)]
    assert [round(drawn.count(value) / 4000, 1) for value in (1, 2, 3)] == [0.2, 0.7, 0.1]


def test_a_log_uniform_range_gives_each_octave_the_same_share():
    stream = rng()
    drawn = np.array([LogUniform(1.0, 16.0).draw(stream) for _ in range(4000)])
    shares = np.histogram(np.log2(drawn), bins=[0, 1, 2, 3, 4])[0] / 4000
    assert np.allclose(shares, 0.25, atol=0.03)


def test_a_step_that_may_be_left_out_is_left_out_as_often_as_said():
    templates = (OneOf(((StepTemplate("a"),), ()), (0.8, 0.2)),)
    stream = rng()
    taken = sum(len(draw_steps(templates, {"a": 1}, stream)) for _ in range(2000))
    assert taken / 2000 == pytest.approx(0.8, abs=0.03)


def _invert(image, rng):
    return 255 - image


def test_a_type_of_ones_own_can_be_sampled():
    own = Degradation(
        "invert",
        "IN",
        "single",
        (Level("all", (StepTemplate("invert"),)),),
        operations=(NamedOperation("invert", _invert, revision=2),),
    )
    recipe = sample_recipe(own, rng())
    assert recipe.steps == (Step("invert", {}, 2),)
    assert np.array_equal(replay(scene(), recipe, {"invert": own.operations[0]}), 255 - scene())


def test_notes_name_no_level_twice():
    for degradation in DEGRADATIONS.values():
        for level in degradation.levels:
            assert not re.search(r"TODO|FIXME", level.note)


def recipe_text(**changes):
    step = {"operation": "gaussian-noise", "revision": 1, "sigma": 5.0}
    document = {"version": 1, "degradation": "noise", "level": "x", "release": "0.1.0", "seed": 1, "steps": [step]}
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": "1"},
        {"version": True},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": None},
        {"seed": 2**63},
        {"release": 5},
        {"level": None},
        {"steps": "noise"},
        {"steps": [[]]},
        {"steps": [{"operation": [], "revision": 1}]},
        {"steps": [{"operation": "gaussian-noise", "revision": "1"}]},
        {"steps": [{"operation": "gaussian-noise", "revision": 1, "sigma": [5.0]}]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_text_of_another_form_is_no_recipe(changes):
    Recipe.from_json(recipe_text())
    with pytest.raises(RecipeError, match="not a recipe"):
        Recipe.from_json(recipe_text(**changes))


def test_a_text_of_ten_thousand_brackets_is_no_recipe():
    with pytest.raises(RecipeError, match="not a recipe"):
        Recipe.from_json("[" * 100_000)


# A recipe is untrusted input: each value here once caused a traceback, a black image or exhausted memory.
HOSTILE = (math.nan, math.inf, -math.inf, 1e300, 10**30, 10**9, "x", "4", None, [1], True)


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_every_value_of_a_recipe_gives_an_image_or_an_error(name):
    gt = scene(12, 10)
    tried = set()
    for level in DEGRADATIONS[name].levels:
        recipe = sample_recipe(name, rng_for(0, level.name, name), level.name)
        for index, step in enumerate(recipe.steps):
            for parameter, value in step.parameters.items():
                if (step.operation, parameter) in tried:
                    continue
                tried.add((step.operation, parameter))
                for hostile in HOSTILE:
                    if isinstance(hostile, bool) and isinstance(value, bool):
                        continue
                    steps = list(recipe.steps)
                    steps[index] = Step(step.operation, {**step.parameters, parameter: hostile}, step.revision)
                    with pytest.raises(RecipeError, match=step.operation):
                        degrade(gt, Recipe(tuple(steps), 1))
