from __future__ import annotations

import pytest

from maskdcpt.compute.distributed import joined
from uirdata.errors import UsageError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORLD_SIZE", "two"),
        ("WORLD_SIZE", "0"),
        ("WORLD_SIZE", "-1"),
        ("WORLD_SIZE", "1.5"),
        ("WORLD_SIZE", "9" * 5_000),
        ("LOCAL_RANK", "x"),
        ("LOCAL_WORLD_SIZE", "0"),
    ],
)
def test_a_variable_of_torchrun_that_is_no_number_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"the environment variable {name} is "), joined("cpu", 0):
        pass


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    with joined("cpu", 1) as process:
        assert process.ranks == 1
