r"""Simulation-based calibration: is q(z | x) the posterior?

The model itself makes data of which a draw of the true posterior is known: the latent that they were made from.

    z ~ p(z),  x ~ p(x | z),  z_1, ..., z_L ~ q(z | x)        (Talts et al. 2018, arXiv 1804.06788, algorithm 1)

Where q is the posterior, z is one more draw of it, and the rank of f(z, x) among the f(z_l, x) is uniform whatever f is. What the
ranks of one f cannot see, those of another can: ranks of the entries of z are uniform also for q(z | x) = p(z), which ignores x,
and for a q whose entries go together in a wrong way. So log p(x | z) and log p(x, z) are ranked too (Modrák et al. 2023, arXiv
2211.02383: test quantities that depend on the data, of which they recommend the likelihood). Ranks are uniform, or too high or
too low (q is off to one side), too often at the ends (q is too narrow), or too often in the middle (q is too wide).

All p-values are Holm's, over all quantities together. A calibrated q is no proof: what no f saw is not tested.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from amortized.distributions import is_point_mass
from amortized.errors import InputError
from amortized.evaluation.chunks import rows_at_once
from amortized.evaluation.joint import Joint
from amortized.evaluation.miscalibration import sentences
from amortized.evaluation.ranks import covered, holm, rank, uniformity
from amortized.evaluation.records import Found, Metric, as_metrics, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch

LEVELS = (50, 80, 90, 95)
"""Of the intervals whose coverage is told, in percent."""

ROUNDING = 16
"""Relative steps of the model's floats, within which two log-likelihoods are the same."""


@dataclass(frozen=True, eq=False)
class Calibration(Found):
    """What simulation-based calibration found, for N data that the model made.

    Attributes:
        z_ranks: (N, D) of each entry of the latent, flattened, among the draws; integers of 0 to `draws`. D is 0 for one-hot
            latents, whose entries have no order.
        log_px_ranks: (N,) of log p(x | z).
        log_joint_ranks: (N,) of log p(x, z).
        log_px_spread: (N,) float64, standard deviation of log p(x | z) over the draws and the latent itself, nats.
        data_share: Of the variance that the draws of an entry of z have over all data, how much lies between data, in the entry
            where that is most: 0 for a q that ignores the data. NaN where there is one draw or one datum.
        draws: The number L of draws from q for each.
    """

    z_ranks: Tensor
    log_px_ranks: Tensor
    log_joint_ranks: Tensor
    log_px_spread: Tensor
    data_share: float
    draws: int

    @property
    def p_values(self) -> Tensor:
        """(D + 2,) of the tests that the ranks are uniform, adjusted for their number: of z, log p(x|z) and log p(x, z)."""
        ranks = torch.cat((self.z_ranks, self.log_px_ranks[:, None], self.log_joint_ranks[:, None]), 1)
        return holm(uniformity(ranks, self.draws))

    @property
    def metrics(self) -> dict[str, Metric]:
        """The p-values, the coverage of intervals of q, and the mean rank of log p(x|z), by name."""
        *of_z, of_log_px, of_log_joint = self.p_values.tolist()
        table = {"calibration_p_value_log_px": of_log_px, "calibration_p_value_log_joint": of_log_joint}
        if of_z:
            table = {"calibration_p_value_z": min(of_z)} | table
        for level in LEVELS if of_z else ():
            table |= _with_error(f"coverage_{level}", self._covered(self.z_ranks, level).mean(1))
        table |= _with_error("coverage_90_log_px", self._covered(self.log_px_ranks, 90))
        table |= _with_error("mean_rank_log_px", (self.log_px_ranks + 0.5) / (self.draws + 1))
        return as_metrics(table, "model", self.draws)

    @property
    def notes(self) -> list[str]:
        """What is wrong with q, in words."""
        return sentences(self)

    def __str__(self) -> str:
        """The metrics as a small table, with what they say."""
        head = f"{len(self.log_px_ranks):,} data that the model made, {self.draws:,} posterior samples each"
        return as_text(head, self.metrics, self.notes)

    def _covered(self, ranks: Tensor, level: int) -> Tensor:
        return covered(ranks, self.draws, level / 100)


