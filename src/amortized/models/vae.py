"""The variational autoencoder: one latent variable, and any prior, posterior and likelihood.

    log p(x) >= E_q(z|x)[ log p(x|z) ] - KL( q(z|x) || p(z) )           Kingma and Welling 2014, arXiv 1312.6114, eq. 3

With a condition y the same three parts become p(z|y), q(z|x, y) and p(x|z, y) (Sohn, Lee and Yan 2015): the conditional VAE is
this class with a `context`. In the code q, p and px are the three distributions, c is the encoded condition (B, C).
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.conditional import call_detached
from amortized.distributions import center, is_point_mass, masked_log_prob
from amortized.errors import InputError, nearest
from amortized.models.model import Gradient
from amortized.networks import Context
from amortized.terms import Batch, Latent, Terms

PARTS = ("prior", "posterior", "likelihood")


class VAE(nn.Module):
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

    Raises:
        InputError: `condition` names something that is no part.

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
    ):
        super().__init__()
        for name in condition:
            if name not in PARTS:
                raise InputError(f"condition names '{name}', which is no part of a VAE; {nearest(name, PARTS)}")
        self.parts = nn.ModuleDict({"prior": prior, "posterior": posterior, "likelihood": likelihood})
        self.context = context
        self.condition = tuple(condition)
        self.preprocess = nn.Identity() if preprocess is None else preprocess

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one datum."""
        return torch.Size(self.parts["likelihood"].event_shape)  # pyright: ignore[reportArgumentType]

    @property
    def offers(self) -> frozenset[str]:
        """A posterior with a density gives its value and complete importance weights."""
        return frozenset({"log_w", "density"}) if self._has_density else frozenset()

    def terms(self, batch: Batch | Tensor, *, samples: int = 1, gradient: Gradient = "total") -> Terms:
        """The terms of the bound.

        Args:
            batch: B data; a bare tensor is taken as their `x`.
            samples: The number K of posterior samples.
            gradient: "path" holds the parameters of q constant where it is scored, so that its score-function gradient,
                whose mean is zero, is left out (Roeder et al. 2017, arXiv 1703.09194).

        Returns:
            The terms, one latent, each value (K, B) in nats.

        Raises:
            InputError: The posterior cannot be drawn from with a gradient, or a part's shapes do not fit.
        """
        batch = Batch.of(batch)
        c = self._encode_context(batch.context)
        seen = self._seen(batch)
        given = (seen, *self._given("posterior", c))
        random_state = _random_state(seen.device) if gradient == "path" else None
        q = self.parts["posterior"](*given)
        self._check_posterior(q, len(batch))
        q_path = None
        if random_state is not None:
            q_path = self._with_random_state(random_state, given)
        z = q.rsample((samples,))
        px = self.parts["likelihood"](z, *self._given("likelihood", c))
        if batch.observed is None:
            log_px = px.log_prob(batch.x)
        else:
            log_px = masked_log_prob(px, batch.x, batch.observed)
        if log_px.shape != (samples, len(batch)):
            raise InputError(
                f"the likelihood scored x of shape {tuple(batch.x.shape)} as {tuple(log_px.shape)} where (K, B) ="
                f" {(samples, len(batch))} is wanted: its event is {tuple(px.event_shape)}; it must be that of one datum."
            )
        latent = Latent(q, self.parts["prior"](*self._given("prior", c)), z, q_path)
        return Terms(log_px, (latent,), is_bound=self._has_density and not is_point_mass(q))

    def posterior(self, batch: Batch | Tensor) -> Distribution:
        """q(z | x), with batch (B,)."""
        batch = Batch.of(batch)
        c = self._encode_context(batch.context)
        return self.parts["posterior"](self._seen(batch), *self._given("posterior", c))

    def prior(self, context: Mapping[str, Tensor] | None = None, *, temperature: float = 1.0) -> Distribution:
        """p(z), or p(z | y) with batch (B,) where the prior is conditioned."""
        given = self._given("prior", self._encode_context(context or {}))
        if temperature == 1.0:
            return self.parts["prior"](*given)
        if "temperature" not in inspect.signature(self.parts["prior"].forward).parameters:
            name = type(self.parts["prior"]).__name__
            raise InputError(f"prior {name} takes no temperature; {temperature} was asked for; leave it at 1.")
        return self.parts["prior"](*given, temperature=temperature)

    def decode(self, z: Tensor, context: Mapping[str, Tensor] | None = None) -> Distribution:
        """p(x | z) for z of shape (B, *event) or (K, B, *event), and conditions of B rows."""
        return self.parts["likelihood"](z, *self._given("likelihood", self._encode_context(context or {})))

    def sample(
        self, n: int, context: Mapping[str, Tensor] | None = None, temperature: float = 1.0, *, mean: bool = False
    ) -> Tensor:
        """Draw n data from the model.

        Args:
            n: How many.
            context: Conditions of n rows each, for a model that has them.
            temperature: Of the prior; its meaning is stated with each family.
            mean: Return E[x | z] at the n latents drawn, in place of x drawn given z.

        Returns:
            (n, *event) in the units of the data that it was fitted on, after any scaling of theirs.
        """
        p = self.prior(context, temperature=temperature)
        z = p.sample() if p.batch_shape == (n,) else p.sample((n,))
        px = self.decode(z, context)
        return center(px) if mean else px.sample()

    @property
    def needs_calibration(self) -> bool:
        """Whether the likelihood's scale is computed over the training data before evaluation."""
        return bool(getattr(self.parts["likelihood"], "needs_calibration", False))

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Set the likelihood's optimal scale from the data of `batches`, one posterior sample each."""
        likelihood = self.parts["likelihood"]
        total, entries = torch.zeros((), dtype=torch.float64), 0
        for batch in batches:
            c = self._encode_context(batch.context)
            z = self.posterior(batch).sample()
            px = likelihood(z, *self._given("likelihood", c))
            total += likelihood.deviation(batch.x, px, batch.observed).sum().double().cpu()  # pyright: ignore[reportCallIssue]
            entries += batch.x.numel() if batch.observed is None else int(batch.observed.sum())
        likelihood.set_scale(total, entries)  # pyright: ignore[reportCallIssue]

    @property
    def _has_density(self) -> bool:
        return bool(getattr(self.parts["posterior"], "has_density", True))

    def _seen(self, batch: Batch) -> Tensor:
        return self.preprocess(batch.x if batch.input is None else batch.input)

    def _encode_context(self, context: Mapping[str, Tensor]) -> Tensor | None:
        if self.context is not None:
            return self.context(context)
        if context:
            raise InputError(f"this model has no conditions; the batch brings '{next(iter(context))}'; build it with a context.")
        return None

    def _given(self, part: str, c: Tensor | None) -> tuple[Tensor, ...]:
        return (c,) if c is not None and part in self.condition else ()

    def _with_random_state(self, state: Tensor, given: tuple[Tensor, ...]) -> Distribution:
        """The posterior with constant parameters, the encoder of conditions included, and the dropout masks of its first call."""
        device = given[0].device
        after = _random_state(device)
        _set_random_state(state, device)
        try:
            return call_detached(self.parts["posterior"], *(value.detach() for value in given))
        finally:
            _set_random_state(after, device)

    def _check_posterior(self, q: Distribution, rows: int) -> None:
        name = type(self.parts["posterior"]).__name__
        if q.batch_shape != (rows,):
            raise InputError(
                f"posterior {name} gave a distribution of batch {tuple(q.batch_shape)} for {rows} data; it must be ({rows},):"
                " give its network the full shape of one datum, such as MLP((1, 28, 28), ...)."
            )
        if not q.has_rsample:
            raise InputError(
                f"posterior {name} returned a {type(q).__name__}, which has no reparameterized samples (rsample);"
                " use a family that has them."
            )


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
