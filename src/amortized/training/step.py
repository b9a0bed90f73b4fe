"""Model and objective as one module, so that data parallelism and mixed precision act on a single call."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.models.model import Model
from amortized.objectives import Objective, check_compatible
from amortized.terms import Batch, Terms

TERMS = ("objective", "elbo", "rate", "distortion")
"""The means that are logged at every step: of the objective, the ELBO, KL(q || p) and -log p(x|z), in nats."""


class Trainable(nn.Module):
    """A model under an objective, and the network that the objective may have of its own.

    Args:
        model: The model.
        objective: What is maximized.

    Raises:
        InputError: The objective needs what the model does not offer.
    """

    def __init__(self, model: Model, objective: Objective):
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(
                f"a model must be a torch.nn.Module; this one is a {type(model).__name__}; derive it from nn.Module."
            )
        check_compatible(objective, model.offers, f"this {type(model).__name__}")
        self.model = model
        self.objective = objective
        self.auxiliary = objective.auxiliary

    def forward(self, fields: Mapping[str, Any], hyper: Mapping[str, float | Tensor]) -> tuple[Tensor, Tensor]:
        """Score a minibatch.

        Args:
            fields: The fields of a `Batch` by name.
            hyper: The objective's hyper-parameters at this step.

        Returns:
            The (B,) values to be maximized, penalties subtracted, and the means of `TERMS`, without gradient. The values have the
            gradient of the auxiliary network's own loss too, which is no part of their number.
        """
        terms = self.model.terms(Batch(**fields), samples=self.objective.samples, gradient=self.objective.gradient)
        values = score(self.objective, terms, hyper)
        means = summarize(terms, values)
        if self.auxiliary is not None:
            loss = self.auxiliary.loss(terms)
            values = values - (loss - loss.detach())
        return values, means


def score(objective: Objective, terms: Terms, hyper: Mapping[str, float | Tensor] | None = None) -> Tensor:
    """What is maximized, (B,) nats: the objective less the penalties; without `hyper` at the end of its schedules."""
    values = objective(terms, **(hyper or {}))
    if values.shape != (wanted := terms.log_px.shape[1:]):
        raise InputError(
            f"objective '{objective.name}' returned values of shape {tuple(values.shape)}, and one for each datum is wanted,"
            f" {tuple(wanted)}; take the mean over the samples, and leave that over the data to the loop."
        )
    for penalty in terms.penalties.values():
        values = values - penalty
    return values


def by_name(means: Sequence[float], split: str, model: Model) -> dict[str, float]:
    """The means of `TERMS` by their names in the history; those of a bound only where the model has one."""
    is_bound = ("density" if split == "train" else "bound") in model.offers  # a relaxed family is evaluated with hard samples
    kept = TERMS if is_bound else ("objective", "distortion")
    return {f"{split}_{name}_nats": value for name, value in zip(TERMS, means, strict=True) if name in kept}


def scheduled(model: nn.Module) -> list[Callable[[int], None]]:
    """What is to be called with the number of a step before it: the `at_step` of every module that changes over training."""
    return [module.at_step for module in model.modules() if hasattr(module, "at_step")]  # pyright: ignore[reportReturnType]


@torch.no_grad()
def summarize(terms: Terms, values: Tensor) -> Tensor:
    """The means over data of `TERMS`, as one vector."""
    rate = terms.mean_over_samples(terms.kl.sum(0))
    distortion = -terms.mean_over_samples(terms.log_px)
    return torch.stack((values, -distortion - rate, rate, distortion)).mean(1)
