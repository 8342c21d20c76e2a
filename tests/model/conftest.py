"""For tests of models."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small products: more threads only wait for each other, and tests run beside others."""
    torch.set_num_threads(1)
