from __future__ import annotations

import numpy as np
import pytest

from maskdcpt.evaluation.cases import level_of, noisy
from maskdcpt.evaluation.paper_tables import load_table
from maskdcpt.evaluation.test_sets import BENCHES, GaussianNoise, TestSet, find_bench
from uirdata import load_sources, load_subset
from uirdata.degradations import find_degradation
from uirdata.errors import UsageError
from uirdata.manifest_syntax.pair_rules import can_have_level

SOURCES = load_sources()
SETS = {test_set.name: test_set for bench in BENCHES.values() for test_set in bench.sets}


@pytest.mark.parametrize("name", BENCHES)
def test_the_cells_of_a_bench_are_those_of_its_table(name: str) -> None:
    bench = BENCHES[name]
    table = load_table(bench.table)
    assert list(dict.fromkeys(column.cell for column in table.columns)) == [cell.name for cell in bench.cells]
    assert {column.metric for column in table.columns} == set(bench.metrics)
    for column in table.columns:
        cell = next(cell for cell in bench.cells if cell.name == column.cell)
        if column.degradation:
            assert {test_set.degradation for test_set in cell.sets} == {column.degradation}
        if not all(test_set.reference for test_set in cell.sets):
            assert column.metric in ("piqe", "brisque")


@pytest.mark.parametrize("name", SETS)
def test_a_test_set_is_what_its_source_says_it_holds(name: str) -> None:
    test_set = SETS[name]
    source = SOURCES[test_set.source]
    rules = [
        rule
        for rule in source.pairs
        if rule.split == test_set.split
        and bool(rule.gt) == test_set.reference
        and (rule.degradation == test_set.degradation if test_set.made is None else not rule.lq)
    ]
    assert rules
    if test_set.level:
        assert any(can_have_level(rule, test_set.level) for rule in rules)
    if test_set.made is not None:
        assert level_of(test_set) in {level.name for level in find_degradation(test_set.degradation).levels}


@pytest.mark.parametrize("name", BENCHES)
def test_the_subset_of_a_bench_brings_all_that_it_needs(name: str) -> None:
    bench = BENCHES[name]
    assert {test_set.source for test_set in bench.sets} <= set(load_subset(bench.subset).sources)


def test_one_name_is_one_test_set() -> None:
    every = [test_set for bench in BENCHES.values() for test_set in bench.sets]
    assert len({test_set.name for test_set in every}) == len(set(every))


def test_noise_is_that_of_the_published_test_files() -> None:
    gt = np.full((2, 3, 3), 100, dtype=np.uint8)
    found = noisy(gt, GaussianNoise(25))
    # The first draws of numpy's seed 0: 1.764052, 0.400157, 0.978738, 2.240893.
    expected = (100 + 25 * np.array([1.764052, 0.400157, 0.978738, 2.240893])) / 255
    assert found.reshape(-1)[:4] == pytest.approx(expected, abs=1e-6)
    assert found.dtype == np.float32
    assert noisy(np.zeros_like(gt), GaussianNoise(25)).min() == 0.0
    assert np.array_equal(found, noisy(gt, GaussianNoise(25)))


def test_an_unknown_bench_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'denoise'"):
        find_bench("denoising")
    assert isinstance(find_bench("5d").sets[0], TestSet)
