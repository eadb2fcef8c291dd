from __future__ import annotations

import mmap
from pathlib import Path

import psutil
import pytest
import torch

import maskdcpt.compute.devices as module
from maskdcpt.compute.devices import free_bytes, resident_bytes

CPU = torch.device("cpu")


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_CGROUP", tmp_path)
    return tmp_path


def test_the_limit_of_a_container_counts_where_it_is_the_lower_one(cgroup: Path) -> None:
    (cgroup / "memory.current").write_text("3000\n")
    for limit, free in (("10000\n", 7000), ("2000\n", 0)):
        (cgroup / "memory.max").write_text(limit)
        assert free_bytes(CPU) == free


@pytest.mark.parametrize("limit", ["max\n", str(2**62), None])
def test_without_a_limit_what_the_machine_has_available_counts(cgroup: Path, limit: str | None) -> None:
    if limit is not None:
        (cgroup / "memory.max").write_text(limit)
        (cgroup / "memory.current").write_text("3000\n")
    free = free_bytes(CPU)
    assert free == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert 0 < free < psutil.virtual_memory().total


def test_memory_that_is_written_to_is_resident() -> None:
    before = resident_bytes()
    size = 64 << 20
    # A mapping of its own: what the heap has from earlier work is resident already.
    with mmap.mmap(-1, size) as held:
        held.write(b"1" * size)
        after = resident_bytes()
    assert 0.9 * size < after - before < 2.5 * size
