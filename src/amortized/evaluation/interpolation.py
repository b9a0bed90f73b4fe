r"""How smoothly a decoder fills what lies between data.

The posterior means of two data are joined by a path z(t), decoded at T + 1 points x_i = E[x | z(i/T)]; with s_i = |x_i - x_{i-1}|

    path ratio           sum_i s_i / |x_T - x_0|, both summed over the paths       at least 1; 1 for a linear decoder
    roughness            max_i s_i / (sum_i s_i / T)                               1 at even speed; T where all is one jump
    feature path length  T sum_i |phi(x_i) - phi(x_{i-1})|^2
    log-prior excess     mean over 0 < i < T of log p(z(i/T)), less the mean of both ends, nats

The third is the perceptual path length of Karras, Laine and Aila 2019 (arXiv 1812.04948, section 4.1), the mean of
d(x(t), x(t + e))^2 / e^2, between data in place of draws of the prior, with e = 1/T, and with the distance d in a feature space
of our own (`features`), where two real data are at a mean squared distance of 2. It is at least the squared distance between the
ends, which a path straight in that space and of even speed has.

Under a standard normal prior the fourth is positive on any straight path, 1/2 t (1 - t) |a - b|^2 above the line between the
ends; under a prior with many modes it is negative where the paths cross the gaps between them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from amortized.distributions import center, in_support, representative, spherical
from amortized.errors import InputError, is_count, nearest
from amortized.evaluation.chunks import rows_at_once
from amortized.evaluation.features import FeatureSpace, feature_space
from amortized.evaluation.records import Found, Metric, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import derive_seed
from amortized.terms import Batch

Path = Literal["linear", "spherical"]

STILL = 8.0
"""Units of rounding of x, a step: a path that is no longer does not move."""


FAINT = 0.01
"""Of the distance of real data: paths that are shorter between them lead nowhere."""


@dataclass(frozen=True, eq=False)
class Smoothness(Found):
    """What paths between P pairs of data are like.

    Attributes:
        length: (P,) float64, of the decoded path, in the data's units.
        distance: (P,) between its ends.
        largest_step: (P,) the longest of its steps.
        feature_path_length: (P,) steps times the sum of squared steps in the feature space.
        log_prior_excess: (P,) nats, mean log p(z) inside the path less that of its ends.
        moves: (P,) whether the path moves by more than rounding.
        steps: How many steps a path has.
        path: "linear" or "spherical".
        space: The feature space.
        spread: The mean squared distance in it between two real data.
        split: The data.
    """

    length: Tensor
    distance: Tensor
    largest_step: Tensor
    feature_path_length: Tensor
    log_prior_excess: Tensor
    moves: Tensor
    steps: int
    path: str
    space: FeatureSpace
    spread: float
    split: str

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the pairs by name, and their standard errors; what no path tells is left out."""
        length, distance = self.length[self.moves], self.distance[self.moves]
        ratio = length.sum() / distance.sum()
        roughness = self.largest_step[self.moves] * self.steps / length
        named = {"roughness": roughness, "feature_path_length": self.feature_path_length[self.moves]}
        # The error of a ratio of means: that of what the lengths leave of the distances times the ratio.
        table = {"path_ratio": float(ratio), "path_ratio_stderr": standard_error((length - ratio * distance) / distance.mean())}
        for name, values in named.items():
            table |= {name: float(values.mean()), f"{name}_stderr": standard_error(values)}
        excess = self.log_prior_excess
        table |= {"log_prior_excess_nats": float(excess.mean()), "log_prior_excess_stderr_nats": standard_error(excess)}
        known = {f"interpolation_{name}": value for name, value in table.items() if value == value and abs(value) < torch.inf}
        return {name: Metric(value, self.split, 1, "estimate") for name, value in known.items()}

    def __str__(self) -> str:
        """The metrics as a small table, with what they are."""
        head = f"{self.split} split, {self.path} paths of {self.steps} steps between {len(self.length):,} pairs of data"
        return as_text(head, self.metrics, self.notes)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        still = 1 - float(self.moves.double().mean())
        if still == 1:
            return ["No path between data moves: the decoder does not use the latent (collapse); lower beta, or warm it up."]
        said = [
            f"The feature path length is in the space '{self.space.name}' ({self.space.description}), where two real data are at"
            f" a mean squared distance of {self.spread:.3g}; it is no published perceptual path length."
        ]
        if float(self.feature_path_length.mean()) < FAINT * self.spread:
            said.append("What is decoded hardly depends on the latent (nearly collapsed): smooth paths say nothing then.")
        if still:
            said.append(f"{still:.0%} of the paths do not move, and are left out of all but the prior's density.")
        excess, error = float(self.log_prior_excess.mean()), standard_error(self.log_prior_excess)
        if excess < min(-1.0, -3 * error):
            said.append(
                f"Between data the prior's log-density is {-excess:.1f} nats lower than at them: paths cross gaps between its"
                " modes, where what is decoded was never trained; prefer pairs of one mode."
            )
        return said


