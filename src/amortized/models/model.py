"""What every model answers to, whatever it is made of, and how one is run without leaving a trace on it.

MPS is the exception: the state of its generator is not restored.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.seeds import derive_seed
from amortized.speed import full_speed
from amortized.terms import Batch, Terms

Gradient = Literal["total", "path", "split", "score"]
"""How the terms depend on the parameters of q: "total", through the values drawn and through the density at them; "path", through
the values alone; "split", not at all, the values being leaves beside the draws with their gradient; "score", through the density
alone."""


class Model(Protocol):
    """A latent-variable model with amortized inference, a `torch.nn.Module`.

    Attributes:
        event_shape: The shape of one datum.
        offers: What it can give to an objective that asks for more than the KL (`amortized.objectives.NEEDS`).
        needs_calibration: Whether something in it is to be computed over the training data before evaluation.

    Optional, for a posterior that draws in its own way: `values_per_sample`, how many values of the latent one sample asks
    for, and `enumerates`, whether these are the whole support, so that one sample is all there is to take.
    """

    @property
    def event_shape(self) -> torch.Size: ...  # noqa: D102 described above

    @property
    def offers(self) -> frozenset[str]: ...  # noqa: D102 described above

    @property
    def needs_calibration(self) -> bool: ...  # noqa: D102 described above

    def terms(self, batch: Batch | Tensor, *, samples: int = 1, gradient: Gradient = "total") -> Terms:
        """The terms of the bound for K = `samples` posterior samples of each of the B data."""
        ...

    def posterior(self, batch: Batch | Tensor) -> Distribution:
        """q(z | x), with batch (B,)."""
        ...

    def prior(self, context: Mapping[str, Tensor] | None = None, *, temperature: float = 1.0) -> Distribution:
        """p(z), or p(z | y) with batch (B,) where the prior is conditioned."""
        ...

    def decode(self, z: Tensor, context: Mapping[str, Tensor] | None = None) -> Distribution:
        """p(x | z) for z of shape (B, *event) or (K, B, *event)."""
        ...

    def sample(
        self, n: int, context: Mapping[str, Tensor] | None = None, temperature: float = 1.0, *, mean: bool = False
    ) -> Tensor:
        """Draw n data from the model, (n, *event); with `mean`, E[x | z] at the n latents drawn."""
        ...

    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Compute over the training data what is then frozen for evaluation."""
        ...


@contextmanager
def evaluating(model: Model, seed: int, purpose: str) -> Iterator[None]:
    """Hold the model in evaluation mode, without gradients, its noise drawn from the stream of (seed, purpose)."""
    assert isinstance(model, nn.Module)
    was_training, device = model.training, device_of(model)
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), full_speed(device):
        torch.manual_seed(derive_seed(seed, purpose))
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def device_of(model: Model) -> torch.device:
    """Where the model's parameters lie; the CPU for a model without any."""
    assert isinstance(model, nn.Module)
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
