r"""Importance weights of B data, of which there are too many to keep: their running sums, and the largest.

Weights are summed in float64 and never leave the log domain: kept are a running maximum m, S1 = sum_k e^{log w_k - m} and
S2 = sum_k e^{2 (log w_k - m)}. From these come the log mean, m + log S1 / K; its Monte Carlo variance by the delta method,

    var[ log 1/K sum_k w_k ] ~ 1 / (K - 1) [ K S2 / S1^2 - 1 ];

the effective sample size S1^2 / S2 (Kish 1965, section 11.7), how many weights that are all alike would have the same variance;
and the root of the mean square. The sums of some data may go on where those of others stop.
"""

import math

import torch
from torch import Tensor

from amortized.evaluation.pareto import pareto_k, tail_length
from amortized.terms import Terms


class Weights:
    """Running sums over the posterior samples of B data.

    Args:
        size: The number B of data.
        device: Where they lie.
        most_samples: The greatest number K of samples that any of the data will have.

    Attributes:
        drawn: (B,) float64, samples so far.
        rate_is_exact: Whether the KL is a closed form.
        is_bound: Whether there are weights.
        is_complete: Whether the samples are the whole support.
    """

    def __init__(self, size: int, device: torch.device, most_samples: int):
        device = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        zero = torch.zeros(size, dtype=torch.float64, device=device)
        # Not minus infinity, which cannot be subtracted from itself where all weights so far are zero.
        self.maximum = torch.full_like(zero, torch.finfo(zero.dtype).min)
        self.first, self.second, self.log_px, self.kl, self.drawn = (zero.clone() for _ in range(5))
        self.largest = zero.new_full((size, tail_length(most_samples) + 1), -torch.inf)
        self.rate_is_exact = self.is_bound = self.is_complete = True

    def add(self, terms: Terms, rows: Tensor | slice, samples: int) -> None:
        """Add `samples` samples of the data at `rows`."""
        device = self.maximum.device
        log_w = _log_w(terms, samples, device) if terms.is_bound else None  # all that takes memory, before any sum
        kl = terms.kl.sum(0).to(device).double() if terms.is_bound else None
        log_px = terms.log_px.to(device).double()
        largest = None if log_w is None else _largest(self.largest[rows], log_w)
        # The closed form of one group of latents still has to be averaged over the draws of another.
        self.rate_is_exact = terms.is_complete or (terms.kl_is_exact and len(terms.latents) == 1)
        self.is_bound, self.is_complete = terms.is_bound, terms.is_complete
        self.drawn[rows] += samples
        self.log_px[rows] += samples * terms.mean_over_samples(log_px)
        if log_w is None or kl is None or largest is None:
            return
        self.kl[rows] += samples * terms.mean_over_samples(kl)
        self.largest[rows] = largest
        maximum = torch.maximum(self.maximum[rows], log_w.amax(0))
        kept = (self.maximum[rows] - maximum).exp()
        weights = (log_w - maximum).exp()
        self.first[rows] = kept * self.first[rows] + weights.sum(0)
        self.second[rows] = kept.square() * self.second[rows] + weights.square().sum(0)
        self.maximum[rows] = maximum

    @property
    def log_mean(self) -> Tensor:
        """(B,) the log mean of the weights, nats."""
        return self.maximum + (self.first / self.drawn).log()

    @property
    def variance(self) -> Tensor:
        """(B,) the Monte Carlo variance of the log mean, nats^2; NaN for one sample."""
        if self.is_complete:
            return torch.zeros_like(self.first)
        spread = (self.second / self.first.square() - 1.0 / self.drawn).clamp(min=0.0)
        return torch.where(self.drawn > 1, spread * self.drawn / (self.drawn - 1), torch.nan)

    @property
    def log_root_mean_square(self) -> Tensor:
        """(B,) the log of the root of the weights' mean square, nats."""
        return self.maximum + (self.second / self.drawn).log() / 2

    @property
    def effective_samples(self) -> Tensor:
        """(B,) the effective sample size; 0 where all weights are zero."""
        return torch.where(self.second > 0, self.first.square() / self.second, 0.0)

    @property
    def pareto_k(self) -> Tensor:
        """(B,) the k-hat of the weights' tails, each as long as its number of samples asks for."""
        k = torch.full_like(self.first, torch.nan)
        for samples in self.drawn.unique().tolist():
            rows = self.drawn == samples
            k[rows] = pareto_k(self.largest[rows].topk(tail_length(int(samples)) + 1).values)
        return k


def _log_w(terms: Terms, samples: int, device: torch.device) -> Tensor:
    """Log-weights (K, B) of which log p(x) is the log mean."""
    log_w = terms.log_w.to(device).double()
    if terms.log_sample_weight is None:
        return log_w
    log_w = log_w + terms.log_sample_weight.to(device) + math.log(samples)
    if len(log_w) > samples and not terms.is_complete:  # each sample has several strata: it is their weighted sum
        log_w = log_w.reshape(samples, -1, log_w.shape[-1]).logsumexp(1)
    return log_w


def _largest(largest: Tensor, log_w: Tensor) -> Tensor:
    """The largest of the (B, M) so far and of further (K, B)."""
    return torch.cat((largest, log_w.T), 1).topk(largest.shape[1], sorted=False).values