def smoothness(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    pairs: int = 100,
    steps: int = 16,
    path: Path | None = None,
    space: FeatureSpace | None = None,
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
) -> Smoothness:
    """Measure the paths between random pairs of data.

    Where a family has no expectation (classes), a path goes through its modes, and so by jumps.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The data.
        pairs: How many pairs, of which no two share a datum; as many as there are where the data are fewer.
        steps: Of each path. A datum's conditions are held along the path that begins at it.
        path: "linear" or "spherical"; None takes the linear one where it leads through values that the latent can have.
        space: The feature space; None chooses one by the data, and fits it on them.
        seed: Of the pairs.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each chunk.

    Raises:
        InputError: There are fewer than two data or steps, an unknown path, or one that leads where no latent can be.
    """
    for name, value, lowest in (("pairs", pairs, 1), ("steps", steps, 2)):
        if not is_count(value, lowest):
            raise InputError(f"{name} must be an integer of at least {lowest}; it is {value!r}.")
    if path is not None and path not in get_args(Path):
        raise InputError(f"unknown path '{path}'; {nearest(path, get_args(Path))}")
    given = list(map(Batch.of, batches))
    if sum(map(len, given)) < 2:
        raise InputError(f"interpolation needs two data, and the {split} split has {sum(map(len, given))}; name another split.")
    data = Batch.join(given)
    x, observed = data.x.cpu(), None if data.observed is None else data.observed.cpu()
    space = space or feature_space(x, observed)
    spread = 2 * float(space(x, observed).var(0).sum())
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(seed, "interpolation")))
    begins, ends = (rows.to(data.x.device) for rows in order[: 2 * min(pairs, len(data) // 2)].reshape(2, -1))
    rows, found = max(1, rows_at_once(model, device_of(model)) // (steps + 1)), []
    with evaluating(model, seed, "interpolation"):
        path = path or _fitting(model, data.rows(order[:2].to(data.x.device)))
        for begin, end in zip(begins.split(rows), ends.split(rows), strict=True):
            found.append(_measured(model, data.rows(begin), data.rows(end), steps, path, space))
            if progress is not None:
                progress(2 * len(begin))
    return Smoothness(*map(torch.cat, zip(*found, strict=True)), steps=steps, path=path, space=space, spread=spread, split=split)


def _fitting(model: Model, two: Batch) -> Path:
    """The path that the space of the latent allows."""
    q = model.posterior(two)
    ends = representative(q)
    return "linear" if in_support(q, ends.lerp(ends.flip(0), 0.5)) else "spherical"


def _measured(model: Model, begin: Batch, end: Batch, steps: int, path: Path, space: FeatureSpace) -> tuple[Tensor, ...]:
    """The first six attributes of `Smoothness`, for some pairs."""
    q = model.posterior(begin)
    ends = representative(q), representative(model.posterior(end))
    t = torch.linspace(0.0, 1.0, steps + 1, dtype=ends[0].dtype, device=ends[0].device)
    z = (spherical if path == "spherical" else torch.lerp)(*ends, t.reshape(-1, *(1 for _ in ends[0].shape)))
    if not in_support(q, z):
        raise InputError(
            f"a {path} path leaves what the latent of {type(q).__name__} can be; a sphere has the path 'spherical', and between"
            " discrete values there is none."
        )
    log_prior = model.prior(begin.context).log_prob(z).double().cpu()
    x = center(model.decode(z, begin.context)).cpu()
    lengths = x.double().diff(dim=0).flatten(2).norm(dim=2)
    distance = (x[-1].double() - x[0].double()).flatten(1).norm(dim=1)
    rounding = STILL * torch.finfo(ends[0].dtype).eps * x.double().flatten(2).norm(dim=2).amax(0)
    features = space(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return (
        lengths.sum(0),
        distance,
        lengths.amax(0),
        steps * features.diff(dim=0).square().sum((0, 2)),
        log_prior[1:-1].mean(0) - (log_prior[0] + log_prior[-1]) / 2,
        lengths.sum(0) > steps * rounding,
    )
