"""The variational autoencoder: one latent variable, and any prior, posterior and likelihood.

    log p(x) >= E_q(z|x)[ log p(x|z) ] - KL( q(z|x) || p(z) )           Kingma and Welling 2014, arXiv 1312.6114, eq. 3

With a condition y the same three parts become p(z|y), q(z|x, y) and p(x|z, y) (Sohn, Lee and Yan 2015): the conditional VAE is
this class with a `context`. In the code q, p and px are the three distributions, c is the encoded condition (B, C).
"""

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.conditional import Conditional
from amortized.distributions import draw
from amortized.errors import InputError
from amortized.models.inference import (
    Hold,
    Value,
    call_at_temperature,
    check_posterior,
    check_spaces,
    held_still,
    make_latent,
    with_path,
)
from amortized.models.latent import Inferred, LatentModel
from amortized.models.model import Gradient
from amortized.networks import Context, Fill
from amortized.terms import Batch


class VAE(LatentModel):
    """A variational autoencoder, composed of its parts.

    Each part is a conditional distribution: a module whose call returns a `torch.distributions.Distribution`. Those of
    `amortized.priors`, `posteriors` and `likelihoods` are some; any module of one's own, a zuko flow among them, is another.

    Args:
        prior: p(z), called with nothing, or with c where it is conditioned.
        posterior: q(z | x), called with x (B, *event), or with x and c.
        likelihood: p(x | z), called with z (K, B, *event), or with z and c.
        context: Encodes the named conditions of a batch into c (B, C); None for a model without conditions.
        condition: Which of the parts are called with c.
        preprocess: Applied to what the encoder sees (standardization, one-hot codes); None leaves it as it is.
        fill: What the encoder sees of missing entries; None fills them with 0, after `preprocess`, and shows no mask.

    Raises:
        InputError: `condition` names something that is no part, or prior and posterior are over different spaces.

    Example:
        >>> import torch
        >>> from amortized import likelihoods, networks, posteriors, priors
        >>> model = VAE(
        ...     prior=priors.StandardNormal(2),
        ...     posterior=posteriors.DiagonalGaussian(networks.MLP((8, 8), [32]), event=2),
        ...     likelihood=likelihoods.Bernoulli(networks.MLP(2, [32]), event=(8, 8)),
        ... )
        >>> model.terms(torch.zeros(5, 8, 8), samples=3).log_w.shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        prior: nn.Module,
        posterior: nn.Module,
        likelihood: nn.Module,
        *,
        context: Context | None = None,
        condition: Sequence[str] = ("posterior", "likelihood"),
        preprocess: nn.Module | None = None,
        fill: Fill | None = None,
    ):
        check_spaces(prior, posterior)
        if hasattr(posterior, "refine") and getattr(likelihood, "needs_calibration", False):
            raise InputError(
                f"posterior {type(posterior).__name__} climbs the bound of each datum by itself, and the likelihood's scale"
                " 'optimal' is that of a whole batch; use the scale 'learned', 'per-entry' or 'predicted', or a number."
            )
        # The posterior first: what a prior shares with it is stored under the posterior's name.
        parts = {"posterior": posterior, "prior": prior, "likelihood": likelihood}
        super().__init__(parts, context=context, condition=condition, preprocess=preprocess, fill=fill)

    @property
    def posteriors(self) -> tuple[nn.Module, ...]:
        """The one posterior."""
        return (self.parts["posterior"],)

    @property
    def of_data_alone(self) -> tuple[nn.Module, ...]:
        """The one posterior."""
        return self.posteriors

    @property
    def enumerates(self) -> bool:
        """Whether every value of the latent is summed over."""
        return getattr(self.parts["posterior"], "enumerates", False)

    def infer(self, batch: Batch, seen: Tensor, c: Tensor | None, samples: int, gradient: Gradient) -> Inferred:
        """Draw the latent of B data."""
        part = self.parts["posterior"]
        q, q_path = with_path(lambda part, hold: self._posterior(part, hold, seen, c, batch), part, gradient, device=seen.device)
        check_posterior(q, part, len(batch))
        drawn = draw(q, samples)
        value = Value.of(drawn.z, gradient)
        latent = make_latent(q, self.parts["prior"](*self.given("prior", c)), value, q_path)
        return Inferred((latent,), value.z, drawn.log_weight, drawn.is_complete)

    def posterior(self, batch: Batch | Tensor) -> Distribution:
        """q(z | x), with batch (B,)."""
        batch = Batch.of(batch)
        c = self.encode_context(batch.context)
        return self._posterior(self.parts["posterior"], Hold(), self.seen(batch), c, batch)

    def prior(self, context: Mapping[str, Tensor] | None = None, *, temperature: float = 1.0) -> Distribution:
        """p(z), or p(z | y) with batch (B,) where the prior is conditioned."""
        return call_at_temperature(self.parts["prior"], self.given("prior", self.encode_context(context or {})), temperature)

    def _posterior(self, part: Conditional, hold: Hold, seen: Tensor, c: Tensor | None, batch: Batch) -> Distribution:
        q = part(hold(seen), *map(hold, self.given("posterior", c)))
        refine = getattr(self.parts["posterior"], "refine", None)
        if refine is None:
            return q
        with held_still(self.parts["prior"]):
            p = self.parts["prior"](*self.given("prior", c))
        return refine(q, partial(self._log_joint, batch=batch, c=c, p=p))

    def _log_joint(self, z: Tensor, batch: Batch, c: Tensor | None, p: Distribution) -> Tensor:
        """The log joint log p(x, z), (K, B) nats, of parts that are held still: what a semi-amortized posterior climbs."""
        with held_still(self.parts["likelihood"]):
            return self.score(batch, z, c) + p.log_prob(z)
