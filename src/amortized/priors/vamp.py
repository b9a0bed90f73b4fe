r"""The VampPrior: the variational mixture of posteriors.

    p(z) = sum_k w_k q(z | u_k),    w_k = 1 / K        Tomczak and Welling 2018, arXiv 1705.07120, equation 9

The prior that maximizes the bound is the aggregate posterior, the average of q(z | x) over the data (section 2 there); K
learned pseudo-inputs u_k in the place of the data make it affordable. q is the model's own posterior, so the gradient of
log p(z) reaches the encoder as well as the u_k. In the code the u_k are `pseudo_inputs`, and K of the paper is M (here K counts
samples). Given a condition y of prior and posterior both, p(z | y) = 1/M sum_k q(z | u_k, y). Where only the posterior is
conditioned, each u_k has a learned condition c_k of its own, `pseudo_context`: the pair (u_k, c_k) is the pseudo-input.

The u_k live where the encoder's input does, after the model's preprocessing, and are used only within [low, high]: the value
that is used is clamped, with the gradient of the value itself (straight-through), and before each step the parameters are
projected into the range, `at_step`: projected gradient descent, under which an entry waits at the bound and comes back as soon
as the gradient turns. What is projected is the parameters and not the gradient, so that the mean of the gradients of several
processes is that of the whole batch; each dropping what leads out of the range by itself would change it.

`temperature` T is that of the posterior's distributions at the u_k, whose weights stay (`distributions.tempering`): it
multiplies the standard deviation of Gaussians and of the Gaussian that a flow starts from, divides the concentration of a von
Mises-Fisher distribution by T^2, and the logits of classes and bits by T. At 0 the samples are the centers of the components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.distributions.mixture import Mixture as MixtureOf
from amortized.distributions.tempering import tempered
from amortized.distributions.vertices import straight_through
from amortized.errors import InputError
from amortized.networks.folding import broadcasts_to


class Vamp(nn.Module):
    """The mixture of a posterior's distributions at learned pseudo-inputs.

    A training loop of one's own calls `at_step` before each step, as `train` does. Where it does not, the values that are used
    stay within the range all the same, while the parameters may drift out of it, and take as long to come back.

    The pseudo-inputs go through the posterior in the mode that the module is in: in training they meet its dropout, and batch
    normalization counts them as a batch of their own.

    Args:
        posterior: The model's q(z | x), of any family with a density; the same module, so that it is trained and stored once.
        pseudo_inputs: (M, *in_shape) where they start, such as rows of the data as the encoder sees them.
        low: Least value of an entry, a number or a tensor that broadcasts to `in_shape`; what starts below is raised to it.
        high: Largest value, likewise.
        pseudo_context: Width C of a learned condition of each pseudo-input, for a posterior that is conditioned under a prior
            that is not; 0 for none.
        learn_weights: Learn the weights of the components, which are 1 / M otherwise.

    Raises:
        InputError: The posterior has no density, or the pseudo-inputs or their range are unusable.
    """

    has_gradient = False
    low: Tensor
    high: Tensor

    def __init__(
        self,
        posterior: nn.Module,
        pseudo_inputs: Tensor,
        low: float | Tensor = -torch.inf,
        high: float | Tensor = torch.inf,
        pseudo_context: int = 0,
        learn_weights: bool = False,
    ):
        super().__init__()
        if not getattr(posterior, "has_density", True):
            raise InputError(
                f"prior Vamp averages the densities of the posterior, and {type(posterior).__name__} has none; use a posterior"
                " with a density, such as DiagonalGaussian, or another prior."
            )
        start, low, high = _checked(pseudo_inputs, low, high)
        self.posterior = posterior
        self.pseudo_inputs = nn.Parameter(start)
        self.pseudo_context = nn.Parameter(torch.randn(len(start), pseudo_context)) if pseudo_context else None
        log_weights = torch.zeros(len(start))
        self.log_weights = nn.Parameter(log_weights) if learn_weights else None
        # The range comes from the data, so it is stored with the weights.
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self._kept: _Encoded | None = None

    @property
    def event_shape(self) -> torch.Size:
        """The shape of z: the posterior's."""
        return torch.Size(self.posterior.event_shape)  # pyright: ignore[reportArgumentType]

    @property
    def space(self) -> str:
        """The space of z: the posterior's."""
        return str(getattr(self.posterior, "space", "real"))

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> MixtureOf:
        """Return p(z) with event (*event), or p(z | context) with batch (B,), which takes B M encodings.

        Raises:
            InputError: The posterior does not take the pseudo-inputs or the condition, or its family has no temperature but 1.
        """
        components = self._encode(context) if context is not None else self._encode_once()
        if temperature != 1.0:
            components = tempered(components, temperature)
        count = len(self.pseudo_inputs)
        log_weights = self.pseudo_inputs.new_zeros(count) if self.log_weights is None else self.log_weights
        return MixtureOf(log_weights.expand(components.batch_shape), components)

    def inputs(self) -> Tensor:
        """(M, *in_shape) the pseudo-inputs as they are used: within their range."""
        return straight_through(self.pseudo_inputs.clamp(self.low, self.high), self.pseudo_inputs)

    @torch.no_grad()
    def at_step(self, step: int) -> None:
        """Project the pseudo-inputs into their range, in place, before a training step, whichever it is."""
        self.pseudo_inputs.clamp_(self.low, self.high)

    def _encode_once(self) -> Distribution:
        """The components without a condition; in evaluation they are encoded again only when a parameter has changed."""
        if torch.is_grad_enabled() or any(module.training for module in self.modules()):
            self._kept = None
            return self._encode(None)
        # The values are compared, and not torch's version counters: fused optimizers do not count. It reads every parameter
        # once, where encoding M rows uses each of them M times.
        device = self.pseudo_inputs.device.type
        setting = (torch.is_inference_mode_enabled(), torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        tensors = [*self.parameters(), *self.buffers()]
        if self._kept is None or not self._kept.holds(tensors, setting):
            self._kept = _Encoded([tensor.clone() for tensor in tensors], setting, self._encode(None))
        return self._kept.components

    def _encode(self, context: Tensor | None) -> Distribution:
        inputs, batch = self.inputs(), (len(self.pseudo_inputs),)
        if context is not None:
            if self.pseudo_context is not None:
                raise InputError(
                    "prior Vamp has learned conditions of its pseudo-inputs and was called with a condition; build it with"
                    " pseudo_context=0, or take 'prior' out of the model's condition."
                )
            batch = (len(context), *batch)
            inputs, context = inputs.expand(*batch, *inputs.shape[1:]), context.unsqueeze(1)
        given = self.pseudo_context if context is None else context
        try:
            components = self.posterior(inputs) if given is None else self.posterior(inputs, given)
        except InputError as error:
            raise InputError(
                f"prior Vamp cannot put its pseudo-inputs through the posterior: {error} A conditioned posterior wants 'prior'"
                " in the model's condition, or pseudo_context=C in the prior."
            ) from error
        if components.batch_shape != batch:
            raise InputError(
                f"posterior {type(self.posterior).__name__} gave prior Vamp a batch {tuple(components.batch_shape)} for"
                f" pseudo-inputs {tuple(inputs.shape)}; it must be {batch}: give pseudo_inputs the shape (M, *in_shape)."
            )
        return components


def random_pseudo_inputs(
    count: int,
    in_shape: int | tuple[int, ...],
    mean: float | Tensor,
    std: float | Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Where pseudo-inputs start that are no rows of the data: Gaussian around the data's mean, as in the authors' code.

    Args:
        count: How many.
        in_shape: Shape of one, an integer for a vector.
        mean: Of the data as the encoder sees them, a number or a tensor that broadcasts to `in_shape`.
        std: Standard deviation around it, likewise.
        generator: Source of the noise; None takes torch's own.

    Returns:
        (count, *in_shape).
    """
    shape = (in_shape,) if isinstance(in_shape, int) else tuple(in_shape)
    return mean + std * torch.randn(count, *shape, generator=generator)


@dataclass(frozen=True)
class _Encoded:
    """Components, and all that they were computed from."""

    tensors: list[Tensor]
    setting: tuple
    components: Distribution

    def holds(self, tensors: list[Tensor], setting: tuple) -> bool:
        return setting == self.setting and all(map(_same, tensors, self.tensors))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)


def _checked(pseudo_inputs: Tensor, low: float | Tensor, high: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values = pseudo_inputs.detach()
    values = values.clone() if values.is_floating_point() else values.to(torch.get_default_dtype())
    if values.ndim < 2 or not values.numel():
        raise InputError(f"pseudo_inputs must be (M, *in_shape), M of 1 or more; they are {tuple(values.shape)}; give M rows.")
    if not values.isfinite().all():
        raise InputError("pseudo_inputs hold a value that is not finite; give rows of the data without missing entries.")
    least, largest = (torch.as_tensor(bound).to(values).clone() for bound in (low, high))
    for name, bound in (("low", least), ("high", largest)):
        if not broadcasts_to(bound.shape, values.shape[1:]):
            raise InputError(
                f"{name} must fit a pseudo-input of shape {tuple(values.shape[1:])}; it has shape {tuple(bound.shape)};"
                " give a number."
            )
    if not (least < largest).all():
        raise InputError(f"low must be below high; they are {low} and {high}; exchange them, or widen the range.")
    return values.clamp(least, largest), least, largest
