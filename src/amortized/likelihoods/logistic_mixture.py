r"""The mixture of discretized logistics of PixelCNN++, for images and other grey levels.

    p(x | z) = prod_i sum_k w_ik(z) prod_c D(x_ic | loc_ick(z) + sum_{d < c} a_icdk(z) u(x_id), s_ick(z))

Salimans et al. 2017 (arXiv 1701.05517, eq. 1 to 3), with i the pixels and c the channels of one; the families are in
distributions/logistic_mixture.py. The weights w, the centers loc, the scales s and the slopes a, each the tanh of an output, are
all the decoder's. Where an event is (H, W, C) with two or more channels, the component of a pixel is common to its channels, and
each channel depends on those before it; elsewhere every entry has a mixture of its own, C = 1, independent of the others given z.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized import distributions as families
from amortized.errors import InputError
from amortized.likelihoods.discrete import MARGIN
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.scale import Scale
from amortized.likelihoods.solving import solve_increasing
from amortized.networks.layers import check_shape

SPREAD = 0.5  # the components start between this below and this above their common center, on [-1, 1]


class LogisticMixture(Likelihood):
    """Grey levels, integers x in 0..levels-1, each a bin of a mixture of logistic distributions.

    With channels, `factorizes` is False, and missing entries cannot be left out.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector; (H, W, C) makes the channels of a pixel depend on one another.
        levels: The number of levels, 2 or more.
        components: The number of components of each mixture.
        floor: The smallest scale, the levels being mapped to [-1, 1].

    Raises:
        InputError: An option is out of its range.
    """

    kind = "logistic-mixture"

    def __init__(
        self, network: nn.Module, event: int | tuple[int, ...], *, levels: int, components: int = 10, floor: float = 1e-3
    ):
        if not isinstance(levels, int) or levels < 2:
            raise InputError(f"levels must be an integer of 2 or more; it is {levels!r}; give e.g. levels=256.")
        shape, _ = check_shape("event", event), check_shape("components", components)
        channels = shape[2] if len(shape) == 3 else 1
        self.counts = (1, channels, channels, channels * (channels - 1) // 2)  # of w, loc, s and a, for each component
        super().__init__(network, shape[:2] if channels > 1 else shape, components * sum(self.counts), {"levels": levels})
        self.event_shape = torch.Size(shape)
        self.factorizes = channels == 1
        self.levels, self.components, self.channels = levels, components, channels
        self.scale = Scale("predicted", self.event_shape, floor=floor, initial=0.1)

    @torch.no_grad()
    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) in levels.

        The components start with equal weights, with their centers spread evenly around a common one, which is found by
        bisection, and the channels of a pixel without influence on one another.
        """
        target = mean.double().expand(self.event_shape) / (self.levels - 1)
        target = target.clamp(MARGIN, 1 - MARGIN) * (self.levels - 1)
        spread = torch.linspace(-SPREAD, SPREAD, self.components, dtype=target.dtype, device=target.device)
        spread = spread if self.components > 1 else torch.zeros_like(spread)
        scale = self.scale(torch.zeros_like(spread))
        most = torch.full_like(target, 1 + SPREAD + 10 * scale.max().item())
        centers = solve_increasing(partial(self._mean_at, spread, scale), target, -most, most).unsqueeze(-1) + spread
        for position in range(self.head.count):
            self.head.set_bias(position, torch.zeros(()))
        by_channel = centers.unbind(-2) if self.channels > 1 else (centers,)
        for channel, center in enumerate(by_channel):
            for component, value in enumerate(center.unbind(-1)):
                self.head.set_bias((1 + channel) * self.components + component, value)

    def _mean_at(self, spread: Tensor, scale: Tensor, center: Tensor) -> Tensor:
        centers = center.unsqueeze(-1) + spread
        return families.LogisticMixture(torch.zeros_like(spread), centers, scale, self.levels, validate_args=False).mean

    def _family(self, *parameters: Tensor) -> Distribution:
        values = torch.stack(parameters, -1).unflatten(-1, (sum(self.counts), self.components))
        logits, loc, raw_scale, slopes = values.split(self.counts, -2)
        logits, scale = logits.squeeze(-2), self.scale(raw_scale)
        if self.channels > 1:
            return families.ChannelLogisticMixture(logits, loc, scale, slopes.tanh(), self.levels, validate_args=False)
        return families.LogisticMixture(logits, loc.squeeze(-2), scale.squeeze(-2), self.levels, validate_args=False)
