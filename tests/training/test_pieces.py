from collections.abc import Iterator
from typing import Any

import pytest
import torch

from amortized import VAE, likelihoods, networks, posteriors, priors
from amortized.objectives import Objective, elbo
from amortized.training import Settings, train, validation
from amortized.training.progress import Silent


class Rows:
    """The same data at every epoch, in one batch."""

    def __init__(self, x: torch.Tensor):
        self.x = x

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[dict[str, Any]]:
        yield {"x": self.x}


def validated(x: torch.Tensor) -> float:
    torch.manual_seed(0)
    network, decoder = networks.MLP(3, [4]), networks.MLP(2, [4])
    model = VAE(priors.StandardNormal(2), posteriors.Delta(network, event=2), likelihoods.Gaussian(decoder, event=3))
    outcome = train(model, Objective(elbo), Rows(x), Rows(x), Settings(steps=1), reporter=Silent())
    return outcome.history[-1]["valid_objective_nats"]


def test_validation_in_pieces_gives_the_mean_over_all_data(monkeypatch: pytest.MonkeyPatch):
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    whole = validated(x)
    monkeypatch.setattr(validation, "PIECE_ENTRIES", 6)  # two data at once
    assert validated(x) == pytest.approx(whole, rel=1e-6)


def test_the_history_of_a_point_mass_names_no_bound():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    model = VAE(
        priors.StandardNormal(2),
        posteriors.Delta(networks.MLP(3, [4]), event=2),
        likelihoods.Gaussian(networks.MLP(2, [4]), event=3),
    )
    row = train(model, Objective(elbo), Rows(x), Rows(x), Settings(steps=1), reporter=Silent()).history[-1]
    assert {name for name in row if name.endswith("_nats")} == {
        f"{split}_{name}_nats" for split in ("train", "valid") for name in ("objective", "distortion")
    }
