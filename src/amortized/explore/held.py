"""A run's model, held for one question at a time.

Evaluation holds torch's generators and the mode of the model, which are one for all threads: so there is a lock.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.distributions import center
from amortized.distributions.center import in_support
from amortized.errors import InputError
from amortized.explore import conditions
from amortized.explore.asking import integer, numbers
from amortized.models import LatentModel
from amortized.models.model import evaluating
from amortized.report.view import View
from amortized.terms import Batch, Latent


class Held:
    """A run's model, held for one question at a time.

    Args:
        view: The run, and the data of the map.

    Attributes:
        missing: Why there are no data; None where they are there.
    """

    def __init__(self, view: View):
        self.view, self.model, self.spec = view, view.model, view.spec
        self._lock = threading.RLock()
        self.missing: str | None = None
        try:
            _ = view.batch
        except InputError as error:
            self.missing = str(error)

    @contextmanager
    def working(self, purpose: str, seed: int | None = None) -> Iterator[None]:
        """Hold the model, in evaluation mode, its noise that of (seed, purpose).

        Raises:
            InputError: The model cannot do what it is asked.
        """
        with self._lock, evaluating(self.model, self.view.seed if seed is None else seed, purpose):
            try:
                yield
            except InputError:
                raise
            except (ValueError, RuntimeError, ArithmeticError) as error:
                raise InputError(f"the model makes nothing of these values: {str(error).splitlines()[0]}") from error

    @cached_property
    def latent_shape(self) -> torch.Size:
        """The shape of one latent, as the model takes it."""
        with self.working("prior"):
            return torch.Size(self.prior(1).event_shape)

    def prior(self, n: int) -> Distribution:
        """The prior under the conditions that a page begins with, for n rows."""
        return self.model.prior(self.conditions(None, n))

    def conditions(self, given: Mapping[str, Any] | None, n: int) -> dict[str, Tensor]:
        """The conditions of n rows, on the model's device."""
        return {name: value.to(self._like.device) for name, value in conditions.tensors(self.spec, given, n).items()}

    def tensor(self, z: NDArray[Any]) -> Tensor:
        """Latents (n, D) as the model takes them, (n, *event)."""
        return self._as_model(z).reshape(-1, *self.latent_shape)

    def decoded(self, z: Tensor, held: Mapping[str, Tensor]) -> NDArray[np.float32]:
        """(n, entries) E[x | z] of latents (n, *event)."""
        return as_rows(center(self.model.decode(z, held)))

    @cached_property
    def supports(self) -> list[Distribution]:
        """The posterior of each group of the latent, at one datum: where it can be."""
        with self.working("supports"):
            if self.missing is None:
                batch = self.view.batch.rows(slice(1))
            else:
                context = self.conditions(None, 1)
                batch = Batch(self.model.sample(1, context), context=context)
            return [latent.q for latent in self.model.terms(batch).latents if isinstance(latent, Latent)]

    def can_be(self, z: Tensor) -> bool:
        """Whether latents (n, *event) are values that the latent can take."""
        sizes = [q.event_shape.numel() for q in self.supports]
        groups = zip(self.supports, z.flatten(1).split(sizes, -1), strict=True)
        return all(in_support(q, group.reshape(-1, 1, *q.event_shape)) for q, group in groups)

    def row(self, n: Any) -> Batch:
        """The n-th datum of the map.

        Raises:
            InputError: There is none.
        """
        if self.missing is not None:
            raise InputError(f"there are no data to show: {self.missing}")
        n = integer("the number of a datum", n, 0, len(self.view.batch) - 1)
        return self.view.batch.rows(slice(n, n + 1))

    def datum(self, x: Any, context: Mapping[str, Any] | None) -> Batch:
        """A datum that was handed over, as the model sees it.

        Raises:
            InputError: It is none, or has a value that the likelihood cannot score.
        """
        shape = self.model.event_shape
        given = self._as_model(numbers("x", x, shape.numel(), holes=True)).reshape(1, *shape)
        batch = replace(Batch.of(given), context=self.conditions(context, 1))
        if hasattr(self._likelihood, "check"):
            self._likelihood.check(batch.x, observed=batch.observed)
        return batch

    @property
    def factorizes(self) -> bool:
        """Whether the entries of x are independent given z."""
        return getattr(self._likelihood, "factorizes", True)

    @property
    def _likelihood(self) -> Any:
        return self.model.parts["likelihood"] if isinstance(self.model, LatentModel) else None

    @cached_property
    def _like(self) -> Tensor:
        assert isinstance(self.model, nn.Module)
        return next(self.model.parameters(), torch.zeros(()))

    def _as_model(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=self._like.dtype, device=self._like.device)


def as_rows(values: Tensor) -> NDArray[np.float32]:
    """(n, *event) as an array (n, entries)."""
    return values.flatten(1).float().cpu().numpy()


def drawn(p: Distribution, n: int) -> Tensor:
    """(n, *event) draws from a prior of batch (n,), or of one that is the same for all."""
    return p.sample() if p.batch_shape == (n,) else p.sample(torch.Size((n,))).reshape(n, *p.event_shape)