def calibration(
    model: Model,
    batches: Iterable[Batch | Tensor] = (),
    *,
    simulations: int = 1000,
    draws: int = 99,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> Calibration:
    """Compare q(z | x) with the posterior, on data that the model makes.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: Data whose conditions and missing entries the simulated ones get, row by row, drawn at random. Their values play
            no part, and the encoder is shown what the model made (no `input` of its own): a model without conditions, fitted on
            complete data, needs no `batches`.
        simulations: The number N of data that the model makes.
        draws: The number L of draws from q for each.
        seed: Of all that is drawn.
        progress: Called with the number of simulations done, after each chunk.

    Returns:
        The ranks, and what they say.

    Raises:
        InputError: The posterior is a point mass, the model gives what is no number, a number is not positive, or the conditions
            that the model needs are not there.
    """
    _check_count("simulations", simulations, 1000)
    _check_count("draws", draws, 99)
    _check_weights(model)
    device, found = device_of(model), []
    rows = rows_at_once(model, device)
    with evaluating(model, seed, "calibration"):
        given = _circumstances(batches, simulations)
        for number, chunk in enumerate(torch.arange(simulations).split(max(1, rows // (draws + 1)))):
            seed_noise(device, seed, "calibration", number)
            batch = None if given is None else given.rows(chunk).to(device)
            found.append(_simulate(model, batch, len(chunk), draws, rows))
            if progress is not None:
                progress(len(chunk))
    *ranks_and_spread, means, variances = (torch.cat(each) for each in zip(*found, strict=True))
    return Calibration(*ranks_and_spread, data_share=_data_share(means, variances, draws), draws=draws)


def _simulate(model: Model, given: Batch | None, n: int, draws: int, rows: int) -> tuple[Tensor, ...]:
    """Of n data the ranks of z, log p(x|z) and log p(x, z), the spread of log p(x|z), and means and variances of q's draws."""
    context, observed = ({}, None) if given is None else (given.context, given.observed)
    p = model.prior(context)
    z = p.sample() if p.batch_shape == (n,) else p.sample(torch.Size((n,)))
    batch = Batch(model.decode(z, context).sample(), context=context, observed=observed)
    q = model.posterior(batch)
    _check_density(model, q)
    joint = Joint(model, batch, p, q)
    both = torch.cat((z.unsqueeze(0), q.sample(torch.Size((draws,)))))  # scored together, so that equals stay equal
    pieces = both.split(max(1, rows // n))
    log_px = torch.cat([joint.log_px(piece).cpu() for piece in pieces])
    log_joint = log_px + torch.cat([joint.log_prior(piece).cpu() for piece in pieces])
    _check_numbers(log_joint)
    entries = (both.flatten(2) if both.ndim > 2 else both.unsqueeze(2)).cpu()
    of_entries = entries[:, :, :0] if _is_one_hot(q) else entries
    spread = log_px.double().std(0, correction=0)
    moments = entries[1:].double().mean(0), entries[1:].double().var(0, correction=0)
    ranks = rank(of_entries[0], of_entries[1:]), _rank_within_rounding(log_px), _rank_within_rounding(log_joint)
    return *ranks, spread, *moments


def _data_share(means: Tensor, variances: Tensor, draws: int) -> float:
    """Between data and in all, the variance of the draws: the largest ratio of any entry, by the usual estimates of both."""
    if draws < 2 or len(means) < 2:
        return math.nan
    within = variances.mean(0) * draws / (draws - 1)
    between = (means.var(0) - within / draws).clamp(min=0)
    return float((between / (between + within)).nan_to_num(0.0).amax())


def _rank_within_rounding(values: Tensor) -> Tensor:
    """The rank of the first of the values (1 + L, n) among the others."""
    near = ROUNDING * torch.finfo(values.dtype).eps * values[0].abs()
    return rank(values[0], values[1:], torch.where(near.isfinite(), near, 0.0))


def _circumstances(batches: Iterable[Batch | Tensor], simulations: int) -> Batch | None:
    """Conditions and masks for each simulation, each row of the data as often as another; None without data."""
    held = [_without_values(batch) for batch in map(Batch.of, batches)]
    total = sum(map(len, held))
    if total == 0:
        return None
    turns = -(-simulations // total)
    places = torch.cat([torch.randperm(total) for _ in range(turns)])[:simulations]
    taken, start = [], 0
    for batch in held:
        own = places[(places >= start) & (places < start + len(batch))] - start
        taken.append(batch.rows(own.to(batch.x.device)))
        start += len(batch)
    return Batch.join(taken)


def _without_values(batch: Batch) -> Batch:
    values = torch.zeros((), dtype=torch.bool, device=batch.x.device).expand(batch.x.shape)
    return Batch(values, context=batch.context, observed=batch.observed)


def _is_one_hot(q: Distribution) -> bool:
    support = q.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.one_hot


def _check_count(name: str, count: object, usual: int) -> None:
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:  # pyright: ignore[reportOperatorIssue]
        raise InputError(f"{name} must be a positive integer; it is {count!r}; {usual} is a good number of them.")


def _check_weights(model: Model) -> None:
    assert isinstance(model, nn.Module)
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise InputError(f"the model's '{name}' holds a value that is not finite, so that it makes no data; fit it anew.")


def _check_density(model: Model, q: Distribution) -> None:
    if is_point_mass(q) or "bound" not in model.offers:
        raise InputError(
            "calibration compares draws of the posterior with the latent that made the data, and this model's posterior is a"
            " point; fit one with a density, such as 'gaussian'."
        )


def _check_numbers(log_joint: Tensor) -> None:
    wrong = log_joint.isnan()
    if bool(wrong.any()):
        raise InputError(
            f"log p(x, z) is not a number for {int(wrong.any(0).sum())} of {wrong.shape[1]} data that the model made; its prior,"
            " posterior or likelihood has diverged; fit it anew, with a smaller learning rate."
        )


def _with_error(name: str, values: Tensor) -> dict[str, float]:
    return {name: float(values.double().mean()), f"{name}_stderr": standard_error(values)}
