r"""What stands in the holes of a datum: the missing entries x_m, given the observed ones x_o.

    z_k ~ q(z | x_o),    w_k = p(x_o | z_k) p(z_k) / q(z_k | x_o),    k = 1..K

    E[x_m | x_o] ~ sum_k w_k E[x_m | z_k] / sum_k w_k                      single imputation
    x_m ~ p(x_m | z_k),    k drawn with probability w_k / sum_j w_j        multiple imputation

Mattei and Frellsen 2019 (MIWAE, arXiv 1812.02633), sections 2.4 and 2.5; the second is sampling importance resampling (Rubin
1987). As K grows both tend to the model's own p(x_m | x_o), whatever q is; what K samples are worth under this q is told by
Kish's effective sample size, (sum_k w_k)^2 / sum_k w_k^2. Classes have no mean: imputed is the most probable one under
sum_k w_k p(x_m | z_k).

The samples pass in chunks, and none of them is kept: weights are summed in float64 relative to the largest so far, and each of
M draws holds one z, which a chunk of total weight W replaces with probability W / (W + the total weight before it).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent

from amortized.distributions import center
from amortized.errors import InputError
from amortized.models.model import Model, evaluating
from amortized.showing import Table, Tabled
from amortized.tasks.holes import with_mask
from amortized.tasks.running import check_count, chunks, rows_at_once
from amortized.terms import Batch, Terms

FEW = 10
"""Effective samples below which an imputation says more about chance than about the model."""
WIDTH = 1024
"""Entries that a row takes at least: some thousand rows are scored at once, more are slower."""
LEAST = -1e300
"""The least log-weight that is told from minus infinity, which cannot be subtracted from itself."""


@dataclass(frozen=True, eq=False)
class Imputation(Tabled):
    """N data with their holes filled, as arrays.

    Attributes:
        x: (N, *event) the data, or (M, N, *event) with M draws; observed entries are those given.
        observed: (N, *event) true where the entry was given.
        effective_samples: (N,) what the K weights are worth, NaN for a datum without holes; None where nothing was sampled: the
            posterior is a point mass, or its whole support is summed over.
        samples: The number K of posterior samples.
        truth: (N, *event) the data before entries were hidden, NaN where they are not known; None where none were hidden.
    """

    x: NDArray[Any]
    observed: NDArray[np.bool_]
    effective_samples: NDArray[np.float64] | None
    samples: int
    truth: NDArray[Any] | None = None

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """(N, *event) true where an entry is imputed whose truth is known."""
        return np.zeros_like(self.observed) if self.truth is None else ~self.observed & ~np.isnan(self.truth)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before using the values."""
        if self.effective_samples is None:
            return []
        known = self.effective_samples[~np.isnan(self.effective_samples)]
        few = int((known < FEW).sum())
        if 10 * few < len(known):
            return []
        return [
            f"The importance weights of {few:,} of {len(known):,} data are worth fewer than {FEW} of {self.samples:,} samples;"
            " take more samples, or fit the model on data with holes like these."
        ]

    def tables(self) -> list[Table]:
        """How much was imputed, and what the samples are worth."""
        n, missing = len(self.observed), int((~self.observed).sum())
        rows = [
            ("data", f"{n:,}, of which {int((~self.observed.reshape(n, -1)).any(1).sum()):,} have holes"),
            ("entries imputed", f"{missing:,} of {self.observed.size:,}"),
            ("x", f"{self.x.shape}" + ("" if self.x.ndim == self.observed.ndim else f", {len(self.x):,} draws")),
        ]
        if self.effective_samples is not None and not np.isnan(self.effective_samples).all():
            rows.append(("effective samples", f"{np.nanmedian(self.effective_samples):,.1f} of {self.samples:,}, in the median"))
        return [Table("Imputation", rows=rows, notes=self.notes, right=())]


def impute(
    model: Model,
    batches: Batch | Tensor | Iterable[Batch | Tensor],
    *,
    samples: int = 1000,
    draws: int | None = None,
    seed: int = 0,
) -> Imputation:
    """Fill in the missing entries of data.

    Args:
        model: The model. One whose posterior has no density, as a point mass, imputes by what it decodes, unweighted.
        batches: The data; what is NaN is missing, and what their `observed` says.
        samples: The number K of posterior samples per datum; a model that enumerates its latents takes none.
        draws: The number M of draws from p(x_m | x_o); None gives its mean (of classes, its most probable one).
        seed: Of the samples and draws.

    Returns:
        The data in their own order and units, on the CPU.

    Raises:
        InputError: There are no data, or no entry of them is missing; `samples` or `draws` is not positive; or the likelihood
            does not factorize over the entries of x, so that missing ones cannot be left out.
    """
    check_count("samples", samples, "1000 give a usable estimate")
    if draws is not None:
        check_count("draws", draws, "leave it out for the mean")
    if getattr(model, "enumerates", False) or "bound" not in model.offers:
        samples = 1
    made, masks, sizes = [], [], []
    with evaluating(model, seed, "impute"):
        for batch in chunks(batches, model, max(samples, draws or 1) * _width(model)):
            batch = with_mask(batch)
            x, size = _filled(model, batch, samples, draws)
            made.append(x.cpu())
            masks.append(batch.observed)
            sizes.append(size.cpu())
    if not made:
        raise InputError("there are no data to impute; give a split that has some.")
    observed = torch.cat(masks).cpu().numpy()
    if observed.all():
        raise InputError("no entry is missing, so there is nothing to impute; give data with NaN, or hide=0.5.")
    effective = torch.cat(sizes).numpy()
    return Imputation(
        torch.cat(made, 0 if draws is None else 1).numpy(), observed, None if np.isnan(effective).all() else effective, samples
    )


