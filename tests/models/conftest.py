import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=("bottom-up", "top-down", "ladder"))
def kind(request):
    """How the groups of a hierarchical model are inferred."""
    return request.param
