"""What the tests of the learning side share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Test processes run side by side already; threads that wait for each other would only slow them down."""
    torch.set_num_threads(1)
