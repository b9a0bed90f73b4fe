r"""Semi-amortized inference: gradient steps on a datum's own bound, from the encoder's guess.

An encoder amortizes: it spends one pass on every datum, and what it loses against the best q of its family for that datum is the
amortization gap (Cremer, Li and Duvenaud 2018, arXiv 1801.03558). Kim et al. 2018 (arXiv 1802.02550, algorithm 1) take its output
lambda_0 = (m, log s) as a start, and climb

    L(lambda) = 1/S sum_s log p(x, m + s e_s) + sum_i log s_i + constant                the bound under the common noise e_1..S

for K steps. Here a step goes along the natural gradient, that of L with the Fisher information F = diag(1/s^2, 2) of a Gaussian
divided out, and it is taken back where it lowered L:

    lambda' = lambda + h F^-1 dL/dlambda;   kept where L(lambda') >= L(lambda), and h grows; otherwise h is halved

Each datum has its own h and its own verdict, so no step lowers L, and since the noise is common to all steps, the values
compared are of one function. The noise is "cubature": the 2D points +-sqrt(D) u_i of a random orthonormal basis u, whose mean is
0 and covariance I, so that L is the bound itself wherever log p(x, z) is quadratic in z. Random draws ("gaussian") are cheaper,
and overfitted by K steps where they are few: L rises and the bound falls. In evaluation the noise is the same for every datum
and every call, so that q(z|x) is a function of x.

In training the gradient reaches the encoder as if lambda_K moved with lambda_0 (d lambda_K / d lambda_0 taken as I), or, with
`end_to_end`, through the steps themselves, as in the paper. In the code `parameters` is lambda, `value` L and `step` h.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from amortized.errors import InputError, nearest
from amortized.posteriors.gaussian import MAX_LOG_SCALE, MIN_LOG_SCALE, DiagonalGaussian

Noise = Literal["gaussian", "cubature"]
LogJoint = Callable[[Tensor], Tensor]
GROWTH, SHRINKAGE = 1.5, 0.5


class SemiAmortized(nn.Module):
    """A Gaussian with independent entries, refined for each datum.

    A call gives the encoder's guess. The model calls `refine` with it and with log p(x, z), in training and in evaluation.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        steps: The number K of gradient steps.
        step_size: The first step h; 1 would jump to the optimum of a quadratic bound whose curvature is that of q.
        noise: "cubature", 2D points, or "gaussian".
        samples: The number S of Gaussian draws, in pairs +-e where it is even.
        end_to_end: Whether the encoder's gradient goes through the steps, at about three times the cost.

    Raises:
        InputError: An option is not one of these.
    """

    has_density = True
    has_moments = True
    is_mean_field = True
    space = "real"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        steps: int = 5,
        step_size: float = 0.5,
        noise: Noise = "cubature",
        samples: int = 32,
        end_to_end: bool = False,
    ):
        super().__init__()
        if steps < 0 or samples < 1 or not step_size > 0:
            raise InputError(
                f"semi-amortized inference needs steps >= 0, samples >= 1 and step_size > 0; they are {steps}, {samples} and"
                f" {step_size}."
            )
        if noise not in ("gaussian", "cubature"):
            raise InputError(f"noise cannot be '{noise}'; {nearest(noise, ('gaussian', 'cubature'))}")
        self.guess = DiagonalGaussian(network, event)
        self.event_shape = self.guess.event_shape
        self.steps, self.step_size, self.noise = steps, step_size, noise
        self.samples, self.end_to_end = samples, end_to_end

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the encoder's guess q(z | x, context), with batch (B,) and event (*event)."""
        return self.guess(x, context)

    def refine(self, q: Distribution, log_joint: LogJoint) -> Distribution:
        """Climb the bound of each datum from q.

        Args:
            q: The guess, of batch (B,).
            log_joint: Maps z (S, B, *event) to log p(x, z), (S, B) nats; a function without randomness, row by row.

        Returns:
            The refined q, of the same batch. It is a constant where q is one.

        Raises:
            InputError: It is called in `torch.inference_mode`, or within a transform of `torch.func` without `end_to_end`.
        """
        if torch.is_inference_mode_enabled():
            raise InputError(
                "a semi-amortized posterior takes gradient steps, and torch.inference_mode() forbids them; use torch.no_grad()."
            )
        assert isinstance(q, Independent)
        assert isinstance(q.base_dist, Normal)
        start = torch.stack((q.base_dist.loc, q.base_dist.scale.log()))
        noise = self._draw(start)
        through = self.end_to_end and start.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            end = self._climb(start if through else start.detach(), noise, log_joint, through)
        if not through:
            end = start + (end - start).detach()
        loc, log_scale = end.unbind()
        scale = log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp()
        return Independent(Normal(loc, scale, validate_args=False), len(self.event_shape), validate_args=False)

    def _climb(self, parameters: Tensor, noise: Tensor, log_joint: LogJoint, through: bool) -> Tensor:
        """Take the steps on parameters (2, B, *event)."""
        step = torch.full(parameters.shape[1:2], self.step_size, dtype=parameters.dtype, device=parameters.device)
        parameters, value, direction = self._at(parameters, noise, log_joint, through)
        for _ in range(self.steps):
            trial, trial_value, trial_direction = self._at(
                parameters + self._over_event(step) * direction, noise, log_joint, through
            )
            better = trial_value >= value  # false where the trial is NaN
            kept = self._over_event(better)
            parameters = torch.where(kept, trial, parameters)
            direction = torch.where(kept, trial_direction, direction)
            value = torch.where(better, trial_value, value)
            step = torch.where(better, GROWTH * step, SHRINKAGE * step)
        return parameters

    def _at(self, parameters: Tensor, noise: Tensor, log_joint: LogJoint, through: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The parameters, their bound (B,) up to a constant, and its natural gradient (2, B, *event)."""
        parameters = parameters if through else _leaf(parameters)
        loc, log_scale = parameters.unbind()
        value = log_joint(loc + log_scale.exp() * noise).mean(0) + log_scale.flatten(1).sum(1)
        (gradient,) = torch.autograd.grad(value.sum(), parameters, create_graph=through)
        information = torch.stack(((-2 * log_scale).exp(), torch.full_like(log_scale, 2.0)))
        direction = gradient / information
        return (parameters, value.detach(), direction if through else direction.detach())

    def _draw(self, like: Tensor) -> Tensor:
        """Common noise (S, B, *event) for parameters (2, B, *event); in evaluation (S, 1, *event), always the same."""
        shape, source = (like.shape[1:], None) if self.training else ((1, *like.shape[2:]), torch.Generator().manual_seed(0))

        def normal(*sizes: int) -> Tensor:
            if source is None:
                return torch.randn(*sizes, dtype=like.dtype, device=like.device)
            return torch.randn(*sizes, dtype=like.dtype, generator=source).to(like.device)

        if self.noise == "gaussian":
            if self.samples % 2:
                return normal(self.samples, *shape)
            half = normal(self.samples // 2, *shape)
            return torch.cat((half, -half))
        dimension = self.event_shape.numel()
        basis = torch.linalg.qr(normal(shape[0], dimension, dimension))[0]
        points = dimension**0.5 * basis.movedim(1, 0).reshape(dimension, *shape)
        return torch.cat((points, -points))

    def _over_event(self, value: Tensor) -> Tensor:
        return value.reshape(len(value), *(1 for _ in self.event_shape))


def _leaf(value: Tensor) -> Tensor:
    try:
        return value.detach().requires_grad_()
    except RuntimeError as error:  # the only one there is: a transform of functions has no leaves
        raise InputError(
            "a semi-amortized posterior takes gradient steps of its own, which it cannot inside torch.func and torch.vmap; use"
            " torch.autograd.grad, or end_to_end=True under torch.func.grad."
        ) from error
