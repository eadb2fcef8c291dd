"""Requirements on every type; a type that is added is tested automatically."""

from __future__ import annotations

import importlib
import pkgutil
import re

import numpy as np
import pytest

import uirdata.degradations
from tests.uirdata.degradations.synthetic_images import random_image, scene
from uirdata.degradations import DEGRADATIONS, degrade, sample_recipe
from uirdata.degradations.base import OneOf, Recipe, Step, StepTemplate
from uirdata.seeding import rng_for

TYPES = list(DEGRADATIONS.values())
SIZES = [(1, 1), (1, 9), (7, 5), (2, 33), (64, 48)]

each_type = pytest.mark.parametrize("degradation", TYPES, ids=[d.name for d in TYPES])


def recipe_of(degradation, level, purpose="recipe"):
    return sample_recipe(degradation, rng_for(0, f"{degradation.name}/{level.name}", purpose), level.name)


@each_type
def test_every_level_keeps_any_size_and_its_input_and_repeats_its_bytes(degradation):
    for index, level in enumerate(degradation.levels):
        gt = random_image(*SIZES[index % len(SIZES)])
        before = gt.copy()
        recipe = recipe_of(degradation, level)
        lq = degrade(gt, recipe)
        assert lq.shape == gt.shape, level.name
        assert lq.dtype == np.uint8, level.name
        assert lq.flags.c_contiguous, level.name
        assert not np.shares_memory(lq, gt), level.name
        assert np.array_equal(gt, before), level.name
        assert np.array_equal(degrade(gt, Recipe.from_json(recipe.to_json())), lq), level.name


@each_type
@pytest.mark.parametrize("size", SIZES)
def test_the_first_and_the_last_level_take_any_size(degradation, size):
    for level in (degradation.levels[0], degradation.levels[-1]):
        assert degrade(random_image(*size), recipe_of(degradation, level)).shape == (*size, 3)


@each_type
def test_a_view_that_is_not_contiguous_gives_the_same_bytes(degradation):
    gt = random_image(40, 36)[4:, ::2]
    recipe = recipe_of(degradation, degradation.levels[-1])
    assert np.array_equal(degrade(gt, recipe), degrade(np.ascontiguousarray(gt), recipe))


@each_type
def test_every_level_changes_the_image(degradation):
    gt = scene(128, 128)
    for level in degradation.levels:
        assert not np.array_equal(degrade(gt, recipe_of(degradation, level)), gt), level.name


@each_type
def test_level_names_are_unique_and_fit_into_file_names(degradation):
    names = [level.name for level in degradation.levels]
    assert len(set(names)) == len(names)
    for name in [degradation.name, *names]:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), name


@each_type
def test_draws_lie_inside_their_ranges_and_survive_json(degradation):
    for level in degradation.levels:
        for attempt in range(20):
            recipe = recipe_of(degradation, level, f"draw {attempt}")
            assert Recipe.from_json(recipe.to_json()) == recipe
            remaining = list(recipe.steps)
            assert fits(level.steps, remaining), (level.name, recipe)
            assert not remaining


@each_type
def test_a_type_says_which_operations_its_levels_call(degradation):
    known = {operation.name for d in TYPES for operation in d.operations}
    for level in degradation.levels:
        assert level.steps, level.name
        assert called(level.steps) <= known, level.name


def test_the_types_are_the_papers_in_the_papers_order():
    assert [d.abbreviation for d in TYPES[:14]] == [
        "GN",
        "RN",
        "MB",
        "DB",
        "GB",
        "J",
        "H",
        "RS",
        "RD",
        "RSD",
        "S",
        "MS",
        "LL",
        "MR",
    ]
    assert [d.kind for d in TYPES] == ["single"] * 14 + ["mixed"] * 5
    pairs = {
        kind: sum(d.paper_pairs + d.paper_pairs_real for d in TYPES if d.kind == kind) for kind in ("single", "mixed")
    }
    assert pairs == {"single": 1_774_975, "mixed": 708_013}


def test_there_are_over_two_hundred_levels():
    assert sum(len(d.levels) for d in TYPES) > 200


def test_no_type_in_the_folder_is_missing_from_the_list():
    listed = {id(d) for d in TYPES}
    for module in pkgutil.iter_modules(uirdata.degradations.__path__):
        found = getattr(importlib.import_module(f"uirdata.degradations.{module.name}"), "DEGRADATION", None)
        assert found is None or id(found) in listed, module.name


def test_no_two_types_use_one_name_for_two_operations():
    names = [operation.name for d in TYPES for operation in d.operations]
    assert len(set(names)) == len(names)


def called(templates) -> set[str]:
    names = set()
    for template in templates:
        if isinstance(template, OneOf):
            names |= {name for alternative in template.alternatives for name in called(alternative)}
        else:
            names.add(template.operation)
    return names


def fits(templates, steps: list[Step]) -> bool:
    """Remove the steps that the templates may have drawn from the list."""
    for template in templates:
        if isinstance(template, StepTemplate):
            if not steps or not holds(template, steps.pop(0)):
                return False
            continue
        for alternative in template.alternatives:
            rest = list(steps)
            if fits(alternative, rest) and len(rest) == len(steps) - count(alternative, steps):
                steps[:] = rest
                break
        else:
            return False
    return True


def count(alternative, steps) -> int:
    rest = list(steps)
    fits(alternative, rest)
    return len(steps) - len(rest)


def holds(template: StepTemplate, step: Step) -> bool:
    if template.operation != step.operation or set(template.parameters) != set(step.parameters):
        return False
    for name, allowed in template.parameters.items():
        value = step.parameters[name]
        if not (allowed.holds(value) if hasattr(allowed, "holds") else allowed == value):
            return False
    return True
