from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the bits of a sum depend on how many share it
    yield
    torch.set_num_threads(before)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """60 images of 4 x 3 grey levels, 48 of them for training: six batches of eight."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 12))
    path = tmp_path / "table.npz"
    np.savez(path, x=np.rint(255.0 / (1.0 + np.exp(-factors))).astype(np.uint8).reshape(60, 4, 3))
    return str(path)