def _width(model: Model) -> int:
    """How often a datum's entries go into what a row takes in the network, whose layers are wide where the datum is not."""
    return math.ceil(WIDTH / model.event_shape.numel())


def _filled(model: Model, batch: Batch, samples: int, draws: int | None) -> tuple[Tensor, Tensor]:
    """The data, (B, *event) or (M, B, *event), and what their weights are worth, (B,)."""
    assert batch.observed is not None
    x = batch.x.clone() if draws is None else batch.x.repeat(draws, *(1 for _ in batch.x.shape))
    effective = torch.full((len(batch),), torch.nan, dtype=torch.float64)
    rows = (~batch.observed).flatten(1).any(1).nonzero().squeeze(1)
    if not len(rows):
        return x, effective
    batch = batch.rows(rows)
    assert batch.observed is not None
    weights = _Weights(model, batch, samples)
    made = weights.mean() if draws is None else weights.draws(draws)
    where = rows if draws is None else (slice(None), rows)
    x[where] = torch.where(batch.observed, batch.x, made.to(batch.x))
    effective[rows.cpu()] = weights.effective_samples.cpu()
    return x, effective


class _Weights:
    """The importance weights of B data, met in chunks; one pass through them, by `mean` or by `draws`.

    Attributes:
        maximum: (B,) the largest log-weight so far.
        first: (B,) the sum of the weights so far, relative to it.
        second: (B,) the sum of their squares.
        is_sampled: Whether other samples would give other weights.
    """

    def __init__(self, model: Model, batch: Batch, samples: int):
        self.model, self.batch, self.samples = model, batch, samples
        device = batch.x.device
        self.device = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        zero = torch.zeros(len(batch), dtype=torch.float64, device=self.device)
        self.maximum = torch.full_like(zero, LEAST)
        self.first, self.second = zero, zero
        self.is_sampled = True

    def mean(self) -> Tensor:
        """(B, *event) sum_k w_k E[x | z_k] / sum_k w_k, or the class for which sum_k w_k p(x | z_k) is largest."""
        total, is_class = torch.zeros((), dtype=torch.float64, device=self.device), False
        for z, log_w, kept in self._chunks():
            value, is_class = _statistic(self.model.decode(z, self.batch.context))
            weighted = torch.einsum("kb,kb...->b...", (log_w - self.maximum).exp(), value.to(self.device).double())
            total = weighted + _like(kept, weighted) * total
        return total.argmax(-1) if is_class else total / _like(self.first, total)

    def draws(self, count: int) -> Tensor:
        """(M, B, *event) x drawn given each of M values of z, which are drawn by the weights."""
        rows, held = torch.arange(len(self.batch), device=self.batch.x.device), None
        for z, log_w, _ in self._chunks():
            weights = (log_w - log_w.amax(0)).exp()
            picked = torch.multinomial(weights.T, count, replacement=True).T.to(rows.device)
            chosen = z[picked, rows]
            share = (log_w - self.maximum).exp().sum(0) / self.first
            taken = torch.rand(count, len(rows), dtype=share.dtype, device=share.device) < share
            held = chosen if held is None else torch.where(_like(taken.to(rows.device), chosen), chosen, held)
        assert held is not None
        return self.model.decode(held, self.batch.context).sample()

    @property
    def effective_samples(self) -> Tensor:
        """(B,) how many samples of equal weights the K are worth; NaN where nothing was sampled."""
        size = self.first.square() / self.second
        return size if self.is_sampled else torch.full_like(size, torch.nan)

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Values z (k, B, *event), their log-weights (k, B), and the factor (B,) on all sums up to them."""
        copies = len(self.batch) * getattr(self.model, "values_per_sample", 1)
        at_once = min(self.samples, rows_at_once(self.model, copies * _width(self.model)))
        for start in range(0, self.samples, at_once):
            count = min(at_once, self.samples - start)
            terms = self.model.terms(self.batch, samples=count)
            assert terms.z is not None
            log_w = self._log_weights(terms, count)
            self.is_sampled = terms.is_bound and not terms.is_complete
            # Of a sample that has several strata, their sum is the weight.
            kept = self._add(log_w if terms.is_complete else log_w.reshape(count, -1, len(self.batch)).logsumexp(1))
            yield terms.z, log_w, kept

    def _log_weights(self, terms: Terms, count: int) -> Tensor:
        log_w = (terms.log_w if terms.is_bound else torch.zeros_like(terms.log_px)).to(self.device).double()
        if terms.log_sample_weight is not None:
            log_w = log_w + terms.log_sample_weight.to(self.device) + math.log(count)
        # Where no z explains what was observed all count alike.
        return log_w.clamp(min=LEAST)

    def _add(self, log_w: Tensor) -> Tensor:
        maximum = torch.maximum(self.maximum, log_w.amax(0))
        kept, weights = (self.maximum - maximum).exp(), (log_w - maximum).exp()
        self.first = kept * self.first + weights.sum(0)
        self.second = kept.square() * self.second + weights.square().sum(0)
        self.maximum = maximum
        return kept


def _statistic(px: Distribution) -> tuple[Tensor, bool]:
    """What is averaged, (*batch, *event) or with the classes last, and whether it is the probabilities of classes."""
    base = px
    while isinstance(base, Independent):
        base = base.base_dist
    return (base.probs, True) if isinstance(base, Categorical) else (center(px), False)


def _like(value: Tensor, other: Tensor) -> Tensor:
    """The value with dimensions of 1 after its own, as many as `other` has."""
    return value.reshape(*value.shape, *(1 for _ in range(other.ndim - value.ndim)))
