r"""An autoregressive decoder: a gated PixelCNN given z.

    log p(x | z) = sum_i log p(x_i | x_<i, s(z))

Van den Oord et al. 2016 (arXiv 1606.05328, eq. 4) conditioned a PixelCNN on a feature map s; in the PixelVAE (Gulrajani et al.
2017, arXiv 1611.05013) that map is what a decoder makes of a latent variable. `networks.GatedPixelCNN` has the equations. All
conditionals come from one pass, and they are exact: log p(x | z) costs one pass over the image, and sampling goes pixel by pixel.

Such a decoder can model the data alone, and then z says nothing and KL(q || p) is 0. A short `reach` (few layers, a small kernel)
leaves to z what lies farther away.
"""

from functools import partial

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent, constraints

from amortized.distributions import Autoregressive
from amortized.errors import InputError
from amortized.likelihoods.discrete import MARGIN
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.solving import solve_increasing
from amortized.networks import GatedPixelCNN
from amortized.networks.layers import check_shape


class PixelCNN(Likelihood):
    """Images of bits or grey levels, each entry given z and all entries before it, row by row.

    Its entries are not independent given z, so it cannot leave missing ones out, and its mean is unknown: where a single value
    stands for it, that is a draw.

    Args:
        network: Turns z, and the condition where there is one, into features; the head makes the feature map of them.
        event: Shape of x, (H, W) or (H, W, C).
        levels: The number of levels, 2 or more, of integers x in 0..levels-1.
        channels: The number of features of each stack of the PixelCNN.
        layers: Its number of gated layers.
        kernel: Width of its convolutions, odd.
        context_channels: The number of channels of the feature map that z becomes.

    Raises:
        InputError: The event is no image, or an option is out of its range.
    """

    kind = "pixelcnn"
    factorizes = False
    order: Tensor

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        levels: int = 2,
        channels: int = 32,
        layers: int = 5,
        kernel: int = 5,
        context_channels: int = 16,
    ):
        shape = check_shape("event", event)
        if len(shape) not in (2, 3):
            raise InputError(
                f"likelihood 'pixelcnn' needs images (H, W) or (H, W, C); the event is {shape}."
                " Give the data the shape of an image, or use 'bernoulli' or 'categorical'."
            )
        check_shape("context_channels", context_channels)
        super().__init__(network, shape[:2], context_channels, {"levels": levels})
        self.event_shape = torch.Size(shape)
        self.levels = levels
        self.decoder = GatedPixelCNN(
            shape, levels=levels, channels=channels, layers=layers, kernel=kernel, context_channels=context_channels
        )
        # A buffer, so that it follows the model to its device; a constant, so that no file stores it.
        self.register_buffer("order", torch.arange(self.event_shape.numel()).view(self.event_shape), persistent=False)

    @torch.no_grad()
    def initialize(self, mean: Tensor) -> None:
        """Set the tilt of every entry so that, where nothing else is said of it, it has the mean of the data, (*event) in levels.

        The network starts by saying little else. The tilt makes of equally likely levels the distribution of largest entropy that
        has this mean, p_l proportional to exp(t l / (levels - 1)); t is found by bisection.
        """
        target = mean.double().expand(self.event_shape) / (self.levels - 1)
        target = target.clamp(MARGIN, 1 - MARGIN)
        grid = torch.linspace(0, 1, self.levels, dtype=torch.float64, device=target.device)
        most = torch.full_like(target, 10.0 * self.levels)  # beyond what MARGIN asks for
        tilt = solve_increasing(lambda tilt: (grid * (tilt.unsqueeze(-1) * grid).softmax(-1)).sum(-1), target, -most, most)
        self.decoder.tilt.copy_(tilt)

    def _family(self, *parameters: Tensor) -> Distribution:
        features = torch.stack(parameters, -3)
        dimensions = len(self.event_shape)
        return Autoregressive(
            partial(self._conditionals, features),
            self.order,
            self.order.numel(),
            features.shape[:-3],
            support=constraints.independent(constraints.integer_interval(0, self.levels - 1), dimensions),
            dtype=features.dtype,
            sampler=partial(self._sample, features),
        )

    def _conditionals(self, features: Tensor, x: Tensor) -> Independent:
        dimensions = len(self.event_shape)
        lead = torch.broadcast_shapes(x.shape[: x.ndim - dimensions], features.shape[:-3])
        rows = x.expand(*lead, *self.event_shape).reshape(-1, *self.event_shape)
        logits = self.decoder(rows, _rows(features, lead))
        return Independent(self._entry(logits.reshape(*lead, *logits.shape[1:])), dimensions, validate_args=False)

    def _sample(self, features: Tensor, lead: torch.Size) -> Tensor:
        x = self.decoder.fill(lead.numel(), _rows(features, lead), lambda logits: self._entry(logits).sample())
        return x.reshape(*lead, *self.event_shape)

    def _entry(self, logits: Tensor) -> Distribution:
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        if self.levels == 2:
            return distributions.Bernoulli(logits=logits, validate_args=False)
        return distributions.Categorical(logits=logits, validate_args=False)


def _rows(features: Tensor, lead: torch.Size) -> Tensor:
    return features.expand(*lead, *features.shape[-3:]).reshape(-1, *features.shape[-3:])
