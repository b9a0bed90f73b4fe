r"""InfoVAE and the Wasserstein autoencoder: the aggregate posterior q(z) is held to the prior by a kernel's mean discrepancy.

    MMD^2(q, p) = E k(z, z') + E k(y, y') - 2 E k(z, y),    z, z' ~ q(z), y, y' ~ p(z)        Gretton et al. 2012, section 2.2

    InfoVAE    E_q[ log p(x|z) ] - (1 - alpha) KL - (alpha + lambda - 1) MMD^2     Zhao, Song and Ermon 2017, arXiv 1706.02262
    WAE        E_q[ log p(x|z) ] - lambda MMD^2            Tolstikhin et al. 2018, arXiv 1711.01558, eq. 4 and algorithm 2

The WAE has no KL, so the posterior may be a point. Its likelihood is the cost of transport, which is a squared distance where it
is a Gaussian of fixed scale.

Of B data with one draw z_b and one draw y_b of the prior each, the estimate is Gretton's U-statistic (his eq. 4),

    1/(B (B - 1)) sum_{b != c} [ k(z_b, z_c) + k(y_b, y_c) - k(z_b, y_c) - k(y_b, z_c) ]

without bias, and so below 0 now and then; the pairs b = c are left out of the last two as well, since a condition may be common
to them. It is the same for every datum, and a function of the data of all processes together; of K draws it is the mean of K
such values. The kernels, by the squared distance r^2 and C = 2 D s,

    "rbf"    sum_s exp(-r^2 / C)            "imq"    sum_s C / (C + r^2)

At s = 1, C is the mean squared distance of two draws of N(0, I), which is what the WAE takes; its authors' code sums the scales
0.1, 0.2, 0.5, 1, 2, 5 and 10. The code of InfoVAE's authors has C = D^2, and the weights of InfoVAE here are our own. With a
weight so large that the noise of the estimate drowns log p(x|z), z stays unused, since q(z|x) = p(z) has no discrepancy: 1,000
did so on the digits, in batches of 128, and 100 did not. In a model with conditions q(z) and p(z) are those of all data,
whatever their conditions.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from amortized.errors import InputError
from amortized.objectives.objective import needs
from amortized.processes import of_all
from amortized.terms import Latent, Terms

Kernel = Literal["rbf", "imq"]


@needs("alike", "prior_draws", rows=2)
def infovae(
    t: Terms,
    alpha: float | Tensor = 0.5,
    lambda_mmd: float | Tensor = 100.0,
    *,
    kernel: Kernel = "rbf",
    scales: Sequence[float] = (1.0,),
) -> Tensor:
    """The likelihood less the KL and the discrepancy of q(z) and p(z): (B,) nats.

    Args:
        t: The terms, of one latent.
        alpha: Weight of the mutual information of x and z; at 1 there is no KL left, at 0 and lambda 1 it is the ELBO.
        lambda_mmd: lambda, the weight of the divergence of q(z) from p(z), of which 1 - alpha is in the KL.
        kernel: "rbf" or "imq".
        scales: The scales s of the kernels that are summed.

    Raises:
        InputError: There is more than one latent.
    """
    discrepancy = _discrepancy(t, kernel, scales)
    kl = t.mean_over_samples(t.kl.sum(0))
    return t.mean_over_samples(t.log_px) - (1.0 - alpha) * kl - (alpha + lambda_mmd - 1.0) * discrepancy


@needs("alike", "prior_draws", rows=2)
def wae(t: Terms, lambda_mmd: float | Tensor = 10.0, *, kernel: Kernel = "imq", scales: Sequence[float] = (1.0,)) -> Tensor:
    """The likelihood less lambda times the discrepancy of q(z) and p(z): (B,) nats.

    Args:
        t: The terms, of one latent.
        lambda_mmd: lambda.
        kernel: "rbf" or "imq".
        scales: The scales s of the kernels that are summed.

    Raises:
        InputError: There is more than one latent.
    """
    return t.mean_over_samples(t.log_px) - lambda_mmd * _discrepancy(t, kernel, scales)


def mmd(z: Tensor, y: Tensor, kernel: Kernel = "rbf", scales: Sequence[float] = (1.0,)) -> Tensor:
    """The squared maximum mean discrepancy of two distributions, by its U-statistic; 0 of a single draw, which has no pair.

    Args:
        z: (*lead, B, D) draws of the one.
        y: (*lead, B, D) draws of the other; those of the same row may depend on each other.
        kernel: "rbf" or "imq".
        scales: The scales s of the kernels that are summed.

    Returns:
        (*lead).
    """
    center = y.mean(-2, keepdim=True)  # distances from far away lose digits, under autocast most of them
    z, y = z - center, y - center
    within = _kernel(z, z, kernel, scales) + _kernel(y, y, kernel, scales)
    across = _kernel(z, y, kernel, scales)
    values = within - across - across.mT
    pairs = values.sum((-2, -1)) - values.diagonal(dim1=-2, dim2=-1).sum(-1)
    rows = z.shape[-2]
    return pairs / max(rows * (rows - 1), 1)


def _kernel(a: Tensor, b: Tensor, kernel: Kernel, scales: Sequence[float]) -> Tensor:
    """(*lead, B, B) the kernel of every row of a (*lead, B, D) with every row of b."""
    square = (a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2) - 2.0 * a @ b.mT).clamp(min=0.0)
    widths = [2.0 * a.shape[-1] * scale for scale in scales]
    each = [torch.exp(-square / width) if kernel == "rbf" else width / (width + square) for width in widths]
    return torch.stack(each).sum(0)


def _discrepancy(t: Terms, kernel: Kernel, scales: Sequence[float]) -> Tensor:
    """The discrepancy of the data of all processes, without a shape."""
    latent = t.latents[0]
    if len(t.latents) > 1 or not isinstance(latent, Latent):
        raise InputError(
            f"the discrepancy of q(z) and p(z) is that of one latent variable with a prior to draw from; this model has"
            f" {len(t.latents)}, the first a {type(latent).__name__}; take a VAE, or the objective 'elbo'."
        )
    # A relaxed family is taken at the hard values that its draws stand for: the prior's are hard.
    harden = getattr(latent.q, "harden", None)
    z = latent.z if harden is None else harden(latent.z)
    y = _like(latent.p, z.shape[: z.ndim - len(latent.q.event_shape)])
    return mmd(of_all(z.flatten(2), 1), of_all(y.flatten(2), 1), kernel, scales).mean()


def _like(p: Distribution, lead: torch.Size) -> Tensor:
    """(K, B, *event) draws of a prior of batch () or (B,), with a gradient where it has one."""
    shape = lead[: len(lead) - len(p.batch_shape)]
    return p.rsample(shape) if p.has_rsample else p.sample(shape)
